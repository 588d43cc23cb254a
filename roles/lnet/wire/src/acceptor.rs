//! The connection request: what a connector sends first on a TCP connection to port 988.
//!
//! LNet specification section 2. A request names the NID that is being contacted. A good one is never
//! answered; the socket's own handshake ([`crate::hello`]) follows on the same stream.

use crate::bytes::{Gather, Order, Reader, Writer};
use crate::hello;
use crate::nid::Nid;
use core::fmt;

/// TCP port on which every node listens (section 2.1).
pub const PORT: u16 = 988;
/// The highest source port a connector may have (section 2.2).
pub const LAST_RESERVED_PORT: u16 = 1023;
/// The lowest source port that Linux connectors use (section 2.2).
pub const FIRST_RESERVED_PORT: u16 = 512;
/// Magic of a request.
pub const MAGIC: u32 = 0xacce_7100;

/// A connection request.
///
/// | offset | size | version 1 | version 2 |
/// |---|---|---|---|
/// | 0 | 4 | magic | magic |
/// | 4 | 4 | 1 | 2 |
/// | 8 | 8 or 20 | NID, 64-bit form | NID, large form |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The NID being contacted: the acceptor's.
    pub nid: Nid,
}

/// What an acceptor answers to a version or magic it does not speak: version 1, NID 0 (section 2.5).
pub const REFUSAL: [u8; Request::V1_LEN] = [0x00, 0x71, 0xce, 0xac, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Request {
    /// Length of version 1.
    pub const V1_LEN: usize = 16;
    /// Length of version 2, the longest.
    pub const MAX_LEN: usize = 28;

    /// Writes the request and returns the part of `room` that holds it: version 1 where the NID fits it,
    /// else version 2.
    pub fn encode<'a>(&self, room: &'a mut [u8; Request::MAX_LEN]) -> &'a [u8] {
        let mut out = Writer::new(room);
        let len = match self.nid.nid4() {
            Some(nid4) => {
                out.u32(MAGIC).u32(1).u64(nid4);
                Request::V1_LEN
            }
            None => {
                out.u32(MAGIC).u32(2).bytes(&self.nid.large());
                Request::MAX_LEN
            }
        };
        room.get(..len).unwrap_or_default()
    }
}

/// Why a connection is not taken, in the order of section 2.5. Only those for which [`Refused::answer`]
/// gives bytes are answered; all others are closed without a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The peer's TCP port is above 1023.
    UnreservedPort(u16),
    /// The first four bytes are the magic of all LNet protocols in general.
    GenericMagic,
    /// The first four bytes are the magic of the first socket protocol.
    OldMagic,
    /// The first four bytes are nothing known.
    Magic(u32),
    /// Neither version 1 nor 2.
    Version(u32),
    /// A large NID with an address size above 12.
    MalformedNid,
    /// No interface of this node has the NID.
    NotMine(Nid),
    /// The NID is ours, but connections to it are impossible (loopback).
    NotConnectable(Nid),
}

impl Refused {
    /// What to send before closing.
    pub fn answer(&self) -> Option<&'static [u8; Request::V1_LEN]> {
        match self {
            Refused::GenericMagic | Refused::Version(_) => Some(&REFUSAL),
            _ => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::UnreservedPort(port) => write!(f, "source port {port} is above {LAST_RESERVED_PORT}"),
            Refused::GenericMagic => f.write_str("request with the generic LNet magic"),
            Refused::OldMagic => f.write_str("request with the magic of the first socket protocol"),
            Refused::Magic(magic) => write!(f, "request with unknown magic {magic:#010x}"),
            Refused::Version(version) => write!(f, "request of unknown version {version}"),
            Refused::MalformedNid => f.write_str("request for a malformed NID"),
            Refused::NotMine(nid) => write!(f, "request for {nid}, which is not a NID of this node"),
            Refused::NotConnectable(nid) => write!(f, "request for {nid}, to which nobody can connect"),
        }
    }
}

impl core::error::Error for Refused {}

/// Reads one request as its bytes arrive.
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    gather: Gather<{ Request::MAX_LEN }>,
}

impl Default for RequestDecoder {
    fn default() -> Self {
        RequestDecoder::new()
    }
}

impl RequestDecoder {
    /// Starts at the first byte of a connection.
    pub const fn new() -> RequestDecoder {
        RequestDecoder { gather: Gather::new() }
    }

    /// Bytes that must arrive before anything more can be decided; never more than belong to the request.
    /// 0 once the request is complete or refused.
    pub fn need(&self) -> usize {
        self.target().map_or(0, |target| target.saturating_sub(self.gather.bytes().len()))
    }

    /// Takes bytes from the front of `input`, at most those of the request, and returns it once complete.
    /// Integers of a sender with the other byte order are swapped.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Request>, Refused> {
        loop {
            let target = self.target()?;
            if self.gather.bytes().len() >= target {
                return self.complete().map(Some);
            }
            if !self.gather.fill(target, input) {
                return Ok(None);
            }
        }
    }

    /// How long the request is as far as its bytes tell.
    fn target(&self) -> Result<usize, Refused> {
        let bytes = self.gather.bytes();
        let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(4);
        };
        let order = order(u32::from_le_bytes(*magic))?;
        if rest.len() < 4 {
            return Ok(8);
        }
        match Reader::new(rest, order).u32() {
            1 => Ok(Request::V1_LEN),
            2 => Ok(Request::MAX_LEN),
            other => Err(Refused::Version(other)),
        }
    }

    fn complete(&self) -> Result<Request, Refused> {
        let bytes = self.gather.bytes();
        let mut fields = Reader::new(bytes, Order::Little);
        let order = order(fields.u32())?;
        let mut fields = Reader::new(bytes.get(8..).unwrap_or_default(), order);
        if bytes.len() == Request::V1_LEN {
            return Ok(Request { nid: fields.nid4() });
        }
        Nid::from_large(&fields.array()).map(|nid| Request { nid }).ok_or(Refused::MalformedNid)
    }
}

/// Byte order of the sender, by the magic read as little-endian.
fn order(magic: u32) -> Result<Order, Refused> {
    const SWAPPED: u32 = MAGIC.swap_bytes();
    const GENERIC_SWAPPED: u32 = hello::MAGIC.swap_bytes();
    const OLD_SWAPPED: u32 = hello::V1_MAGIC.swap_bytes();
    match magic {
        MAGIC => Ok(Order::Little),
        SWAPPED => Ok(Order::Big),
        hello::MAGIC | GENERIC_SWAPPED => Err(Refused::GenericMagic),
        hello::V1_MAGIC | OLD_SWAPPED => Err(Refused::OldMagic),
        other => Err(Refused::Magic(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(mut bytes: &[u8]) -> Refused {
        RequestDecoder::new().feed(&mut bytes).unwrap_err()
    }

    fn request(nid: &str) -> Vec<u8> {
        Request { nid: nid.parse().unwrap() }.encode(&mut [0; Request::MAX_LEN]).to_vec()
    }

    #[test]
    fn takes_what_it_needs_and_no_more() {
        for (nid, steps) in [("10.0.0.1@tcp", vec![4, 4, 8, 0]), ("::1@tcp", vec![4, 4, 20, 0])] {
            let bytes = [request(nid), vec![0x63; 9]].concat();
            let (mut decoder, mut input, mut needed) = (RequestDecoder::new(), &bytes[..], Vec::new());
            loop {
                needed.push(decoder.need());
                let (mut now, rest) = input.split_at(decoder.need());
                input = rest;
                if decoder.feed(&mut now).unwrap().is_some() {
                    break;
                }
            }
            needed.push(decoder.need());
            assert_eq!((needed, input), (steps, &[0x63; 9][..]));
            let mut all = &bytes[..];
            assert!(RequestDecoder::new().feed(&mut all).unwrap().is_some());
            assert_eq!(all, [0x63; 9]);
        }
    }

    #[test]
    fn refusals_show_as_early_as_they_can() {
        assert_eq!(refused(&hello::MAGIC.to_le_bytes()), Refused::GenericMagic);
        assert_eq!(refused(&hello::MAGIC.to_be_bytes()), Refused::GenericMagic);
        assert_eq!(refused(&hello::V1_MAGIC.to_le_bytes()), Refused::OldMagic);
        assert_eq!(refused(&[1, 2, 3, 4]), Refused::Magic(0x0403_0201));
        let version = [&MAGIC.to_le_bytes()[..], &[3, 0, 0, 0]].concat();
        assert_eq!(refused(&version), Refused::Version(3));
        let version = [&MAGIC.to_be_bytes()[..], &[0, 0, 0, 3]].concat();
        assert_eq!(refused(&version), Refused::Version(3));
        let mut malformed = request("::1@tcp");
        malformed[8] = 13;
        assert_eq!(refused(&malformed), Refused::MalformedNid);
    }

    #[test]
    fn after_a_refusal_nothing_is_needed() {
        let mut decoder = RequestDecoder::new();
        assert!(decoder.feed(&mut &[1, 2, 3, 4][..]).is_err());
        assert_eq!(decoder.need(), 0);
        assert_eq!(decoder.feed(&mut &[5][..]), Err(Refused::Magic(0x0403_0201)));
    }

    #[test]
    fn only_two_refusals_are_answered() {
        let answered = [Refused::GenericMagic, Refused::Version(3)];
        let silent = [
            Refused::UnreservedPort(1024),
            Refused::OldMagic,
            Refused::Magic(0),
            Refused::MalformedNid,
            Refused::NotMine(Nid::ANY),
            Refused::NotConnectable(Nid::LOOPBACK),
        ];
        assert!(answered.iter().all(|refused| refused.answer() == Some(&REFUSAL)));
        assert!(silent.iter().all(|refused| refused.answer().is_none()));
        let mut room = [0; Request::MAX_LEN];
        assert_eq!(Request { nid: Nid::from_nid4(0) }.encode(&mut room), REFUSAL);
    }
}
