//! The seam between LNet and the driver of a network type (LND), here `socklnd`.
//!
//! ```text
//!            Lnet (credits, buffers, routes, ping, discovery)
//!              |  Lnd::send            ^  LndUpper::{arrived, received, finished, peer_up, peer_down}
//!              v                       |
//!            Socklnd (connections, HELLO, framing, zero-copy acknowledgements, timers)
//! ```
//!
//! A message lives in exactly one place at a time and is handed on by value. What it occupies (a router
//! buffer, credits) is released when it is dropped, wherever that happens.
//!
//! Either side may call the other from within its call: `received` and `finished` call [`Lnd::send`] before they
//! return, and `send` may call `finished`. No `RefCell` may be borrowed across a call.

use crate::message::Message;
use alloc::vec::Vec;
use core::net::IpAddr;
use keelson_lnet_wire::message::Header;
use keelson_lnet_wire::nid::{Nid, ProcessId};

/// Names a local network interface (NI) for as long as it exists; numbers are not reused within a boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NiId(pub u32);

/// What the LND needs to know of an NI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LndNi {
    /// Its name between LND and LNet.
    pub id: NiId,
    /// Its NID; the address in it is the local address of its connections.
    pub nid: Nid,
    /// One life of the NI: nanoseconds of wall-clock time at its start (lnet specification section 3.5).
    pub incarnation: u64,
    /// BULK_IN and BULK_OUT connections that we open to a peer, each.
    pub conns_per_peer: u8,
}

/// What becomes of a message whose header has been read.
pub enum Disposition {
    /// Its payload goes into this message, which has room for exactly `payload_length` bytes; then
    /// [`LndUpper::received`] takes it.
    Take(Message),
    /// The payload is read and thrown away; the stream goes on.
    Skip,
    /// The stream cannot be trusted: this connection and all others to the same peer are closed.
    Fatal(&'static str),
}

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// No connection, and the last attempts failed: attempts are held back for a while.
    Unreachable,
    /// No connection within the LND timeout, or the peer stopped taking data for as long.
    TimedOut,
    /// The connection broke before all of it was written.
    Broken,
    /// A NID does not fit the header that the peer's protocol version uses.
    NotExpressible,
    /// The NI is gone.
    Down,
}

/// What an LND asks of LNet and tells it. `Peer` is LNet's record of a peer NI, looked up once for a
/// connection so that a message costs no search.
pub trait LndUpper: 'static {
    /// LNet's record of a peer NI.
    type Peer: Clone + 'static;

    /// The record of `nid`, made if need be, when a connection to it is registered; `None` refuses the
    /// connection (LNet is shutting down).
    fn peer(&self, ni: NiId, nid: Nid) -> Option<Self::Peer>;

    /// Decides about a message. While this waits (for credits, for a buffer) the connection is not read: that
    /// is the back-pressure. The LND drops the future when the connection ends.
    async fn arrived(&self, peer: &Self::Peer, header: &Header) -> Disposition;

    /// Takes a message whose payload is complete.
    fn received(&self, peer: &Self::Peer, message: Message);

    /// A message given to [`Lnd::send`] has been handed to TCP entirely, or is lost. This and the two below are
    /// never called out of a call of LNet's to the LND, but from a task of the LND.
    fn finished(&self, ni: NiId, to: Nid, message: Message, result: Result<(), SendError>);

    /// The first connection to the peer is there. A userspace process (section 3.5 of the specification) cannot be
    /// connected to, and its PID says so.
    fn peer_up(&self, ni: NiId, peer: ProcessId);

    /// The last connection to the peer is gone, or it could not be reached. `failed` is false for an orderly
    /// end (the peer closed between messages), which says nothing about the peer's health.
    fn peer_down(&self, ni: NiId, nid: Nid, failed: bool);
}

/// What LNet asks of an LND.
pub trait Lnd {
    /// Starts serving an NI.
    fn add_ni(&self, ni: LndNi);

    /// Stops serving an NI: its connections are closed, what waits for them is finished with
    /// [`SendError::Down`].
    fn remove_ni(&self, ni: NiId);

    /// Queues a message for a peer NI on the same network, connecting first where there is no connection. Never
    /// waits; the queue is bounded by the credits of whoever calls. [`LndUpper::finished`] returns the message.
    fn send(&self, ni: NiId, to: Nid, message: Message);

    /// Closes all connections to a peer NI and fails what is queued.
    fn disconnect(&self, ni: NiId, nid: Nid);

    /// The peers that there are records of, for `lctl peer_list`.
    fn peers(&self) -> Vec<LndPeerStatus>;

    /// The connections, for `lctl conn_list`.
    fn connections(&self) -> Vec<LndConnectionStatus>;
}

/// A line of `lctl peer_list`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LndPeerStatus {
    /// Our NI.
    pub ni: NiId,
    /// The peer NI.
    pub nid: Nid,
    /// Local address.
    pub local: IpAddr,
    /// Established connections.
    pub connections: usize,
    /// Messages queued.
    pub queued: usize,
}

/// A line of `lctl conn_list`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LndConnectionStatus {
    /// Our NI.
    pub ni: NiId,
    /// The peer NI.
    pub nid: Nid,
    /// `C`ontrol, bulk `I`n, bulk `O`ut, as seen from here.
    pub kind: char,
    /// Local and remote address.
    pub local: IpAddr,
    /// Remote address.
    pub remote: IpAddr,
    /// Remote port.
    pub port: u16,
    /// Bytes of the send and the receive ring.
    pub rings: (usize, usize),
}
