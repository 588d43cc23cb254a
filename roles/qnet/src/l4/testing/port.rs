//! A link port of a simulated node.

use crate::link::{LinkAddress, LinkPort};
use keelson_qnet_wire::l4::Header;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A frame that left a node: where to, and what lies behind link header and padding.
pub type Frame = (Option<LinkAddress>, Vec<u8>);

/// Keeps what was sent until the wire takes it.
pub struct SimPort {
    pub name: String,
    pub address: LinkAddress,
    pub mtu: usize,
    pub up: Cell<bool>,
    /// Frames it takes before the wire has taken some.
    pub capacity: Cell<usize>,
    pub sent: RefCell<VecDeque<Frame>>,
    pub flushes: Cell<u64>,
}

impl SimPort {
    pub fn new(name: &str, address: LinkAddress) -> SimPort {
        SimPort {
            name: name.into(),
            address,
            mtu: 1500,
            up: Cell::new(true),
            capacity: Cell::new(usize::MAX),
            sent: RefCell::default(),
            flushes: Cell::new(0),
        }
    }

    pub fn take(&self) -> Option<Frame> {
        self.sent.borrow_mut().pop_front()
    }
}

impl LinkPort for SimPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> LinkAddress {
        self.address
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn is_up(&self) -> bool {
        self.up.get()
    }

    fn room(&self) -> usize {
        self.capacity.get().saturating_sub(self.sent.borrow().len())
    }

    fn send(&self, to: Option<LinkAddress>, head: &[u8; Header::LEN], payload: &[&[u8]]) -> bool {
        assert!(self.up.get() && self.room() > 0, "sent without room");
        let bytes = [&head[..], &payload.concat()].concat();
        let before = match self.address {
            LinkAddress::Mac(_) => 0,
            LinkAddress::Ipv4(_) => 20,
        };
        assert!(bytes.len() + 2 + before <= self.mtu, "frame of {} bytes", bytes.len());
        self.sent.borrow_mut().push_back((to, bytes));
        true
    }

    fn flush(&self) {
        self.flushes.set(self.flushes.get() + 1);
    }
}
