//! One interface: its device, its addresses, and the frames that wait for room in the device's ring.

use crate::addr::{link_local, solicited_node};
use crate::addresses::Addresses;
use crate::capture::{Direction, Taps};
use crate::dhcp::DhcpPort;
use crate::neighbour::Neighbours;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::task::Waker;
use keelson_hal::{Link, MacAddress, NetDevice, NetFeatures, TransmitError, TxOffload};

/// Bytes of an Ethernet header: destination, source, EtherType.
pub(crate) const ETH_HEADER: usize = 14;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Bytes of frames kept while the ring is full or the device is busy receiving.
const BACKLOG_BYTES: usize = 1 << 20;

/// An interface.
pub(crate) struct Nic {
    pub name: String,
    /// Absent while frames are being received from it: replies then go to the backlog.
    pub device: Option<Box<dyn NetDevice>>,
    pub mac: MacAddress,
    /// Where the device is.
    pub bus_info: String,
    pub features: NetFeatures,
    pub max_mtu: usize,
    pub max_tso_frame: usize,
    pub mtu: usize,
    pub link: Link,
    /// Administrative state.
    pub up: bool,
    pub attached: bool,
    pub addresses: Addresses,
    pub neighbours: Neighbours,
    pub backlog: Backlog,
    /// Frames were queued since the last flush.
    pub dirty: bool,
    /// The interface's task, and whether it has something to do besides receiving.
    pub waker: Option<Waker>,
    pub kicked: bool,
    /// Present while the DHCP client runs.
    pub dhcp: Option<DhcpPort>,
    /// Whether router advertisements are heeded, and how many solicitations are still to be sent.
    pub slaac: bool,
    pub router_solicits: u8,
    /// Who looks at its frames.
    pub taps: Taps,
}

impl Nic {
    /// Packets can go through it.
    pub fn running(&self) -> bool {
        self.is_up() && self.link != Link::Down
    }

    /// It is there and set up, with a carrier or without.
    pub fn is_up(&self) -> bool {
        self.up && self.attached
    }

    /// Wakes the interface's task.
    pub fn kick(&mut self) {
        if !self.kicked {
            self.kicked = true;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// Wakes the interface's task if something waits for room in the device's ring: nobody else sees when there is some.
    pub fn kick_for_backlog(&mut self) {
        if !self.backlog.is_empty() {
            self.kick();
        }
    }

    /// Whether a frame can go straight into the device's ring.
    pub fn has_room(&mut self) -> bool {
        self.backlog.is_empty() && self.device.as_mut().is_some_and(|device| device.transmit_room() > 0)
    }

    /// Sends one frame of `len` bytes after the Ethernet header, written by `fill`. With the device busy or
    /// its ring full the frame goes to the backlog; with that full too, it is dropped (false).
    pub fn transmit(
        &mut self,
        to: MacAddress,
        ethertype: u16,
        len: usize,
        offload: TxOffload,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        let (mac, taps) = (self.mac, &mut self.taps);
        let total = ETH_HEADER + len;
        let mut write = |frame: &mut [u8]| {
            let (header, payload) = frame.split_at_mut(ETH_HEADER);
            header[..6].copy_from_slice(&to.0);
            header[6..12].copy_from_slice(&mac.0);
            header[12..].copy_from_slice(&ethertype.to_be_bytes());
            fill(payload);
            taps.show(frame, Direction::Out);
        };
        self.dirty = true;
        if self.backlog.is_empty()
            && let Some(device) = &mut self.device
        {
            match device.transmit(total, offload, &mut write) {
                Ok(()) => return true,
                Err(TransmitError::TooLong) => return false,
                Err(TransmitError::Full) => {}
            }
        }
        self.backlog.push(total, offload, &mut write)
    }

    /// Moves the backlog into the ring as far as there is room, then rings the doorbell if needed.
    pub fn flush(&mut self) {
        let Some(device) = &mut self.device else { return };
        self.backlog.drain_into(&mut **device);
        if self.dirty {
            self.dirty = false;
            device.flush();
        }
    }

    pub fn has_address(&self, addr: IpAddr) -> bool {
        self.addresses.has(addr)
    }

    /// The address that packets to `dst` are from, unless somebody chose another.
    pub fn source(&self, dst: IpAddr) -> Option<IpAddr> {
        match dst {
            IpAddr::V4(dst) => self.source_v4(dst).map(IpAddr::V4),
            IpAddr::V6(dst) => self.source_v6(dst).map(IpAddr::V6),
        }
    }

    /// The first IPv4 address, preferring one in the network of `near`.
    pub fn source_v4(&self, near: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = |near_only: bool| {
            self.addresses.iter().find_map(|own| match own.cidr.addr {
                IpAddr::V4(addr) if !near_only || own.cidr.contains(near.into()) => Some(addr),
                _ => None,
            })
        };
        own(true).or_else(|| own(false))
    }

    /// An IPv6 address of the scope of `near`: link-local for link-local, else global if there is one.
    pub fn source_v6(&self, near: Ipv6Addr) -> Option<Ipv6Addr> {
        let wants_local = near.is_unicast_link_local() || near.is_multicast();
        let mut found = None;
        for own in self.addresses.iter() {
            let IpAddr::V6(addr) = own.cidr.addr else { continue };
            if own.cidr.contains(near.into()) {
                return Some(addr);
            }
            if found.is_none() || addr.is_unicast_link_local() == wants_local {
                found = Some(addr);
            }
        }
        found
    }

    pub fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.addresses.is_broadcast(addr)
    }

    /// Whether this group is ours: all nodes, or the solicited-node group of an own address.
    pub fn in_group(&self, group: IpAddr) -> bool {
        match group {
            IpAddr::V4(group) => group == Ipv4Addr::new(224, 0, 0, 1),
            IpAddr::V6(group) => {
                group == ALL_NODES
                    || self
                        .addresses
                        .iter()
                        .any(|own| matches!(own.cidr.addr, IpAddr::V6(addr) if solicited_node(addr) == group))
            }
        }
    }

    /// Tells the device which groups it must receive.
    pub fn update_groups(&mut self) {
        let mut groups = Vec::with_capacity(self.addresses.len() + 2);
        groups.push(crate::addr::multicast_mac(Ipv4Addr::new(224, 0, 0, 1).into()));
        groups.push(crate::addr::multicast_mac(ALL_NODES.into()));
        for own in self.addresses.iter() {
            if let IpAddr::V6(addr) = own.cidr.addr {
                let mac = crate::addr::multicast_mac(solicited_node(addr).into());
                if !groups.contains(&mac) {
                    groups.push(mac);
                }
            }
        }
        if let Some(device) = &mut self.device {
            device.set_multicast(&groups);
        }
    }

    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }
}

/// ff02::1.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// ff02::2.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Frames in order, in one arena that keeps its memory: a reply made while receiving costs a copy and no
/// allocation.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    frames: VecDeque<(usize, TxOffload)>,
    /// Bytes at the front of the arena that were sent already.
    sent: usize,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn push(&mut self, len: usize, offload: TxOffload, write: &mut dyn FnMut(&mut [u8])) -> bool {
        if self.bytes.len() + len > BACKLOG_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        let start = self.bytes.len();
        if start + len > BACKLOG_BYTES {
            return false;
        }
        self.bytes.resize(start + len, 0);
        write(&mut self.bytes[start..]);
        self.frames.push_back((len, offload));
        true
    }

    fn drain_into(&mut self, device: &mut dyn NetDevice) {
        while let Some(&(len, offload)) = self.frames.front() {
            let frame = &self.bytes[self.sent..self.sent + len];
            match device.transmit(len, offload, &mut |buffer| buffer.copy_from_slice(frame)) {
                Err(TransmitError::Full) => return,
                Ok(()) | Err(TransmitError::TooLong) => {}
            }
            self.sent += len;
            self.frames.pop_front();
        }
        self.clear();
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.sent = 0;
    }
}
