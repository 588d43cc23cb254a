//! One request of a test, sent and judged: what batches and load consist of.

use super::data;
use super::rpc::{Bulk, CallError, Rpcs};
use super::{Answer, Transport};
use core::fmt;
use core::time::Duration;
use keelson_lnet_wire::nid::{Nid, ProcessId};
use keelson_lnet_wire::srpc::{
    BULK_LEN, BrwDirection, Check, Corrupted, Reply, Request, Service, Test, TestParameters, status,
};

/// Length of the pages in which bulk tests without [`BULK_LEN`] are counted.
const PAGE: u32 = 4096;

/// A kind of request of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// 160 bytes there and back.
    Ping,
    /// Bulk data.
    Brw {
        /// Read: to us; write: from us.
        direction: BrwDirection,
        /// Bytes: a multiple of 8, at most 1 MiB.
        len: u32,
        /// What the receiving side looks at.
        check: Check,
    },
}

/// Why a test failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeError {
    /// No answer.
    Call(CallError),
    /// Refused or failed at the server.
    Status(u32),
    /// The answer is to something else: its features, or what a ping echoes.
    Mismatch,
    /// The data that arrived are not those that were sent.
    Corrupted(Corrupted),
    /// Not sent, because no server would accept it and some would crash.
    Unacceptable,
}

impl Probe {
    /// The test that a console described; `Err` holds the status of the answer.
    pub(super) fn from_test(test: &Test, features: u32) -> Result<Probe, u32> {
        let (opcode, len, flags) = match test.parameters {
            TestParameters::Ping { .. } => return Ok(Probe::Ping),
            TestParameters::BrwPages { opcode, pages, flags } => (opcode, pages.checked_mul(PAGE), flags),
            TestParameters::BrwBytes { opcode, flags, len, .. } => (opcode.into(), Some(len), flags.into()),
            TestParameters::Unknown(_) => return Err(status::EINVAL),
        };
        let check = Check::from_wire(flags).ok_or(status::EINVAL)?;
        let len = len.ok_or(status::EINVAL)?;
        let probe = Probe::Brw { direction: BrwDirection::from_wire(opcode), len, check };
        probe.request(0).check_brw(features)?;
        Ok(probe)
    }

    /// How a console describes the test; `None` for bulk data that are not whole pages without [`BULK_LEN`].
    pub(super) fn parameters(&self, features: u32) -> Option<TestParameters> {
        Some(match *self {
            Probe::Ping => TestParameters::Ping { size: 0, flags: 0 },
            Probe::Brw { direction, len, check } if features & BULK_LEN != 0 => TestParameters::BrwBytes {
                opcode: direction.to_wire() as u16,
                flags: check.to_wire() as u16,
                len,
                offset: 0,
            },
            Probe::Brw { direction, len, check } if len % PAGE == 0 => TestParameters::BrwPages {
                opcode: direction.to_wire(),
                pages: len / PAGE,
                flags: check.to_wire(),
            },
            Probe::Brw { .. } => return None,
        })
    }

    /// The service that answers it.
    pub const fn service(&self) -> Service {
        match self {
            Probe::Ping => Service::Ping,
            Probe::Brw { .. } => Service::Brw,
        }
    }

    /// Bytes of bulk data of one request.
    pub const fn bulk_len(&self) -> u32 {
        match self {
            Probe::Ping => 0,
            Probe::Brw { len, .. } => *len,
        }
    }

    fn request(&self, sequence: u32) -> Request {
        match *self {
            Probe::Ping => Request::Ping { magic: Request::PING_MAGIC, sequence, seconds: 0, nanoseconds: 0 },
            Probe::Brw { direction, len, check } => {
                Request::Brw { bulkid: 0, direction, len, flags: check.to_wire() }
            }
        }
    }

    /// Sends one request and judges the answer.
    pub async fn run<T: Transport>(
        &self,
        rpcs: &Rpcs<T>,
        source: Option<Nid>,
        to: ProcessId,
        features: u32,
        sequence: u32,
        timeout: Duration,
    ) -> Result<(), ProbeError> {
        let mut request = self.request(sequence);
        request.check_brw(features).map_err(|_| ProbeError::Unacceptable)?;
        if let Request::Ping { seconds, nanoseconds, .. } = &mut request {
            let wall = rpcs.handle().clock().wall();
            (*seconds, *nanoseconds) = (wall.as_secs(), wall.subsec_nanos().into());
        }
        let bulk = match *self {
            Probe::Brw { direction: BrwDirection::Read, len, .. } => Bulk::Sink(len),
            Probe::Brw { len, .. } => Bulk::Source(rpcs.memory().pattern(len as usize)),
            Probe::Ping => Bulk::Nothing,
        };
        let answer = rpcs.call(source, to, features, request, bulk, timeout).await;
        self.judge(&answer.map_err(ProbeError::Call)?, features, sequence)
    }

    fn judge(&self, answer: &Answer, features: u32, sequence: u32) -> Result<(), ProbeError> {
        if answer.status != status::OK {
            return Err(ProbeError::Status(answer.status));
        }
        let echo = Reply::Ping { magic: Request::PING_MAGIC, sequence };
        if answer.features != features || (*self == Probe::Ping && answer.reply != echo) {
            return Err(ProbeError::Mismatch);
        }
        if let Probe::Brw { direction: BrwDirection::Read, check, .. } = *self {
            data::verify(&answer.bulk, check, answer.swapped).map_err(ProbeError::Corrupted)?;
        }
        Ok(())
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Call(error) => error.fmt(f),
            ProbeError::Status(status) => write!(f, "answered with error {status}"),
            ProbeError::Mismatch => f.write_str("answered with something else"),
            ProbeError::Corrupted(found) => found.fmt(f),
            ProbeError::Unacceptable => f.write_str("no server takes such a request"),
        }
    }
}

impl core::error::Error for ProbeError {}
