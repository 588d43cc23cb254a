//! What is known of a peer: its connections, what waits for them, how attempts to reach it went.

use super::acks::Acks;
use super::backoff::Backoff;
use super::connection::Connection;
use super::lanes::{Census, Class, Queued, Queues};
use crate::lnd::{LndNi, LndUpper, NiId};
use crate::message::Message;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use keelson_exec::TaskHandle;
use keelson_hal::Instant;
use keelson_lnet_wire::hello::{ConnType, Version};
use keelson_lnet_wire::ksock::KsockHeader;
use keelson_lnet_wire::nid::{Nid, USERSPACE_FLAG};

/// Names a peer. A userspace process counts as one of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PeerKey {
    pub ni: NiId,
    pub nid: Nid,
    pub pid: u32,
}

impl PeerKey {
    /// True for a process that nobody can connect to.
    pub fn is_userspace(&self) -> bool {
        self.pid & USERSPACE_FLAG != 0
    }
}

/// Who began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// We had something to send: we open the connections that are missing.
    Ours,
    /// The peer connected: it opens what it wants, and we use that.
    Theirs,
}

/// When the reaper last saw a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// Bytes received on all connections by then.
    pub bytes: u64,
    pub at: Instant,
    /// When a keepalive was last asked for.
    pub probed: Instant,
}

pub(super) struct Peer<U: LndUpper> {
    pub key: PeerKey,
    pub ni: LndNi,
    pub connections: RefCell<Vec<Rc<Connection<U>>>>,
    pub census: Cell<Census>,
    /// Version and incarnation of the connections; none without connections.
    pub life: Cell<Option<(Version, u64)>>,
    pub queues: RefCell<Queues>,
    pub acks: RefCell<Acks>,
    /// A keepalive is to be sent.
    pub keepalive: Cell<bool>,
    pub origin: Cell<Origin>,
    /// The task that opens connections.
    pub dial: RefCell<Option<TaskHandle>>,
    /// An attempt is under way.
    pub connecting: Cell<bool>,
    /// The version to offer.
    pub offer: Cell<Version>,
    /// The peer gives no more connections than there are.
    pub content: Cell<bool>,
    pub backoff: Cell<Backoff>,
    pub heard: Cell<Heard>,
    /// Place in the reaper's list.
    pub place: Cell<usize>,
}

impl<U: LndUpper> Peer<U> {
    pub fn new(key: PeerKey, ni: LndNi, origin: Origin, now: Instant) -> Rc<Peer<U>> {
        Rc::new(Peer {
            key,
            ni,
            connections: RefCell::default(),
            census: Cell::default(),
            life: Cell::default(),
            queues: RefCell::default(),
            acks: RefCell::default(),
            keepalive: Cell::default(),
            origin: Cell::new(origin),
            dial: RefCell::default(),
            connecting: Cell::default(),
            offer: Cell::new(Version::for_nid(&key.nid)),
            content: Cell::default(),
            backoff: Cell::default(),
            heard: Cell::new(Heard { bytes: 0, at: now, probed: now }),
            place: Cell::new(usize::MAX),
        })
    }

    /// The dialect of its connections, or the one that will be tried.
    pub fn version(&self) -> Version {
        self.life.get().map_or(self.offer.get(), |(version, _)| version)
    }

    /// True when there is a connection that takes messages.
    pub fn can_send(&self) -> bool {
        self.census.get().can_send(self.version())
    }

    /// True with any connection.
    pub fn is_connected(&self) -> bool {
        !self.connections.borrow().is_empty()
    }

    /// True while connections are being opened.
    pub fn is_dialling(&self) -> bool {
        self.dial.borrow().is_some()
    }

    /// The connection to open next.
    pub fn wanted(&self) -> Option<ConnType> {
        let bulk = usize::from(self.ni.conns_per_peer.max(1));
        if self.content.get() { None } else { self.census.get().wanted(bulk) }
    }

    /// Queues a message and wakes a connection that may take it and does nothing.
    pub fn push(&self, message: Message, min_bulk: usize, now: Instant) {
        let size = KsockHeader::LEN + self.version().header_len() + message.payload.len();
        let class = if size < min_bulk { Class::Small } else { Class::Bulk };
        self.queues.borrow_mut().push(class, Queued { message, since: now });
        let (census, version) = (self.census.get(), self.version());
        self.wake(|kind| census.carries(kind, version, class));
    }

    /// Owes the peer an acknowledgement and wakes a connection that sends it. False when it is owed too many.
    pub fn acknowledge(&self, cookie: u64) -> bool {
        let owed = self.acks.borrow_mut().push(cookie).is_ok();
        let census = self.census.get();
        self.wake(|kind| census.acknowledges(kind));
        owed
    }

    /// Has a keepalive sent on a bulk-in connection, if there is one and the version knows it.
    pub fn probe(&self) {
        self.keepalive.set(true);
        self.wake(|kind| kind == ConnType::BulkIn);
    }

    fn wake(&self, fits: impl Fn(ConnType) -> bool) {
        let connections = self.connections.borrow();
        let resting = connections.iter().find(|conn| fits(conn.kind) && conn.wake.is_awaited());
        if let Some(connection) = resting {
            connection.wake.raise();
        }
    }

    /// Messages that are not on a connection yet, and those of which a part is.
    pub fn queued(&self) -> usize {
        let partly = self.connections.borrow().iter().filter(|conn| conn.tx.borrow().has_message()).count();
        self.queues.borrow().len() + partly
    }
}
