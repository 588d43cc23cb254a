//! The "device" of one connection: takes in the packet that was just routed to it, and writes what the
//! engine emits straight into the interface's ring with checksum and segmentation left to the hardware
//! where it can.

use super::connection::Flow;
use crate::ip::header::{IPV4_HEADER, IPV6_HEADER, be16, protocol, pseudo_sum, transport_sum};
use crate::ip::{Net, Path};
use crate::link::ETH_HEADER;
use alloc::vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroUsize;
use keelson_hal::{Instant, NetFeatures, TxChecksum, TxOffload};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};

/// Byte offset of the checksum in a TCP header.
const CHECKSUM: usize = 16;

/// What was last said to the peer; needed to answer what the engine does not answer itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trace {
    /// Sequence number after the last byte sent.
    pub next: u32,
    /// Last acknowledgement sent.
    pub ack: u32,
    /// Last window field sent.
    pub window: u16,
    pub started: bool,
}

/// See the module documentation.
pub(crate) struct Port<'a> {
    pub net: &'a mut Net,
    pub now: Instant,
    pub flow: Flow,
    /// The way of the last packet sent, looked up when there is one: most segments that come are answered later.
    /// Within, `None` without a route: the engine's timers go on, its packets are dropped.
    pub path: Option<Option<Path>>,
    pub capabilities: &'a DeviceCapabilities,
    pub received: Option<&'a [u8]>,
    pub trace: &'a mut Trace,
    /// Set when the engine had something to send and had to keep it.
    pub blocked: Option<Blocked>,
}

/// Why the engine keeps what it has to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocked {
    /// The interface's ring is full.
    Ring,
    /// The next hop is being looked for, and as much waits for it as may.
    NextHop,
}

/// What the engine must know of an interface for a connection over it.
pub(crate) fn capabilities(features: NetFeatures, mtu: usize, max_tso_frame: usize) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    // Received checksums are verified before the engine sees the packet; sent ones are filled in below.
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.ipv4 = Checksum::Tx;
    // IPv4 only: smoltcp 0.14 drops IPv6 packets above the MTU even when they are to be segmented.
    if features.contains(NetFeatures::TSO4 | NetFeatures::TX_CHECKSUM) && max_tso_frame > mtu + ETH_HEADER {
        let largest = (max_tso_frame - ETH_HEADER).min(usize::from(u16::MAX));
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(largest);
    }
    capabilities
}

/// The way that packets of `flow` take, found once for all packets of a turn.
fn way(net: &Net, flow: Flow, known: &mut Option<Option<Path>>) -> Option<Path> {
    *known.get_or_insert_with(|| net.path(flow.remote.ip(), Some(flow.local.ip())))
}

impl Port<'_> {
    fn path(&mut self) -> Option<Path> {
        way(self.net, self.flow, &mut self.path)
    }

    fn token(&mut self) -> Transmit<'_> {
        Transmit {
            net: self.net,
            now: self.now,
            flow: self.flow,
            path: &mut self.path,
            trace: self.trace,
            segment: None,
        }
    }
}

impl Device for Port<'_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Transmit<'t>
    where
        Self: 't;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received<'_>, Transmit<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), self.token()))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Transmit<'_>> {
        if let Some(path) = self.path() {
            let nic = &mut self.net.nics[path.nic];
            if !nic.has_room() {
                self.blocked = Some(Blocked::Ring);
            } else if nic.neighbours.is_full(path.next_hop) {
                self.blocked = Some(Blocked::NextHop);
            }
        }
        match self.blocked {
            Some(_) => None,
            None => Some(self.token()),
        }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

/// The packet for the connection.
pub(crate) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Permission to send one packet.
pub(crate) struct Transmit<'a> {
    net: &'a mut Net,
    now: Instant,
    flow: Flow,
    path: &'a mut Option<Option<Path>>,
    trace: &'a mut Trace,
    segment: Option<u16>,
}

impl TxToken for Transmit<'_> {
    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(|size| size.get());
    }

    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, emit: F) -> R {
        let (mut emit, mut result) = (Some(emit), None);
        if let Some(path) = way(self.net, self.flow, self.path) {
            let nic = &self.net.nics[path.nic];
            // The next hop has the family of the destination.
            let header = if path.next_hop.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
            let checksum = TxChecksum { start: (ETH_HEADER + header) as u16, offset: CHECKSUM as u16 };
            let offloads = nic.features.contains(NetFeatures::TX_CHECKSUM);
            let offload = TxOffload {
                checksum: offloads.then_some(checksum),
                // Not only above the MTU: the peer's segments may be smaller than ours.
                segment_size: self.segment.filter(|_| offloads),
            };
            let (trace, mut again) = (self.trace, false);
            self.net.send(self.now, path, path.next_hop, len, offload, &mut |packet| {
                if let Some(emit) = emit.take() {
                    result = Some(emit(packet));
                    again = finish(packet, header, offloads, trace);
                }
            });
            self.net.counters.tcp_sent += 1;
            self.net.counters.tcp_sent_tso += u64::from(offload.segment_size.is_some());
            self.net.counters.tcp_retransmitted += u64::from(again);
        } else {
            self.net.counters.ip_no_route += 1;
        }
        match (result, emit) {
            (Some(result), _) => result,
            // Dropped on the way: the engine still wants to write its packet somewhere.
            (None, Some(emit)) => emit(&mut vec![0; len]),
            (None, None) => unreachable!("the writer is taken only to store its result"),
        }
    }
}

/// Fills in the checksum and notes what was sent; true for a segment that was sent before.
fn finish(packet: &mut [u8], header: usize, offloads: bool, trace: &mut Trace) -> bool {
    let (src, dst) = addresses(packet, header);
    let (_, segment) = packet.split_at_mut(header);
    segment[CHECKSUM..CHECKSUM + 2].fill(0);
    let sum = if offloads {
        pseudo_sum(src, dst, protocol::TCP, segment.len())
    } else {
        transport_sum(src, dst, protocol::TCP, segment)
    };
    segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());

    let flags = segment[13];
    let seq = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
    let data = segment.len().saturating_sub(usize::from(segment[12] >> 4) * 4);
    let len = data as u32 + u32::from(flags & 0x02 != 0) + u32::from(flags & 0x01 != 0);
    let ahead = seq.wrapping_add(len).wrapping_sub(trace.next) as i32;
    let again = trace.started && len > 0 && ahead <= 0;
    if !trace.started || ahead > 0 {
        trace.next = seq.wrapping_add(len);
    }
    trace.started = true;
    trace.ack = u32::from_be_bytes([segment[8], segment[9], segment[10], segment[11]]);
    trace.window = be16(segment, 14);
    again
}

fn addresses(packet: &[u8], header: usize) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let v6 = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&packet[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    if header == IPV4_HEADER { (v4(12).into(), v4(16).into()) } else { (v6(8).into(), v6(24).into()) }
}
