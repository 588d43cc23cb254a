//! ARP over Ethernet for IPv4 (RFC 826, RFC 5227), and solicitation in general.

use crate::addr::is_host;
use crate::ip::Net;
use crate::ip::header::be16;
use crate::link::ETHERTYPE_ARP;
use core::net::{IpAddr, Ipv4Addr};
use keelson_hal::{Instant, MacAddress, TxOffload};

/// Hardware type Ethernet, protocol type IPv4, their address lengths.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const LEN: usize = 28;

impl Net {
    /// Asks the link who has `addr`: by broadcast or multicast, or by unicast to a MAC address of old.
    pub fn solicit(&mut self, now: Instant, nic: usize, addr: IpAddr, known: Option<MacAddress>) {
        self.counters.neighbour_solicits += 1;
        match addr {
            IpAddr::V4(target) => {
                let source = self.nics[nic].source_v4(target).unwrap_or(Ipv4Addr::UNSPECIFIED);
                let to = known.unwrap_or(MacAddress::BROADCAST);
                self.send_arp(nic, to, REQUEST, source, MacAddress::default(), target);
            }
            IpAddr::V6(target) => self.send_neighbour_solicit(now, nic, target, known.is_some()),
        }
    }

    /// Announces an address of ours to the whole link (RFC 5227 section 2.3).
    pub fn announce_v4(&mut self, nic: usize, addr: Ipv4Addr) {
        self.send_arp(nic, MacAddress::BROADCAST, REQUEST, addr, MacAddress::default(), addr);
    }

    /// Handles an ARP packet.
    pub fn arp_input(&mut self, now: Instant, nic: usize, packet: &[u8]) {
        let Some(packet) = packet.first_chunk::<LEN>().filter(|packet| packet[..6] == PREFIX) else {
            self.counters.arp_invalid += 1;
            return;
        };
        let mac_at = |at: usize| {
            MacAddress([
                packet[at],
                packet[at + 1],
                packet[at + 2],
                packet[at + 3],
                packet[at + 4],
                packet[at + 5],
            ])
        };
        let ip_at = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        let (sender_mac, sender, target) = (mac_at(8), ip_at(14), ip_at(24));
        let for_us = self.nics[nic].has_address(target.into());
        if sender_mac.is_multicast() || (!is_host(sender.into()) && !sender.is_unspecified()) {
            self.counters.arp_invalid += 1;
            return;
        }
        if self.nics[nic].has_address(sender.into()) {
            if sender_mac != self.nics[nic].mac {
                let name = &self.nics[nic].name;
                log::warn!(target: "net", "{name}: {sender_mac} uses our address {sender} too");
            }
            return;
        }
        if !sender.is_unspecified() {
            self.neighbour_found(now, nic, sender.into(), sender_mac, for_us);
        }
        if for_us && be16(packet, 6) == REQUEST {
            self.counters.arp_replies += 1;
            self.send_arp(nic, sender_mac, REPLY, target, sender_mac, sender);
        }
    }

    fn send_arp(
        &mut self,
        nic: usize,
        to: MacAddress,
        operation: u16,
        source: Ipv4Addr,
        target_mac: MacAddress,
        target: Ipv4Addr,
    ) {
        let nic = &mut self.nics[nic];
        let mac = nic.mac;
        let sent = nic.transmit(to, ETHERTYPE_ARP, LEN, TxOffload::default(), &mut |packet| {
            packet[..6].copy_from_slice(&PREFIX);
            packet[6..8].copy_from_slice(&operation.to_be_bytes());
            packet[8..14].copy_from_slice(&mac.0);
            packet[14..18].copy_from_slice(&source.octets());
            packet[18..24].copy_from_slice(&target_mac.0);
            packet[24..28].copy_from_slice(&target.octets());
        });
        self.counters.tx_backlog_dropped += u64::from(!sent);
    }
}
