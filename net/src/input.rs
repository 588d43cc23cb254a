//! What becomes of a received frame.

use crate::addr::is_host;
use crate::capture::Direction;
use crate::ip::header::{self, Packet, parse_v4, parse_v6, protocol};
use crate::ip::reassembly::Outcome;
use crate::link::{ETH_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::raw::EtherFrame;
use crate::registry::InterfaceId;
use crate::stack::State;
use alloc::vec;
use core::net::IpAddr;
use keelson_hal::{Instant, MacAddress, RxMeta};

/// DHCP ports.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
/// Packets kept for the DHCP client.
const DHCP_INBOX: usize = 8;

impl State {
    /// Handles one frame received by interface `nic`. Replies go to the interface's backlog.
    pub fn frame_input(&mut self, now: Instant, nic: usize, frame: &[u8], meta: RxMeta) {
        self.net.nics[nic].taps.show(frame, Direction::In);
        let Some((header, payload)) = frame.split_at_checked(ETH_HEADER) else {
            self.net.counters.eth_short += 1;
            return;
        };
        let mac_at = |at: usize| {
            MacAddress([
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
                header[at + 4],
                header[at + 5],
            ])
        };
        let (to, from) = (mac_at(0), mac_at(6));
        let interface = &self.net.nics[nic];
        if !interface.up {
            return;
        }
        if to != interface.mac && !to.is_multicast() {
            self.net.counters.eth_other_host += 1;
            return;
        }
        match header::be16(header, 12) {
            ETHERTYPE_IPV4 => match parse_v4(payload) {
                Some(packet) => self.ip_input(now, nic, &packet, from, meta),
                None => self.net.counters.ip_invalid += 1,
            },
            ETHERTYPE_IPV6 => match parse_v6(payload) {
                Some(packet) => self.ip_input(now, nic, &packet, from, meta),
                None => self.net.counters.ip_invalid += 1,
            },
            ETHERTYPE_ARP => self.net.arp_input(now, nic, payload),
            other => {
                let frame = EtherFrame { interface: InterfaceId(nic), from, to, payload };
                self.other_frame_input(other, &frame);
            }
        }
    }

    fn ip_input(&mut self, now: Instant, nic: usize, packet: &Packet<'_>, from: MacAddress, meta: RxMeta) {
        let interface = &self.net.nics[nic];
        // Before there is an address, the DHCP server's answers come to addresses that are not ours.
        if interface.dhcp.is_some() && is_dhcp_answer(packet) {
            self.dhcp_input(nic, packet);
            return;
        }
        let group = match packet.dst {
            IpAddr::V4(dst) => dst.is_multicast() || interface.is_broadcast(dst),
            IpAddr::V6(dst) => dst.is_multicast(),
        };
        let ours = match packet.dst {
            _ if interface.has_address(packet.dst) => true,
            IpAddr::V4(dst) if interface.is_broadcast(dst) => true,
            dst if dst.is_multicast() => interface.in_group(dst),
            // Weak host model for unicast: another interface of ours may have the address.
            dst => self.net.nics.iter().any(|other| other.attached && other.has_address(dst)),
        };
        if !ours {
            self.net.counters.ip_other_host += 1;
            return;
        }
        // Nodes that have no address yet: duplicate address detection, DHCP.
        let beginner = packet.protocol == protocol::ICMPV6 || (packet.protocol == protocol::UDP && group);
        let unspecified_ok = packet.src.is_unspecified() && beginner;
        let broadcast = matches!(packet.src, IpAddr::V4(src) if self.net.nics[nic].is_broadcast(src));
        let own = self.net.nics[nic].has_address(packet.src);
        if (!is_host(packet.src) && !unspecified_ok) || broadcast || own {
            self.net.counters.ip_bad_source += 1;
            return;
        }
        let Some(piece) = packet.fragment else {
            self.transport_input(now, nic, packet, from, meta.checksum_ok, group);
            return;
        };
        self.net.counters.frag_received += 1;
        match self.reassembly.add(packet, piece, now, &mut self.net.counters.frag_failed) {
            Outcome::Waiting => {}
            Outcome::Failed => self.net.counters.frag_failed += 1,
            Outcome::Complete(payload) => {
                self.net.counters.frag_reassembled += 1;
                self.whole_input(now, nic, packet, &payload, from, group);
            }
        }
    }

    /// Handles a reassembled datagram; `last` is the fragment that completed it.
    fn whole_input(
        &mut self,
        now: Instant,
        nic: usize,
        last: &Packet<'_>,
        payload: &[u8],
        from: MacAddress,
        group: bool,
    ) {
        let header = if last.src.is_ipv4() { header::IPV4_HEADER } else { header::IPV6_HEADER };
        // IPv4 counts its header in the length field, IPv6 does not.
        let counted = payload.len() + if last.src.is_ipv4() { header } else { 0 };
        if counted > usize::from(u16::MAX) {
            self.net.counters.frag_failed += 1;
            return;
        }
        let mut whole = vec![0; header + payload.len()];
        whole[header..].copy_from_slice(payload);
        match (last.src, last.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                header::write_v4(&mut whole, (src, dst), last.protocol, last.hop_limit, 0, 0);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                header::write_v6(&mut whole, (src, dst), last.protocol, last.hop_limit);
            }
            _ => return,
        }
        let packet = Packet { fragment: None, whole: &whole, payload: &whole[header..], ..*last };
        self.transport_input(now, nic, &packet, from, false, group);
    }

    fn transport_input(
        &mut self,
        now: Instant,
        nic: usize,
        packet: &Packet<'_>,
        from: MacAddress,
        checksum_ok: bool,
        group: bool,
    ) {
        let State { net, tcp, udp, .. } = self;
        match (packet.protocol, packet.src.is_ipv4()) {
            (protocol::TCP, _) if group => net.counters.tcp_invalid += 1,
            (protocol::TCP, _) => tcp.input(net, now, packet, checksum_ok),
            (protocol::UDP, _) => udp.input(net, now, nic, packet, checksum_ok),
            (protocol::ICMP, true) => net.icmp_input(now, nic, packet),
            (protocol::ICMPV6, false) => net.icmpv6_input(now, nic, packet, from),
            _ => self.other_packet_input(nic, packet),
        }
        while let Some((interface, cidr)) = self.net.new_addresses.pop() {
            self.address_appeared(now, interface, cidr);
        }
    }

    fn dhcp_input(&mut self, nic: usize, packet: &Packet<'_>) {
        let interface = &mut self.net.nics[nic];
        let Some(port) = &mut interface.dhcp else { return };
        let sum_ok = header::transport_sum_ok(packet) || packet.payload[6..8] == [0, 0];
        if port.inbox.len() < DHCP_INBOX && sum_ok {
            port.inbox.push_back(packet.payload[8..].to_vec());
            port.changed.notify();
        } else {
            self.net.counters.udp_invalid += 1;
        }
    }
}

fn is_dhcp_answer(packet: &Packet<'_>) -> bool {
    packet.protocol == protocol::UDP
        && packet.fragment.is_none()
        && packet.src.is_ipv4()
        && packet.payload.len() > 8
        && header::be16(packet.payload, 0) == DHCP_SERVER
        && header::be16(packet.payload, 2) == DHCP_CLIENT
}
