//! Load: the same request to many nodes, many at a time, measured.

use super::probe::{Probe, ProbeError};
use super::raw::RawError;
use super::rpc::CallError;
use super::{Histogram, Place, Selftest, TransferError, Transport};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_hal::Instant;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::ping::{self, PingInfo};
use keelson_lnet_wire::srpc::{BULK_LEN, status};

/// How long a loop waits after a failure.
const RETRY: Duration = Duration::from_millis(10);

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// LNet's own ping: GET on portal 0.
    Ping,
    /// A request of selftest; the peer must have been told that it is a server of it.
    Rpc(Probe),
    /// PUT of this many bytes, with ACK.
    Put(u32),
    /// GET of this many bytes.
    Get(u32),
}

/// When it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// No request begins after this time.
    Time(Duration),
    /// So many requests of each loop.
    Count(u64),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is sent.
    pub kind: Kind,
    /// To whom.
    pub peers: Vec<ProcessId>,
    /// Loops for each peer: as many requests are under way.
    pub concurrent: usize,
    /// When it ends.
    pub limit: Limit,
    /// How long a request may take.
    pub timeout: Duration,
    /// The NID that requests come from; LNet chooses without one.
    pub source: Option<Nid>,
}

impl Load {
    /// One request to each peer, within 10 s.
    pub fn new(kind: Kind, peers: impl IntoIterator<Item = Nid>) -> Load {
        Load {
            kind,
            peers: peers.into_iter().map(ProcessId::lustre).collect(),
            concurrent: 1,
            limit: Limit::Count(1),
            timeout: Duration::from_secs(10),
            source: None,
        }
    }

    /// Sends it from `node` and waits for the end.
    pub async fn run<T: Transport>(self, node: &Selftest<T>) -> Report {
        let handle = node.rpcs.handle().clone();
        let began = handle.now();
        let deadline = match self.limit {
            Limit::Time(span) => began + span,
            Limit::Count(_) => Instant::FAR_FUTURE,
        };
        let running = Rc::new(Running {
            load: self,
            deadline,
            report: RefCell::default(),
            last_success: Cell::new(began),
            loops: Cell::new(0),
            ended: Notify::new(),
        });
        running.loops.set(running.load.peers.len() * running.load.concurrent);
        for peer in running.load.peers.iter().copied() {
            for _ in 0..running.load.concurrent {
                let (running, node) = (running.clone(), node.clone());
                handle.spawn("load", async move { running.repeat(&node, peer).await });
            }
        }
        while running.loops.get() > 0 {
            running.ended.notified().await;
        }
        let mut report = running.report.take();
        report.elapsed = handle.now() - began;
        report.longest_gap = report.longest_gap.max(handle.now() - running.last_success.get());
        report
    }
}

/// A load that is being sent.
struct Running {
    load: Load,
    deadline: Instant,
    report: RefCell<Report>,
    last_success: Cell<Instant>,
    loops: Cell<usize>,
    ended: Notify,
}

impl Running {
    /// One loop.
    async fn repeat<T: Transport>(&self, node: &Selftest<T>, peer: ProcessId) {
        let handle = node.rpcs.handle();
        let mut sent = 0;
        loop {
            let over = match self.load.limit {
                Limit::Count(count) => sent >= count,
                Limit::Time(_) => handle.now() >= self.deadline,
            };
            if over {
                break;
            }
            let began = handle.now();
            let result = self.once(node, peer, sent as u32).await;
            sent += 1;
            let now = handle.now();
            self.report.borrow_mut().count(result, now - began);
            if result.is_err() {
                handle.sleep(RETRY).await;
            } else {
                let gap = now - self.last_success.replace(now);
                let mut report = self.report.borrow_mut();
                report.longest_gap = report.longest_gap.max(gap);
            }
        }
        self.loops.set(self.loops.get() - 1);
        self.ended.notify();
    }

    /// One request; how many bytes of data it moved.
    async fn once<T: Transport>(
        &self,
        node: &Selftest<T>,
        peer: ProcessId,
        sequence: u32,
    ) -> Result<u64, Failure> {
        let Load { kind, source, timeout, .. } = self.load;
        match kind {
            Kind::Ping => {
                let place = Place::new(ping::PORTAL, ping::MATCH_BITS);
                let transport = node.rpcs.transport();
                let info = transport.get(source, peer, place, ping::FIRST_SINK_LENGTH, timeout).await;
                let info = info.map_err(Failure::Transfer)?;
                let bytes = info.as_slice().ok_or(Failure::PingInfo)?;
                PingInfo::decode(bytes, ping::MAX_INTERFACES).map_err(|_| Failure::PingInfo)?;
                Ok(info.len() as u64)
            }
            Kind::Rpc(probe) => {
                probe
                    .run(&node.rpcs, source, peer, BULK_LEN, sequence, timeout)
                    .await
                    .map_err(Failure::Probe)?;
                Ok(probe.bulk_len().into())
            }
            Kind::Put(len) => {
                node.raw.put(source, peer, len, timeout).await.map_err(Failure::Raw)?;
                Ok(len.into())
            }
            Kind::Get(len) => {
                node.raw.get(source, peer, len, timeout).await.map_err(Failure::Raw)?;
                Ok(len.into())
            }
        }
    }
}

/// Why a request of a load failed.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Transfer(TransferError),
    Probe(ProbeError),
    Raw(RawError),
    /// The answer to a ping is no ping information.
    PingInfo,
}

impl Failure {
    fn is_corruption(&self) -> bool {
        matches!(
            self,
            Failure::Probe(
                ProbeError::Corrupted(_) | ProbeError::Mismatch | ProbeError::Status(status::EBADMSG)
            ) | Failure::Raw(RawError::Corrupted(_) | RawError::Length(_))
                | Failure::PingInfo
        )
    }

    fn is_timeout(&self) -> bool {
        matches!(
            self,
            Failure::Transfer(TransferError::TimedOut)
                | Failure::Probe(ProbeError::Call(CallError::TimedOut))
                | Failure::Raw(RawError::Transfer(TransferError::TimedOut))
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transfer(error) => error.fmt(f),
            Failure::Probe(error) => error.fmt(f),
            Failure::Raw(error) => error.fmt(f),
            Failure::PingInfo => f.write_str("the answer is no ping information"),
        }
    }
}

/// What came of a load.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Requests that succeeded.
    pub messages: u64,
    /// Bytes of data that they moved.
    pub bytes: u64,
    /// Requests that failed, for whatever reason.
    pub errors: u64,
    /// Of these: no answer in time.
    pub timeouts: u64,
    /// Of these: wrong data, or the answer to something else.
    pub corrupt: u64,
    /// The first failure, as text.
    pub first_error: Option<String>,
    /// From the first request to the end of the last.
    pub elapsed: Duration,
    /// Longest time in which no request succeeded.
    pub longest_gap: Duration,
    /// Times of the requests that succeeded.
    pub latency: Histogram,
}

impl Report {
    fn count(&mut self, result: Result<u64, Failure>, took: Duration) {
        match result {
            Ok(bytes) => {
                self.messages += 1;
                self.bytes += bytes;
                self.latency.record(took);
            }
            Err(failure) => {
                self.errors += 1;
                self.timeouts += u64::from(failure.is_timeout());
                self.corrupt += u64::from(failure.is_corruption());
                self.first_error.get_or_insert_with(|| failure.to_string());
            }
        }
    }

    /// Adds the report of another node of the same load.
    pub fn merge(&mut self, other: &Report) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.corrupt += other.corrupt;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self.latency.merge(&other.latency);
    }

    /// Requests that succeeded in a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// MiB of data in a second.
    pub fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-9) / f64::from(1 << 20)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.3} s ({:.0}/s, {:.1} MiB/s), {} failed ({} timed out, {} corrupt), latency {:?}, longest gap {:?}",
            self.messages,
            self.elapsed.as_secs_f64(),
            self.rate(),
            self.mib_per_second(),
            self.errors,
            self.timeouts,
            self.corrupt,
            self.latency,
            self.longest_gap
        )?;
        match &self.first_error {
            Some(error) => write!(f, ", first failure: {error}"),
            None => Ok(()),
        }
    }
}
