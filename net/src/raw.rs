//! Protocols beside TCP and UDP: frames of an EtherType of their own (Qnet's 0x8204), and packets of an IPv4 protocol of
//! their own (Qnet's 106).
//!
//! A handler runs in the interface's task while frames are received. It sees the frame in the device's ring, must not call
//! the stack, and best only takes note. Sending goes straight into the ring of the interface; whoever sends rings the doorbell
//! when nothing more follows ([`Stack::flush_frames`]), without a turn of the interface's task.

use crate::ip::header::{IPV4_HEADER, Packet, protocol, write_v4};
use crate::registry::InterfaceId;
use crate::stack::{SendError, Stack, State};
use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use keelson_hal::{MacAddress, TxOffload};

/// A frame of a registered EtherType.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EtherFrame<'a> {
    /// The interface it came in by.
    pub interface: InterfaceId,
    /// Who sent it.
    pub from: MacAddress,
    /// The interface's own address, or a group's.
    pub to: MacAddress,
    /// The bytes after the Ethernet header, padding of short frames included.
    pub payload: &'a [u8],
}

/// A whole packet of a registered IPv4 protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket<'a> {
    /// The interface it came in by.
    pub interface: InterfaceId,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// One of our addresses.
    pub to: Ipv4Addr,
    /// The bytes after the IP header, without padding.
    pub payload: &'a [u8],
}

/// Handles frames of one EtherType.
pub type EtherHandler = Box<dyn FnMut(&EtherFrame<'_>)>;

/// Handles packets of one IPv4 protocol.
pub type IpHandler = Box<dyn FnMut(&IpPacket<'_>)>;

/// Why a protocol cannot be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterError {
    /// The stack itself serves it.
    Reserved,
    /// Somebody else has it.
    InUse,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegisterError::Reserved => "the network stack serves this protocol itself",
            RegisterError::InUse => "this protocol is served already",
        })
    }
}

impl core::error::Error for RegisterError {}

/// Protocols that the stack serves.
const OWN_PROTOCOLS: [u8; 3] = [protocol::ICMP, protocol::TCP, protocol::UDP];
/// Time to live of packets sent here.
const TTL: u8 = 64;
/// May not be cut on the way (RFC 791 section 3.1).
const DONT_FRAGMENT: u16 = 0x4000;

impl Stack {
    /// Registers a handler for frames of an EtherType that is not IP or ARP.
    ///
    /// # Errors
    ///
    /// When there is a handler already. Frames of IP and ARP never come to a handler.
    pub fn register_ethertype(&self, ethertype: u16, handler: EtherHandler) -> Result<(), RegisterError> {
        let state = &mut *self.shared.state.borrow_mut();
        if state.ethertypes.contains_key(&ethertype) {
            return Err(RegisterError::InUse);
        }
        state.ethertypes.insert(ethertype, handler);
        Ok(())
    }

    /// Takes the handler away.
    pub fn unregister_ethertype(&self, ethertype: u16) {
        // Dropped when the state is not borrowed any more: a handler owns what it likes.
        let handler = self.shared.state.borrow_mut().ethertypes.remove(&ethertype);
        drop(handler);
    }

    /// Registers a handler for packets of an IPv4 protocol. They come whole, and only those for an address of ours.
    ///
    /// # Errors
    ///
    /// When the stack or another handler has the protocol.
    pub fn register_protocol(&self, protocol: u8, handler: IpHandler) -> Result<(), RegisterError> {
        if OWN_PROTOCOLS.contains(&protocol) {
            return Err(RegisterError::Reserved);
        }
        let state = &mut *self.shared.state.borrow_mut();
        if state.protocols.contains_key(&protocol) {
            return Err(RegisterError::InUse);
        }
        state.protocols.insert(protocol, handler);
        Ok(())
    }

    /// Takes the handler away.
    pub fn unregister_protocol(&self, protocol: u8) {
        let handler = self.shared.state.borrow_mut().protocols.remove(&protocol);
        drop(handler);
    }

    /// Frames that an interface takes straight into its ring now: 0 when it is down.
    pub fn frame_room(&self, id: InterfaceId) -> usize {
        let state = &mut *self.shared.state.borrow_mut();
        let Some(nic) = state.net.nics.get_mut(id.index()).filter(|nic| nic.running()) else { return 0 };
        if !nic.backlog.is_empty() {
            return 0;
        }
        nic.device.as_mut().map_or(0, |device| device.transmit_room())
    }

    /// Rings the doorbell of an interface for frames and packets that were sent since the last time.
    pub fn flush_frames(&self, id: InterfaceId) {
        if let Some(nic) = self.shared.state.borrow_mut().net.nics.get_mut(id.index()) {
            nic.flush();
        }
    }

    /// Sends a frame of an EtherType of its own with `len` bytes after the Ethernet header, written by `fill`; the device may
    /// first see it with [`Stack::flush_frames`]. False when it was dropped: the interface is down, its queue full, or the frame
    /// longer than its MTU.
    pub fn send_frame(
        &self,
        id: InterfaceId,
        to: MacAddress,
        ethertype: u16,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        let state = &mut *self.shared.state.borrow_mut();
        let Some(nic) = state.net.nics.get_mut(id.index()).filter(|nic| nic.running()) else { return false };
        if len > nic.mtu {
            return false;
        }
        let sent = nic.transmit(to, ethertype, len, TxOffload::default(), fill);
        nic.kick_for_backlog();
        state.net.counters.tx_backlog_dropped += u64::from(!sent);
        sent
    }

    /// Sends a packet of an IPv4 protocol of its own with `len` bytes after the IP header, written by `fill`; the device may
    /// first see it with [`Stack::flush_frames`]. It is not cut, here or on the way.
    ///
    /// # Errors
    ///
    /// When no interface leads there, the packet is longer than that interface's MTU, or queues are full.
    pub fn send_packet(
        &self,
        local: Option<Ipv4Addr>,
        to: Ipv4Addr,
        protocol: u8,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), SendError> {
        let now = self.shared.handle.now();
        let net = &mut self.shared.state.borrow_mut().net;
        let found = net.path_and_source(to.into(), local.map(IpAddr::V4));
        let Some((path, IpAddr::V4(from))) = found else {
            net.counters.ip_no_route += 1;
            return Err(SendError::NoRoute(to.into()));
        };
        let total = IPV4_HEADER + len;
        if total > net.nics[path.nic].mtu {
            return Err(SendError::TooLong(len));
        }
        let id = net.next_id as u16;
        net.next_id = net.next_id.wrapping_add(1);
        let sent = net.send(now, path, to.into(), total, TxOffload::default(), &mut |packet| {
            write_v4(packet, (from, to), protocol, TTL, id, DONT_FRAGMENT);
            fill(&mut packet[IPV4_HEADER..]);
        });
        net.nics[path.nic].kick_for_backlog();
        if sent { Ok(()) } else { Err(SendError::Dropped) }
    }
}

impl State {
    /// Handles a frame of an EtherType that is not the stack's.
    pub fn other_frame_input(&mut self, ethertype: u16, frame: &EtherFrame<'_>) {
        match self.ethertypes.get_mut(&ethertype) {
            Some(handler) => {
                self.net.counters.eth_handled += 1;
                handler(frame);
            }
            None => self.net.counters.eth_unknown_type += 1,
        }
    }

    /// Handles a packet of an IP protocol that is not the stack's.
    pub fn other_packet_input(&mut self, nic: usize, packet: &Packet<'_>) {
        let own = match (packet.src, packet.dst) {
            (IpAddr::V4(from), IpAddr::V4(to)) if !to.is_multicast() && !to.is_broadcast() => {
                Some((from, to))
            }
            _ => None,
        };
        match (own, self.protocols.get_mut(&packet.protocol)) {
            (Some((from, to)), Some(handler)) => {
                self.net.counters.ip_handled += 1;
                handler(&IpPacket { interface: InterfaceId(nic), from, to, payload: packet.payload });
            }
            _ => self.net.counters.ip_unknown_protocol += 1,
        }
    }
}
