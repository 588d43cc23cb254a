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

use super::wire::{Lock, LockArgs, Status, Version};
use super::{Caller, NlmCounters};
use crate::locks::{LockTable, WaiterId};
use crate::peer_calls::PeerCalls;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use core::time::Duration;
use keelson_exec::sync::Notify;
use keelson_exec::{Handle, TaskHandle};
use keelson_hal::Instant;
use keelson_oncrpc::{Buffer, Encoder};

/// A callback that brought no answer is repeated after this long.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Answers to one host that wait to be sent.
const MAX_ANSWERS: usize = 64;
/// Hosts that answers are sent to at once.
const MAX_ANSWERED: usize = 256;

/// Requests kept until those that are over are looked for: twice what the table lets wait.
const MAX_WAITING: usize = 8192;

/// A request that waits, or whose callback is under way.
pub(super) struct Waiting {
    pub host: IpAddr,
    pub local: IpAddr,
    pub version: Version,
    pub exclusive: bool,
    pub caller_name: Vec<u8>,
    pub file: Vec<u8>,
    pub owner: Vec<u8>,
    pub svid: u32,
    pub offset: u64,
    pub length: u64,
    /// Once it has its lock.
    pub callback: Option<Callback>,
}

#[derive(Clone, Copy)]
pub(super) struct Callback {
    pub granted: Instant,
    /// When the host is called; `None` while it is being called.
    pub due: Option<Instant>,
    pub failures: u32,
    /// The host may have seen a callback.
    pub seen: bool,
}

/// An answer in message form.
pub(super) struct Answer {
    pub local: IpAddr,
    pub version: Version,
    pub procedure: u32,
    pub arguments: Vec<u8>,
}

/// What one host is to be told.
pub(super) struct Lane {
    pub answers: VecDeque<Answer>,
    pub callbacks: BTreeSet<(Instant, WaiterId)>,
    pub changed: Rc<Notify>,
    pub task: Option<TaskHandle>,
}

/// All calls to hosts.
pub(super) struct Callbacks {
    pub handle: Handle,
    pub table: Rc<RefCell<LockTable>>,
    pub calls: Rc<dyn PeerCalls>,
    pub counters: Rc<NlmCounters>,
    pub waiting: RefCell<BTreeMap<WaiterId, Waiting>>,
    pub lanes: RefCell<BTreeMap<IpAddr, Lane>>,
    /// Tasks that end with these.
    pub kept: RefCell<Vec<TaskHandle>>,
    /// What a waiter's number is added to for its cookie: another one in each life, so that a late answer
    /// is not taken for one to this life's callbacks.
    pub cookie_base: u64,
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
                    request.callback = Some(Callback { granted: now, due: None, failures: 0, seen: false });
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

    pub(super) fn refuse(self: &Rc<Self>, waiter: WaiterId) {
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

    /// Calls the host at `due`, and not when it was to be called before.
    pub(super) fn schedule(self: &Rc<Self>, host: IpAddr, waiter: WaiterId, due: Instant) {
        let before = match self.waiting.borrow_mut().get_mut(&waiter) {
            Some(Waiting { callback: Some(callback), .. }) => callback.due.replace(due),
            _ => return,
        };
        self.with_lane(host, |lane| {
            if let Some(before) = before {
                lane.callbacks.remove(&(before, waiter));
            }
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
}

/// Bytes of the longest arguments or results: four objects of 1024 bytes and a few numbers.
pub(super) const MAX_ANSWER: usize = 4608;

/// Arguments or results as bytes.
pub(super) fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new(Buffer::unpooled(MAX_ANSWER), 0);
    write(&mut out);
    out.written().to_vec()
}
