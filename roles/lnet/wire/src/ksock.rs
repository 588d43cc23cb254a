//! The 24 bytes before every message of versions 2 to 4, and its zero-copy acknowledgements.
//!
//! LNet specification sections 3.8 to 3.10.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | type: 0xc0 NOOP, 0xc1 LNET |
//! | 4 | 4 | checksum, 0 for none |
//! | 8 | 8 | LNET: cookie that the receiver shall return, 0 for none. NOOP: see [`ZcAcks`] |
//! | 16 | 8 | cookie that is being returned, 0 for none |
//!
//! There is no length: that of an LNET message follows from the LNet header behind these bytes.

mod ack;
mod crc;

pub use ack::ZcAcks;
pub use crc::{CRC32_INITIAL, crc32, crc32_update};

use crate::bytes::{Order, Reader, Writer};
use crate::hello::Version;
use core::fmt;

const NOOP: u32 = 0xc0;
const LNET: u32 = 0xc1;

/// What stands behind the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KsockKind {
    /// Nothing.
    Noop,
    /// An LNet header and its payload.
    Lnet,
}

/// The header, see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KsockHeader {
    /// What follows.
    pub kind: KsockKind,
    /// Checksum of the payload, 0 for none. We send none.
    pub csum: u32,
    /// Zero-copy cookies.
    pub cookies: [u64; 2],
}

/// The type is not known. The length of the message is not known then, and the connection is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownKind(pub u32);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of unknown type {:#x}", self.0)
    }
}

impl core::error::Error for UnknownKind {}

impl KsockHeader {
    /// Length in bytes.
    pub const LEN: usize = 24;
    /// Cookie of a keepalive; no message has it.
    pub const KEEPALIVE_COOKIE: u64 = 1;
    /// The first cookie that Linux gives to a message.
    pub const FIRST_COOKIE: u64 = 2;

    /// Header of an LNet message that asks for no acknowledgement and carries none.
    pub const fn lnet() -> KsockHeader {
        KsockHeader { kind: KsockKind::Lnet, csum: 0, cookies: [0; 2] }
    }

    /// Header of an LNet message that carries the acknowledgement of one cookie.
    pub const fn lnet_with_ack(cookie: u64) -> KsockHeader {
        KsockHeader { kind: KsockKind::Lnet, csum: 0, cookies: [0, cookie] }
    }

    /// A message that says only that its sender is alive. Version 3 and later.
    pub const fn keepalive() -> KsockHeader {
        KsockHeader::noop(ZcAcks::Keepalive)
    }

    /// The cookie that the sender of this LNet message wants back once its payload has been read.
    pub const fn zc_request(&self) -> Option<u64> {
        match (self.kind, self.cookies) {
            (KsockKind::Noop, _) | (_, [0, _]) => None,
            (KsockKind::Lnet, [cookie, _]) => Some(cookie),
        }
    }

    /// The header as sent, little-endian.
    pub fn encode(&self) -> [u8; KsockHeader::LEN] {
        let mut bytes = [0; KsockHeader::LEN];
        let kind = match self.kind {
            KsockKind::Noop => NOOP,
            KsockKind::Lnet => LNET,
        };
        let [first, second] = self.cookies;
        Writer::new(&mut bytes).u32(kind).u32(self.csum).u64(first).u64(second);
        bytes
    }

    /// Reads a header of a peer whose HELLO came `swapped` or not.
    pub fn decode(bytes: &[u8; KsockHeader::LEN], swapped: bool) -> Result<KsockHeader, UnknownKind> {
        let mut fields = Reader::new(bytes, Order::of(swapped));
        let kind = match fields.u32() {
            NOOP => KsockKind::Noop,
            LNET => KsockKind::Lnet,
            other => return Err(UnknownKind(other)),
        };
        Ok(KsockHeader { kind, csum: fields.u32(), cookies: [fields.u64(), fields.u64()] })
    }

    /// What the header acknowledges on a connection of this version.
    pub const fn zc_acks(&self, version: Version) -> ZcAcks {
        let [first, second] = self.cookies;
        match (self.kind, version) {
            (_, _) if second == 0 => ZcAcks::Nothing,
            (KsockKind::Lnet, _) | (_, Version::V1 | Version::V2) => ZcAcks::One(second),
            (KsockKind::Noop, _) => ZcAcks::from_cookies(first, second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noop(first: u64, second: u64) -> KsockHeader {
        KsockHeader { kind: KsockKind::Noop, csum: 0, cookies: [first, second] }
    }

    #[test]
    fn forms_of_acknowledgement() {
        let acks = |first, second| noop(first, second).zc_acks(Version::V3);
        assert_eq!(acks(0, 0), ZcAcks::Nothing);
        assert_eq!(acks(9, 0), ZcAcks::Nothing);
        assert_eq!(acks(0, 1), ZcAcks::Keepalive);
        assert_eq!(acks(0, 42), ZcAcks::One(42));
        assert_eq!(acks(9, 4), ZcAcks::Two(9, 4));
        assert_eq!(acks(4, 9), ZcAcks::Range { first: 4, last: 9 });
        assert_eq!(acks(4, 4), ZcAcks::One(4));
        assert_eq!(noop(4, 9).zc_acks(Version::V4), ZcAcks::Range { first: 4, last: 9 });
    }

    #[test]
    fn version_2_knows_single_cookies_only() {
        assert_eq!(noop(0, 1).zc_acks(Version::V2), ZcAcks::One(1));
        assert_eq!(noop(4, 9).zc_acks(Version::V2), ZcAcks::One(9));
        assert_eq!(noop(4, 0).zc_acks(Version::V2), ZcAcks::Nothing);
    }

    #[test]
    fn a_message_asks_with_the_first_and_answers_with_the_second() {
        let message = KsockHeader { kind: KsockKind::Lnet, csum: 0, cookies: [4, 9] };
        assert_eq!(message.zc_request(), Some(4));
        assert_eq!(message.zc_acks(Version::V3), ZcAcks::One(9));
        assert_eq!(KsockHeader::lnet().zc_request(), None);
        assert_eq!(KsockHeader::lnet().zc_acks(Version::V3), ZcAcks::Nothing);
        assert_eq!(KsockHeader::lnet_with_ack(9).zc_acks(Version::V3), ZcAcks::One(9));
        assert_eq!(noop(4, 9).zc_request(), None);
    }

    #[test]
    fn counting_and_containing() {
        let range = ZcAcks::Range { first: 4, last: 6 };
        assert_eq!((range.count(), range.contains(5), range.contains(7)), (3, true, false));
        assert_eq!(ZcAcks::Range { first: 0, last: u64::MAX }.count(), u64::MAX, "no overflow");
        assert_eq!((ZcAcks::Two(9, 4).count(), ZcAcks::Two(9, 4).contains(4)), (2, true));
        assert_eq!((ZcAcks::Keepalive.count(), ZcAcks::Keepalive.contains(1)), (0, false));
    }

    #[test]
    fn said_and_understood() {
        let said = [
            ZcAcks::Nothing,
            ZcAcks::Keepalive,
            ZcAcks::One(2),
            ZcAcks::Two(9, 4),
            ZcAcks::Range { first: 4, last: 9 },
        ];
        for acks in said {
            assert_eq!(KsockHeader::noop(acks).zc_acks(Version::V3), acks);
        }
        assert_eq!(KsockHeader::noop(ZcAcks::Two(4, 9)).cookies, [9, 4], "the larger first");
        let decoded = KsockHeader::decode(&KsockHeader::keepalive().encode(), false);
        assert_eq!(decoded.unwrap().zc_acks(Version::V3), ZcAcks::Keepalive);
    }

    #[test]
    fn unknown_types() {
        let mut bytes = KsockHeader::lnet().encode();
        assert_eq!(KsockHeader::decode(&bytes, true), Err(UnknownKind(0xc100_0000)));
        bytes[0] = 0xc2;
        assert_eq!(KsockHeader::decode(&bytes, false), Err(UnknownKind(0xc2)));
    }

    #[test]
    fn checksum() {
        assert_eq!(crc32(b"123456789"), 0x340b_c6d9);
        assert_eq!(crc32(b""), CRC32_INITIAL);
        assert_eq!(crc32_update(crc32(b"1234"), b"56789"), 0x340b_c6d9);
    }
}
