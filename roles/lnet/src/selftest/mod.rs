//! LNet selftest: answers it, runs it, and sends load of its own (lnet specification section 7).
//!
//! ```text
//!   Client (console, load)          Responder (framework, batches, ping, bulk)
//!        |                             |  portals 50 and 51
//!        |                             |
//!        +-----> Rpcs <----------------+  (batches that run here send RPCs too)
//!        |        | portal 52
//!        v        v
//!      Raw      Transport                 LNet: put, get
//! ```
//!
//! * [`Responder`] is a test node as Linux's `lnet_selftest` is one: the server group of a test, and with its
//!   batches the client group.
//! * [`Console`] is the other side of that: it tells test nodes what to do.
//! * [`Load`] sends requests by itself, without a console, and measures them; [`Raw`] does so without RPCs.
//!
//! Principles:
//!
//! 1. **What arrives is judged before anything is reserved for it.** Every queue and table has a bound; what
//!    does not fit is dropped and counted, as a Linux node drops it.
//! 2. **A reply never precedes the end of the bulk data it is about**: the client gives its buffer away.
//! 3. **Test data are real.** What is sent was in memory, what is received is compared, in either direction.
//!
//! Not here: the JOIN request (no test node ever receives it), check 4 "discard" (crashes nodes that do not know
//! it), lists of more than 341 destinations, the console's bookkeeping of groups.

mod batch;
mod brw;
mod console;
mod counters;
mod data;
mod histogram;
mod lnet;
mod load;
mod probe;
mod raw;
mod responder;
mod rpc;
mod session;
#[cfg(test)]
mod tests;
mod workers;

pub use console::{Console, ConsoleError, SessionStatus, Statistics, TestSpec};
pub use counters::Counters;
pub use histogram::Histogram;
pub use load::{Kind, Limit, Load, Report};
pub use probe::{Probe, ProbeError};
pub use raw::{RAW_PORTAL, Raw, RawCounters, RawError};
pub use responder::Responder;
pub use rpc::{Answer, Bulk, CallError, Rpcs};

use crate::buffers::Payload;
use crate::lnd::SendError;
use crate::portal::Portal;
use alloc::rc::Rc;
use core::fmt;
use core::time::Duration;
use keelson_exec::Handle;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{self, LnetCounters};

/// Where a message goes at the node it is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Portal number.
    pub portal: u32,
    /// Match bits.
    pub match_bits: u64,
    /// 64 bits for the receiver; a GET has none.
    pub hdr_data: u64,
}

impl Place {
    /// Match bits at a portal of selftest.
    pub const fn new(portal: u32, match_bits: u64) -> Place {
        Place { portal, match_bits, hdr_data: 0 }
    }
}

/// Why an answer did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferError {
    /// The request was not sent.
    Send(SendError),
    /// Nothing came back in time.
    TimedOut,
}

/// What selftest needs of LNet. `source` is the NID that messages come from; without one LNet chooses.
pub trait Transport: 'static {
    /// Queues a PUT that asks for no ACK. Never waits; that it is lost later is not told.
    fn put(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
    ) -> Result<(), SendError>;

    /// Sends a PUT that asks for no ACK and waits until all of it has been handed to the network.
    async fn put_sent(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        timeout: Duration,
    ) -> Result<(), TransferError>;

    /// Sends a PUT and waits for its ACK; how many bytes the receiver took.
    async fn put_acked(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        payload: Payload,
        timeout: Duration,
    ) -> Result<u32, TransferError>;

    /// Sends a GET for at most `len` bytes and waits for the REPLY.
    async fn get(
        &self,
        source: Option<Nid>,
        to: ProcessId,
        place: Place,
        len: u32,
        timeout: Duration,
    ) -> Result<Payload, TransferError>;

    /// LNet's counters, for QUERY_STAT.
    fn counters(&self) -> LnetCounters;
}

/// Bounds of a test node.
#[derive(Clone, Debug)]
pub struct SelftestConfig {
    /// Bytes that bulk data of requests to us may occupy at once, in whole MiB: as many bulk tests are served
    /// at a time, the others wait.
    pub bulk_memory: usize,
    /// Requests that may wait for their turn, or for a console to add a test that they belong to.
    pub waiting: usize,
    /// Loops that all batches of a session may run: destinations times concurrency, over their tests.
    pub loops: usize,
    /// RPCs of ours that may be under way.
    pub rpcs: usize,
    /// How long an RPC may take.
    pub rpc_timeout: Duration,
    /// After how long without a request of the console a session ends.
    pub session_timeout: Duration,
}

impl Default for SelftestConfig {
    /// Times as on Linux; the rest for an appliance with little memory to spare.
    fn default() -> SelftestConfig {
        SelftestConfig {
            bulk_memory: 32 << 20,
            waiting: 4096,
            loops: 4096,
            rpcs: 8192,
            rpc_timeout: Duration::from_secs(srpc::RPC_TIMEOUT_S.into()),
            session_timeout: Duration::from_secs(srpc::SESSION_TIMEOUT_S.into()),
        }
    }
}

/// A test node: everything that its portals need.
pub struct Selftest<T: Transport> {
    /// Answers requests.
    pub responder: Rc<Responder<T>>,
    /// Sends requests.
    pub rpcs: Rc<Rpcs<T>>,
    /// Takes and gives data without RPCs; not registered on an appliance.
    pub raw: Rc<Raw<T>>,
}

impl<T: Transport> Selftest<T> {
    /// A node without a session.
    pub fn new(handle: &Handle, transport: Rc<T>, config: &SelftestConfig) -> Selftest<T> {
        let counters = Rc::new(Counters::default());
        let memory = data::Memory::default();
        let rpcs = Rpcs::new(handle.clone(), transport.clone(), counters.clone(), memory.clone(), config);
        let responder =
            Responder::new(handle.clone(), transport.clone(), counters, memory, rpcs.clone(), config.clone());
        Selftest { responder, rpcs, raw: Raw::new(transport) }
    }

    /// The services of a test node, each with the portal it belongs to.
    pub fn portals(&self) -> [(u32, Rc<dyn Portal>); 3] {
        [
            (srpc::TEST_PORTAL, self.responder.clone()),
            (srpc::FRAMEWORK_PORTAL, self.responder.clone()),
            (srpc::REPLY_PORTAL, self.rpcs.clone()),
        ]
    }
}

impl<T: Transport> Clone for Selftest<T> {
    /// The same node.
    fn clone(&self) -> Selftest<T> {
        Selftest { responder: self.responder.clone(), rpcs: self.rpcs.clone(), raw: self.raw.clone() }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Send(error) => write!(f, "not sent: {error:?}"),
            TransferError::TimedOut => f.write_str("no answer in time"),
        }
    }
}

impl core::error::Error for TransferError {}
