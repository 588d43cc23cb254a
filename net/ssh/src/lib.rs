//! An SSH server (RFC 4251 to 4254) for a node's commands, over any stream of bytes.
//!
//! The protocol is that of the crate `zssh`: curve25519 for the keys of a connection, ed25519 for those of people and of the
//! node, chacha20-poly1305 for everything that is sent. Here is what makes it a server that can be left alone: limits, time,
//! who may enter, counters.
//!
//! Principles:
//!
//! 1. **Nothing is taken on trust before the signature**: a connection that has not proved its key has [`Limits::login`] of
//!    time, [`Limits::login_bytes`] of input and [`Limits::attempts`] attempts, then it is cut and counted.
//! 2. **Memory is bounded**: [`Limits::packet`] for packets and [`Limits::read_ahead`] for what came in and was not asked for,
//!    for each connection; who does not take output holds up nobody else.
//! 3. **Time, randomness and the stream are passed in**, so that all of it runs in host tests.
//!
//! Not here, because the protocol's crate does not have it: terminals (`pty-req` is refused, so a client keeps its terminal in
//! line mode and echoes itself), input while output is waited for, keep-alives of the server's own (TCP's do), keys other than
//! ed25519. Not here on purpose: passwords, forwarding, subsystems such as sftp, environment variables.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod counters;
#[cfg(feature = "hostile")]
pub mod hostile;
mod keys;
mod server;
mod stream;

pub use counters::{Counters, Cut};
pub use keys::{AuthorizedKey, Fingerprint, HostKey, KeyError};
pub use server::{Channel, Connection, End, Gone, Limits, Request, Setup};
pub use stream::StreamError;
