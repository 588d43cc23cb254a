//! The LNet header: who sends what to whom.
//!
//! LNet specification sections 4.1 to 4.4. Everything is little-endian whatever the sender's byte order, but
//! large NIDs, which have their own.
//!
//! | field | small, 72 bytes | large, 96 bytes | size |
//! |---|---|---|---|
//! | `dest_nid` | 0 | 0 | 8, large 20 |
//! | `src_nid` | 8 | 20 | 8, large 20 |
//! | `dest_pid` | 16 | 40 | 4 |
//! | `src_pid` | 20 | 44 | 4 |
//! | type | 24 | 48 | 4 |
//! | `payload_length` | 28 | 52 | 4 |
//! | `body` | 32 | 56 | 40 |

mod body;

pub use body::{Ack, Get, Put, Reply, Wmd};

use crate::bytes::{Order, Reader, Writer};
use crate::nid::{Nid, NotExpressible, ProcessId};
use core::fmt;

/// The largest payload of a message (section 4.4).
pub const LNET_MTU: u32 = 1 << 20;
/// Number of portals; those of a PUT or GET are below it (section 4.3).
pub const PORTALS: u32 = 64;

/// Type of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A PUT has arrived. No payload.
    Ack,
    /// Data for the receiver's memory.
    Put,
    /// Asks for data from the receiver's memory. No payload.
    Get,
    /// The data that a GET asked for.
    Reply,
}

impl Kind {
    /// All types, in the order of their numbers.
    pub const ALL: [Kind; 4] = [Kind::Ack, Kind::Put, Kind::Get, Kind::Reply];

    /// The number in a header.
    pub const fn to_wire(self) -> u32 {
        match self {
            Kind::Ack => 0,
            Kind::Put => 1,
            Kind::Get => 2,
            Kind::Reply => 3,
        }
    }

    /// The type with this number. 4 (HELLO) is none: as a message it is a protocol error.
    pub const fn from_wire(number: u32) -> Option<Kind> {
        match number {
            0 => Some(Kind::Ack),
            1 => Some(Kind::Put),
            2 => Some(Kind::Get),
            3 => Some(Kind::Reply),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Ack => "ACK",
            Kind::Put => "PUT",
            Kind::Get => "GET",
            Kind::Reply => "REPLY",
        })
    }
}

/// A header. A router passes it on as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Final destination.
    pub dest_nid: Nid,
    /// Originator.
    pub src_nid: Nid,
    /// Process at the destination.
    pub dest_pid: u32,
    /// Process at the originator.
    pub src_pid: u32,
    /// What the message is.
    pub kind: Kind,
    /// Bytes behind the header, at most [`LNET_MTU`].
    pub payload_length: u32,
    /// What the type defines; see [`Header::put`] and its like. Unused bytes at the end are unspecified.
    pub body: [u8; Header::BODY],
}

/// Why a header cannot be accepted (rows 1 to 3 of section 4.5). Its length is not to be trusted then: the
/// connection is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// An ACK or GET with payload.
    UnexpectedPayload(Kind, u32),
    /// A PUT or REPLY of more than [`LNET_MTU`].
    PayloadTooLong(Kind, u32),
    /// A type other than the four.
    UnknownKind(u32),
    /// A large NID with an address size above 12.
    MalformedNid,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::UnexpectedPayload(kind, length) => {
                write!(f, "{kind} with {length} bytes of payload")
            }
            HeaderError::PayloadTooLong(kind, length) => {
                write!(f, "{kind} with {length} bytes of payload, at most {LNET_MTU} are allowed")
            }
            HeaderError::UnknownKind(number) => write!(f, "LNet message of unknown type {number}"),
            HeaderError::MalformedNid => f.write_str("LNet message with a malformed NID"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// Length on connections of versions 1 to 3.
    pub const SMALL: usize = 72;
    /// Length on connections of version 4.
    pub const LARGE: usize = 96;
    /// Length of the part that the type defines.
    pub const BODY: usize = 40;

    /// Who shall receive the message.
    pub const fn destination(&self) -> ProcessId {
        ProcessId { nid: self.dest_nid, pid: self.dest_pid }
    }

    /// Who sent the message first.
    pub const fn source(&self) -> ProcessId {
        ProcessId { nid: self.src_nid, pid: self.src_pid }
    }

    /// Reads a small header.
    pub fn decode_small(bytes: &[u8; Header::SMALL]) -> Result<Header, HeaderError> {
        let mut fields = Reader::new(bytes, Order::Little);
        let (dest_nid, src_nid) = (fields.nid4(), fields.nid4());
        Header::decode_rest(dest_nid, src_nid, fields)
    }

    /// Reads a large header.
    pub fn decode_large(bytes: &[u8; Header::LARGE]) -> Result<Header, HeaderError> {
        let mut fields = Reader::new(bytes, Order::Little);
        let dest_nid = Nid::from_large(&fields.array()).ok_or(HeaderError::MalformedNid)?;
        let src_nid = Nid::from_large(&fields.array()).ok_or(HeaderError::MalformedNid)?;
        Header::decode_rest(dest_nid, src_nid, fields)
    }

    fn decode_rest(dest_nid: Nid, src_nid: Nid, mut fields: Reader<'_>) -> Result<Header, HeaderError> {
        let (dest_pid, src_pid, number, payload_length) =
            (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let kind = Kind::from_wire(number).ok_or(HeaderError::UnknownKind(number))?;
        match kind {
            Kind::Ack | Kind::Get if payload_length > 0 => {
                return Err(HeaderError::UnexpectedPayload(kind, payload_length));
            }
            Kind::Put | Kind::Reply if payload_length > LNET_MTU => {
                return Err(HeaderError::PayloadTooLong(kind, payload_length));
            }
            _ => {}
        }
        Ok(Header { dest_nid, src_nid, dest_pid, src_pid, kind, payload_length, body: fields.array() })
    }

    /// Writes a small header.
    ///
    /// # Errors
    ///
    /// A NID with more than 4 address bytes does not fit; nothing is written.
    pub fn encode_small(&self, bytes: &mut [u8; Header::SMALL]) -> Result<(), NotExpressible> {
        let dest_nid = self.dest_nid.nid4().ok_or(NotExpressible)?;
        let src_nid = self.src_nid.nid4().ok_or(NotExpressible)?;
        let mut out = Writer::new(bytes);
        out.u64(dest_nid).u64(src_nid);
        self.encode_rest(&mut out);
        Ok(())
    }

    /// Writes a large header.
    pub fn encode_large(&self, bytes: &mut [u8; Header::LARGE]) {
        let mut out = Writer::new(bytes);
        out.bytes(&self.dest_nid.large()).bytes(&self.src_nid.large());
        self.encode_rest(&mut out);
    }

    fn encode_rest(&self, out: &mut Writer<'_>) {
        out.u32(self.dest_pid).u32(self.src_pid).u32(self.kind.to_wire()).u32(self.payload_length);
        out.bytes(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u32, payload_length: u32) -> [u8; Header::SMALL] {
        let mut bytes = [0; Header::SMALL];
        bytes[24..28].copy_from_slice(&kind.to_le_bytes());
        bytes[28..32].copy_from_slice(&payload_length.to_le_bytes());
        bytes
    }

    fn error(kind: u32, payload_length: u32) -> Option<HeaderError> {
        Header::decode_small(&header(kind, payload_length)).err()
    }

    #[test]
    fn payload_belongs_to_put_and_reply() {
        for (number, kind) in [(0, Kind::Ack), (2, Kind::Get)] {
            assert_eq!(error(number, 0), None);
            assert_eq!(error(number, 1), Some(HeaderError::UnexpectedPayload(kind, 1)));
        }
        for (number, kind) in [(1, Kind::Put), (3, Kind::Reply)] {
            assert_eq!((error(number, 0), error(number, LNET_MTU)), (None, None));
            assert_eq!(error(number, LNET_MTU + 1), Some(HeaderError::PayloadTooLong(kind, LNET_MTU + 1)));
            assert_eq!(error(number, u32::MAX), Some(HeaderError::PayloadTooLong(kind, u32::MAX)));
        }
    }

    #[test]
    fn there_are_four_types() {
        for number in [4, 5, 0x0100_0000, u32::MAX] {
            assert_eq!(error(number, 0), Some(HeaderError::UnknownKind(number)));
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::from_wire(kind.to_wire()), Some(kind));
        }
    }

    #[test]
    fn malformed_large_nids() {
        for offset in [0, 20] {
            let mut bytes = [0; Header::LARGE];
            bytes[offset] = 13;
            assert_eq!(Header::decode_large(&bytes), Err(HeaderError::MalformedNid));
        }
    }

    #[test]
    fn a_router_passes_on_what_it_does_not_know() {
        let mut bytes = header(1, 5);
        bytes[32..].copy_from_slice(&[0x5a; 40]);
        let mut again = [0; Header::SMALL];
        Header::decode_small(&bytes).unwrap().encode_small(&mut again).unwrap();
        assert_eq!(again, bytes);
    }

    #[test]
    fn no_handle() {
        assert!(Wmd::NONE.is_none() && Wmd::new(u64::MAX, u64::MAX).is_none());
        assert!(!Wmd::new(0, u64::MAX).is_none());
    }
}
