//! A small HTTP/1.1 server for pages that a node shows of itself (RFC 9110, RFC 9112).
//!
//! Principles:
//!
//! 1. **Anybody may connect, nobody can hold it**: connections, bytes of a request, time for a request, time for an answer and
//!    answers in memory are bounded. When all places are taken, who has kept the server waiting longest loses its place.
//! 2. **Whatever is cut or refused has a counter** ([`Counters`]).
//! 3. **Only GET and HEAD, only pages made in memory**: nothing is changed by a request, and no body is ever read.
//!
//! ```text
//!   TcpListener -> Server: a place? -> connection: Inbox -> Request -> Site::page -> head, body
//!                     |  none: cut the one that waits longest        (one of few answers at a time)
//!                     `- all answer: 503
//! ```
//!
//! Not here: TLS and passwords (who may read is decided by the network, or by the address that is listened on), compression,
//! ranges, conditional requests, `Date` (the clock of a node may be wrong, RFC 9110 section 6.6.1).

mod connection;
mod counters;
mod endpoint;
mod inbox;
mod request;
mod response;
mod server;
#[cfg(test)]
mod tests;

pub use counters::{Counters, Cut};
pub use endpoint::{Endpoint, OPTIONS};
pub use inbox::{HEAD_MAX, Inbox, TARGET_MAX};
pub use request::{FIELDS_MAX, Method, Refusal, Request};
pub use response::{Page, Status};
pub use server::{Limits, Server};

/// What a server shows.
pub trait Site {
    /// The page at `path`, without its query; `None` when there is none.
    fn page(&self, path: &str) -> Option<Page>;
}
