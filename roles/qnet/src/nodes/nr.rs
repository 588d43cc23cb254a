//! Node resolver: pings, and the numbers by which peers know a third node (section 10).

use super::lookup::Waiter;
use super::request::RequestId;
use crate::l4::{Body, Single, Transport};
use crate::sessions::{NodeNr, Qos};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;
use keelson_hal::Instant;
use keelson_qnet_wire::l4::Layer;
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::nr::NrMessage;
use keelson_qnet_wire::{Endian, Errno, Nd};

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queries that a peer may owe an answer.
const MAX_PER_NODE: usize = 16;
/// Answers remembered.
const MAX_KNOWN: usize = 64;
/// Priority of NR messages: that of an ordinary thread.
const PRIORITY: u8 = 10;

struct Query {
    node: NodeNr,
    id: u16,
    name: Box<str>,
    request: RequestId,
    /// The same time after each was sent, so that the first ends first.
    deadline: Instant,
}

struct Known {
    node: NodeNr,
    name: Box<str>,
    nd: Nd,
}

/// Queries without an answer, and answers.
#[derive(Default)]
pub struct Queries {
    waiting: VecDeque<Query>,
    known: VecDeque<Known>,
    next_id: u16,
}

impl Queries {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What a node said is not valid any more.
    pub fn forget_node(&mut self, node: u16) {
        self.known.retain(|known| known.node.0 != node);
    }

    fn take(&mut self, node: NodeNr, id: u16) -> Option<Query> {
        let place = self.waiting.iter().position(|query| query.node == node && query.id == id)?;
        self.waiting.remove(place)
    }
}

impl Transport {
    /// Begins to ask a node for its descriptor of a third node, which is named as in `/net`, perhaps with a policy.
    /// EAGAIN when it owes many answers already.
    pub fn remote_nd(&mut self, now: Instant, node: NodeNr, name: &str) -> Result<RequestId, Errno> {
        self.now = now;
        let request = self.requests.open()?;
        let known = self.queries.known.iter().find(|known| known.node == node && *known.name == *name);
        if let Some(nd) = known.map(|known| known.nd) {
            self.requests.complete(request, Ok(nd.0));
            return Ok(request);
        }
        let owed = self.queries.waiting.iter().filter(|query| query.node == node).count();
        let id = self.queries.next_id;
        self.queries.next_id = id.wrapping_add(1);
        let sent = match owed < MAX_PER_NODE {
            true => self.send_nr(node, NrMessage::RemoteReq { id, name }),
            false => Err(Errno::EAGAIN),
        };
        match sent {
            Ok(()) => {
                let deadline = now + PATIENCE;
                self.queries.waiting.push_back(Query { node, id, name: name.into(), request, deadline });
                self.counters.nr_remote_tx += 1;
                self.timers.bring_forward(self.single_key(Single::Queries), deadline);
            }
            Err(errno) => self.requests.complete(request, Err(errno)),
        }
        Ok(request)
    }

    fn send_nr(&mut self, node: NodeNr, message: NrMessage) -> Result<(), Errno> {
        let mut bytes = [0; NrMessage::MAX_LEN];
        let len = message.emit(&mut bytes, Endian::Little).map_err(|_| Errno::EMSGSIZE)?;
        let qos = Qos { policy: self.options.policy, index: 0 };
        let head = bytes.get(..len).unwrap_or_default();
        self.send_layer(node, qos, PRIORITY, Layer::Nr, head, Body::EMPTY).map(drop)
    }

    /// An NR message came on a connection from a node.
    pub(crate) fn on_nr(&mut self, node: NodeNr, bytes: &[u8], endian: Endian) {
        let Ok(message) = NrMessage::decode(bytes, endian) else {
            self.counters.rxd_bad_nr += 1;
            return;
        };
        match message {
            NrMessage::PingReq => {
                self.counters.nr_ping_rx += 1;
                // Without a connection back, and no room for one, it gets its ACK and no more.
                let _: Result<(), Errno> = self.send_nr(node, NrMessage::PingAns);
            }
            NrMessage::PingAns => self.verified(node, Ok(())),
            NrMessage::RemoteReq { id, name } => self.asked_by_peer(node, id, name),
            NrMessage::RemoteAns { id, nd } => self.answered(node, id, Ok(nd)),
            NrMessage::RemoteError { id, status } => {
                let status = if status == Errno::EOK { Errno::ENOENT } else { status };
                self.answered(node, id, Err(status));
            }
        }
    }

    fn asked_by_peer(&mut self, node: NodeNr, id: u16, name: &str) {
        self.counters.nr_remote_rx += 1;
        let Ok(path) = NodePath::parse(name) else {
            return self.answer_peer(node.0, id, Err(Errno::ENOENT));
        };
        if self.identity.matches(path.name, path.domain) {
            return self.answer_peer(node.0, id, Ok(Nd::LOCAL));
        }
        let epoch = self.nodes.get(node.0).map_or(0, |entry| entry.epoch);
        let choice = path.choice.map(|choice| (choice.policy, choice.interface.into()));
        self.find_node(path.name, path.domain, Waiter::Peer { node: node.0, epoch, id, choice });
    }

    pub(crate) fn answer_peer(&mut self, node: u16, id: u16, nd: Result<Nd, Errno>) {
        let message = match nd {
            Ok(nd) => NrMessage::RemoteAns { id, nd },
            Err(status) => NrMessage::RemoteError { id, status },
        };
        // What cannot be sent now the peer asks for again.
        let _: Result<(), Errno> = self.send_nr(NodeNr(node), message);
    }

    fn answered(&mut self, node: NodeNr, id: u16, result: Result<Nd, Errno>) {
        let Some(query) = self.queries.take(node, id) else { return };
        self.requests.complete(query.request, result.map(|nd| nd.0));
        if let Ok(nd) = result {
            if self.queries.known.len() >= MAX_KNOWN {
                self.queries.known.pop_front();
            }
            self.queries.known.push_back(Known { node, name: query.name, nd });
        }
    }

    /// The connection to a node ended: it answers nothing.
    pub(crate) fn query_failed(&mut self, node: NodeNr, errno: Errno) {
        while let Some(place) = self.queries.waiting.iter().position(|query| query.node == node) {
            let Some(query) = self.queries.waiting.remove(place) else { return };
            self.requests.complete(query.request, Err(errno));
        }
    }

    /// A node was started anew: its numbers are others.
    pub(crate) fn forget_answers(&mut self, node: NodeNr) {
        self.queries.forget_node(node.0);
    }

    pub(crate) fn on_queries_timer(&mut self) {
        let now = self.now;
        while let Some(query) = self.queries.waiting.pop_front_if(|query| query.deadline <= now) {
            self.requests.complete(query.request, Err(Errno::ETIMEDOUT));
        }
        if let Some(next) = self.queries.waiting.front() {
            self.timers.bring_forward(self.single_key(Single::Queries), next.deadline);
        }
    }
}
