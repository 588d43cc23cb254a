//! Calls to hosts: that a lock they wait for is theirs, and answers to requests in message form.
//!
//! Each host with something to be told has a task of its own, so that a silent one delays nobody else.
//!
//! ```text
//!              take_granted                sent, or perhaps sent
//!   (waits) ---------------> to be called ----------------------> called, again after 60 s
//!                              |      ^ |                            |         |
//!     not executed for a minute|      +-+ failed: again after 10 s   |         | GRANTED_RES: denied
//!                              v                                     v         v
//!                           refused: the next waiter's turn      accepted    refused
//! ```
//!
//! A callback that the host may have seen is repeated for ever: it may believe that it has the lock. One that
//! it cannot have seen (its rpcbind is silent, or does not know a lock manager) is repeated for a minute and
//! then withdrawn: a client that still waits asks again every 30 seconds by itself. Until then, whoever asks
//! again is answered that it has the lock, and no callback is needed any more.

use super::wire::{Lock, LockArgs, Res, Status, TestArgs, Version, procedure};
use super::{Caller, NLM_PROGRAM, NlmCounters};
use crate::locks::{LockTable, WaiterId};
use crate::peer_calls::{PeerCall, PeerCallError, PeerCalls, Silence};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_exec::{Either, Handle, TaskHandle, select};
use keelson_hal::Instant;
use keelson_oncrpc::client::Patience;
use keelson_oncrpc::{Buffer, Decoder, Encoder};

/// A callback that brought no answer is repeated after this long.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// One that was received, but whose result did not come.
const AFTER_SILENCE: Duration = Duration::from_secs(60);
/// Failures until callbacks are repeated only as often as those without result.
const PATIENT_TRIES: u32 = 30;
/// A callback that the host cannot have seen is withdrawn after this long. Longer than the 30 seconds after
/// which clients ask again by themselves (Linux: `NLMCLNT_POLL_TIMEOUT`).
const WITHDRAW_AFTER: Duration = Duration::from_secs(60);

/// One try of a callback.
const CALL: Patience = Patience { retry: Duration::from_secs(1), total: Duration::from_secs(10) };
/// An answer in message form: who misses it asks again.
const ANSWER: Patience = Patience { retry: Duration::from_secs(1), total: Duration::from_secs(5) };

/// Answers to one host that wait to be sent.
const MAX_ANSWERS: usize = 64;
/// Hosts that answers are sent to at once.
const MAX_ANSWERED: usize = 256;

/// Requests kept until those that are over are looked for: twice what the table lets wait.
const MAX_WAITING: usize = 8192;

/// A request that waits, or whose callback is under way.
struct Waiting {
    host: IpAddr,
    local: IpAddr,
    version: Version,
    exclusive: bool,
    caller_name: Vec<u8>,
    file: Vec<u8>,
    owner: Vec<u8>,
    svid: u32,
    offset: u64,
    length: u64,
    /// Once it has its lock.
    callback: Option<Callback>,
}

#[derive(Clone, Copy)]
struct Callback {
    granted: Instant,
    failures: u32,
    /// The host may have seen a callback.
    seen: bool,
}

/// An answer in message form.
pub(super) struct Answer {
    pub local: IpAddr,
    pub version: Version,
    pub procedure: u32,
    pub arguments: Vec<u8>,
}

/// What one host is to be told.
struct Lane {
    answers: VecDeque<Answer>,
    callbacks: BTreeSet<(Instant, WaiterId)>,
    changed: Rc<Notify>,
    task: Option<TaskHandle>,
}

/// What a host's task does next.
enum Next {
    Answer(Answer),
    Callback(WaiterId),
    Wait(Instant, Rc<Notify>),
    End,
}

/// All calls to hosts.
pub(super) struct Callbacks {
    handle: Handle,
    table: Rc<RefCell<LockTable>>,
    calls: Rc<dyn PeerCalls>,
    counters: Rc<NlmCounters>,
    waiting: RefCell<BTreeMap<WaiterId, Waiting>>,
    lanes: RefCell<BTreeMap<IpAddr, Lane>>,
    /// Tasks that end with these.
    kept: RefCell<Vec<TaskHandle>>,
    /// What a waiter's number is added to for its cookie: another one in each life, so that a late answer
    /// is not taken for one to this life's callbacks.
    cookie_base: u64,
}

impl Callbacks {
    pub fn new(
        handle: Handle,
        table: Rc<RefCell<LockTable>>,
        calls: Rc<dyn PeerCalls>,
        counters: Rc<NlmCounters>,
        cookie_base: u64,
    ) -> Callbacks {
        Callbacks {
            handle,
            table,
            calls,
            counters,
            waiting: RefCell::default(),
            lanes: RefCell::default(),
            kept: RefCell::default(),
            cookie_base,
        }
    }

    /// A request waits. One that waits already is called where it was last asked from.
    pub fn wait(&self, waiter: WaiterId, caller: &Caller, version: Version, args: &LockArgs<'_>) {
        if self.waiting.borrow().len() >= MAX_WAITING {
            self.sweep();
        }
        let mut waiting = self.waiting.borrow_mut();
        let callback = waiting.get(&waiter).and_then(|known| known.callback);
        let Lock { caller_name, file, owner, svid, offset, length } = args.lock;
        let request = Waiting {
            host: caller.host(),
            local: caller.local,
            version,
            exclusive: args.exclusive,
            caller_name: caller_name.to_vec(),
            file: file.to_vec(),
            owner: owner.to_vec(),
            svid,
            offset,
            length,
            callback,
        };
        waiting.insert(waiter, request);
    }

    /// Starts callbacks to all who have got their lock. Whoever changes the table calls this afterwards.
    pub fn drain(self: &Rc<Self>) {
        loop {
            let granted = self.table.borrow_mut().take_granted();
            let Some(granted) = granted else { return };
            let now = self.handle.now();
            let host = match self.waiting.borrow_mut().get_mut(&granted.waiter) {
                Some(request) => {
                    request.callback = Some(Callback { granted: now, failures: 0, seen: false });
                    request.host
                }
                None => {
                    // Nobody to tell: it must not keep the lock.
                    self.table.borrow_mut().refuse(granted.waiter);
                    continue;
                }
            };
            self.schedule(host, granted.waiter, now);
        }
    }

    /// Posts an answer in message form. False when there are too many.
    pub fn post(self: &Rc<Self>, host: IpAddr, answer: Answer) -> bool {
        let is_new = !self.lanes.borrow().contains_key(&host);
        if is_new && self.lanes.borrow().len() >= MAX_ANSWERED {
            return false;
        }
        self.with_lane(host, |lane| {
            let fits = lane.answers.len() < MAX_ANSWERS;
            if fits {
                lane.answers.push_back(answer);
            }
            fits
        })
    }

    /// The host's answer to a callback.
    pub fn answered(self: &Rc<Self>, host: IpAddr, cookie: &[u8], status: Status) {
        let waiter = cookie
            .try_into()
            .map(|cookie| WaiterId::from_number(u64::from_be_bytes(cookie).wrapping_sub(self.cookie_base)));
        let is_known = |waiter: &WaiterId| {
            let waiting = self.waiting.borrow();
            waiting.get(waiter).is_some_and(|known| known.host == host && known.callback.is_some())
        };
        let Some(waiter) = waiter.ok().filter(is_known) else {
            NlmCounters::count(&self.counters.stray_results);
            log::debug!(target: "lockd", "{host} answers a callback that is not under way");
            return;
        };
        match status {
            Status::GRANTED => {
                NlmCounters::count(&self.counters.accepted);
                self.table.borrow_mut().accept(waiter);
                self.forget(waiter);
            }
            Status::DENIED_GRACE_PERIOD => {
                self.schedule(host, waiter, self.handle.now() + AFTER_FAILURE);
            }
            // It waits for nobody's lock but ours.
            Status::BLOCKED => {}
            _ => {
                NlmCounters::count(&self.counters.declined);
                log::debug!(target: "lockd", "{host} does not want a lock any more that it waited for");
                self.refuse(waiter);
            }
        }
    }

    fn refuse(self: &Rc<Self>, waiter: WaiterId) {
        self.table.borrow_mut().refuse(waiter);
        self.forget(waiter);
        self.drain();
    }

    /// The request waits no more, and nobody is called about it.
    pub fn forget(&self, waiter: WaiterId) {
        self.waiting.borrow_mut().remove(&waiter);
    }

    /// The host waits for nothing.
    pub fn forget_host(&self, host: IpAddr) {
        self.waiting.borrow_mut().retain(|_, request| request.host != host);
    }

    /// Forgets requests that the table does not know any more.
    pub fn sweep(&self) {
        let table = self.table.borrow();
        let queued: BTreeSet<WaiterId> = table.locks().filter_map(|lock| lock.waiter).collect();
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|waiter, _| queued.contains(waiter) || table.open_grant(*waiter).is_some());
    }

    /// Ends a task together with these.
    pub fn keep(&self, task: TaskHandle) {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|task| !task.is_finished());
        kept.push(task);
    }

    /// Calls nobody any more.
    pub fn stop(&self) {
        let lanes = self.lanes.take().into_values().filter_map(|lane| lane.task);
        lanes.chain(self.kept.take()).for_each(|task| task.abort());
    }

    /// Callbacks under way.
    pub fn under_way(&self) -> usize {
        self.waiting.borrow().values().filter(|request| request.callback.is_some()).count()
    }

    fn schedule(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, due: Instant) {
        self.with_lane(host, |lane| {
            lane.callbacks.retain(|(_, other)| *other != waiter);
            lane.callbacks.insert((due, waiter));
        });
    }

    /// Changes what a host is to be told, and sees to it that somebody does.
    fn with_lane<R>(self: &Rc<Self>, host: IpAddr, change: impl FnOnce(&mut Lane) -> R) -> R {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.entry(host).or_insert_with(|| Lane {
            answers: VecDeque::new(),
            callbacks: BTreeSet::new(),
            changed: Rc::default(),
            task: None,
        });
        let result = change(lane);
        lane.changed.notify();
        if lane.task.is_none() {
            let callbacks = self.clone();
            lane.task = Some(self.handle.spawn("nlm-host", async move { callbacks.tell(host).await }));
        }
        result
    }

    async fn tell(self: Rc<Self>, host: IpAddr) {
        loop {
            match self.next(host) {
                Next::Answer(answer) => self.send_answer(host, answer).await,
                Next::Callback(waiter) => self.call_back(waiter).await,
                Next::Wait(due, changed) => {
                    let _: Either<(), ()> = select(changed.notified(), self.handle.sleep_until(due)).await;
                }
                Next::End => return,
            }
        }
    }

    fn next(&self, host: IpAddr) -> Next {
        let mut lanes = self.lanes.borrow_mut();
        let Some(lane) = lanes.get_mut(&host) else { return Next::End };
        if let Some(answer) = lane.answers.pop_front() {
            return Next::Answer(answer);
        }
        while let Some((due, waiter)) = lane.callbacks.first().copied() {
            if !self.waiting.borrow().contains_key(&waiter) {
                lane.callbacks.pop_first();
            } else if due <= self.handle.now() {
                lane.callbacks.pop_first();
                return Next::Callback(waiter);
            } else {
                return Next::Wait(due, lane.changed.clone());
            }
        }
        lanes.remove(&host);
        Next::End
    }

    async fn send_answer(&self, host: IpAddr, answer: Answer) {
        let call = PeerCall {
            peer: host,
            local: answer.local,
            target: [NLM_PROGRAM, answer.version.number(), answer.procedure],
            arguments: answer.arguments,
            patience: ANSWER,
            silence: Silence::Switch,
        };
        if let Err(error) = self.calls.call(call).await {
            NlmCounters::count(&self.counters.answers_lost);
            log::debug!(target: "lockd", "an answer did not reach {host}: {}", error.reason());
        }
    }

    async fn call_back(self: &Rc<Self>, waiter: WaiterId) {
        if self.table.borrow().open_grant(waiter).is_none() {
            // It asked again meanwhile, unlocked, or was released.
            return self.forget(waiter);
        }
        let Some(call) = self.granted_call(waiter, procedure::GRANTED_MSG) else { return };
        let host = call.peer;
        NlmCounters::count(&self.counters.callbacks);
        match self.calls.call(call).await {
            Ok(_) => {
                self.saw(waiter);
                self.again(host, waiter, AFTER_SILENCE);
            }
            Err(PeerCallError::NoProcedure) => self.call_back_synchronously(waiter).await,
            Err(error) => self.failed(host, waiter, error),
        }
    }

    /// For hosts that know no message form: the answer is the reply.
    async fn call_back_synchronously(self: &Rc<Self>, waiter: WaiterId) {
        let Some(call) = self.granted_call(waiter, procedure::GRANTED) else { return };
        let host = call.peer;
        match self.calls.call(call).await {
            Ok(results) => {
                self.saw(waiter);
                if let Ok(Res { cookie, status }) = Res::decode(Decoder::new(&results)) {
                    self.answered(host, cookie, status);
                }
                self.again(host, waiter, AFTER_SILENCE);
            }
            Err(error) => self.failed(host, waiter, error),
        }
    }

    /// The call that tells of a lock: all of the request, byte for byte, from the address it was sent to.
    fn granted_call(&self, waiter: WaiterId, procedure: u32) -> Option<PeerCall> {
        let waiting = self.waiting.borrow();
        let request = waiting.get(&waiter)?;
        let cookie = self.cookie_base.wrapping_add(waiter.number()).to_be_bytes();
        let lock = Lock {
            caller_name: &request.caller_name,
            file: &request.file,
            owner: &request.owner,
            svid: request.svid,
            offset: request.offset,
            length: request.length,
        };
        let args = TestArgs { cookie: &cookie, exclusive: request.exclusive, lock };
        Some(PeerCall {
            peer: request.host,
            local: request.local,
            target: [NLM_PROGRAM, request.version.number(), procedure],
            arguments: encoded(|out| args.encode(request.version, out)),
            patience: CALL,
            silence: Silence::Switch,
        })
    }

    fn saw(&self, waiter: WaiterId) {
        if let Some(Waiting { callback: Some(callback), .. }) = self.waiting.borrow_mut().get_mut(&waiter) {
            callback.seen = true;
        }
    }

    /// Calls again later, if the host did not answer while it was called.
    fn again(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, after: Duration) {
        let scheduled = |lanes: &BTreeMap<IpAddr, Lane>| {
            lanes.get(&host).is_some_and(|lane| lane.callbacks.iter().any(|(_, other)| *other == waiter))
        };
        let is_open = self.waiting.borrow().contains_key(&waiter);
        if is_open && !scheduled(&self.lanes.borrow()) {
            self.schedule(host, waiter, self.handle.now() + after);
        }
    }

    fn failed(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, error: PeerCallError) {
        NlmCounters::count(&self.counters.callbacks_failed);
        let now = self.handle.now();
        let callback = {
            let mut waiting = self.waiting.borrow_mut();
            let Some(Waiting { callback: Some(callback), .. }) = waiting.get_mut(&waiter) else { return };
            callback.failures += 1;
            callback.seen |= !error.was_not_executed();
            *callback
        };
        let reason = error.reason();
        if callback.failures == 1 {
            log::warn!(target: "lockd", "{host} was not told that a lock is free: {reason}; trying again");
        }
        if !callback.seen && now - callback.granted >= WITHDRAW_AFTER {
            NlmCounters::count(&self.counters.withdrawn);
            log::warn!(target: "lockd", "{host} cannot be told that a lock is free: {reason}; given to the next");
            self.refuse(waiter);
            return;
        }
        let after = if callback.failures < PATIENT_TRIES { AFTER_FAILURE } else { AFTER_SILENCE };
        self.again(host, waiter, after);
    }
}

/// Bytes of the longest arguments or results: four objects of 1024 bytes and a few numbers.
pub(super) const MAX_ANSWER: usize = 4608;

/// Arguments or results as bytes.
pub(super) fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(MAX_ANSWER), 0);
    write(&mut out);
    out.written().to_vec()
}
