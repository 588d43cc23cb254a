//! IPv4 fragmentation and reassembly (RFC 791 sections 2.3 and 3.2), working on whole Ethernet frames.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket,
};

const ETHERNET_HEADER: usize = 14;

/// Cuts the IPv4 packet in `frame` into fragments of at most `mtu` bytes with identification `id`.
///
/// A frame that is not IPv4 is not sent at all: nothing else has fragments here.
pub fn fragment(frame: &[u8], mtu: usize, id: u16, mut emit: impl FnMut(&[u8])) {
    let ethernet = EthernetFrame::new_unchecked(frame);
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return;
    }
    let Ok(whole) = Ipv4Packet::new_checked(ethernet.payload()) else { return };
    let header_len = usize::from(whole.header_len());
    let payload = &frame[ETHERNET_HEADER + header_len..ETHERNET_HEADER + usize::from(whole.total_len())];
    let step = (mtu - header_len) / 8 * 8;
    let mut piece = Vec::with_capacity(ETHERNET_HEADER + mtu);
    for (n, chunk) in payload.chunks(step).enumerate() {
        piece.clear();
        piece.extend_from_slice(&frame[..ETHERNET_HEADER + header_len]);
        piece.extend_from_slice(chunk);
        let mut packet = Ipv4Packet::new_unchecked(&mut piece[ETHERNET_HEADER..]);
        packet.set_total_len((header_len + chunk.len()) as u16);
        packet.set_ident(id);
        packet.set_dont_frag(false);
        packet.set_more_frags((n + 1) * step < payload.len());
        packet.set_frag_offset((n * step) as u16);
        packet.fill_checksum();
        emit(&piece);
    }
}

/// Puts fragments together again.
#[derive(Default)]
pub struct Reassembler {
    partial: Vec<Partial>,
}

/// A datagram not yet complete.
struct Partial {
    key: ([u8; 4], [u8; 4], u8, u16),
    since: Instant,
    /// Ethernet and IPv4 header of the first fragment, then the payload.
    header: Option<Vec<u8>>,
    payload: Vec<u8>,
    /// Which 8-byte units of the payload have arrived.
    have: Vec<bool>,
    total: Option<usize>,
}

impl Reassembler {
    /// Datagrams in flight at once; the oldest gives way.
    const LIMIT: usize = 64;
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Takes a received frame. Gives back frames that are no fragments, and datagrams that are complete now.
    pub fn accept<'a>(&mut self, frame: &'a [u8], now: Instant) -> Option<Cow<'a, [u8]>> {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return Some(frame.into()) };
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return Some(frame.into());
        }
        let Ok(packet) = Ipv4Packet::new_checked(ethernet.payload()) else { return Some(frame.into()) };
        if !packet.more_frags() && packet.frag_offset() == 0 {
            return Some(frame.into());
        }
        if !packet.verify_checksum() {
            return None;
        }
        let key = (
            packet.src_addr().octets(),
            packet.dst_addr().octets(),
            u8::from(packet.next_header()),
            packet.ident(),
        );
        self.partial.retain(|partial| now.duration_since(partial.since) < Self::TIMEOUT);
        let index = self.partial.iter().position(|partial| partial.key == key).unwrap_or_else(|| {
            if self.partial.len() == Self::LIMIT {
                self.partial.remove(0);
            }
            self.partial.push(Partial {
                key,
                since: now,
                header: None,
                payload: Vec::new(),
                have: Vec::new(),
                total: None,
            });
            self.partial.len() - 1
        });
        let header = &frame[..ETHERNET_HEADER + usize::from(packet.header_len())];
        self.partial[index].add(header, &packet);
        if !self.partial[index].is_complete() {
            return None;
        }
        self.partial.remove(index).into_frame().map(Cow::Owned)
    }
}

impl Partial {
    fn add(&mut self, header: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let (start, data) = (usize::from(packet.frag_offset()), packet.payload());
        let end = start + data.len();
        if end > usize::from(u16::MAX) - 20 {
            return; // longer than IP allows
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
            self.have.resize(end.div_ceil(8), false);
        }
        self.payload[start..end].copy_from_slice(data);
        self.have[start / 8..end.div_ceil(8)].fill(true);
        if start == 0 {
            self.header = Some(header.to_vec());
        }
        if !packet.more_frags() {
            self.total = Some(end);
        }
    }

    fn is_complete(&self) -> bool {
        self.header.is_some() && self.total == Some(self.payload.len()) && self.have.iter().all(|&have| have)
    }

    fn into_frame(self) -> Option<Vec<u8>> {
        let mut frame = self.header?;
        let header_len = frame.len() - ETHERNET_HEADER;
        frame.extend_from_slice(&self.payload);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET_HEADER..]);
        packet.set_total_len((header_len + self.payload.len()) as u16);
        packet.set_more_frags(false);
        packet.set_frag_offset(0);
        packet.fill_checksum();
        Some(frame)
    }
}

/// Lowers the segment size announced in a TCP SYN to what fits `mtu`: smoltcp is told of larger packets.
pub fn clamp_mss(frame: &mut [u8], mtu: usize) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut packet) = Ipv4Packet::new_checked(ethernet.payload_mut()) else { return };
            if packet.next_header() == IpProtocol::Tcp {
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                clamp_segment(packet.payload_mut(), mtu - 40, &from, &to);
            }
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut packet) = Ipv6Packet::new_checked(ethernet.payload_mut()) else { return };
            if packet.next_header() == IpProtocol::Tcp {
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                clamp_segment(packet.payload_mut(), mtu - 60, &from, &to);
            }
        }
        _ => {}
    }
}

type Ip = smoltcp::wire::IpAddress;

fn clamp_segment(segment: &mut [u8], largest: usize, from: &Ip, to: &Ip) {
    let Ok(mut tcp) = TcpPacket::new_checked(segment) else { return };
    if !tcp.syn() {
        return;
    }
    // smoltcp writes the segment size first; look for it anyway.
    let mut options = tcp.options_mut();
    while let Ok((_, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(size) if usize::from(size) > largest => {
                options[2..4].copy_from_slice(&(largest as u16).to_be_bytes());
                break;
            }
            option => {
                let len = option.buffer_len();
                options = &mut options[len..];
            }
        }
        if options.is_empty() {
            break;
        }
    }
    tcp.fill_checksum(from, to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{EthernetAddress, EthernetRepr, Ipv4Address, Ipv4Repr};

    fn frame(data: &[u8]) -> Vec<u8> {
        let ip = Ipv4Repr {
            src_addr: Ipv4Address::new(10, 0, 0, 1),
            dst_addr: Ipv4Address::new(10, 0, 0, 2),
            next_header: IpProtocol::Udp,
            payload_len: data.len(),
            hop_limit: 64,
        };
        let mut frame = vec![0; ETHERNET_HEADER + ip.buffer_len()];
        let address = EthernetAddress([2, 0, 0, 0, 0, 1]);
        EthernetRepr { src_addr: address, dst_addr: address, ethertype: EthernetProtocol::Ipv4 }
            .emit(&mut EthernetFrame::new_unchecked(&mut frame));
        ip.emit(
            &mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET_HEADER..]),
            &ChecksumCapabilities::default(),
        );
        frame.extend_from_slice(data);
        frame
    }

    proptest! {
        #[test]
        fn any_datagram_survives_in_any_order(
            data in proptest::collection::vec(any::<u8>(), 1500..40_000), seed in any::<u64>(),
        ) {
            let mut pieces = Vec::new();
            fragment(&frame(&data), 1500, 7, |piece| pieces.push(piece.to_vec()));
            prop_assert!(pieces.iter().all(|piece| piece.len() <= 1514));
            let mut rng = crate::rng::Rng::new(seed);
            for i in 0..pieces.len() {
                let other = rng.below(pieces.len() as u64) as usize;
                pieces.swap(i, other);
            }
            let mut reassembler = Reassembler::default();
            let now = Instant::now();
            let last = pieces.pop().unwrap();
            for piece in &pieces {
                prop_assert!(reassembler.accept(piece, now).is_none());
            }
            // A duplicate changes nothing.
            if let Some(piece) = pieces.first() {
                prop_assert!(reassembler.accept(piece, now).is_none());
            }
            let whole = reassembler.accept(&last, now).unwrap();
            prop_assert_eq!(&whole[ETHERNET_HEADER + 20..], &data[..]);
        }

        #[test]
        fn garbage_does_no_harm(frames in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..100), 0..20)) {
            let mut reassembler = Reassembler::default();
            for mut garbage in frames {
                if garbage.len() > 40 {
                    garbage[12..15].copy_from_slice(&[8, 0, 0x45]);
                }
                reassembler.accept(&garbage, Instant::now());
            }
        }
    }
}
