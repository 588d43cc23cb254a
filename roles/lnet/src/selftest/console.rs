//! The console of a test: tells test nodes what to do (lnet specification section 7.8).

use super::Transport;
use super::probe::Probe;
use super::rpc::{Answer, Bulk, CallError, Rpcs};
use crate::buffers::Payload;
use alloc::rc::Rc;
use core::fmt;
use core::time::Duration;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{
    BULK_LEN, BatchOpcode, DestinationsError, FrameworkCounters, LnetCounters, Name, Reply, Request,
    RpcCounters, SessionId, Test, encode_destinations, status,
};

/// How long a test node may take to answer its console. Not for the load.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A session on any number of test nodes. They end it by themselves when nothing is heard for 100 s: ask for
/// [`Console::status`] or [`Console::statistics`] meanwhile.
pub struct Console<T: Transport> {
    rpcs: Rc<Rpcs<T>>,
    session: SessionId,
    name: Name,
    features: u32,
}

/// A test to be added to a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestSpec {
    /// What its requests are.
    pub probe: Probe,
    /// Requests of each loop; [`TestSpec::ENDLESS`] until it is stopped.
    pub iterations: u32,
    /// Loops of each client for each server.
    pub concurrency: u32,
    /// A loop ends with its first failure.
    pub stop_on_error: bool,
}

impl TestSpec {
    /// See [`TestSpec::iterations`].
    pub const ENDLESS: u32 = u32::MAX;
}

/// What a test node has counted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Statistics {
    /// The framework.
    pub framework: FrameworkCounters,
    /// The RPC layer.
    pub rpc: RpcCounters,
    /// LNet.
    pub lnet: LnetCounters,
}

/// What a test node says about its session.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// Its name.
    pub name: Name,
    /// Seconds of silence after which it ends.
    pub timeout: u32,
    /// Number of batches.
    pub batches: u32,
}

/// Why a test node did not do as it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleError {
    /// No answer.
    Call(CallError),
    /// It answered with an error, see [`status`].
    Status(u32),
    /// The test cannot be described to it.
    Inexpressible,
    /// The destinations cannot be listed.
    Destinations(DestinationsError),
}

impl<T: Transport> Console<T> {
    /// A console at `nid`, one of this node's, that opens a session at this moment.
    pub fn new(rpcs: Rc<Rpcs<T>>, nid: Nid, name: &str) -> Console<T> {
        let stamp = rpcs.handle().clock().wall().as_millis() as i64;
        let session = SessionId { nid4: nid.nid4().unwrap_or(u64::MAX), stamp };
        Console { rpcs, session, name: Name::new(name), features: BULK_LEN }
    }

    /// Without [`BULK_LEN`]: for nodes that do not know it.
    pub fn without_features(mut self) -> Console<T> {
        self.features = 0;
        self
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    async fn ask(&self, node: ProcessId, request: Request, bulk: Bulk) -> Result<Answer, ConsoleError> {
        let answer = self.rpcs.call(None, node, self.features, request, bulk, TIMEOUT).await;
        match answer.map_err(ConsoleError::Call)? {
            Answer { status: status::OK, reply, features, swapped, bulk } => {
                Ok(Answer { status: status::OK, reply, features, swapped, bulk })
            }
            Answer { status, .. } => Err(ConsoleError::Status(status)),
        }
    }

    /// Makes a test node part of the session. With `force` it leaves another session for it.
    pub async fn make_session(&self, node: ProcessId, force: bool) -> Result<(), ConsoleError> {
        let request = Request::MakeSession { session: self.session, force: force.into(), name: self.name };
        self.ask(node, request, Bulk::Nothing).await.map(drop)
    }

    /// Releases a test node.
    pub async fn remove_session(&self, node: ProcessId) -> Result<(), ConsoleError> {
        self.ask(node, Request::RemoveSession { session: self.session }, Bulk::Nothing).await.map(drop)
    }

    /// Asks for the session there is, whosever it is, and keeps it alive.
    pub async fn status(&self, node: ProcessId) -> Result<SessionStatus, ConsoleError> {
        let request = Request::Debug { session: self.session, flags: 0 };
        match self.ask(node, request, Bulk::Nothing).await?.reply {
            Reply::Debug { session, timeout, batches, name } => {
                Ok(SessionStatus { session, name, timeout, batches })
            }
            _ => Err(ConsoleError::Call(CallError::NotAReply)),
        }
    }

    /// Asks for statistics, and keeps the session alive.
    pub async fn statistics(&self, node: ProcessId) -> Result<Statistics, ConsoleError> {
        let request = Request::QueryStat { session: self.session, kind: 0 };
        match self.ask(node, request, Bulk::Nothing).await?.reply {
            Reply::QueryStat { framework, rpc, lnet, .. } => Ok(Statistics { framework, rpc, lnet }),
            _ => Err(ConsoleError::Call(CallError::NotAReply)),
        }
    }

    /// Tells a node that it will be asked by a test.
    pub async fn add_server(&self, node: ProcessId, batch: u64, spec: &TestSpec) -> Result<(), ConsoleError> {
        let test = self.test(batch, spec, None)?;
        self.ask(node, Request::Test(test), Bulk::Nothing).await.map(drop)
    }

    /// Gives a node a test to run against these servers, when its batch is [run](Console::run).
    pub async fn add_client(
        &self,
        node: ProcessId,
        batch: u64,
        spec: &TestSpec,
        servers: &[ProcessId],
    ) -> Result<(), ConsoleError> {
        let list = encode_destinations(servers).map_err(ConsoleError::Destinations)?;
        let test = self.test(batch, spec, Some(servers.len() as u32))?;
        self.ask(node, Request::Test(test), Bulk::Source(Payload::from_bytes(&list))).await.map(drop)
    }

    fn test(&self, batch: u64, spec: &TestSpec, servers: Option<u32>) -> Result<Test, ConsoleError> {
        Ok(Test {
            bulkid: 0,
            session: self.session,
            batch,
            service: spec.probe.service().number(),
            iterations: spec.iterations,
            concurrency: spec.concurrency,
            is_client: servers.is_some().into(),
            stop_on_error: spec.stop_on_error.into(),
            destinations: servers.unwrap_or(0),
            parameters: spec.probe.parameters(self.features).ok_or(ConsoleError::Inexpressible)?,
        })
    }

    /// Starts a batch of a node.
    pub async fn run(&self, node: ProcessId, batch: u64) -> Result<(), ConsoleError> {
        self.batch(node, batch, BatchOpcode::Run, 0, 0).await.map(drop)
    }

    /// Stops a batch of a node. With `at_once` it does not wait for the requests that are under way.
    pub async fn stop(&self, node: ProcessId, batch: u64, at_once: bool) -> Result<(), ConsoleError> {
        self.batch(node, batch, BatchOpcode::Stop, 0, at_once.into()).await.map(drop)
    }

    /// How many tests of a batch are running at a node.
    pub async fn active(&self, node: ProcessId, batch: u64) -> Result<u32, ConsoleError> {
        self.batch(node, batch, BatchOpcode::Query, 0, 0).await
    }

    async fn batch(
        &self,
        node: ProcessId,
        batch: u64,
        opcode: BatchOpcode,
        test_index: u32,
        argument: u32,
    ) -> Result<u32, ConsoleError> {
        let request = Request::Batch { session: self.session, batch, opcode, test_index, argument };
        match self.ask(node, request, Bulk::Nothing).await?.reply {
            Reply::Batch { active, .. } => Ok(active),
            _ => Err(ConsoleError::Call(CallError::NotAReply)),
        }
    }
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsoleError::Call(error) => error.fmt(f),
            ConsoleError::Status(status) => write!(f, "refused with error {status}"),
            ConsoleError::Inexpressible => f.write_str("bulk data of this length need the feature BULK_LEN"),
            ConsoleError::Destinations(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConsoleError {}
