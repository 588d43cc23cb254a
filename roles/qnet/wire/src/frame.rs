//! The Ethernet binding (section 2.1).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 6 | destination |
//! | 6 | 6 | source |
//! | 12 | 2 | EtherType 0x8204, big-endian |
//! | 14 | 2 | padding, which puts the LwL4 header on a multiple of four |
//! | 16 | | LwL4 header and payload |
//! | | | zeros up to 60 bytes, and no further |

use crate::l4::{Header, Packet, PacketError};
use crate::layout::Short;
use crate::out::{NoRoom, Out};
use core::fmt;

/// EtherType of Qnet.
pub const ETHERTYPE: u16 = 0x8204;
/// Bytes before the LwL4 header.
pub const HEADER_LEN: usize = 16;
/// Shortest frame, without its check sequence.
pub const MIN_LEN: usize = 60;
/// Shortest frame that can be one of ours, a VLAN tag apart.
const SHORTEST: usize = HEADER_LEN + Header::LEN;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mac([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Why an Ethernet frame is not one of Qnet's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// It ends before the LwL4 header does.
    Short(Short),
    /// It belongs to another protocol.
    EtherType(u16),
    /// What it carries is no LwL4 packet.
    Packet(PacketError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Short(short) => short.fmt(f),
            FrameError::EtherType(value) => write!(f, "EtherType {value:#06x} is not {ETHERTYPE:#06x}"),
            FrameError::Packet(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FrameError {}

/// A Qnet frame as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Where it was sent to.
    pub dst: Mac,
    /// Where it came from.
    pub src: Mac,
    /// What it carries, without the trailer.
    pub packet: Packet<'a>,
}

impl<'a> Frame<'a> {
    /// Reads a frame without its check sequence. VLAN tags are skipped.
    pub fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let short = || FrameError::Short(Short { what: "Qnet frame", need: SHORTEST, have: bytes.len() });
        let (dst, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (src, mut rest) = rest.split_first_chunk().ok_or_else(short)?;
        loop {
            let (ethertype, after) = rest.split_first_chunk().ok_or_else(short)?;
            // Two bytes behind the type: the padding, or a tag's control information.
            let (_, after) = after.split_first_chunk::<2>().ok_or_else(short)?;
            rest = after;
            match u16::from_be_bytes(*ethertype) {
                ETHERTYPE => break,
                0x8100 | 0x88a8 => {}
                other => return Err(FrameError::EtherType(other)),
            }
        }
        if rest.len() < Header::LEN {
            return Err(short());
        }
        let packet = Packet::decode(rest).map_err(FrameError::Packet)?;
        Ok(Frame { dst: Mac(*dst), src: Mac(*src), packet })
    }
}

/// What precedes the LwL4 header.
#[inline]
pub fn header(dst: Mac, src: Mac) -> [u8; HEADER_LEN] {
    let Mac([a, b, c, d, e, f]) = dst;
    let Mac([g, h, i, j, k, l]) = src;
    let [high, low] = ETHERTYPE.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, high, low, 0, 0]
}

/// Zeros that a frame with this much payload needs behind it.
pub const fn trailer_len(payload: usize) -> usize {
    MIN_LEN.saturating_sub(SHORTEST.saturating_add(payload))
}

/// Writes a whole frame: the header as given (its length and CRC are the caller's), the payload from its parts, the
/// trailer. Returns its length.
pub fn emit(room: &mut [u8], dst: Mac, src: Mac, l4: &Header, payload: &[&[u8]]) -> Result<usize, NoRoom> {
    let mut out = Out::new(room, l4.endian);
    out.bytes(&header(dst, src)).bytes(&l4.encode());
    for part in payload {
        out.bytes(part);
    }
    out.zero_to(MIN_LEN).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l4::Kind;

    fn ack() -> ([u8; MIN_LEN], Header) {
        let header = Header { seq: 7, ..Header::new(Kind::Ack) };
        let mut bytes = [0xee; MIN_LEN];
        assert_eq!(emit(&mut bytes, Mac([1; 6]), Mac([2; 6]), &header, &[]), Ok(60));
        (bytes, header)
    }

    #[test]
    fn short_frames_are_padded() {
        let (bytes, header) = ack();
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!((frame.dst, frame.src), (Mac([1; 6]), Mac([2; 6])));
        assert_eq!((frame.packet.header, frame.packet.payload), (header, &[][..]));
        assert_eq!(bytes[52..], [0; 8]);
        assert_eq!((trailer_len(0), trailer_len(7), trailer_len(8), trailer_len(1456)), (8, 1, 0, 0));
        let error = emit(&mut [0; 59], Mac([1; 6]), Mac([2; 6]), &header, &[]).unwrap_err();
        assert_eq!(error, NoRoom { need: 60, have: 59 });
    }

    #[test]
    fn vlan_tags_are_skipped() {
        let (bytes, header) = ack();
        let mut tagged = bytes[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
        tagged.extend(&bytes[12..]);
        assert_eq!(Frame::decode(&tagged).unwrap().packet.header, header);
    }

    #[test]
    fn foreign_and_cut_frames() {
        let (mut bytes, _) = ack();
        for len in 0..52 {
            assert!(matches!(Frame::decode(&bytes[..len]), Err(FrameError::Short(_))), "{len}");
        }
        bytes[12] = 8;
        assert_eq!(Frame::decode(&bytes), Err(FrameError::EtherType(0x0804)));
    }
}
