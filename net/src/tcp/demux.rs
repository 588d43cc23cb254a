//! Segments find their connection, or their listener, or a reset.

use super::connection::{Birth, Flow, Stage};
use super::parking::Opening;
use super::table::{ConnectionId, Tcp};
use crate::ip::Net;
use crate::ip::header::{
    IPV4_HEADER, IPV6_HEADER, Packet, be16, protocol, transport_sum, transport_sum_ok, write_v4, write_v6,
};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keelson_hal::{Instant, TxOffload};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Bytes of a TCP header without options.
const HEADER: usize = 20;
/// A half-open connection younger than this does not make way for a newer SYN: an honest handshake on a LAN is done
/// before, so a flood cannot lock honest clients out. One that takes longer is not lost either, see
/// [`parking`](super::parking).
const EVICTION_AGE: Duration = Duration::from_millis(250);
/// Challenge ACKs of one connection are at least this far apart (RFC 5961 section 7).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);

/// What is needed of a segment here.
struct Segment {
    flow: Flow,
    seq: u32,
    ack: u32,
    flags: u8,
    /// Sequence numbers it occupies.
    len: u32,
}

impl Tcp {
    /// Handles a TCP packet for one of our addresses.
    pub fn input(&mut self, net: &mut Net, now: Instant, packet: &Packet<'_>, checksum_ok: bool) {
        let Some(segment) = parse(packet) else {
            net.counters.tcp_invalid += 1;
            return;
        };
        if !checksum_ok && !transport_sum_ok(packet) {
            net.counters.tcp_bad_checksum += 1;
            return;
        }
        let opening = segment.flags & (SYN | ACK | RST | FIN) == SYN;
        if let Some(&slot) = self.flows.get(&segment.flow) {
            if !opening || !self.syn_on_known_flow(net, now, slot, &segment) {
                self.deliver(net, now, slot, packet, &segment);
                return;
            }
            // Falls through when the connection made way for the SYN.
            if self.flows.contains_key(&segment.flow) {
                return;
            }
        }
        if opening && self.listeners.contains_key(&segment.flow.local.port()) {
            self.open(net, now, packet, &segment);
        } else if self.revive(net, now, packet, &segment) {
            // Its handshake has ended after all.
        } else if segment.flags & RST == 0 {
            self.reset(net, now, &segment);
        }
    }

    fn deliver(&mut self, net: &mut Net, now: Instant, slot: usize, packet: &Packet<'_>, segment: &Segment) {
        let Some(connection) = self.at(slot) else { return };
        net.counters.tcp_received += 1;
        // With nothing but our FIN outstanding, an acknowledgement of less says nothing. The engine must not
        // see it: three of them start a fast retransmission that has no data to send and forgets the timer
        // of the FIN (smoltcp 0.14, `seq_to_transmit`), which is then never repeated.
        let bare = segment.len == 0 && segment.flags == ACK;
        if bare && segment.ack != connection.trace.next && connection.owes_only_fin() {
            return;
        }
        connection.receive(net, now, packet.whole);
        self.settle(net, slot);
        self.queue(slot);
    }

    /// A SYN for a connection that exists. False when the connection itself should see it; true when it was
    /// answered here, or the connection was removed to make way.
    ///
    /// A client that rebooted, or gave up a broken connection, comes back from the same port. It must not
    /// wait until our side has noticed. A synchronized connection is asked with a challenge ACK
    /// (RFC 5961 section 4): the client answers with the reset that ends the old connection, and its next
    /// SYN, a second later at most, opens the new one. The engine does not do this (it ignores segments
    /// without ACK), hence here.
    fn syn_on_known_flow(&mut self, net: &mut Net, now: Instant, slot: usize, segment: &Segment) -> bool {
        let Some(connection) = self.at(slot) else { return false };
        if connection.is_handshaking() && !matches!(connection.stage, Stage::HalfOpen(_)) {
            // Simultaneous open.
            return false;
        }
        let trace = connection.trace;
        if connection.is_handshaking() && trace.started && trace.ack == segment.seq.wrapping_add(1) {
            // The same SYN again: the engine repeats its SYN-ACK by timer, we hasten it.
            self.queue(slot);
            return true;
        }
        if connection.is_handshaking() || connection.is_time_wait() || connection.is_closed() {
            net.counters.tcp_replaced += 1;
            match connection.stage {
                Stage::Owned | Stage::Waiting(_) => self.unroute(slot),
                Stage::HalfOpen(_) | Stage::Orphaned => self.remove(slot),
            }
            return true;
        }
        if now >= connection.next_challenge {
            connection.next_challenge = now + CHALLENGE_INTERVAL;
            net.counters.tcp_challenge_acks += 1;
            let reply = Reply {
                flow: segment.flow,
                seq: trace.next,
                ack: trace.ack,
                flags: ACK,
                window: trace.window,
            };
            send_bare(net, now, reply);
        }
        true
    }

    /// Makes a half-open connection for a SYN to a listening port.
    fn open(&mut self, net: &mut Net, now: Instant, packet: &Packet<'_>, segment: &Segment) {
        let port = segment.flow.local.port();
        self.make_room(net, now, port);
        let Some(listener) = self.listeners.get(&port) else { return };
        let (options, busy) =
            (listener.options, listener.half_open_count + listener.queue.len() >= listener.options.backlog);
        // The same SYN again gets the same answer: the first one may have arrived.
        let known = self.parking.get(&segment.flow, now);
        let known = known.filter(|parked| parked.trace.ack == segment.seq.wrapping_add(1));
        let birth = known.map_or_else(|| self.birth(options), |parked| parked.opening.birth);
        let id = if busy { None } else { self.begin(net, now, segment.flow, port, birth) };
        let Some(id) = id else {
            net.counters.tcp_syn_dropped += 1;
            return;
        };
        self.parking.take(&segment.flow);
        if let Some(connection) = self.at(id.slot) {
            connection.opening = Some(Opening { birth, syn: packet.whole.into() });
        }
        self.deliver(net, now, id.slot, packet, segment);
    }

    /// Makes a connection that waits for its SYN, one of the listener at `port`.
    fn begin(
        &mut self,
        net: &mut Net,
        now: Instant,
        flow: Flow,
        port: u16,
        birth: Birth,
    ) -> Option<ConnectionId> {
        let path = net.path(flow.remote.ip(), Some(flow.local.ip()))?;
        let id = self.create(net, now, path, flow, Stage::HalfOpen(port), birth)?;
        if let Some(listener) = self.listeners.get_mut(&port) {
            listener.half_open_count += 1;
            listener.half_open.push_back(id);
        }
        if let Some(connection) = self.at(id.slot) {
            connection.listen();
        }
        Some(id)
    }

    /// The end of the handshake of a connection that had made way: makes it again. False when it is none.
    fn revive(&mut self, net: &mut Net, now: Instant, packet: &Packet<'_>, segment: &Segment) -> bool {
        let port = segment.flow.local.port();
        let (Some(parked), Some(listener)) =
            (self.parking.get(&segment.flow, now), self.listeners.get(&port))
        else {
            return false;
        };
        if segment.flags & (SYN | ACK | RST) != ACK || segment.ack != parked.trace.next {
            return false;
        }
        // Its client repeats what it has to say, and finds room later.
        if listener.queue.len() >= listener.options.backlog {
            net.counters.tcp_listen_overflows += 1;
            return true;
        }
        let (birth, trace) = (parked.opening.birth, parked.trace);
        let Some(id) = self.begin(net, now, segment.flow, port, birth) else {
            net.counters.tcp_listen_overflows += 1;
            return true;
        };
        let parked = self.parking.take(&segment.flow);
        if let (Some(connection), Some(parked)) = (self.at(id.slot), parked) {
            connection.receive(net, now, &parked.opening.syn);
            connection.trace = trace;
            // What came may not be what ends the handshake, but something behind it that overtook it: then it may make way again.
            connection.opening = Some(parked.opening);
            net.counters.tcp_half_open_revived += 1;
        }
        self.deliver(net, now, id.slot, packet, segment);
        true
    }

    /// Parks the oldest half-open connection of a listener whose backlog is full, if it is old enough.
    fn make_room(&mut self, net: &mut Net, now: Instant, port: u16) {
        loop {
            let Some(listener) = self.listeners.get_mut(&port) else { return };
            let full = listener.half_open_count + listener.queue.len() >= listener.options.backlog;
            // Entries that have moved on are dropped here, so the list does not outgrow the backlog.
            if !full && listener.half_open.len() < 2 * listener.options.backlog {
                return;
            }
            let Some(&oldest) = listener.half_open.front() else { return };
            let waiting = self.get(oldest).filter(|oldest| matches!(oldest.stage, Stage::HalfOpen(_)));
            if let Some(born) = waiting.map(|oldest| oldest.born) {
                if !full || now - born < EVICTION_AGE {
                    return;
                }
                net.counters.tcp_half_open_evicted += 1;
                self.park(oldest.slot);
            }
            if let Some(listener) = self.listeners.get_mut(&port) {
                listener.half_open.pop_front();
            }
        }
    }

    /// Answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1).
    fn reset(&mut self, net: &mut Net, now: Instant, segment: &Segment) {
        if !net.resets.allow(now) {
            net.counters.tcp_resets_limited += 1;
            return;
        }
        net.counters.tcp_resets_sent += 1;
        let reply = if segment.flags & ACK != 0 {
            Reply { flow: segment.flow, seq: segment.ack, ack: 0, flags: RST, window: 0 }
        } else {
            let ack = segment.seq.wrapping_add(segment.len);
            Reply { flow: segment.flow, seq: 0, ack, flags: RST | ACK, window: 0 }
        };
        send_bare(net, now, reply);
    }
}

fn parse(packet: &Packet<'_>) -> Option<Segment> {
    let header = packet.payload.first_chunk::<HEADER>()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let data = packet.payload.len().checked_sub(header_len)?;
    let (source, target) = (be16(header, 0), be16(header, 2));
    if header_len < HEADER || source == 0 || target == 0 {
        return None;
    }
    let flags = header[13];
    Some(Segment {
        flow: Flow {
            local: SocketAddr::new(packet.dst, target),
            remote: SocketAddr::new(packet.src, source),
        },
        seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        ack: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        flags,
        len: data as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
    })
}

/// A segment without data that no engine stands behind.
struct Reply {
    flow: Flow,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
}

fn send_bare(net: &mut Net, now: Instant, reply: Reply) {
    let (src, dst) = (reply.flow.local.ip(), reply.flow.remote.ip());
    let Some(path) = net.path(dst, Some(src)) else {
        net.counters.ip_no_route += 1;
        return;
    };
    let header = if dst.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
    net.send(now, path, dst, header + HEADER, TxOffload::default(), &mut |packet| {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => write_v4(packet, (src, dst), protocol::TCP, 64, 0, 0x4000),
            (IpAddr::V6(src), IpAddr::V6(dst)) => write_v6(packet, (src, dst), protocol::TCP, 64),
            _ => {}
        }
        let segment = &mut packet[header..];
        segment.fill(0);
        segment[..2].copy_from_slice(&reply.flow.local.port().to_be_bytes());
        segment[2..4].copy_from_slice(&reply.flow.remote.port().to_be_bytes());
        segment[4..8].copy_from_slice(&reply.seq.to_be_bytes());
        segment[8..12].copy_from_slice(&reply.ack.to_be_bytes());
        segment[12] = (HEADER as u8 / 4) << 4;
        segment[13] = reply.flags;
        segment[14..16].copy_from_slice(&reply.window.to_be_bytes());
        let sum = transport_sum(src, dst, protocol::TCP, segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    });
}
