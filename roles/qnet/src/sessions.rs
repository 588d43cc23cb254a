//! What the transport offers to the kernel interface: messages to nodes, in order, and news of connections.

use crate::l4::{Body, RxMessage};
use crate::nodes::Usage;
use alloc::rc::Rc;
use keelson_exec::sync::Notify;
use keelson_qnet_wire::Errno;
use keelson_qnet_wire::names::Policy;

mod network;

pub use network::{Network, RequestFuture};

/// Number of a node in this node's table: the low 16 bits of a node descriptor. 0 is this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeNr(pub u16);

/// How a node is reached (section 8). `index` 0 is the default policy; others come with a node descriptor, and name
/// policy and link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Qos {
    /// The policy.
    pub policy: Policy,
    /// Index of policy and link.
    pub index: u16,
}

/// A connection to a peer, in its epoch. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxId(pub u64);

/// A connection from a peer, in its epoch. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RxId(pub u64);

/// What happened, in order.
#[derive(PartialEq, Debug)]
pub enum SessionEvent {
    /// A message on layer KIF, whole and in order.
    Message {
        /// Who sent it.
        from: NodeNr,
        /// On which connection.
        rx: RxId,
        /// The message.
        message: RxMessage,
    },
    /// A connection to a peer works.
    TxUp {
        /// The peer.
        node: NodeNr,
        /// The connection.
        tx: TxId,
    },
    /// A connection to a peer ended, and with it every message on it that has not been delivered.
    TxDown {
        /// The peer.
        node: NodeNr,
        /// The connection.
        tx: TxId,
        /// Why: ESRCH, EHOSTDOWN, ENETDOWN, ENOENT; EOK when it was closed because nobody used it.
        errno: Errno,
    },
    /// A connection from a peer ended, and with it everything that the peer's clients have here.
    RxDown {
        /// The peer.
        node: NodeNr,
        /// The connection.
        rx: RxId,
    },
}

/// The transport, as the kernel interface sees it.
pub trait Sessions {
    /// Sends a message on layer KIF, in order behind those before to the same node and QoS. `head` (at most 264 bytes)
    /// and `body` are one message. The connection is made if there is none. What fails later is told by
    /// [`SessionEvent::TxDown`].
    ///
    /// ESRCH: no such node; EHOSTDOWN: it did not answer just now; ENETDOWN: no link is up; EAGAIN: too much waits;
    /// EMSGSIZE: longer than a message may be.
    fn send(&self, to: NodeNr, qos: Qos, priority: u8, head: &[u8], body: Body) -> Result<TxId, Errno>;

    /// The oldest event that was not taken yet.
    fn take_event(&self) -> Option<SessionEvent>;

    /// Notified when there are events.
    fn changed(&self) -> Rc<Notify>;

    /// Gives the memory of a message back. Dropping it does the same.
    fn release(&self, message: RxMessage);

    /// Tells how much KIF has to do with a node. Until it is told, idle connections to it stay open.
    fn set_usage(&self, node: NodeNr, usage: Usage);

    /// The node's number for us, for credentials; 0 while unknown.
    fn remote_nd(&self, node: NodeNr) -> u16;
}
