//! IP headers, read with suspicion and written plainly.

use super::checksum::sum;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::checksum;

/// Protocol numbers (IANA).
pub(crate) mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6_FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
}

pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;
/// Bytes of an IPv6 fragment header (RFC 8200 section 4.5).
pub(crate) const IPV6_FRAGMENT_HEADER: usize = 8;

/// An IP packet, as far as the stack cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: u8,
    pub hop_limit: u8,
    /// Where it belongs, for a fragment.
    pub fragment: Option<Fragment>,
    /// From the first byte of the IP header to the end of the payload, link padding removed.
    pub whole: &'a [u8],
    pub payload: &'a [u8],
}

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub id: u32,
    /// In bytes; a multiple of 8.
    pub offset: usize,
    pub more: bool,
}

/// Reads an IPv4 header (RFC 791 section 3.1) and checks version, lengths and checksum. Options are
/// skipped; source routing is thereby ignored.
pub(crate) fn parse_v4(frame: &[u8]) -> Option<Packet<'_>> {
    let header = frame.first_chunk::<IPV4_HEADER>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(be16(header, 2));
    if header[0] >> 4 != 4 || header_len < IPV4_HEADER || total < header_len || total > frame.len() {
        return None;
    }
    let whole = &frame[..total];
    if sum(&whole[..header_len]) != 0xffff {
        return None;
    }
    let (flags, id) = (be16(header, 6), be16(header, 4));
    let (more, offset) = (flags & 0x2000 != 0, usize::from(flags & 0x1fff) * 8);
    let fragment = (more || offset != 0).then_some(Fragment { id: id.into(), offset, more });
    Some(Packet {
        src: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        dst: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol: header[9],
        hop_limit: header[8],
        fragment,
        whole,
        payload: &whole[header_len..],
    })
}

/// Reads an IPv6 header (RFC 8200 section 3) and the extension headers before the payload: hop-by-hop,
/// routing and destination options are skipped, at most eight of them.
pub(crate) fn parse_v6(frame: &[u8]) -> Option<Packet<'_>> {
    let header = frame.first_chunk::<IPV6_HEADER>()?;
    let total = IPV6_HEADER + usize::from(be16(header, 4));
    if header[0] >> 4 != 6 || total > frame.len() {
        return None;
    }
    let whole = &frame[..total];
    let mut packet = Packet {
        src: v6_at(header, 8).into(),
        dst: v6_at(header, 24).into(),
        protocol: header[6],
        hop_limit: header[7],
        fragment: None,
        whole,
        payload: &whole[IPV6_HEADER..],
    };
    for _ in 0..8 {
        match packet.protocol {
            0 | 43 | 60 => {
                let [next, len] = *packet.payload.first_chunk::<2>()?;
                packet.payload = packet.payload.get(usize::from(len) * 8 + 8..)?;
                packet.protocol = next;
            }
            protocol::IPV6_FRAGMENT => {
                let [next, _, o1, o2, i1, i2, i3, i4] = *packet.payload.first_chunk::<8>()?;
                let offset = u16::from_be_bytes([o1, o2]);
                packet.payload = &packet.payload[IPV6_FRAGMENT_HEADER..];
                packet.protocol = next;
                let id = u32::from_be_bytes([i1, i2, i3, i4]);
                // An atomic fragment (RFC 6946) is a whole datagram.
                if offset & 0xfff9 != 0 {
                    packet.fragment =
                        Some(Fragment { id, offset: (offset & 0xfff8).into(), more: offset & 1 != 0 });
                    return Some(packet);
                }
            }
            _ => return Some(packet),
        }
    }
    None
}

/// Writes an IPv4 header without options for a packet of `packet.len()` bytes.
pub(crate) fn write_v4(
    packet: &mut [u8],
    (src, dst): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    ttl: u8,
    id: u16,
    flags: u16,
) {
    let total = packet.len() as u16;
    let header = &mut packet[..IPV4_HEADER];
    header[0] = 0x45;
    header[1] = 0;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[8] = ttl;
    header[9] = protocol;
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&src.octets());
    header[16..20].copy_from_slice(&dst.octets());
    let sum = !sum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Writes an IPv6 header for a packet of `packet.len()` bytes.
pub(crate) fn write_v6(packet: &mut [u8], (src, dst): (Ipv6Addr, Ipv6Addr), protocol: u8, hop_limit: u8) {
    let payload = (packet.len() - IPV6_HEADER) as u16;
    let header = &mut packet[..IPV6_HEADER];
    header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    header[4..6].copy_from_slice(&payload.to_be_bytes());
    header[6] = protocol;
    header[7] = hop_limit;
    header[8..24].copy_from_slice(&src.octets());
    header[24..40].copy_from_slice(&dst.octets());
}

/// The folded, uncomplemented sum of the pseudo-header (RFC 793 section 3.1, RFC 8200 section 8.1).
pub(crate) fn pseudo_sum(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u16 {
    checksum::pseudo_header(&src.into(), &dst.into(), protocol.into(), len as u32)
}

/// Whether the transport checksum over `segment` is right.
pub(crate) fn transport_sum_ok(packet: &Packet<'_>) -> bool {
    let pseudo = pseudo_sum(packet.src, packet.dst, packet.protocol, packet.payload.len());
    checksum::combine(&[pseudo, sum(packet.payload)]) == 0xffff
}

/// The checksum field for `segment`, in which that field is zero.
pub(crate) fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let pseudo = pseudo_sum(src, dst, protocol, segment.len());
    !checksum::combine(&[pseudo, sum(segment)])
}

/// Two bytes in network order; `at + 1` must be inside.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn v6_at(header: &[u8; IPV6_HEADER], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    octets.into()
}
