//! IPv4 protocol 106 as a link (section 2.2). Addresses come from a resolver; nobody is reached by broadcast.

use super::ethernet::fill;
use crate::link::{LinkAddress, LinkId, LinkPort};
use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::net::{IpAddr, Ipv4Addr};
use keelson_hal::Link;
use keelson_net::{InterfaceId, InterfaceStatus, Stack};
use keelson_qnet_wire::ipv4::{self, PAD, PROTOCOL};
use keelson_qnet_wire::l4::Header;

/// Peers without padding that are remembered. Others get frames with it, as everybody does at first.
const MAX_UNPADDED: usize = 1024;
/// Name of the link.
const NAME: &str = "ip";
/// MTU while no interface has an address.
const NO_MTU: usize = 576;

/// The link port of all IPv4 addresses together.
pub(super) struct IpPort {
    stack: Stack,
    link: Cell<Option<LinkId>>,
    address: Cell<Option<Ipv4Addr>>,
    mtu: Cell<usize>,
    /// Interfaces that packets may leave by.
    ways: RefCell<alloc::vec::Vec<InterfaceId>>,
    /// Peers that were seen to send no padding.
    unpadded: RefCell<BTreeSet<Ipv4Addr>>,
    max_frames: usize,
    receiving: Rc<Cell<bool>>,
}

impl IpPort {
    /// A port that takes at most so many packets at once, and none while packets are handed over.
    pub fn new(stack: &Stack, (max_frames, receiving): (usize, Rc<Cell<bool>>)) -> IpPort {
        IpPort {
            stack: stack.clone(),
            link: Cell::new(None),
            address: Cell::new(None),
            mtu: Cell::new(NO_MTU),
            ways: RefCell::default(),
            unpadded: RefCell::default(),
            max_frames,
            receiving,
        }
    }

    /// Its number on the node.
    pub fn link(&self) -> Option<LinkId> {
        self.link.get()
    }

    /// The node gave it a number.
    pub fn set_link(&self, link: LinkId) {
        self.link.set(Some(link));
    }

    /// Takes in how interfaces are: the first address is ours, the smallest MTU holds for all.
    pub fn update(&self, interfaces: &[InterfaceStatus]) {
        let v4 = |status: &InterfaceStatus| {
            status.addresses.iter().find_map(|cidr| match cidr.addr {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
        };
        let runs = |status: &&InterfaceStatus| status.up && status.link != Link::Down && v4(status).is_some();
        let running = || interfaces.iter().filter(runs);
        self.address.set(running().find_map(v4));
        self.mtu.set(running().map(|status| status.mtu).min().unwrap_or(NO_MTU));
        *self.ways.borrow_mut() = running().map(|status| status.id).collect();
    }

    /// What lies behind the padding of a packet, if it has any: how its sender does it is remembered.
    pub fn unpad<'a>(&self, from: Ipv4Addr, payload: &'a [u8]) -> Option<&'a [u8]> {
        let offset = ipv4::l4_offset(payload).ok()?;
        let lwl4 = payload.get(offset..).filter(|lwl4| lwl4.len() >= Header::LEN)?;
        let mut unpadded = self.unpadded.borrow_mut();
        if offset != 0 {
            unpadded.remove(&from);
        } else if unpadded.len() < MAX_UNPADDED {
            unpadded.insert(from);
        }
        Some(lwl4)
    }
}

impl LinkPort for IpPort {
    fn name(&self) -> &str {
        NAME
    }

    fn address(&self) -> LinkAddress {
        LinkAddress::Ipv4(self.address.get().unwrap_or(Ipv4Addr::UNSPECIFIED))
    }

    fn mtu(&self) -> usize {
        self.mtu.get()
    }

    fn is_up(&self) -> bool {
        self.address.get().is_some()
    }

    /// Which way a packet goes is known when it goes: there is room when every way has room.
    fn room(&self) -> usize {
        if self.receiving.get() {
            return 0;
        }
        let ways = self.ways.borrow();
        ways.iter().map(|id| self.stack.frame_room(*id)).min().unwrap_or(0).min(self.max_frames)
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        let Some(LinkAddress::Ipv4(to)) = to else { return false };
        let pad = if self.unpadded.borrow().contains(&to) { 0 } else { PAD };
        let bytes = payload.iter().map(|piece| piece.len()).sum::<usize>();
        let len = pad + Header::LEN + bytes;
        let sent =
            self.stack.send_packet(None, to, PROTOCOL, len, &mut |room| fill(room, pad, head, payload));
        sent.is_ok()
    }

    fn flush(&self) {
        self.ways.borrow().iter().for_each(|id| self.stack.flush_frames(*id));
    }
}
