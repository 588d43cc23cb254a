//! KIF, the kernel interface: message passing between clients and servers of this node and of others (section 12).
//!
//! ```text
//!   client    connections of clients here, their transactions               CONNECT, MSGSEND, UNBLOCK, DISCONNECT, ...
//!   server    connections to servers here, their transactions               MSGREAD, MSGWRITE, MSGREPLY, EVENT, ...
//!   outbox    to a session, to this node itself, or later
//!   process   process ids, their channels and credentials
//!   channel   what a server has not received yet, by priority
//!   table     bounded tables, and ids that cannot be confused with older ones
//! ```
//!
//! 1. **Nothing here waits or knows the wire**: [`state::State`] is changed by calls and by events of the sessions.
//!    Futures of the API look at it, and are woken by it.
//! 2. **This node is a node like others**, number 0, to which messages go without being encoded.
//! 3. **An id is only valid together with the epoch of the peer** that it was given to (section 12.6): a rebooted node
//!    cannot touch what it had before.
//! 4. **Every table is bounded**, and what does not fit is refused with `EAGAIN`.
//!
//! Not here: the 64-bit message information of QNX 7; MSGVERIFYEVENT and reading and writing at once, which are
//! ENOREMOTE in the original too.

mod channel;
mod client;
mod counters;
mod credentials;
mod limits;
mod outbox;
mod peer;
mod process;
mod server;
mod signal;
mod state;
mod table;

pub use channel::{DEFAULT_PRIORITY, MAX_PRIORITY, Pulse};
pub use counters::{Counters, Gauge, Reading};
pub use credentials::{CredentialRules, NOBODY, User};
pub use limits::{KernelConfig, Limits};
pub use peer::PeerProfile;
pub use process::PROCESS_MANAGER;
pub use signal::{SignalDelivery, SignalRequest};

pub(crate) use channel::ChannelState;
pub(crate) use client::{Sending, TRANSFER, Target};
pub(crate) use outbox::Unsent;
pub(crate) use process::Process;
pub(crate) use server::Delivery;
pub(crate) use state::{Arrival, State};
pub(crate) use table::Key;
