//! Reads a recording: pcap, Ethernet, IPv4, TCP.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// A TCP segment of a recording.
pub struct Segment {
    /// Number of its frame, from 1, as other tools count.
    pub frame: usize,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub sequence: u32,
    pub syn: bool,
    pub payload: Vec<u8>,
}

/// The TCP segments of a recording made on Ethernet by a little-endian machine.
pub fn read(path: &Path) -> Vec<Segment> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, mut rest) = bytes.split_at(24);
    let magic = u32_at(header, 0);
    assert!(magic == 0xa1b2_c3d4 || magic == 0xa1b2_3c4d, "{} is no pcap file", path.display());
    assert_eq!(u32_at(header, 20), 1, "{} was not recorded on Ethernet", path.display());
    let mut segments = Vec::new();
    let mut frame = 0;
    while !rest.is_empty() {
        let (record, after) = rest.split_at(16);
        let (captured, length) = (u32_at(record, 8) as usize, u32_at(record, 12) as usize);
        assert_eq!(captured, length, "a frame of {} was cut", path.display());
        frame += 1;
        segments.extend(segment(frame, &after[..captured]));
        rest = &after[captured..];
    }
    segments
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn segment(number: usize, frame: &[u8]) -> Option<Segment> {
    let (ethernet, packet) = frame.split_at(14);
    if ethernet[12..] != [0x08, 0x00] || packet[9] != 6 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let tcp = &packet[usize::from(packet[0] & 0xf) * 4..total];
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Segment {
        frame: number,
        from: SocketAddrV4::new(address(12), port(0)),
        to: SocketAddrV4::new(address(16), port(2)),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
        syn: tcp[13] & 0x02 != 0,
        payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
    })
}
