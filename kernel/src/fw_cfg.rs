//! Files that QEMU hands to its guest (`-fw_cfg name=opt/...`): for what must not stand on a command line, such as keys.
//!
//! Interface: QEMU, docs/specs/fw_cfg. The selector is written as two bytes, the data read byte by byte; both need no DMA.

#![forbid(unsafe_code)]

use alloc::vec::Vec;
use keelson_hal::PortIo;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;

/// Items by number: the signature, and the directory of files.
const SIGNATURE: u16 = 0x0000;
const DIRECTORY: u16 = 0x0019;

/// An entry of the directory: size u32, selector u16, two bytes reserved (all big-endian), then the name, zero-terminated.
const ENTRY: usize = 64;
const NAME: usize = 8;
/// QEMU has room for far fewer; a machine that is not QEMU reads as ones.
const MAX_ENTRIES: u32 = 1024;

/// The file `name`, if this is QEMU, has it, and it has at most `most` bytes.
pub fn read(ports: &dyn PortIo, name: &str, most: usize) -> Option<Vec<u8>> {
    let mut signature = [0; 4];
    select(ports, SIGNATURE, &mut signature);
    if signature != *b"QEMU" {
        return None;
    }
    let mut count = [0; 4];
    select(ports, DIRECTORY, &mut count);
    for _ in 0..u32::from_be_bytes(count).min(MAX_ENTRIES) {
        let mut entry = [0; ENTRY];
        fetch(ports, &mut entry);
        let [s0, s1, s2, s3, number0, number1, _, _, rest @ ..] = entry;
        let here = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        if here != name.as_bytes() {
            continue;
        }
        let len = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).ok().filter(|len| *len <= most)?;
        let mut content = alloc::vec![0; len];
        select(ports, u16::from_be_bytes([number0, number1]), &mut content);
        return Some(content);
    }
    None
}

/// Reads an item from its start.
fn select(ports: &dyn PortIo, item: u16, into: &mut [u8]) {
    ports.write16(SELECTOR, item);
    fetch(ports, into);
}

/// Goes on reading.
fn fetch(ports: &dyn PortIo, into: &mut [u8]) {
    into.iter_mut().for_each(|byte| *byte = ports.read8(DATA));
}

const _: () = assert!(NAME + 56 == ENTRY);

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// QEMU with some files, the first of them item 0x20.
    struct Qemu {
        files: Vec<(&'static str, &'static [u8])>,
        item: Cell<u16>,
        at: Cell<usize>,
    }

    impl Qemu {
        fn content(&self) -> Vec<u8> {
            match self.item.get() {
                SIGNATURE => b"QEMU".to_vec(),
                DIRECTORY => {
                    let mut bytes = (self.files.len() as u32).to_be_bytes().to_vec();
                    for (index, (name, content)) in self.files.iter().enumerate() {
                        bytes.extend((content.len() as u32).to_be_bytes());
                        bytes.extend((0x20 + index as u16).to_be_bytes());
                        bytes.extend([0, 0]);
                        bytes.extend(name.as_bytes());
                        bytes
                            .resize(bytes.len().next_multiple_of(4) + 56 - name.len().next_multiple_of(4), 0);
                    }
                    bytes
                }
                item => self.files[usize::from(item) - 0x20].1.to_vec(),
            }
        }
    }

    impl PortIo for Qemu {
        fn read8(&self, port: u16) -> u8 {
            assert_eq!(port, DATA);
            let at = self.at.replace(self.at.get() + 1);
            self.content().get(at).copied().unwrap_or(0)
        }
        fn write8(&self, _port: u16, _value: u8) {
            panic!("the selector has two bytes");
        }
        fn read16(&self, _port: u16) -> u16 {
            panic!("the selector is not read");
        }
        fn write16(&self, port: u16, value: u16) {
            assert_eq!(port, SELECTOR);
            self.item.set(value);
            self.at.set(0);
        }
    }

    #[test]
    fn finds_a_file_among_others() {
        let files = vec![("etc/boot", &b"x"[..]), ("opt/lwk/psk", b"secret"), ("opt/lwk/psk2", b"no")];
        let qemu = Qemu { files, item: Cell::new(9), at: Cell::new(3) };
        assert_eq!(read(&qemu, "opt/lwk/psk", 64).as_deref(), Some(&b"secret"[..]));
        assert_eq!(read(&qemu, "opt/lwk/psk", 5), None, "too large");
        assert_eq!(read(&qemu, "opt/lwk", 64), None);
    }

    #[test]
    fn a_machine_that_is_not_qemu_has_none() {
        struct Bare;
        impl PortIo for Bare {
            fn read8(&self, _port: u16) -> u8 {
                0xff
            }
            fn write8(&self, _port: u16, _value: u8) {}
            fn read16(&self, _port: u16) -> u16 {
                0xffff
            }
            fn write16(&self, _port: u16, _value: u16) {}
        }
        assert_eq!(read(&Bare, "opt/lwk/psk", 64), None);
    }
}
