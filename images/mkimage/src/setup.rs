//! The first 0x1000 bytes of the boot file: the fields that only the finished image knows.

/// Length of the setup block, and therefore the payload's offset in the file.
pub const SETUP_LEN: usize = 0x1000;

const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const INIT_SIZE: usize = 0x260;
/// Where setup.s leaves room for the PE header; the Linux header follows at 0x1f1.
const PE: usize = 0x40;
/// Memory beyond the payload that the loader must leave free: none, the payload holds the bss.
const BEYOND: usize = 0;

/// Setup block and payload as one boot file.
///
/// `efi_entry` is the offset of the EFI entry point in the payload.
pub fn boot_file(setup: &[u8], payload: &[u8], efi_entry: usize) -> Result<Vec<u8>, String> {
    if setup.len() != SETUP_LEN {
        return Err(format!("the setup block has {:#x} bytes instead of {SETUP_LEN:#x}", setup.len()));
    }
    if &setup[HEADER..HEADER + 4] != b"HdrS" || setup[BOOT_FLAG..BOOT_FLAG + 2] != [0x55, 0xaa] {
        return Err("the setup block has no Linux header at 0x1f1".to_string());
    }
    if (usize::from(setup[SETUP_SECTS]) + 1) * 512 != SETUP_LEN {
        return Err("setup_sects does not match the length of the setup block".to_string());
    }
    let mut payload = payload.to_vec();
    payload.resize(payload.len().next_multiple_of(4096), 0);
    let mut file = setup.to_vec();
    put(&mut file, SYSSIZE, payload.len() / 16);
    put(&mut file, INIT_SIZE, payload.len() + BEYOND);
    let header = pe_header(payload.len() + BEYOND, payload.len(), efi_entry);
    let room = file.get_mut(PE..SETUP_SECTS).filter(|room| header.len() <= room.len());
    room.ok_or("the PE header runs into the Linux header")?[..header.len()].copy_from_slice(&header);
    file.extend_from_slice(&payload);
    Ok(file)
}

/// PE32+ header (Microsoft PE format) of an EFI application with one section: the payload, which firmware
/// loads right behind the headers, so that the file looks the same in memory.
fn pe_header(memory: usize, payload: usize, efi_entry: usize) -> Vec<u8> {
    let mut h = b"PE\0\0".to_vec();
    let u16s = |values: &[u16], h: &mut Vec<u8>| values.iter().for_each(|v| h.extend(v.to_le_bytes()));
    let u32s = |values: &[usize], h: &mut Vec<u8>| {
        values.iter().for_each(|v| h.extend((*v as u32).to_le_bytes()));
    };
    // COFF: machine, sections; time, symbols; optional header's length; executable, no line numbers.
    u16s(&[0x8664, 1], &mut h);
    u32s(&[0, 0, 0], &mut h);
    u16s(&[OPTIONAL_HEADER as u16, 0x0206], &mut h);
    // PE32+: magic, linker; sizes of code, data, bss; entry; base of code.
    u16s(&[0x020b, 0], &mut h);
    u32s(&[payload, 0, 0, SETUP_LEN + efi_entry, SETUP_LEN], &mut h);
    // Image base (64 bits); alignment in memory and file.
    u32s(&[0, 0, 0x1000, 0x200], &mut h);
    // Versions, major and minor: system, image, subsystem; reserved.
    u16s(&[0, 0, IMAGE_VERSION, 0, 0, 0], &mut h);
    u32s(&[0, SETUP_LEN + memory, SETUP_LEN, 0], &mut h);
    // Subsystem EFI application; no flags.
    u16s(&[10, 0], &mut h);
    // Stack and heap (64 bits each, unused); loader flags; six empty data directories.
    u32s(&[0; 8], &mut h);
    u32s(&[0, 6], &mut h);
    u32s(&[0; 12], &mut h);
    h.extend(b".text\0\0\0");
    // Sizes and addresses in memory and file; no relocations; code, data, readable, writable, executable.
    u32s(&[memory, SETUP_LEN, payload, SETUP_LEN, 0, 0, 0, 0xe000_0060], &mut h);
    h
}

/// As a Linux kernel that is started as an EFI application from memory. systemd's stub takes 0 for an older one, which it would
/// start by the EFI handover protocol.
const IMAGE_VERSION: u16 = 1;

/// Length of the optional header with six data directories.
const OPTIONAL_HEADER: usize = 0xa0;

fn put(file: &mut [u8], offset: usize, value: usize) {
    file[offset..offset + 4].copy_from_slice(&(value as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Vec<u8> {
        let mut s = vec![0; SETUP_LEN];
        s[SETUP_SECTS] = 7;
        s[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        s[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        s
    }

    #[test]
    fn sizes_are_patched_and_pages_filled() {
        let file = boot_file(&setup(), &[7; 5000], 0x345).unwrap();
        assert_eq!(file.len(), SETUP_LEN + 8192);
        assert_eq!(file[SYSSIZE..SYSSIZE + 4], 512u32.to_le_bytes());
        assert_eq!(file[INIT_SIZE..INIT_SIZE + 4], 8192u32.to_le_bytes());
        assert_eq!((file[SETUP_LEN], file[SETUP_LEN + 5000]), (7, 0));
    }

    #[test]
    fn the_pe_header_fits_and_says_where_things_are() {
        let file = boot_file(&setup(), &[7; 5000], 0x345).unwrap();
        let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let optional = PE + 24;
        assert_eq!(&file[PE..PE + 4], b"PE\0\0");
        assert_eq!(u32_at(optional + 16), SETUP_LEN + 0x345, "entry");
        assert_eq!(u32_at(optional + 56), file.len(), "size of image");
        assert_eq!(file[optional + 44..optional + 48], [1, 0, 0, 0], "image version");
        let section = optional + OPTIONAL_HEADER;
        assert_eq!(&file[section..section + 5], b".text");
        assert_eq!([8, 12, 16, 20].map(|at| u32_at(section + at)), [8192, SETUP_LEN, 8192, SETUP_LEN]);
        assert!(section + 40 <= SETUP_SECTS);
        // The header in front is still Linux's.
        assert_eq!(&file[HEADER..HEADER + 4], b"HdrS");
    }

    #[test]
    fn damaged_setup_blocks_are_refused() {
        assert!(boot_file(&setup()[1..], &[], 0).is_err());
        let mut bad = setup();
        bad[SETUP_SECTS] = 4;
        assert!(boot_file(&bad, &[], 0).is_err());
        let mut bad = setup();
        bad[HEADER] = b'h';
        assert!(boot_file(&bad, &[], 0).is_err());
    }
}
