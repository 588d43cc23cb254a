//! NLM, the lock manager (program 100021 versions 1, 3 and 4; X/Open XNFS chapter 10, RFC 1813 appendix II).
//!
//! | form | call | answer |
//! |---|---|---|
//! | synchronous | TEST, LOCK, CANCEL, UNLOCK, SHARE, UNSHARE, NM_LOCK, FREE_ALL | the reply |
//! | message | TEST_MSG, LOCK_MSG, CANCEL_MSG, UNLOCK_MSG | an empty reply, and a call of TEST_RES, ... to the host's lock manager |
//! | callback | ours: GRANTED_MSG | the host's: GRANTED_RES |
//!
//! A host is its address. Locks are advisory: reading and writing do not look at them. [`access`]
//! finds the file and checks that the caller may lock it, [`manager`] decides, [`callbacks`] and [`calling`] tell
//! others, [`recovery`] knows what restarts mean.

mod access;
mod callbacks;
mod calling;
mod hosts;
mod listing;
mod manager;
mod recovery;
pub mod wire;

pub(crate) use manager::LockManager;

use crate::exports::Exports;
use crate::handle::HandleCodec;
use crate::names::Names;
use crate::nfs3::FIRST_UNPRIVILEGED_PORT;
use access::Intent;
use alloc::rc::Rc;
use callbacks::{Answer, MAX_ANSWER, encoded};
use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use keelson_oncrpc::{Buffer, Call, Decoder, Encoder, Failure, Program, Repetition, Reply, Service};
use keelson_volume::Volume;
use wire::{
    CancelArgs, Holder, LockArgs, Res, ShareArgs, Status, TestArgs, UnlockArgs, Version, procedure,
    split_owner_name,
};

/// Program number of NLM.
pub const NLM_PROGRAM: u32 = 100_021;

/// What happened to lock requests.
#[derive(Clone, Default, Debug)]
pub struct NlmCounters {
    /// Requests, of all procedures.
    pub requests: Cell<u64>,
    /// Locks and shares granted at once.
    pub granted: Cell<u64>,
    /// Requests that began to wait, or go on waiting.
    pub blocked: Cell<u64>,
    /// Requests refused because of locks of others, limits or deadlocks.
    pub denied: Cell<u64>,
    /// Requests put off because of the grace period, and reclaims outside of it.
    pub grace: Cell<u64>,
    /// Requests of hosts or users that may not lock the file.
    pub refused: Cell<u64>,
    /// Requests for files that are gone, or with handles that were not made here.
    pub stale: Cell<u64>,
    /// Requests of hosts whose record could not be made durable.
    pub not_remembered: Cell<u64>,
    /// Callbacks tried.
    pub callbacks: Cell<u64>,
    /// Callbacks without answer.
    pub callbacks_failed: Cell<u64>,
    /// Callbacks whose lock the host took.
    pub accepted: Cell<u64>,
    /// Callbacks whose lock the host did not want any more.
    pub declined: Cell<u64>,
    /// Locks given to the next because their host could not be told.
    pub withdrawn: Cell<u64>,
    /// Answers to callbacks that are not under way.
    pub stray_results: Cell<u64>,
    /// Answers in message form that were not delivered.
    pub answers_lost: Cell<u64>,
}

impl NlmCounters {
    fn count(counter: &Cell<u64>) {
        counter.set(counter.get().wrapping_add(1));
    }

    fn count_status(&self, status: Status) {
        match status {
            Status::GRANTED => Self::count(&self.granted),
            Status::BLOCKED => Self::count(&self.blocked),
            Status::DENIED | Status::DENIED_NOLOCKS | Status::DEADLCK => Self::count(&self.denied),
            _ => {}
        }
    }
}

/// Who asks, and at which of our addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    peer: SocketAddr,
    local: IpAddr,
}

impl Caller {
    fn of(call: &Call<'_>) -> Caller {
        Caller { peer: call.origin.peer, local: call.origin.local }
    }

    fn host(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    fn is_privileged(&self) -> bool {
        self.peer.port() < FIRST_UNPRIVILEGED_PORT
    }
}

/// Whether a host is to be told when we restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Monitor {
    Yes,
    /// NM_LOCK: of hosts that cannot be told.
    No,
}

/// The program.
pub(crate) struct Nlm<V, N> {
    pub manager: Rc<LockManager<V>>,
    pub volume: Rc<V>,
    pub exports: Rc<Exports<N>>,
    pub handles: HandleCodec,
}

impl<V: Volume + 'static, N: Names> Service for Nlm<V, N> {
    fn programs(&self) -> &[Program] {
        &[Program { number: NLM_PROGRAM, versions: &[1, 3, 4] }]
    }

    /// A LOCK that comes again after its UNLOCK would take a lock that nobody gives up, an UNLOCK that comes again after
    /// another LOCK would release it. Tests, and answers to our callbacks, change nothing the second time.
    fn repetition(&self, call: &Call<'_>) -> Repetition {
        match call.procedure {
            procedure::TEST | procedure::TEST_MSG | procedure::GRANTED | procedure::GRANTED_MSG => {
                Repetition::Harmless
            }
            procedure::TEST_RES..=procedure::GRANTED_RES => Repetition::Harmless,
            _ => Repetition::Overwrites,
        }
    }

    async fn call(&self, call: &Call<'_>, input: Decoder<'_>, reply: &mut Reply) -> Result<(), Failure> {
        NlmCounters::count(&self.manager.counters.requests);
        let version = Version::of(call.version);
        let out = reply.results();
        match call.procedure {
            procedure::TEST..=procedure::UNLOCK => {
                self.request(call, version, call.procedure, input, out).await?;
            }
            procedure::TEST_MSG..=procedure::UNLOCK_MSG => {
                let asked = call.procedure - procedure::TEST_MSG + procedure::TEST;
                let mut answer = Encoder::new(Buffer::unpooled(MAX_ANSWER), 0);
                self.request(call, version, asked, input, &mut answer).await?;
                self.answer(call, version, call.procedure + procedure::MSG_TO_RES, answer.written());
            }
            // We wait for nobody's locks.
            procedure::GRANTED => {
                let args = TestArgs::decode(version, input)?;
                Res { cookie: args.cookie, status: Status::DENIED }.encode(version, out);
            }
            procedure::GRANTED_MSG => {
                let args = TestArgs::decode(version, input)?;
                let result = Res { cookie: args.cookie, status: Status::DENIED };
                let answer = encoded(|out| result.encode(version, out));
                self.answer(call, version, procedure::GRANTED_RES, &answer);
            }
            // We ask in no message form.
            procedure::TEST_RES..=procedure::UNLOCK_RES => {
                NlmCounters::count(&self.manager.counters.stray_results);
            }
            procedure::GRANTED_RES => {
                let Res { cookie, status } = Res::decode(input)?;
                self.manager.callbacks.answered(Caller::of(call).host(), cookie, status);
            }
            procedure::SHARE..=procedure::FREE_ALL if version == Version::V1 => {
                return Err(Failure::ProcedureUnavailable);
            }
            procedure::SHARE | procedure::UNSHARE => self.share(call, version, input, out).await?,
            procedure::NM_LOCK => self.lock(call, version, Monitor::No, input, out).await?,
            procedure::FREE_ALL => {
                wire::free_all(input)?;
                self.manager.free_all(&Caller::of(call)).await;
            }
            _ => return Err(Failure::ProcedureUnavailable),
        }
        Ok(())
    }
}

impl<V: Volume + 'static, N: Names> Nlm<V, N> {
    /// TEST, LOCK, CANCEL or UNLOCK, in either form.
    async fn request(
        &self,
        call: &Call<'_>,
        version: Version,
        procedure: u32,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        match procedure {
            procedure::TEST => self.test(call, version, input, out).await,
            procedure::LOCK => self.lock(call, version, Monitor::Yes, input, out).await,
            procedure::CANCEL => self.cancel(call, version, input, out).await,
            _ => self.unlock(call, version, input, out).await,
        }
    }

    async fn test(
        &self,
        call: &Call<'_>,
        version: Version,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        let args = TestArgs::decode(version, input)?;
        let cookie = args.cookie;
        match self.file(call, args.lock.file, Intent::Take).await {
            Err(status) => Res { cookie, status }.encode(version, out),
            Ok(file) => self.manager.test(&Caller::of(call), file, &args, |found| match found {
                Ok(Some(holder)) => {
                    let (svid, owner) = split_owner_name(holder.name);
                    let exclusive = holder.kind == crate::locks::Kind::Exclusive;
                    let (offset, length) = (holder.range.first, holder.range.length());
                    Holder { exclusive, svid, owner, offset, length }.encode(version, cookie, out);
                }
                Ok(None) => Res { cookie, status: Status::GRANTED }.encode(version, out),
                Err(status) => Res { cookie, status }.encode(version, out),
            }),
        }
        Ok(())
    }

    async fn lock(
        &self,
        call: &Call<'_>,
        version: Version,
        monitor: Monitor,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        let args = LockArgs::decode(version, input)?;
        let status = match self.file(call, args.lock.file, Intent::Take).await {
            Ok(file) => {
                let locked = self.manager.lock(&Caller::of(call), version, file, &args, monitor).await;
                locked.unwrap_or_else(|status| status)
            }
            Err(status) => status,
        };
        self.finish(call, "LOCK", status);
        Res { cookie: args.cookie, status }.encode(version, out);
        Ok(())
    }

    async fn cancel(
        &self,
        call: &Call<'_>,
        version: Version,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        let args = CancelArgs::decode(version, input)?;
        let file = self.file(call, args.lock.file, Intent::GiveUp).await;
        let result = file.and_then(|file| self.manager.cancel(&Caller::of(call), file, &args));
        let status = result.unwrap_or_else(|status| status);
        Res { cookie: args.cookie, status }.encode(version, out);
        Ok(())
    }

    async fn unlock(
        &self,
        call: &Call<'_>,
        version: Version,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        let args = UnlockArgs::decode(version, input)?;
        let file = self.file(call, args.lock.file, Intent::GiveUp).await;
        let result = file.and_then(|file| self.manager.unlock(&Caller::of(call), file, &args));
        let status = result.unwrap_or_else(|status| status);
        Res { cookie: args.cookie, status }.encode(version, out);
        Ok(())
    }

    async fn share(
        &self,
        call: &Call<'_>,
        version: Version,
        input: Decoder<'_>,
        out: &mut Encoder,
    ) -> Result<(), Failure> {
        let args = ShareArgs::decode(input)?;
        let caller = Caller::of(call);
        let taking = call.procedure == procedure::SHARE;
        let intent = if taking { Intent::Take } else { Intent::GiveUp };
        let status = match self.file(call, args.file, intent).await {
            Ok(file) if taking => {
                self.manager.share(&caller, file, &args).await.unwrap_or_else(|status| status)
            }
            Ok(file) => self.manager.unshare(&caller, file, &args),
            Err(status) => status,
        };
        if taking {
            self.finish(call, "SHARE", status);
        }
        ShareArgs::encode_result(version, args.cookie, status, out);
        Ok(())
    }

    fn finish(&self, call: &Call<'_>, what: &str, status: Status) {
        self.manager.counters.count_status(status);
        log::debug!(target: "lockd", "{} {what}: status {}", call.origin.peer, status.0);
    }

    /// Calls the host's lock manager with the answer to a request in message form.
    fn answer(&self, call: &Call<'_>, version: Version, procedure: u32, arguments: &[u8]) {
        let Caller { local, .. } = Caller::of(call);
        let answer = Answer { local, version, procedure, arguments: arguments.to_vec() };
        if !self.manager.callbacks.post(Caller::of(call).host(), answer) {
            // The host asks again when it hears nothing.
            NlmCounters::count(&self.manager.counters.answers_lost);
        }
    }
}
