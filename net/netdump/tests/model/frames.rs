//! Frames by hand: Ethernet, ARP (RFC 826), IPv4 (RFC 791), UDP (RFC 768).

use keelson_net_sim::frames::sum;
use std::net::Ipv4Addr;

/// A datagram as it came.
pub struct Datagram {
    pub source: (Ipv4Addr, u16),
    pub target: (Ipv4Addr, u16),
    pub payload: Vec<u8>,
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

/// Reads a frame with a whole datagram, whose checksums are right.
pub fn udp(frame: &[u8]) -> Option<Datagram> {
    if frame.len() < 42 || frame[12..15] != [8, 0, 0x45] || frame[23] != 17 || sum(&frame[14..34]) != 0xffff {
        return None;
    }
    let packet = frame.get(14..14 + usize::from(be16(frame, 16)))?;
    let datagram = packet.get(20..20 + usize::from(be16(packet, 24)))?;
    let valid = be16(packet, 6) & 0x3fff == 0 && transport_sum(packet, datagram) == 0xffff;
    valid.then(|| Datagram {
        source: (address(packet, 12), be16(datagram, 0)),
        target: (address(packet, 16), be16(datagram, 2)),
        payload: datagram[8..].to_vec(),
    })
}

fn transport_sum(packet: &[u8], datagram: &[u8]) -> u16 {
    let mut pseudo = packet[12..20].to_vec();
    pseudo.extend([0, 17]);
    pseudo.extend((datagram.len() as u16).to_be_bytes());
    pseudo.extend(datagram);
    sum(&pseudo)
}

/// Writes a frame with a datagram.
pub fn ip_udp(
    macs: ([u8; 6], [u8; 6]),
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [macs.1, macs.0].concat();
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0x12, 0x34, 0, 0, 64, 17, 0, 0]);
    frame.extend(from.0.octets());
    frame.extend(to.0.octets());
    let header = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let checksum = match !transport_sum(&frame[14..], &frame[34..]) {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[40..42].copy_from_slice(&checksum.to_be_bytes());
    // The padding of short frames, which no length counts.
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Writes an ARP frame: 1 asks, 2 answers.
pub fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), to: [u8; 6], target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut frame = [to, sender.0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sender.0);
    frame.extend(sender.1.octets());
    frame.extend(target.0);
    frame.extend(target.1.octets());
    frame.resize(60, 0);
    frame
}
