//! Sending: to sessions, to this node itself, or later when a session has no room.

use super::state::State;
use crate::sessions::{Body, NodeNr, Qos, RxId, RxMessage, TxId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use keelson_qnet_wire::kif::KifMessage;
use keelson_qnet_wire::{Endian, Errno};

/// Messages that may wait for room, to one node.
const HELD_PER_NODE: usize = 512;

/// Bytes that may wait for room, to all nodes.
const HELD_BYTES: usize = 1 << 20;

/// Memory that local messages leave for the next ones, at most so many pieces of so many bytes.
const SPARE: usize = 32;
const SPARE_BYTES: usize = 64 << 10;

/// Where a message goes, and how urgent it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub node: NodeNr,
    pub qos: Qos,
    pub priority: u8,
}

/// What a message belongs to: it is worthless when that has ended, and could be mistaken for another then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Epoch {
    /// A client here, connected by this.
    Tx(TxId),
    /// A client of the peer, connected by this.
    Rx(RxId),
}

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unsent {
    /// No room in the session now.
    Full,
    Failed(Errno),
}

impl From<Unsent> for Errno {
    fn from(unsent: Unsent) -> Errno {
        match unsent {
            Unsent::Full => Errno::EAGAIN,
            Unsent::Failed(errno) => errno,
        }
    }
}

/// A message that waits for room.
struct Held {
    route: Route,
    epoch: Epoch,
    head: Vec<u8>,
    body: Vec<u8>,
}

/// All of them, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    held: VecDeque<Held>,
    bytes: usize,
}

impl State {
    /// Sends a message, or says that it cannot be sent now.
    pub fn transmit(&mut self, route: Route, message: &KifMessage, body: Body<'_>) -> Result<TxId, Unsent> {
        if route.node == NodeNr::LOCAL {
            let mut bytes = self.spare.pop().unwrap_or_default();
            body.append_to(&mut bytes);
            self.loopback.push_back((*message, RxMessage::new(bytes)));
            return Ok(TxId(0));
        }
        if self.outbox.has(route) {
            return Err(Unsent::Full);
        }
        let sessions = self.sessions.as_ref().ok_or(Unsent::Failed(Errno::ENOREMOTE))?;
        let mut room = [0; KifMessage::MAX_LEN];
        let len = message.emit(&mut room, Endian::Little).unwrap_or(0);
        let head = room.get(..len).unwrap_or_default();
        match sessions.send(route.node, route.qos, route.priority, head, body) {
            Ok(tx) => Ok(tx),
            Err(Errno::EAGAIN) => Err(Unsent::Full),
            Err(errno) => Err(Unsent::Failed(errno)),
        }
    }

    /// Sends a message that its receiver waits for: if there is no room now, later. False when it is lost.
    pub fn transmit_surely(
        &mut self,
        route: Route,
        epoch: Epoch,
        message: &KifMessage,
        body: Body<'_>,
    ) -> bool {
        match self.transmit(route, message, body) {
            Ok(tx) => {
                self.note_answer(route.node, epoch, tx);
                true
            }
            Err(Unsent::Full) => self.hold(route, epoch, message, body),
            Err(Unsent::Failed(errno)) => {
                self.lost(route.node, epoch, errno);
                false
            }
        }
    }

    /// Sends a message when everything that has happened by now is known. False when there is no place to keep it.
    pub fn hold(&mut self, route: Route, epoch: Epoch, message: &KifMessage, body: Body<'_>) -> bool {
        let waiting = self.outbox.held.iter().filter(|held| held.route.node == route.node).count();
        let bytes = self.outbox.bytes.saturating_add(body.len());
        if waiting >= HELD_PER_NODE || (!body.is_empty() && bytes > HELD_BYTES) {
            // Without data there is a shorter answer, which says so.
            self.lost(route.node, epoch, if body.is_empty() { Errno::EAGAIN } else { Errno::EMSGSIZE });
            return false;
        }
        let mut room = [0; KifMessage::MAX_LEN];
        let len = message.emit(&mut room, Endian::Little).unwrap_or(0);
        let head = room.get(..len).unwrap_or_default().to_vec();
        let mut bytes = Vec::new();
        body.append_to(&mut bytes);
        self.outbox.bytes += bytes.len();
        self.outbox.held.push_back(Held { route, epoch, head, body: bytes });
        self.counters.outbound_msgs.set(self.outbox.held.len());
        true
    }

    /// Sends what sessions have room for now. Messages to one node by one QoS stay in order.
    pub fn flush_outbox(&mut self) {
        let Some(sessions) = self.sessions.clone() else { return };
        let mut full: Vec<(NodeNr, Qos)> = Vec::new();
        let mut index = 0;
        while let Some(held) = self.outbox.held.get(index) {
            let Route { node, qos, priority } = held.route;
            let parts = [held.body.as_slice()];
            let sent = match full.contains(&(node, qos)) {
                true => Err(Errno::EAGAIN),
                false => sessions.send(node, qos, priority, &held.head, Body::new(&parts)),
            };
            if sent == Err(Errno::EAGAIN) {
                full.push((node, qos));
                index += 1;
                continue;
            }
            let epoch = held.epoch;
            match sent {
                Ok(tx) => self.note_answer(node, epoch, tx),
                Err(errno) => self.lost(node, epoch, errno),
            }
            self.outbox.remove(index);
        }
        self.counters.outbound_msgs.set(self.outbox.held.len());
    }

    /// A message could not be sent, nor kept. When clients of another node wait for it they would wait for ever, as their
    /// own connection may work: it is ended, which tells them.
    fn lost(&mut self, node: NodeNr, epoch: Epoch, errno: Errno) {
        self.counters.outbound_lost += 1;
        if let (Epoch::Rx(rx), Some(sessions)) = (epoch, &self.sessions)
            && node != NodeNr::LOCAL
            && errno != Errno::EMSGSIZE
        {
            sessions.close_rx(node, rx);
        }
    }

    /// Remembers by which connection clients of a node get their answers: with it, answers are lost.
    fn note_answer(&mut self, node: NodeNr, epoch: Epoch, tx: TxId) {
        if let (Epoch::Rx(_), Some(peer)) = (epoch, self.peers.get_mut(&node)) {
            peer.answers = Some(tx);
        }
    }

    /// Forgets what belongs to something that has ended.
    pub fn purge_outbox(&mut self, epoch: Epoch) {
        self.outbox.retain(|held| held.epoch != epoch);
        self.counters.outbound_msgs.set(self.outbox.held.len());
    }

    /// Forgets everything that waits for room.
    pub fn clear_outbox(&mut self) {
        self.outbox = Outbox::default();
        self.counters.outbound_msgs.set(0);
    }

    /// Gives back a message that was received.
    pub fn release(&mut self, from: NodeNr, rx: RxId, message: RxMessage) {
        if from == NodeNr::LOCAL {
            let Some(mut bytes) = message.into_bytes() else { return };
            if self.spare.len() < SPARE && bytes.capacity() <= SPARE_BYTES {
                bytes.clear();
                self.spare.push(bytes);
            }
            return;
        }
        self.counters.buffer.sub();
        if let Some(sessions) = &self.sessions {
            sessions.release(rx, message);
        }
    }
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether something waits that must go first.
    fn has(&self, route: Route) -> bool {
        self.held.iter().any(|held| held.route.node == route.node && held.route.qos == route.qos)
    }

    fn remove(&mut self, index: usize) {
        if let Some(held) = self.held.remove(index) {
            self.bytes -= held.body.len();
        }
    }

    fn retain(&mut self, keep: impl Fn(&Held) -> bool) {
        self.held.retain(keep);
        self.bytes = self.held.iter().map(|held| held.body.len()).sum();
    }
}
