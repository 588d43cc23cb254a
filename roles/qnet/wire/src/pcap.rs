//! Capture files in libpcap's classic format: what tests and tools write, and read back.
//!
//! Written little-endian; read in either order, with microseconds or nanoseconds.

use crate::endian::Endian;
use crate::layout::{Short, layout};
use core::fmt;

/// Link type of Ethernet frames.
pub const ETHERNET: u32 = 1;
/// Link type of bare IP packets.
pub const RAW_IP: u32 = 101;
/// Most bytes of a frame that a file made here may hold.
pub const SNAPLEN: u32 = 262_144;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

layout! {
    struct FileHeader: 24, "pcap header" {
        0 magic: u32,
        4 major: u16,
        6 minor: u16,
        16 snaplen: u32,
        20 link_type: u32,
    }
}

layout! {
    struct RecordHeader: 16, "pcap record" {
        0 seconds: u32,
        4 fraction: u32,
        8 captured: u32,
        12 length: u32,
    }
}

/// The front of a file with frames of one link type and times in nanoseconds.
pub fn file_header(link_type: u32) -> [u8; 24] {
    let header = FileHeader { magic: NANOSECONDS, major: 2, minor: 4, snaplen: SNAPLEN, link_type };
    header.encode(Endian::Little)
}

/// What precedes a frame: when it was seen, in nanoseconds since 1970, and its length in bytes.
pub fn record_header(time_ns: u64, len: u32) -> [u8; 16] {
    let header = RecordHeader {
        // The format ends in 2106.
        seconds: u32::try_from(time_ns / 1_000_000_000).unwrap_or(u32::MAX),
        fraction: (time_ns % 1_000_000_000) as u32,
        captured: len,
        length: len,
    };
    header.encode(Endian::Little)
}

/// Why a file cannot be read further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PcapError {
    /// It ends within a header or a frame.
    Short(Short),
    /// Not in this format.
    Magic([u8; 4]),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PcapError::Short(short) => short.fmt(f),
            PcapError::Magic([a, b, c, d]) => {
                write!(f, "a file that starts with {a:02x}{b:02x}{c:02x}{d:02x} is no pcap file")
            }
        }
    }
}

impl core::error::Error for PcapError {}

/// A frame of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// When it was seen, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its bytes, as many as were kept.
    pub bytes: &'a [u8],
    /// Its length on the link.
    pub length: u32,
}

/// The frames of a file in memory.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    endian: Endian,
    ns_per_unit: u64,
    link_type: u32,
}

impl<'a> Reader<'a> {
    /// Reads the front of a file.
    pub fn new(file: &'a [u8]) -> Result<Reader<'a>, PcapError> {
        let little = FileHeader::decode(file, Endian::Little).map_err(PcapError::Short)?;
        let big = FileHeader::decode(file, Endian::Big).map_err(PcapError::Short)?;
        let (header, endian) = match little.magic {
            MICROSECONDS | NANOSECONDS => (little, Endian::Little),
            _ => (big, Endian::Big),
        };
        let ns_per_unit = match header.magic {
            MICROSECONDS => 1000,
            NANOSECONDS => 1,
            _ => return Err(PcapError::Magic(little.magic.to_le_bytes())),
        };
        let rest = file.get(FileHeader::LEN..).unwrap_or_default();
        Ok(Reader { rest, endian, ns_per_unit, link_type: header.link_type })
    }

    /// Link type of all frames.
    pub fn link_type(&self) -> u32 {
        self.link_type
    }

    fn record(&mut self) -> Result<Record<'a>, Short> {
        let header = RecordHeader::decode(self.rest, self.endian)?;
        let behind = self.rest.get(RecordHeader::LEN..).unwrap_or_default();
        let len = usize::try_from(header.captured).unwrap_or(usize::MAX);
        let short = Short { what: "pcap frame", need: len, have: behind.len() };
        let (bytes, rest) = behind.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        let fraction = u64::from(header.fraction) * self.ns_per_unit;
        let time_ns = u64::from(header.seconds) * 1_000_000_000 + fraction;
        Ok(Record { time_ns, bytes, length: header.length })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, PcapError>;

    /// The next frame. An error is the last item.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record().map_err(PcapError::Short);
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = file_header(ETHERNET).to_vec();
        for (time, frame) in [(1_500_000_007u64, &b"one"[..]), (3 << 30, b"")] {
            file.extend(record_header(time, frame.len() as u32));
            file.extend(frame);
        }
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let file = file();
        let reader = Reader::new(&file).unwrap();
        assert_eq!(reader.link_type(), ETHERNET);
        let records: Vec<_> = reader.map(Result::unwrap).map(|r| (r.time_ns, r.bytes, r.length)).collect();
        assert_eq!(records, [(1_500_000_007, &b"one"[..], 3), (3 << 30, b"", 0)]);
    }

    #[test]
    fn other_machines_and_resolutions() {
        let header = FileHeader { magic: MICROSECONDS, link_type: RAW_IP, ..FileHeader::default() };
        let record = RecordHeader { seconds: 1, fraction: 2, captured: 1, length: 9 };
        let mut file = header.encode(Endian::Big).to_vec();
        file.extend(record.encode(Endian::Big));
        file.push(7);
        let mut reader = Reader::new(&file).unwrap();
        assert_eq!(reader.link_type(), RAW_IP);
        let expected = Record { time_ns: 1_000_002_000, bytes: &[7], length: 9 };
        assert_eq!((reader.next(), reader.next()), (Some(Ok(expected)), None));
    }

    #[test]
    fn damaged_files() {
        let mut file = file();
        for len in 0..24 {
            assert!(matches!(Reader::new(&file[..len]), Err(PcapError::Short(_))));
        }
        for len in 25..file.len() {
            let last = Reader::new(&file[..len]).unwrap().last().unwrap();
            assert_eq!(last.is_ok(), len == 24 + 16 + 3, "{len}");
        }
        file[0] = 0;
        assert_eq!(Reader::new(&file).unwrap_err(), PcapError::Magic([0, 0x3c, 0xb2, 0xa1]));
    }
}
