//! The IP binding (section 2.2): IPv4 protocol 106, header built and read here because raw sockets carry it.
//!
//! Behind the IPv4 header come two bytes of padding and the LwL4 header, as on Ethernet. Whether a real node sends
//! the padding is not known; [`l4_offset`] finds out.

use crate::layout::Short;
use core::fmt;
use core::net::Ipv4Addr;

/// The registered protocol number.
pub const PROTOCOL: u8 = 106;
/// Time to live of what we send.
pub const TTL: u8 = 64;
/// Length of a header without options, the only one we send.
pub const HEADER_LEN: usize = 20;
/// Padding before the LwL4 header, as we send it until a peer is seen to do without.
pub const PAD: usize = 2;

/// Why an IPv4 packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipv4Error {
    /// It ends before its header does.
    Short(Short),
    /// Version is not 4.
    Version(u8),
    /// Header length in bytes is below 20.
    HeaderLength(usize),
    /// Total length is below the header's or above the bytes present.
    TotalLength(u16),
    /// Header checksum is wrong; the value that the sum should have made zero.
    Checksum(u16),
    /// One fragment of a larger packet: flags and offset word. Qnet fragments above IP.
    Fragment(u16),
    /// Another protocol.
    Protocol(u8),
    /// Neither with nor without padding an LwL4 header: bytes 0 and 2.
    NoL4(u8, u8),
}

impl fmt::Display for Ipv4Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ipv4Error::Short(short) => short.fmt(f),
            Ipv4Error::Version(value) => write!(f, "IP version {value} is not 4"),
            Ipv4Error::HeaderLength(value) => write!(f, "IPv4 header length {value} is below 20"),
            Ipv4Error::TotalLength(value) => write!(f, "IPv4 total length {value} does not fit the packet"),
            Ipv4Error::Checksum(value) => write!(f, "IPv4 header checksum is off by {value:#06x}"),
            Ipv4Error::Fragment(value) => write!(f, "IPv4 fragment {value:#06x}; Qnet packets are whole"),
            Ipv4Error::Protocol(value) => write!(f, "IP protocol {value} is not {PROTOCOL}"),
            Ipv4Error::NoL4(first, third) => {
                write!(f, "no LwL4 version at byte 0 ({first:#04x}) or 2 ({third:#04x}) of the IP payload")
            }
        }
    }
}

impl core::error::Error for Ipv4Error {}

/// What matters of an IPv4 header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address, always of one node.
    pub dst: Ipv4Addr,
    /// Counts the packets to one destination.
    pub identification: u16,
}

impl Ipv4 {
    /// The header before `payload_len` bytes of payload (padding included): no options, DSCP 0, do not fragment.
    /// `None` when the packet would exceed 65,535 bytes.
    pub fn encode(&self, payload_len: usize) -> Option<[u8; HEADER_LEN]> {
        let total = u16::try_from(HEADER_LEN.checked_add(payload_len)?).ok()?;
        let [len_high, len_low] = total.to_be_bytes();
        let [id_high, id_low] = self.identification.to_be_bytes();
        let [s0, s1, s2, s3] = self.src.octets();
        let [d0, d1, d2, d3] = self.dst.octets();
        let with_sum = |high, low| {
            [
                0x45, 0, len_high, len_low, id_high, id_low, 0x40, 0, TTL, PROTOCOL, high, low, s0, s1, s2,
                s3, d0, d1, d2, d3,
            ]
        };
        let [high, low] = (!ones_sum(&with_sum(0, 0))).to_be_bytes();
        Some(with_sum(high, low))
    }

    /// Reads a packet of protocol 106: the header, and what it carries, padding included.
    pub fn decode(packet: &[u8]) -> Result<(Ipv4, &[u8]), Ipv4Error> {
        let short = |need| Ipv4Error::Short(Short { what: "IPv4 header", need, have: packet.len() });
        let fixed: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(short(HEADER_LEN))?;
        let [version_len, _, t0, t1, i0, i1, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *fixed;
        if version_len >> 4 != 4 {
            return Err(Ipv4Error::Version(version_len >> 4));
        }
        let header_len = usize::from(version_len & 0xf) * 4;
        if header_len < HEADER_LEN {
            return Err(Ipv4Error::HeaderLength(header_len));
        }
        let sum = ones_sum(packet.get(..header_len).ok_or(short(header_len))?);
        if sum != u16::MAX {
            return Err(Ipv4Error::Checksum(!sum));
        }
        let total = u16::from_be_bytes([t0, t1]);
        let payload = packet.get(header_len..total.into()).ok_or(Ipv4Error::TotalLength(total))?;
        // More fragments, or an offset.
        let fragment = u16::from_be_bytes([f0, f1]);
        if fragment & 0x3fff != 0 {
            return Err(Ipv4Error::Fragment(fragment));
        }
        if protocol != PROTOCOL {
            return Err(Ipv4Error::Protocol(protocol));
        }
        let header = Ipv4 {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            identification: u16::from_be_bytes([i0, i1]),
        };
        Ok((header, payload))
    }
}

/// Where the LwL4 header starts in an IP payload: 2 with padding, 0 for a peer that sends none.
pub fn l4_offset(payload: &[u8]) -> Result<usize, Ipv4Error> {
    match payload {
        [0, _, 0x2a | 0xaa, ..] => Ok(2),
        [0x2a | 0xaa, ..] => Ok(0),
        [first, _, third, ..] => Err(Ipv4Error::NoL4(*first, *third)),
        _ => Err(Ipv4Error::Short(Short { what: "IP payload", need: 3, have: payload.len() })),
    }
}

/// Ones' complement sum of 16-bit words.
fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        let word = match word {
            [high, low] => [*high, *low],
            [high] => [*high, 0],
            _ => [0, 0],
        };
        sum = sum.saturating_add(u16::from_be_bytes(word).into());
    }
    // Headers are at most 60 bytes: two folds take all carries.
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let header = Ipv4 { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into(), identification: 9 };
        let mut bytes = header.encode(4).unwrap().to_vec();
        bytes.extend([0, 0, 0x2a, 8, 0xee]);
        bytes
    }

    /// A packet with a byte replaced and the checksum made right again.
    fn with(at: usize, value: u8) -> Result<(Ipv4, Vec<u8>), Ipv4Error> {
        let mut bytes = packet();
        bytes[at] = value;
        bytes[10..12].fill(0);
        let len = (usize::from(bytes[0] & 0xf) * 4).min(bytes.len());
        let sum = !ones_sum(&bytes[..len]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        Ipv4::decode(&bytes).map(|(header, payload)| (header, payload.to_vec()))
    }

    #[test]
    fn what_follows_the_packet_is_no_payload() {
        let bytes = packet();
        let (header, payload) = Ipv4::decode(&bytes).unwrap();
        assert_eq!((header.identification, payload), (9, &[0, 0, 0x2a, 8][..]));
        assert_eq!(header.encode(65_516), None);
    }

    #[test]
    fn rejections() {
        assert_eq!(with(0, 0x65), Err(Ipv4Error::Version(6)));
        assert_eq!(with(0, 0x44), Err(Ipv4Error::HeaderLength(16)));
        assert!(matches!(with(0, 0x4f), Err(Ipv4Error::Short(_))));
        assert_eq!(with(3, 19), Err(Ipv4Error::TotalLength(19)));
        assert_eq!(with(3, 26), Err(Ipv4Error::TotalLength(26)));
        assert_eq!(with(6, 0x20), Err(Ipv4Error::Fragment(0x2000)));
        assert_eq!(with(9, 17), Err(Ipv4Error::Protocol(17)));
        assert_eq!(with(0, 0x46).unwrap().1, [], "four bytes of options");
        let mut bytes = packet();
        bytes[8] -= 1;
        assert_eq!(Ipv4::decode(&bytes), Err(Ipv4Error::Checksum(0x0100)));
    }

    #[test]
    fn padding_is_found() {
        assert_eq!(l4_offset(&[0, 0, 0x2a]), Ok(2));
        assert_eq!(l4_offset(&[0, 7, 0xaa]), Ok(2));
        assert_eq!(l4_offset(&[0xaa]), Ok(0));
        assert_eq!(l4_offset(&[0x2a, 0x0b, 0x2a]), Ok(0));
        assert_eq!(l4_offset(&[1, 0, 0x2a]), Err(Ipv4Error::NoL4(1, 0x2a)));
        assert!(matches!(l4_offset(&[0, 0]), Err(Ipv4Error::Short(_))));
    }
}
