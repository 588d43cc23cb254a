//! XDR (RFC 4506) and ONC RPC version 2 (RFC 5531) over TCP and UDP: server and client.
//!
//! Principles:
//!
//! 1. **Lengths are checked before anything is done with them**: against the protocol's maximum and against
//!    what is left of the message. No input panics, and none makes this crate allocate more than its
//!    [`BufferPool`] allows.
//! 2. **Payload is not copied.** A [`Decoder`] hands out slices of the record; an [`Encoder`] hands out the
//!    space where a volume may read data to. The only copies of a large payload are those between the
//!    stream and the record buffer.
//! 3. **Back-pressure, never dropping.** Every worker of a TCP connection reads one record, executes it and
//!    writes the reply. When all are busy nobody reads, and TCP stops the client.
//! 4. **An error of one peer ends that peer's connection** and is counted; nothing else notices.
//!
//! ```text
//!  RpcListener --accept--> connection --lock--> worker: read record -> Service::call -> lock, write reply
//!  RpcDatagrams ---------- lock ------------->  worker: receive     -> Service::call -> send
//! ```
//!
//! A service answers for one or more programs; unknown programs, versions and procedures, arguments that do
//! not decode and credentials that do not parse are answered here (RFC 5531 section 9). A service says which of its
//! calls are not idempotent: repetitions of those get the reply of the first time (the duplicate request cache).
//!
//! Not here: RPCSEC_GSS and AUTH_DH (refused with AUTH_ERROR), TLS.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// Single-threaded executors: futures need no `Send` bound.
#![allow(async_fn_in_trait)]

extern crate alloc;

mod auth;
mod buffer;
pub mod client;
#[cfg(feature = "memory")]
pub mod memory;
mod message;
mod record;
mod server;
mod service;
mod stack;
mod sync;
mod transport;
mod xdr;

pub use auth::{AuthStat, AuthSys, Credential, Flavor, MAX_AUTH_BODY, MAX_GROUPS, MAX_MACHINE_NAME};
pub use buffer::{Buffer, BufferPool, SMALL_BUFFER};
pub use message::{AcceptStat, CallHeader, CallRefused, ReplyError, RpcVersions, parse_call, parse_reply};
pub use record::{RecordError, RecordReader};
pub use server::{ReplyCacheCounters, RpcServer, ServerCounters, ServerOptions};
pub use service::{Call, Failure, Origin, Program, Repetition, Reply, Service, Transport};
pub use stack::StackNetwork;
pub use transport::{RpcDatagram, RpcDatagrams, RpcListener, RpcNetwork, RpcStream};
pub use xdr::{DecodeError, Decoder, Encoder, Overflow, padded};
