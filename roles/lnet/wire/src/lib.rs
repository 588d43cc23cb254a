//! LNet over TCP, as bytes and text: everything a router or a test tool reads from or writes to a peer.
//!
//! Sections cited in this crate are those of the project's LNet specification.
//!
//! ```text
//!   nid, names     networks, NIDs, process ids, and how they are written
//!   acceptor       connection request: 16 or 28 bytes, one way, once per TCP connection
//!   hello          HELLO both ways: versions 1 to 4, connection types, incarnations
//!   ksock          24 bytes before each message: zero-copy acknowledgements, keepalive, checksum
//!   message        LNet header of 72 or 96 bytes: ACK, PUT, GET, REPLY
//!   ping           what a GET or PUT on portal 0 carries: a node's NIDs, their status, its features
//!   srpc           RPCs of LNet selftest, destination lists, test patterns
//!   text           networks=, ip2nets=, routes=, forwarding=, NID ranges
//! ```
//!
//! Principles:
//!
//! 1. **Nothing that arrives can panic or allocate without bound.** Layouts are arrays of their exact size;
//!    what has a length of its own is checked against the bytes present before anything is reserved.
//! 2. **Decoding never reads past its message.** Handshakes are read piecewise: a decoder says how many bytes
//!    it [needs](acceptor::RequestDecoder::need), and takes no more; what follows stays in the stream.
//! 3. **Sent little-endian, received in either order.** A peer's order is known from its magic.
//! 4. **A router does not interpret.** [`message::Header`] keeps the type-specific 40 bytes as they came.
//!
//! Not here: connections, timers, credits and routing (the node above), the JOIN request of selftest (no test
//! node ever receives it), the contents of ping metadata trailers (skipped).

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acceptor;
mod bytes;
pub mod hello;
pub mod ksock;
pub mod message;
mod names;
pub mod nid;
pub mod ping;
pub mod srpc;
pub mod text;

pub use names::NameError;
pub use nid::{LUSTRE_PID, NetId, Nid, NotExpressible, ProcessId};
