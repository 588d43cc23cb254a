//! Captured frames as a file for wireshark and tcpdump: pcapng (draft-ietf-opsawg-pcapng), in the byte order of this machine,
//! with times in nanoseconds.
//!
//! ```text
//! block:  type u32, length u32, body, padding to 4 bytes, length u32
//! option: code u16, length u16, value, padding to 4 bytes; code 0 ends them
//! ```

use alloc::vec::Vec;
use core::time::Duration;

/// Block types: section header, interface description, enhanced packet, interface statistics.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
/// The section header's: tells the reader the byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// Option codes; they mean something else in each block.
mod option {
    pub const END: u16 = 0;
    /// Section: name of the application, of the operating system.
    pub const OS: u16 = 3;
    pub const APPLICATION: u16 = 4;
    /// Interface: name, resolution of times.
    pub const IF_NAME: u16 = 2;
    pub const IF_TSRESOL: u16 = 9;
    /// Packet: flags.
    pub const FLAGS: u16 = 2;
    /// Statistics: packets received by the filter, lost because nobody read.
    pub const ISB_IFRECV: u16 = 4;
    pub const ISB_IFDROP: u16 = 5;
}

/// Resolution of times: 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Direction of a packet in its flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A block being written: its length stands at both ends.
struct Block<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(to: &'a mut Vec<u8>, kind: u32) -> Block<'a> {
        let start = to.len();
        to.extend(kind.to_le_bytes());
        to.extend([0; 4]);
        Block { to, start }
    }

    fn word(self, value: u32) -> Self {
        self.to.extend(value.to_le_bytes());
        self
    }

    fn half(self, value: u16) -> Self {
        self.to.extend(value.to_le_bytes());
        self
    }

    /// The upper half first, whatever the byte order.
    fn time(self, at: Duration) -> Self {
        let nanos = at.as_nanos() as u64;
        self.word((nanos >> 32) as u32).word(nanos as u32)
    }

    fn padded(self, bytes: &[u8]) -> Self {
        self.to.extend(bytes);
        self.to.resize(self.to.len().next_multiple_of(4), 0);
        self
    }

    fn option(self, code: u16, value: &[u8]) -> Self {
        // Names and numbers: never longer.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.half(code).half(value.len() as u16).padded(value)
    }

    fn end(self) {
        let block = self.half(option::END).half(0);
        let length = (block.to.len() - block.start + 4) as u32;
        block.to[block.start + 4..block.start + 8].copy_from_slice(&length.to_le_bytes());
        block.to.extend(length.to_le_bytes());
    }
}

/// Begins a file with one Ethernet interface called `interface`. Blocks before and after these must be multiples of 4 bytes long,
/// as all of this module are.
pub fn header(to: &mut Vec<u8>, application: &str, os: &str, interface: &str, snap_len: u32) {
    Block::begin(to, SECTION)
        .word(BYTE_ORDER)
        .half(VERSION[0])
        .half(VERSION[1])
        // The section's length is not known yet.
        .word(u32::MAX)
        .word(u32::MAX)
        .option(option::OS, os.as_bytes())
        .option(option::APPLICATION, application.as_bytes())
        .end();
    Block::begin(to, INTERFACE)
        .half(ETHERNET)
        .half(0)
        .word(snap_len)
        .option(option::IF_NAME, interface.as_bytes())
        .option(option::IF_TSRESOL, &[NANOSECONDS])
        .end();
}

/// Appends a frame that passed `at` after 1970, of `len` bytes on the wire, of which `kept` are at hand.
pub fn packet(to: &mut Vec<u8>, at: Duration, len: usize, kept: &[u8], is_outbound: bool) {
    let flags = if is_outbound { OUTBOUND } else { INBOUND };
    Block::begin(to, PACKET)
        .word(0)
        .time(at)
        .word(kept.len() as u32)
        .word(len as u32)
        .padded(kept)
        .option(option::FLAGS, &flags.to_le_bytes())
        .end();
}

/// Ends a file: how many frames were captured, and how many lost because they were not read in time.
pub fn statistics(to: &mut Vec<u8>, at: Duration, captured: u64, dropped: u64) {
    Block::begin(to, STATISTICS)
        .word(0)
        .time(at)
        .option(option::ISB_IFRECV, &captured.to_le_bytes())
        .option(option::ISB_IFDROP, &dropped.to_le_bytes())
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_the_draft_draws() {
        let mut file = Vec::new();
        header(&mut file, "keelson", "", "eth0", 0x1_0000);
        packet(&mut file, Duration::from_nanos(0x1_0000_0002), 60, &[1, 2, 3], true);
        statistics(&mut file, Duration::ZERO, 1, 2);
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            blocks.push((word(at), at));
            at += length;
        }
        assert_eq!(
            blocks.iter().map(|block| block.0).collect::<Vec<_>>(),
            [SECTION, INTERFACE, PACKET, STATISTICS]
        );
        assert_eq!(word(8), BYTE_ORDER);
        let packet = blocks[2].1;
        let words: Vec<u32> = (0..10).map(|index| word(packet + 4 * index)).collect();
        // Type, length, interface, time, kept, length, data, option 2 of 4 bytes, outbound.
        assert_eq!(words, [6, 48, 0, 1, 2, 3, 60, 0x0003_0201, 4 << 16 | 2, 2]);
    }
}
