//! The socket LND: LNet over TCP, as Linux's ksocklnd speaks it.
//!
//! ```text
//!   acceptor --HELLO--> +------------+ <--HELLO-- dial
//!                       | connection |  CONTROL, BULK_IN, BULK_OUT: one or more of each for a peer
//!    Lnd::send          |            |
//!       |               |  writer <--+-- pulls from the peer's two queues what its type carries
//!       v               |  reader ---+-> LndUpper::arrived, payload, acknowledgement, LndUpper::received
//!   small | bulk ------>+------------+
//! ```
//!
//! Principles:
//!
//! 1. **Compatible to the byte** with every release that is in use (lnet specification sections 2 and 3); where
//!    Linux is weak, the appliance does what the specification says an appliance should.
//! 2. **A message costs the same with one peer as with thousands**: one hash look-up to send, none to receive;
//!    no timer, no memory, one copy. Time limits are watched by one task from the outside (`reaper`).
//! 3. **Back-pressure, not loss**: a connection whose message LNet cannot take now is not read. Only the far end
//!    of the peer's acknowledgements (our BULK_OUT) is always read.
//! 4. **A small message never waits behind a large one** where the peer has the connections for it.
//! 5. **What is queued starts anew, what is half written is lost** when the peer ends its connections in order
//!    or begins a new life; after a failure everything is returned, as Linux does.
//! 6. **LNet is never called back out of its own call**: bad news comes from a task (`courier`).
//!
//! "T" is the LND timeout: the limit for a silent peer within a message, for the peer to take what is sent, for
//! a sequence of attempts to connect, and for a message to wait for a connection.
//!
//! Not here: zero-copy requests of our own (all cookies that we send are 0: a message is done when its last byte
//! is with TCP), checksums of our own, checksums of version 2, `accept_port_bulk`, loopback connections (LNet
//! delivers to itself), per-connection round-trip statistics.

mod accept;
mod acks;
mod backoff;
mod config;
mod connection;
mod counters;
mod courier;
mod dial;
mod frame;
mod handshake;
mod judge;
mod lanes;
mod peer;
mod reaper;
mod receive;
mod signal;
mod transmit;

pub use config::{Accept, SocklndConfig};
pub use counters::Counters;

use crate::lnd::{Lnd, LndConnectionStatus, LndNi, LndPeerStatus, LndUpper, NiId, SendError};
use crate::message::Message;
use accept::Pending;
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use connection::Ending;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use counters::{LogLimit, add};
use courier::{Courier, Notice};
use keelson_exec::{Handle, TaskHandle};
use keelson_hal::Instant;
use keelson_lnet_wire::LUSTRE_PID;
use keelson_lnet_wire::nid::Nid;
use keelson_net::Stack;
use keelson_net::hash::KeyedMap;
use peer::{Origin, Peer, PeerKey};

/// Target of all log lines.
const LOG: &str = "lnet";

/// The LND. Its tasks run until their executor ends.
pub struct Socklnd<U: LndUpper> {
    me: Weak<Socklnd<U>>,
    stack: Stack,
    handle: Handle,
    upper: Rc<U>,
    config: SocklndConfig,
    counters: Counters,
    nis: RefCell<Vec<LndNi>>,
    peers: RefCell<KeyedMap<PeerKey, Rc<Peer<U>>>>,
    /// The same, for the reaper to walk along.
    order: RefCell<Vec<Rc<Peer<U>>>>,
    /// Connections of all peers.
    established: Cell<usize>,
    /// In order of age.
    handshakes: RefCell<VecDeque<Pending>>,
    next_handshake: Cell<u64>,
    acceptor: RefCell<Option<TaskHandle>>,
    courier: Rc<Courier>,
    /// Now, as exact as the reaper's tick.
    coarse_now: Cell<Instant>,
    log_limit: LogLimit,
}

impl<U: LndUpper> Socklnd<U> {
    /// Starts the LND; it listens as soon as it has an interface.
    pub fn new(stack: Stack, handle: Handle, upper: Rc<U>, config: SocklndConfig) -> Rc<Socklnd<U>> {
        let key = stack.hash_key();
        let lnd = Rc::new_cyclic(|me| Socklnd {
            me: me.clone(),
            stack,
            coarse_now: Cell::new(handle.now()),
            handle: handle.clone(),
            upper: upper.clone(),
            config,
            counters: Counters::default(),
            nis: RefCell::default(),
            peers: RefCell::new(KeyedMap::with_hasher(key)),
            order: RefCell::default(),
            established: Cell::default(),
            handshakes: RefCell::default(),
            next_handshake: Cell::default(),
            acceptor: RefCell::default(),
            courier: Rc::default(),
            log_limit: LogLimit::default(),
        });
        handle.spawn("lnet-courier", lnd.courier.clone().run(upper));
        handle.spawn("lnet-reaper", lnd.clone().reap());
        lnd
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The settings.
    pub fn config(&self) -> &SocklndConfig {
        &self.config
    }

    fn ni(&self, id: NiId) -> Option<LndNi> {
        self.nis.borrow().iter().find(|ni| ni.id == id).cloned()
    }

    fn ni_of(&self, nid: Nid) -> Option<LndNi> {
        self.nis.borrow().iter().find(|ni| ni.nid == nid).cloned()
    }

    /// Makes a record of a peer.
    fn remember(&self, key: PeerKey, ni: LndNi, origin: Origin) -> Rc<Peer<U>> {
        let peer = Peer::new(key, ni, origin, self.handle.now());
        self.peers.borrow_mut().insert(key, peer.clone());
        let mut order = self.order.borrow_mut();
        peer.place.set(order.len());
        order.push(peer.clone());
        peer
    }

    /// Drops the record of a peer that says nothing any more.
    fn forget_if_idle(&self, peer: &Rc<Peer<U>>) {
        let idle = !peer.is_connected() && !peer.is_dialling() && peer.queues.borrow().is_empty();
        if idle && peer.backoff.get().is_over(self.handle.now()) {
            self.forget(peer);
        }
    }

    fn forget(&self, peer: &Rc<Peer<U>>) {
        let mut order = self.order.borrow_mut();
        let place = peer.place.replace(usize::MAX);
        if order.get(place).is_some_and(|there| Rc::ptr_eq(there, peer)) {
            order.swap_remove(place);
            if let Some(moved) = order.get(place) {
                moved.place.set(place);
            }
            self.peers.borrow_mut().remove(&peer.key);
        }
    }

    /// A log line that others can provoke.
    fn warn(&self, text: fmt::Arguments<'_>) {
        self.log_limit.warn(self.handle.now(), &self.counters, text);
    }

    /// Ends everything that has to do with a peer.
    fn drop_peer(self: &Rc<Self>, peer: &Rc<Peer<U>>, error: SendError) {
        add(&self.counters.closed_here, peer.connections.borrow().len() as u64);
        self.close_peer(peer, Ending::Here(error));
        self.forget(peer);
    }

    fn enqueue(self: &Rc<Self>, peer: &Rc<Peer<U>>, message: Message) {
        let is_up = peer.is_connected();
        let waits = is_up || peer.is_dialling();
        let hopeless = peer.key.is_userspace() || peer.key.nid == peer.ni.nid;
        if !waits && (hopeless || peer.backoff.get().holds(self.handle.now())) {
            return self.lose(peer, message, SendError::Unreachable);
        }
        peer.push(message, self.config.min_bulk, self.coarse_now.get());
        self.launch(peer);
    }
}

impl<U: LndUpper> Lnd for Socklnd<U> {
    fn add_ni(&self, ni: LndNi) {
        log::debug!(target: LOG, "LNet: interface {}", ni.nid);
        self.nis.borrow_mut().push(ni);
        if let Some(lnd) = self.me.upgrade()
            && self.config.accept != Accept::None
            && self.acceptor.borrow().as_ref().is_none_or(TaskHandle::is_finished)
        {
            *self.acceptor.borrow_mut() = Some(self.handle.spawn("lnet-acceptor", lnd.accept()));
        }
    }

    fn remove_ni(&self, ni: NiId) {
        let Some(lnd) = self.me.upgrade() else { return };
        self.nis.borrow_mut().retain(|other| other.id != ni);
        let peers: Vec<_> = self.order.borrow().iter().filter(|peer| peer.key.ni == ni).cloned().collect();
        peers.iter().for_each(|peer| lnd.drop_peer(peer, SendError::Down));
        if self.nis.borrow().is_empty()
            && let Some(acceptor) = self.acceptor.borrow_mut().take()
        {
            acceptor.abort();
        }
    }

    fn send(&self, ni: NiId, to: Nid, message: Message) {
        let Some(lnd) = self.me.upgrade() else { return };
        let header = &message.header;
        // A userspace process is addressed by its PID; everybody else, routers too, is a Lustre node.
        let direct = header.dest_nid == to && header.dest_pid & keelson_lnet_wire::nid::USERSPACE_FLAG != 0;
        let pid = if direct { header.dest_pid } else { LUSTRE_PID };
        let key = PeerKey { ni, nid: to, pid };
        let known = self.peers.borrow().get(&key).cloned();
        match known {
            Some(peer) => lnd.enqueue(&peer, message),
            None => match self.ni(ni) {
                Some(ni) => lnd.enqueue(&self.remember(key, ni, Origin::Ours), message),
                None => {
                    counters::count(&self.counters.tx_down);
                    self.courier.post(Notice::Lost(ni, to, message, SendError::Down));
                }
            },
        }
    }

    fn disconnect(&self, ni: NiId, nid: Nid) {
        let Some(lnd) = self.me.upgrade() else { return };
        let is_it = |peer: &&Rc<Peer<U>>| peer.key.ni == ni && peer.key.nid == nid;
        let peers: Vec<_> = self.order.borrow().iter().filter(is_it).cloned().collect();
        peers.iter().for_each(|peer| lnd.drop_peer(peer, SendError::Broken));
    }

    fn peers(&self) -> Vec<LndPeerStatus> {
        let status = |peer: &Rc<Peer<U>>| LndPeerStatus {
            ni: peer.key.ni,
            nid: peer.key.nid,
            local: peer.ni.nid.ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            connections: peer.connections.borrow().len(),
            queued: peer.queued(),
        };
        self.order.borrow().iter().map(status).collect()
    }

    fn connections(&self) -> Vec<LndConnectionStatus> {
        let order = self.order.borrow();
        let of = |peer: &Rc<Peer<U>>| -> Vec<_> {
            peer.connections.borrow().iter().map(|conn| conn.status()).collect()
        };
        order.iter().flat_map(of).collect()
    }
}
