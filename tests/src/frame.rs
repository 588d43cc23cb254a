//! Ethernet frames put together by hand, for what no honest network stack sends.

use std::net::{Ipv4Addr, Ipv6Addr};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// An Ethernet frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

/// Where an IPv4 packet belongs in its datagram.
#[derive(Clone, Copy, Default)]
pub struct Fragment {
    /// Identification of the datagram.
    pub id: u16,
    /// Offset in bytes, a multiple of 8.
    pub offset: usize,
    /// More fragments follow.
    pub more: bool,
}

/// An IPv4 packet with a correct header.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, fragment: Fragment, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
    header[4..6].copy_from_slice(&fragment.id.to_be_bytes());
    let place = (fragment.offset / 8) as u16 | if fragment.more { 0x2000 } else { 0 };
    header[6..8].copy_from_slice(&place.to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], payload].concat()
}

/// An IPv6 packet.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    header.extend_from_slice(&[next, hops]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&to.octets());
    [&header[..], payload].concat()
}

/// An ICMP echo request.
pub fn echo_request(id: u16, data: &[u8]) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1], data].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A UDP datagram over IPv4.
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let mut datagram =
        [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &length.to_be_bytes(), &[0; 2], data].concat();
    let sum = checksum(&[&pseudo_header(from.0, to.0, UDP, length), &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A TCP segment over IPv4 without options or data.
pub fn tcp(
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    sequence: u32,
    acknowledged: u32,
    flags: u8,
) -> Vec<u8> {
    let mut segment = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes()].concat();
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&[&pseudo_header(from.0, to.0, TCP, 20), &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// Flag bits of [`tcp`].
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;

fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, protocol], &length.to_be_bytes()].concat()
}

/// The Internet checksum (RFC 1071) of parts of even length, except the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
