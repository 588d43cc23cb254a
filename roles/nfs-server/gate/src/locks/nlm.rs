//! Calls of NLM version 4 (RFC 1813 appendix II) as a client makes them.

use super::beliefs::{Kind, PLACE, PLACES, Run};
use crate::ledger::Ledger;
use crate::rpc::{Answer, Rpc, decoded, encoded};
use keelson_nfs_server::NLM_PROGRAM;
use keelson_oncrpc::{DecodeError, Decoder, Encoder};
use std::ops::Range;
use std::rc::Rc;

/// `nlm4_stats`.
pub mod status {
    #![allow(missing_docs)] // The names are those of RFC 1813 appendix II, without their prefix.
    pub const GRANTED: u32 = 0;
    pub const DENIED: u32 = 1;
    pub const BLOCKED: u32 = 3;
    pub const DENIED_GRACE_PERIOD: u32 = 4;
    pub const DEADLCK: u32 = 5;
}

/// Procedure numbers.
pub mod procedure {
    #![allow(missing_docs)]
    pub const TEST: u32 = 1;
    pub const LOCK: u32 = 2;
    pub const CANCEL: u32 = 3;
    pub const UNLOCK: u32 = 4;
    pub const GRANTED: u32 = 5;
    pub const GRANTED_MSG: u32 = 10;
    pub const GRANTED_RES: u32 = 15;
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lock {
    /// The file's handle.
    pub handle: Vec<u8>,
    /// Everything else.
    pub run: Run,
}

impl Lock {
    fn put(&self, machine: &str, out: &mut Encoder) {
        let (offset, length) = bytes_of(&self.run.range);
        out.opaque(machine.as_bytes());
        out.opaque(&self.handle);
        out.opaque(oh(machine, self.run.owner).as_bytes());
        out.u32(self.run.owner);
        out.u64(offset);
        out.u64(length);
    }
}

/// The opaque owner, as Linux makes it.
pub fn oh(machine: &str, owner: u32) -> String {
    format!("{owner}@{machine}")
}

/// First byte and number of bytes; none for all that is behind.
fn bytes_of(range: &Range<usize>) -> (u64, u64) {
    let offset = range.start as u64 * PLACE;
    (offset, if range.end == PLACES { 0 } else { range.len() as u64 * PLACE })
}

/// The places of a range on the wire.
pub fn places_of(offset: u64, length: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset / PLACE).ok()?;
    let end = if length == 0 { PLACES } else { start + usize::try_from(length / PLACE).ok()? };
    let range = start..end;
    (start < end && end <= PLACES && bytes_of(&range) == (offset, length)).then_some(range)
}

/// Calls of one process.
pub struct Nlm {
    rpc: Rpc,
    ledger: Rc<Ledger>,
    machine: String,
    /// The machine's NSM state number.
    state: u32,
    cookie: u32,
}

/// A status, and what the answer tells of the server.
pub struct Said {
    /// `nlm4_stats`.
    pub status: u32,
    /// Power cuts, if one server alone had to do with it.
    pub cuts: Option<u32>,
}

impl Said {
    fn new(status: u32, answer: &Answer) -> Said {
        Said { status, cuts: (!answer.spans_cut()).then_some(answer.answered) }
    }
}

impl Nlm {
    /// Calls through this.
    pub fn new(rpc: Rpc, ledger: &Rc<Ledger>, machine: &str, state: u32) -> Nlm {
        Nlm { rpc, ledger: ledger.clone(), machine: machine.into(), state, cookie: 0 }
    }

    async fn call<T>(
        &mut self,
        procedure: u32,
        put: impl FnOnce(&mut Encoder, &str),
        read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    ) -> (T, Answer) {
        self.cookie += 1;
        let cookie = self.cookie.to_be_bytes();
        let arguments = encoded(1024, |out| {
            out.opaque(&cookie);
            put(out, &self.machine);
        });
        let answer = self.rpc.call([NLM_PROGRAM, 4, procedure], &arguments).await;
        let results = decoded(&self.ledger, &answer.results, |input| {
            let returned = input.opaque(1024)?;
            Ok((returned == cookie, read(input)?))
        });
        match results {
            Some((true, value)) => (value, answer),
            Some((false, _)) => {
                self.ledger.fail(format!("procedure {procedure} returned another cookie"));
                std::future::pending().await
            }
            None => std::future::pending().await,
        }
    }

    async fn simple(&mut self, procedure: u32, put: impl FnOnce(&mut Encoder, &str)) -> Said {
        let (status, answer) = self.call(procedure, put, |input| input.u32()).await;
        Said::new(status, &answer)
    }

    /// LOCK.
    pub async fn lock(&mut self, lock: &Lock, block: bool, reclaim: bool) -> Said {
        let state = self.state;
        let put = |out: &mut Encoder, machine: &str| {
            out.bool(block);
            out.bool(lock.run.kind == Kind::Exclusive);
            lock.put(machine, out);
            out.bool(reclaim);
            out.u32(state);
        };
        self.simple(procedure::LOCK, put).await
    }

    /// CANCEL.
    pub async fn cancel(&mut self, lock: &Lock) -> Said {
        let put = |out: &mut Encoder, machine: &str| {
            out.bool(true);
            out.bool(lock.run.kind == Kind::Exclusive);
            lock.put(machine, out);
        };
        self.simple(procedure::CANCEL, put).await
    }

    /// UNLOCK.
    pub async fn unlock(&mut self, lock: &Lock) -> Said {
        self.simple(procedure::UNLOCK, |out, machine| lock.put(machine, out)).await
    }

    /// TEST: the status, and the owner that is in the way if it was DENIED.
    pub async fn test(&mut self, lock: &Lock) -> (Said, Option<u32>) {
        let put = |out: &mut Encoder, machine: &str| {
            out.bool(lock.run.kind == Kind::Exclusive);
            lock.put(machine, out);
        };
        let called = self.call(procedure::TEST, put, |input| {
            let status = input.u32()?;
            if status != status::DENIED {
                return Ok((status, None));
            }
            let (_exclusive, owner, _oh) = (input.bool()?, input.u32()?, input.opaque(1024)?);
            let (_offset, _length) = (input.u64()?, input.u64()?);
            Ok((status, Some(owner)))
        });
        let ((status, holder), answer) = called.await;
        (Said::new(status, &answer), holder)
    }
}
