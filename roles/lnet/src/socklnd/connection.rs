//! An established connection: what its two tasks share, how it begins and how it ends.

use super::counters::{Counters, add, count};
use super::courier::Notice;
use super::peer::{Heard, Origin, Peer, PeerKey};
use super::signal::Signal;
use super::transmit::Outgoing;
use super::{Socklnd, receive, transmit};
use crate::lnd::{LndConnectionStatus, LndUpper, SendError};
use crate::message::Message;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use keelson_exec::TaskHandle;
use keelson_hal::Instant;
use keelson_lnet_wire::hello::{ConnType, Hello, Version};
use keelson_lnet_wire::nid::ProcessId;
use keelson_net::{ReadHalf, TcpStream, WriteHalf};

/// What was agreed on in the HELLOs.
pub(super) struct Terms {
    /// The type as seen from here.
    pub kind: ConnType,
    pub version: Version,
    /// The peer's 24-byte headers come in the other byte order.
    pub swapped: bool,
    pub incarnation: u64,
    /// Goes out before anything else: our answer to a peer that connected.
    pub greeting: Option<Hello>,
    /// Bytes of the send and the receive ring.
    pub rings: (usize, usize),
}

/// What the reaper saw of one direction: bytes that got through, and since when it is as many.
#[derive(Clone, Copy)]
pub(super) struct Watch {
    pub bytes: u64,
    pub since: Instant,
}

pub(super) struct Connection<U: LndUpper> {
    pub peer: Rc<Peer<U>>,
    /// LNet's record of the peer.
    pub record: U::Peer,
    pub kind: ConnType,
    pub version: Version,
    pub swapped: bool,
    local: SocketAddr,
    remote: SocketAddr,
    rings: (usize, usize),
    /// When it was there, if we opened it.
    pub opened: Option<Instant>,
    pub read: ReadHalf,
    pub write: WriteHalf,
    pub tx: RefCell<Outgoing>,
    /// Tells the writer that there is something to do.
    pub wake: Signal,
    /// Bytes read.
    pub received: Cell<u64>,
    /// A part of a message has been read.
    pub inside: Cell<bool>,
    /// LNet lets the reader wait: the peer cannot be blamed.
    pub parked: Cell<bool>,
    pub watch_in: Cell<Watch>,
    pub watch_out: Cell<Watch>,
    tasks: RefCell<Option<[TaskHandle; 2]>>,
    closed: Cell<bool>,
}

impl<U: LndUpper> Connection<U> {
    /// True once it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// True between the same addresses.
    pub fn joins(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.local.ip() == local.ip() && self.remote.ip() == remote.ip()
    }

    pub fn status(&self) -> LndConnectionStatus {
        let kind = match self.kind {
            ConnType::Control => 'C',
            ConnType::BulkIn => 'I',
            ConnType::BulkOut => 'O',
            ConnType::Any | ConnType::None => 'A',
        };
        LndConnectionStatus {
            ni: self.peer.key.ni,
            nid: self.peer.key.nid,
            kind,
            local: self.local.ip(),
            remote: self.remote.ip(),
            port: self.remote.port(),
            rings: self.rings,
        }
    }

    /// Stops both tasks and gives up the socket: with a reset, or in order with what was written. Returns a
    /// message of which only a part was written.
    fn end(&self, reset: bool) -> Option<Message> {
        self.closed.set(true);
        let tasks = self.tasks.borrow_mut().take();
        tasks.iter().flatten().for_each(TaskHandle::abort);
        if reset {
            self.read.abort();
        } else {
            self.write.shutdown();
        }
        self.tx.borrow_mut().abandon()
    }
}

/// How the connections of a peer end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// The peer closed between messages. What is queued starts anew.
    Orderly,
    /// Something broke. What is queued is lost, with this error.
    Failed(SendError),
    /// The peer is in a new life. What is queued starts anew.
    Stale,
    /// We want no more of it. What is queued is returned with this error.
    Here(SendError),
}

impl<U: LndUpper> Socklnd<U> {
    /// Makes a connection of `stream` and starts its tasks. Gives it back when LNet wants no such peer.
    pub(super) fn register(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: &Rc<Peer<U>>,
        terms: Terms,
    ) -> Result<(), TcpStream> {
        let Some(record) = self.upper.peer(peer.key.ni, peer.key.nid) else { return Err(stream) };
        let now = self.handle.now();
        let watch = Watch { bytes: 0, since: now };
        let (local, remote) = (stream.local(), stream.peer());
        let (read, write) = stream.into_split();
        let connection = Rc::new(Connection {
            peer: peer.clone(),
            record,
            kind: terms.kind,
            version: terms.version,
            swapped: terms.swapped,
            local,
            remote,
            rings: terms.rings,
            opened: terms.greeting.is_none().then_some(now),
            read,
            write,
            tx: RefCell::new(Outgoing::new(terms.greeting.as_ref())),
            wake: Signal::default(),
            received: Cell::new(0),
            inside: Cell::new(false),
            parked: Cell::new(false),
            watch_in: Cell::new(watch),
            watch_out: Cell::new(watch),
            tasks: RefCell::new(None),
            closed: Cell::new(false),
        });
        let mut backoff = peer.backoff.get();
        backoff.succeeded();
        peer.backoff.set(backoff);
        if !peer.is_connected() {
            if !peer.is_dialling() {
                peer.origin.set(Origin::Theirs);
            }
            peer.heard.set(Heard { bytes: 0, at: now, probed: now });
            let PeerKey { ni, nid, pid } = peer.key;
            self.courier.post(Notice::Up(ni, ProcessId { nid, pid }));
        }
        peer.life.set(Some((terms.version, terms.incarnation)));
        let mut census = peer.census.get();
        census.add(terms.kind);
        peer.census.set(census);
        peer.connections.borrow_mut().push(connection.clone());
        self.established.set(self.established.get() + 1);
        log::debug!(target: super::LOG, "LNet: {} connection with {} is up", terms.kind, peer.key.nid);
        let reader = self.handle.spawn("lnet-rx", receive::run(self.clone(), connection.clone()));
        let writer = self.handle.spawn("lnet-tx", transmit::run(self.clone(), connection.clone()));
        *connection.tasks.borrow_mut() = Some([reader, writer]);
        Ok(())
    }

    /// Ends a connection, and all others of its peer, because of what happened on it.
    pub(super) fn close(
        self: &Rc<Self>,
        connection: &Connection<U>,
        ending: Ending,
        reason: &core::cell::Cell<u64>,
    ) {
        if connection.is_closed() {
            return;
        }
        count(reason);
        let siblings = connection.peer.connections.borrow().len().saturating_sub(1);
        add(&self.counters.closed_siblings, siblings as u64);
        self.close_peer(&connection.peer, ending);
    }

    /// Ends all connections of a peer (lnet specification section 3.12).
    pub(super) fn close_peer(self: &Rc<Self>, peer: &Rc<Peer<U>>, ending: Ending) {
        let connections = core::mem::take(&mut *peer.connections.borrow_mut());
        let reset = matches!(ending, Ending::Failed(_) | Ending::Stale);
        peer.census.set(Default::default());
        peer.life.set(None);
        peer.acks.borrow_mut().clear();
        peer.content.set(false);
        peer.offer.set(Version::for_nid(&peer.key.nid));
        self.established.set(self.established.get().saturating_sub(connections.len()));
        for connection in &connections {
            if let Some(message) = connection.end(reset) {
                let error = match ending {
                    Ending::Failed(error) | Ending::Here(error) => error,
                    Ending::Orderly | Ending::Stale => SendError::Broken,
                };
                self.lose(peer, message, error);
            }
        }
        match ending {
            Ending::Failed(error) => self.lose_queue(peer, error),
            Ending::Here(error) => {
                let dial = peer.dial.borrow_mut().take();
                if let Some(dial) = dial {
                    dial.abort();
                }
                self.lose_queue(peer, error);
            }
            Ending::Orderly | Ending::Stale => {}
        }
        if !connections.is_empty() {
            self.courier.post(Notice::Down(peer.key.ni, peer.key.nid, reset));
        }
        if peer.key.is_userspace() {
            self.lose_queue(peer, SendError::Unreachable);
        }
        if peer.queues.borrow().is_empty() {
            self.forget_if_idle(peer);
        } else {
            self.launch(peer);
        }
    }

    /// Returns a message that was not sent.
    pub(super) fn lose(&self, peer: &Peer<U>, message: Message, error: SendError) {
        count(lost(&self.counters, error));
        self.courier.post(Notice::Lost(peer.key.ni, peer.key.nid, message, error));
    }

    /// Returns everything that is queued for a peer.
    pub(super) fn lose_queue(&self, peer: &Peer<U>, error: SendError) {
        loop {
            let message = peer.queues.borrow_mut().pop();
            let Some(message) = message else { return };
            self.lose(peer, message, error);
        }
    }
}

/// The counter of messages that were lost in this way.
pub(super) fn lost(counters: &Counters, error: SendError) -> &Cell<u64> {
    match error {
        SendError::Unreachable => &counters.tx_unreachable,
        SendError::TimedOut => &counters.tx_timed_out,
        SendError::Broken => &counters.tx_broken,
        SendError::NotExpressible => &counters.tx_not_expressible,
        SendError::Down => &counters.tx_down,
    }
}
