//! ICMP and ICMPv6: echo replies of any size, and "port unreachable" within a rate limit.

use crate::ip::header::be16;
use crate::ip::header::{Packet, protocol, transport_sum, transport_sum_ok};
use crate::ip::{Net, Path};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_hal::{Instant, MacAddress};
use smoltcp::wire::checksum;

/// Type of an echo request and of its reply (RFC 792, RFC 4443).
const V4_ECHO: (u8, u8) = (8, 0);
const V6_ECHO: (u8, u8) = (128, 129);
/// Type and code of "port unreachable".
const V4_PORT_UNREACHABLE: [u8; 2] = [3, 3];
const V6_PORT_UNREACHABLE: [u8; 2] = [1, 4];
/// Longest quote of the offending packet: the whole error fits 576 (v4) or 1280 (v6) bytes
/// (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
const V4_QUOTE: usize = 576 - 20 - 8;
const V6_QUOTE: usize = 1280 - 40 - 8;

impl Net {
    /// Handles an ICMP message for one of our addresses, or a broadcast one (which is not answered).
    pub fn icmp_input(&mut self, now: Instant, nic: usize, packet: &Packet<'_>) {
        if packet.payload.len() < 8 || checksum::data(packet.payload) != 0xffff {
            self.counters.icmp_invalid += 1;
            return;
        }
        if packet.payload[0] == V4_ECHO.0 && self.nics[nic].has_address(packet.dst) {
            let mut reply = packet.payload.to_vec();
            reply[0] = V4_ECHO.1;
            reply[2..4].fill(0);
            let sum = !checksum::data(&reply);
            reply[2..4].copy_from_slice(&sum.to_be_bytes());
            self.echo_reply(now, packet, protocol::ICMP, &reply);
        }
    }

    /// Handles an ICMPv6 message, whose `source_mac` sent the frame.
    pub fn icmpv6_input(&mut self, now: Instant, nic: usize, packet: &Packet<'_>, source_mac: MacAddress) {
        if packet.payload.len() < 8 || !transport_sum_ok(packet) {
            self.counters.icmp_invalid += 1;
            return;
        }
        match packet.payload[0] {
            kind if kind == V6_ECHO.0 && self.nics[nic].has_address(packet.dst) => {
                let mut reply = packet.payload.to_vec();
                reply[0] = V6_ECHO.1;
                reply[2..4].fill(0);
                let sum = transport_sum(packet.dst, packet.src, protocol::ICMPV6, &reply);
                reply[2..4].copy_from_slice(&sum.to_be_bytes());
                self.echo_reply(now, packet, protocol::ICMPV6, &reply);
            }
            134..=136 => self.ndisc_input(now, nic, packet, source_mac),
            _ => {}
        }
    }

    fn echo_reply(&mut self, now: Instant, request: &Packet<'_>, protocol: u8, reply: &[u8]) {
        let Some(path) = self.path(request.src, Some(request.dst)) else {
            self.counters.ip_no_route += 1;
            return;
        };
        self.counters.icmp_echo_replies += 1;
        self.send_datagram(now, path, (request.dst, request.src), protocol, 64, reply);
    }

    /// Tells the sender of a datagram that nobody listens on its port.
    pub fn port_unreachable(&mut self, now: Instant, packet: &Packet<'_>) {
        let Some(path) = self.path(packet.src, Some(packet.dst)) else {
            self.counters.ip_no_route += 1;
            return;
        };
        if !self.icmp_errors.allow(now) {
            self.counters.icmp_rate_limited += 1;
            return;
        }
        self.counters.icmp_unreachable_sent += 1;
        let (kind, quote, number) = match packet.src {
            IpAddr::V4(_) => (V4_PORT_UNREACHABLE, V4_QUOTE, protocol::ICMP),
            IpAddr::V6(_) => (V6_PORT_UNREACHABLE, V6_QUOTE, protocol::ICMPV6),
        };
        let quoted = &packet.whole[..packet.whole.len().min(quote)];
        let mut message = vec![0; 8 + quoted.len()];
        message[..2].copy_from_slice(&kind);
        message[8..].copy_from_slice(quoted);
        let sum = match packet.src {
            IpAddr::V4(_) => !checksum::data(&message),
            IpAddr::V6(_) => transport_sum(packet.dst, packet.src, number, &message),
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.send_datagram(now, path, (packet.dst, packet.src), number, 64, &message);
    }

    /// Sends an ICMPv6 message of neighbour discovery: hop limit 255 (RFC 4861 section 4).
    pub fn send_ndisc(&mut self, now: Instant, nic: usize, src: IpAddr, dst: IpAddr, mut message: Vec<u8>) {
        let sum = transport_sum(src, dst, protocol::ICMPV6, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        debug_assert!(be16(&message, 2) == sum);
        self.send_datagram(now, Path { nic, next_hop: dst }, (src, dst), protocol::ICMPV6, 255, &message);
    }
}
