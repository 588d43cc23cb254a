//! IP output: a packet, its next hop's MAC address, the ring. Datagrams larger than the MTU are cut here.

use crate::addr::{Cidr, multicast_mac};
use crate::counters::StackCounters;
use crate::hash::Key;
use crate::ip::header::{IPV4_HEADER, IPV6_FRAGMENT_HEADER, IPV6_HEADER, protocol, write_v4, write_v6};
use crate::ip::{Path, RouteEntry};
use crate::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Nic};
use crate::neighbour::{Pending, Resolution};
use crate::rate::RateLimit;
use crate::registry::InterfaceId;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_hal::{Instant, MacAddress, TxOffload};

/// Everything below the transports: interfaces, routes, counters.
pub(crate) struct Net {
    pub nics: Vec<Nic>,
    pub routes: Vec<RouteEntry>,
    pub counters: StackCounters,
    pub key: Key,
    /// Identification of the next datagram that may be cut.
    pub next_id: u32,
    /// ICMP errors and TCP resets: answers to packets that nobody may have sent in good faith.
    pub icmp_errors: RateLimit,
    pub resets: RateLimit,
    /// Addresses taken from router advertisements, still to be announced as events.
    pub new_addresses: Vec<(InterfaceId, Cidr)>,
    /// A neighbour has said where it is since this was last looked at.
    pub neighbours_found: bool,
}

impl Net {
    /// Rings the doorbell of every interface that has something new for its device.
    pub fn flush(&mut self) {
        self.nics.iter_mut().for_each(Nic::flush);
    }

    /// Sends an IP packet of `len` bytes, written by `fill`, along `path`. False when it was dropped.
    pub fn send(
        &mut self,
        now: Instant,
        path: Path,
        dst: IpAddr,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        let nic = &mut self.nics[path.nic];
        let ethertype = if dst.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        let to = match dst {
            IpAddr::V4(v4) if nic.is_broadcast(v4) => Some(MacAddress::BROADCAST),
            _ if dst.is_multicast() => Some(multicast_mac(dst)),
            _ => None,
        };
        let (to, probe) = match to {
            Some(mac) => (mac, false),
            None => match nic.neighbours.resolve(path.next_hop, now) {
                Resolution::Known { mac, probe } => (mac, probe),
                Resolution::Unknown { solicit } => {
                    let mut packet = vec![0; len];
                    fill(&mut packet);
                    let queued = nic.neighbours.enqueue(path.next_hop, Pending { packet, offload });
                    self.counters.neighbour_queue_dropped += u64::from(!queued);
                    if solicit {
                        self.solicit(now, path.nic, path.next_hop, None);
                    }
                    return queued;
                }
                Resolution::Refused => {
                    self.counters.neighbour_queue_dropped += 1;
                    return false;
                }
            },
        };
        let sent = nic.transmit(to, ethertype, len, offload, fill);
        self.counters.tx_backlog_dropped += u64::from(!sent);
        if probe {
            self.solicit(now, path.nic, path.next_hop, Some(to));
        }
        sent
    }

    /// Sends a datagram of one IP protocol, cutting it when it exceeds the MTU.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        path: Path,
        (src, dst): (IpAddr, IpAddr),
        protocol: u8,
        hop_limit: u8,
        payload: &[u8],
    ) -> bool {
        let mtu = self.nics[path.nic].mtu;
        let none = TxOffload::default();
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        match (src, dst) {
            (IpAddr::V4(src4), IpAddr::V4(dst4)) => {
                let room = (mtu - IPV4_HEADER) & !7;
                let whole = payload.len() <= mtu - IPV4_HEADER;
                let mut sent = true;
                for (offset, piece, more) in pieces(payload, if whole { payload.len().max(1) } else { room })
                {
                    let flags = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
                    sent &= self.send(now, path, dst, IPV4_HEADER + piece.len(), none, &mut |packet| {
                        write_v4(packet, (src4, dst4), protocol, hop_limit, id as u16, flags);
                        packet[IPV4_HEADER..].copy_from_slice(piece);
                    });
                    self.counters.frag_sent += u64::from(!whole);
                }
                sent
            }
            (IpAddr::V6(src6), IpAddr::V6(dst6)) if payload.len() <= mtu - IPV6_HEADER => {
                self.send(now, path, dst, IPV6_HEADER + payload.len(), none, &mut |packet| {
                    write_v6(packet, (src6, dst6), protocol, hop_limit);
                    packet[IPV6_HEADER..].copy_from_slice(payload);
                })
            }
            (IpAddr::V6(src6), IpAddr::V6(dst6)) => {
                const HEADERS: usize = IPV6_HEADER + IPV6_FRAGMENT_HEADER;
                let mut sent = true;
                for (offset, piece, more) in pieces(payload, (mtu - HEADERS) & !7) {
                    let place = offset as u16 | u16::from(more);
                    sent &= self.send(now, path, dst, HEADERS + piece.len(), none, &mut |packet| {
                        write_v6(packet, (src6, dst6), protocol::IPV6_FRAGMENT, hop_limit);
                        packet[IPV6_HEADER..IPV6_HEADER + 2].copy_from_slice(&[protocol, 0]);
                        packet[IPV6_HEADER + 2..IPV6_HEADER + 4].copy_from_slice(&place.to_be_bytes());
                        packet[IPV6_HEADER + 4..HEADERS].copy_from_slice(&id.to_be_bytes());
                        packet[HEADERS..].copy_from_slice(piece);
                    });
                    self.counters.frag_sent += 1;
                }
                sent
            }
            _ => false,
        }
    }

    /// Asks for the next hop of a path, if it is not known.
    pub fn look_for(&mut self, now: Instant, path: Path) {
        match self.nics[path.nic].neighbours.resolve(path.next_hop, now) {
            Resolution::Unknown { solicit: true } => self.solicit(now, path.nic, path.next_hop, None),
            Resolution::Known { mac, probe: true } => self.solicit(now, path.nic, path.next_hop, Some(mac)),
            Resolution::Known { .. } => self.neighbours_found = true,
            Resolution::Unknown { .. } | Resolution::Refused => {}
        }
    }

    /// Sends what waited for `next_hop` now that it is known to be at `mac`.
    pub fn neighbour_found(
        &mut self,
        now: Instant,
        nic: usize,
        next_hop: IpAddr,
        mac: MacAddress,
        create: bool,
    ) {
        self.neighbours_found = true;
        let nic = &mut self.nics[nic];
        for pending in nic.neighbours.learn(next_hop, mac, now, create) {
            let ethertype = if next_hop.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
            let sent = nic.transmit(mac, ethertype, pending.packet.len(), pending.offload, &mut |frame| {
                frame.copy_from_slice(&pending.packet);
            });
            self.counters.tx_backlog_dropped += u64::from(!sent);
        }
    }
}

/// Cuts `payload` into pieces of at most `size` bytes: offset, bytes, whether more follow. An empty payload
/// is one empty piece.
fn pieces(payload: &[u8], size: usize) -> impl Iterator<Item = (usize, &[u8], bool)> {
    let count = payload.len().div_ceil(size).max(1);
    (0..count).map(move |index| {
        let start = index * size;
        let end = payload.len().min(start + size);
        (start, &payload[start..end], index + 1 < count)
    })
}
