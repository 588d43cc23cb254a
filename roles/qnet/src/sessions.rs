//! Sessions with other nodes: what connections and node names offer to the kernel interface.
//!
//! One [`Sessions`] is one node's view of all others. Below it are connections, fragments, retransmission and the
//! resolution of names; above it only whole KIF messages, in order, and the news that somebody is gone.
//! [`Network`] has them from the transport; [`memory`] has sessions without a network, for tests and examples.

pub mod memory;
mod network;

pub use network::{Network, RequestFuture};

use crate::l4;
use alloc::rc::Rc;
use alloc::vec::Vec;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::names::Policy;
use keelson_qnet_wire::{Errno, Nd};

/// Number of a node in this node's table: the low 16 bits of a node descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeNr(pub u16);

impl NodeNr {
    /// This node.
    pub const LOCAL: NodeNr = NodeNr(0);
}

/// Over which links a message may travel (section 8). The default is any, index 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Qos {
    /// How links are chosen.
    pub policy: Policy,
    /// Number of the choice on this node: the high 16 bits of a node descriptor.
    pub index: u16,
}

/// A connection to a peer, by which we send, from its opening to its end. Never reused, never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxId(pub u64);

/// A connection from a peer, by which we receive, from its opening to its end: one epoch of the peer. Never reused,
/// never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RxId(pub u64);

/// What the kernel interface has to do with a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Interest {
    /// Nothing: idle connections may be closed (section 7.7).
    #[default]
    None,
    /// Clients or servers are connected: connections are kept, and checked after `conn_up_idle`.
    Connected,
    /// A client waits for the node: it is checked after `busy_idle` (section 7.5).
    Waiting,
}

/// Connections to and from all other nodes.
///
/// No method calls back into the kernel interface: what happens is an event, taken with [`Sessions::take_event`].
pub trait Sessions {
    /// Sends one message on layer KIF, behind those sent before to the same node with the same QoS. A connection is
    /// made if there is none. Head and body are copied or sent before this returns.
    ///
    /// Fails at once with `EAGAIN` when too much is queued: [`Sessions::changed`] tells when to try again. Other errors
    /// mean that the message cannot be sent at all. What fails later is [`SessionEvent::TxDown`].
    fn send(&self, to: NodeNr, qos: Qos, priority: u8, head: &[u8], body: Body<'_>) -> Result<TxId, Errno>;

    /// The oldest event that was not taken. Events of one connection are in order.
    ///
    /// A message that is taken no longer counts against the window of its connection: a server holds messages for as
    /// long as it works on them, and asks their client for the rest meanwhile, which must get through. How many are
    /// held is bounded by the tables of the kernel interface.
    fn take_event(&self) -> Option<SessionEvent>;

    /// Notified when there is an event, and when there is room after an `EAGAIN`.
    fn changed(&self) -> Rc<Notify>;

    /// Gives back the memory of a message that came with [`SessionEvent::Message`], also after its connection has
    /// ended.
    fn release(&self, rx: RxId, message: RxMessage);

    /// Ends a connection from a peer, of which the peer is told: its clients wait for answers that they cannot get.
    /// Followed by [`SessionEvent::RxDown`].
    fn close_rx(&self, node: NodeNr, rx: RxId);

    /// What a node descriptor asks for; `ESRCH` when this node has given out no such descriptor.
    fn qos(&self, nd: Nd) -> Result<Qos, Errno>;

    /// The descriptor that a peer uses for this node; 0 when it has not told yet (section 11.2).
    fn remote_nd_for_us(&self, node: NodeNr) -> Nd;

    /// Told whenever it changes.
    fn set_interest(&self, node: NodeNr, interest: Interest);
}

/// What happened to a session; `M` is what a message is kept in.
#[derive(PartialEq, Debug)]
pub enum SessionEvent<M = RxMessage> {
    /// A message on layer KIF arrived, whole and in order.
    Message {
        /// Its sender.
        from: NodeNr,
        /// The connection that it came by.
        rx: RxId,
        /// The message, to be given back with [`Sessions::release`].
        message: M,
    },
    /// A connection that we opened is up.
    TxUp {
        /// To whom.
        node: NodeNr,
        /// The connection.
        tx: TxId,
    },
    /// A connection that we opened, or failed to open, is no more: what was sent and not acknowledged may be lost.
    TxDown {
        /// To whom.
        node: NodeNr,
        /// The connection.
        tx: TxId,
        /// Why: `EHOSTDOWN`, `ENOENT`, `ENETDOWN`, ... (section 18); `EOK` when it was closed because nobody used it.
        errno: Errno,
    },
    /// A connection from a peer is no more, and with it everything that the peer's clients have here.
    RxDown {
        /// From whom.
        node: NodeNr,
        /// The connection.
        rx: RxId,
    },
}

impl<M> SessionEvent<M> {
    /// The same with the message kept otherwise.
    pub fn map<N>(self, keep: impl FnOnce(M) -> N) -> SessionEvent<N> {
        match self {
            SessionEvent::Message { from, rx, message } => {
                SessionEvent::Message { from, rx, message: keep(message) }
            }
            SessionEvent::TxUp { node, tx } => SessionEvent::TxUp { node, tx },
            SessionEvent::TxDown { node, tx, errno } => SessionEvent::TxDown { node, tx, errno },
            SessionEvent::RxDown { node, rx } => SessionEvent::RxDown { node, rx },
        }
    }
}

/// A received message, in one piece. Its memory goes back to whom it belongs when it is dropped.
#[derive(Debug)]
pub struct RxMessage(Kept);

#[derive(Debug)]
enum Kept {
    Own(Vec<u8>),
    /// In the buffer that the transport put it together in.
    Lent(l4::RxMessage),
}

impl RxMessage {
    /// A message of these bytes.
    pub fn new(bytes: Vec<u8>) -> RxMessage {
        RxMessage(Kept::Own(bytes))
    }

    /// The message.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Own(bytes) => bytes,
            Kept::Lent(message) => message.bytes(),
        }
    }

    /// Forgets what is behind `len` bytes, and frees its memory.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Kept::Own(bytes) => {
                bytes.truncate(len);
                bytes.shrink_to_fit();
            }
            Kept::Lent(message) => message.truncate(len),
        }
    }

    /// The memory of a message made by [`RxMessage::new`], to be used again.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self.0 {
            Kept::Own(bytes) => Some(bytes),
            Kept::Lent(_) => None,
        }
    }
}

impl From<l4::RxMessage> for RxMessage {
    fn from(message: l4::RxMessage) -> RxMessage {
        RxMessage(Kept::Lent(message))
    }
}

impl PartialEq for RxMessage {
    fn eq(&self, other: &RxMessage) -> bool {
        self.bytes() == other.bytes()
    }
}

/// The part of a message behind its head: a stretch of what lies in several pieces.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    parts: &'a [&'a [u8]],
    offset: usize,
    len: usize,
}

impl<'a> Body<'a> {
    /// No bytes.
    pub const EMPTY: Body<'static> = Body { parts: &[], offset: 0, len: 0 };

    /// All bytes of the pieces.
    pub fn new(parts: &'a [&'a [u8]]) -> Body<'a> {
        Body::range(parts, 0, usize::MAX)
    }

    /// `len` bytes from `offset`, or as many as there are.
    pub fn range(parts: &'a [&'a [u8]], offset: usize, len: usize) -> Body<'a> {
        let total = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        let offset = offset.min(total);
        Body { parts, offset, len: len.min(total - offset) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut skip, mut left) = (self.offset, self.len);
        self.parts.iter().filter_map(move |part| {
            let start = skip.min(part.len());
            skip -= start;
            let rest = part.get(start..).unwrap_or_default();
            let piece = rest.get(..left.min(rest.len())).unwrap_or_default();
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Appends the bytes to a vector.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.len);
        self.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_cut_out_of_pieces() {
        let parts: [&[u8]; 4] = [b"abc", b"", b"defg", b"h"];
        let all = b"abcdefgh";
        for offset in 0..10 {
            for len in 0..10 {
                let mut bytes = Vec::new();
                let body = Body::range(&parts, offset, len);
                body.append_to(&mut bytes);
                let expected = &all[offset.min(8)..(offset + len).min(8).max(offset.min(8))];
                assert_eq!((bytes.as_slice(), body.len()), (expected, expected.len()), "{offset} {len}");
                assert!(body.pieces().all(|piece| !piece.is_empty()));
            }
        }
        assert!(Body::EMPTY.is_empty() && Body::new(&parts).len() == 8);
    }
}
