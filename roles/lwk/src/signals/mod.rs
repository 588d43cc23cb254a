//! Signals: who gets one, and when (section 3.9).
//!
//! A signal waits in the queue of its process or of one thread. A thread *claims* the next one that it does not block when it is
//! about to return to ring 3, or while it waits; a claim for which a handler must run, or that ends the process, breaks off the
//! wait. So a wait is only ever interrupted when a handler will run, and calls need no restart without one.
//!
//! ```text
//!   sent ---> ignored, not blocked: gone
//!        \--> queue ---> claimed ---> handler: frame on the stack (deliver.rs)
//!                               \---> default: end, core, stop, nothing
//! ```

mod action;
mod altstack;
mod deliver;
pub mod frame;
mod info;
mod queue;
mod set;

pub use action::*;
pub use info::*;
pub use queue::Queue;
pub use set::*;

use crate::Errno;
use crate::files::Events;
use crate::process::Process;
use crate::thread::{Attention, Thread};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Signals that one process may have waiting when RLIMIT_SIGPENDING is unlimited.
const MOST_QUEUED: u64 = 65536;

/// The signals of a process.
#[derive(Default)]
pub struct ProcessSignals {
    /// What it does with each. A process made with CLONE_SIGHAND but not CLONE_THREAD has a copy: its parent is suspended.
    pub actions: Mutex<Actions>,
    queue: Mutex<Queue>,
    /// What is in the queue, for a look without the lock.
    pending: AtomicU64,
}

/// The signals of a thread.
#[derive(Default)]
pub struct ThreadSignals {
    /// Written by the thread itself only.
    mask: AtomicU64,
    queue: Mutex<Queue>,
    pending: AtomicU64,
    /// What rt_sigtimedwait(2) waits for.
    awaited: AtomicU64,
    claimed: Mutex<Option<Claimed>>,
    /// The mask to return to when the call that replaced it (rt_sigsuspend, ppoll, ...) is over.
    replaced: Mutex<Option<SigSet>>,
    /// The alternate stack.
    pub stack: Mutex<AltStack>,
}

/// `stack_t`: the alternate signal stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// `SS_AUTODISARM` or nothing.
    pub flags: u32,
    /// Bytes; 0 when there is none.
    pub size: u64,
}

/// A signal that a thread must act on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Claimed {
    /// A handler runs.
    Handler(SigInfo, Action),
    /// The process ends; with a core file perhaps.
    Fatal { info: SigInfo, core: bool },
}

impl ProcessSignals {
    /// With actions of its own: a copy of another process' or the default.
    pub fn new(actions: Actions) -> ProcessSignals {
        ProcessSignals { actions: Mutex::new(actions), ..ProcessSignals::default() }
    }

    /// What waits for any thread.
    pub fn pending(&self) -> SigSet {
        SigSet(self.pending.load(Ordering::SeqCst))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock();
        let result = act(&mut queue);
        self.pending.store(queue.pending().0, Ordering::SeqCst);
        result
    }
}

impl ThreadSignals {
    /// What the thread blocks.
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }

    /// What waits for this thread alone.
    pub fn pending(&self) -> SigSet {
        SigSet(self.pending.load(Ordering::SeqCst))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock();
        let result = act(&mut queue);
        self.pending.store(queue.pending().0, Ordering::SeqCst);
        result
    }

    fn accepts(&self, signal: u32) -> bool {
        !self.mask().has(signal) || SigSet(self.awaited.load(Ordering::SeqCst)).has(signal)
    }
}

impl Process {
    /// Sends a signal to the process: one of its threads that does not block it gets it. EAGAIN when too many are queued.
    pub fn signal(&self, info: SigInfo) -> Result<(), Errno> {
        let threads = self.threads();
        let blocked = threads.iter().all(|thread| thread.signals.mask().has(info.signal));
        if self.admit(&info, blocked)? {
            let most = self.most_queued();
            self.signals.with(|queue| queue.push(info, most))?;
            self.offer(&threads, SigSet::of(info.signal));
            self.node.signalled.notify(Events::READABLE);
        }
        Ok(())
    }

    /// What happens to a signal before it is queued: false when it is gone already.
    fn admit(&self, info: &SigInfo, blocked: bool) -> Result<bool, Errno> {
        if !is_signal(info.signal) {
            return if info.signal == 0 { Ok(false) } else { Err(Errno::EINVAL) };
        }
        let action = self.signals.actions.lock().get(info.signal);
        let default = default_action(info.signal);
        match default {
            DefaultAction::Stop => self.discard(SigSet::of(SIGCONT)),
            DefaultAction::Continue => {
                self.discard(SigSet::STOPS);
                self.resume();
            }
            _ => {}
        }
        let effect = if info.signal == SIGKILL || info.signal == SIGSTOP {
            Effect::System(default)
        } else {
            action.effect(info.signal)
        };
        match effect {
            Effect::System(DefaultAction::Terminate) if !blocked || info.signal == SIGKILL => {
                self.begin_end(info.signal);
                return Ok(false);
            }
            Effect::System(DefaultAction::Ignore | DefaultAction::Continue) if !blocked => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    /// Signals that a queue may hold before real-time ones are refused: they stay for as long as nobody takes them.
    fn most_queued(&self) -> usize {
        let limit = self.limits.lock().soft(crate::limits::SIGPENDING).min(MOST_QUEUED);
        if self.system.machine.is_short() { 0 } else { limit as usize }
    }

    /// Tells threads of process-wide signals in `set` until one may take each: the first thread by preference.
    fn offer(&self, threads: &[Arc<Thread>], set: SigSet) {
        let mut rest = set;
        while let Some(signal) = rest.first() {
            rest = rest & !SigSet::of(signal);
            if let Some(thread) = threads.iter().find(|thread| thread.signals.accepts(signal)) {
                thread.demand(Attention::SIGNAL);
            }
        }
    }

    /// Counts expirations of a timer on its signal; false when that does not wait any more.
    pub(crate) fn add_overrun(&self, timer: i32, count: i32) -> bool {
        self.signals.queue.lock().add_overrun(timer, count)
    }

    /// Offers what waits for any thread to the threads other than `but`, which blocks it now or is gone.
    pub(crate) fn offer_again(&self, but: &Thread) {
        let pending = self.signals.pending();
        if !pending.is_empty() {
            let others: alloc::vec::Vec<_> =
                self.threads().into_iter().filter(|thread| thread.tid != but.tid).collect();
            self.offer(&others, pending);
        }
    }

    /// Forgets signals wherever they wait.
    pub fn discard(&self, set: SigSet) {
        if !(self.signals.pending() & set).is_empty() {
            self.signals.with(|queue| queue.discard(set));
        }
        for thread in self.threads() {
            if !(thread.signals.pending() & set).is_empty() {
                thread.signals.with(|queue| queue.discard(set));
            }
        }
    }

    /// Sets the action for a signal and returns the one before. What is ignored from now on is forgotten.
    pub fn set_action(&self, signal: u32, new: Option<Action>) -> Action {
        let mut actions = self.signals.actions.lock();
        let old = actions.get(signal);
        let Some(new) = new else { return old };
        actions.set(signal, new);
        drop(actions);
        if let Effect::System(DefaultAction::Ignore | DefaultAction::Continue) = new.effect(signal) {
            self.discard(SigSet::of(signal));
        }
        old
    }
}

impl Thread {
    /// Sends a signal to this thread. EAGAIN when too many are queued.
    pub fn signal(&self, info: SigInfo) -> Result<(), Errno> {
        let blocked = self.signals.mask().has(info.signal);
        if self.process.admit(&info, blocked)? {
            let most = self.process.most_queued();
            self.signals.with(|queue| queue.push(info, most))?;
            if self.signals.accepts(info.signal) {
                self.demand(Attention::SIGNAL);
            }
            self.process.node.signalled.notify(Events::READABLE);
        }
        Ok(())
    }

    /// Raises a signal that the thread brought on itself: blocked or ignored, it ends the process instead (`force_sig`).
    pub fn force(&self, info: SigInfo) {
        let mut actions = self.process.signals.actions.lock();
        let action = actions.get(info.signal);
        let masked = self.signals.mask().has(info.signal);
        if masked || action.handler == SIG_IGN {
            actions.set(info.signal, Action::default());
        }
        drop(actions);
        if masked {
            self.store_mask(self.signals.mask() & !SigSet::of(info.signal));
        }
        self.signals.with(|queue| {
            queue.discard(SigSet::of(info.signal));
            // What a thread brings on itself is a standard signal, for which there is room.
            let _ = queue.push(info, 0);
        });
        self.demand(Attention::SIGNAL);
    }

    /// Counts expirations of a timer on its signal; false when that does not wait any more.
    pub(crate) fn add_overrun(&self, timer: i32, count: i32) -> bool {
        self.signals.queue.lock().add_overrun(timer, count)
    }

    /// Takes the next signal that the thread does not block and does what needs no thread. True when there is one for which the
    /// thread must leave its wait: [`Thread::claimed`].
    pub(crate) fn claim(&self) -> bool {
        if self.signals.claimed.lock().is_some() {
            return true;
        }
        self.settled(Attention::SIGNAL);
        while let Some(info) = self.take_signal(!self.signals.mask()) {
            if let Some(claimed) = self.judge(info) {
                *self.signals.claimed.lock() = Some(claimed);
                self.demand_self(Attention::SIGNAL);
                return true;
            }
        }
        false
    }

    fn judge(&self, info: SigInfo) -> Option<Claimed> {
        let mut actions = self.process.signals.actions.lock();
        let action = actions.get(info.signal);
        match action.effect(info.signal) {
            Effect::Handler => {
                if action.flags & SA_RESETHAND != 0 {
                    actions.set(info.signal, Action { handler: SIG_DFL, ..action });
                }
                Some(Claimed::Handler(info, action))
            }
            Effect::System(DefaultAction::Terminate) => Some(Claimed::Fatal { info, core: false }),
            Effect::System(DefaultAction::Core) => Some(Claimed::Fatal { info, core: true }),
            Effect::System(DefaultAction::Stop) => {
                drop(actions);
                self.process.stop(info.signal);
                None
            }
            Effect::System(DefaultAction::Ignore | DefaultAction::Continue) => None,
        }
    }

    /// What was claimed, to be acted on now.
    pub(crate) fn claimed(&self) -> Option<Claimed> {
        self.signals.claimed.lock().take()
    }

    /// What waits for the thread, or for any of its process.
    pub(crate) fn waiting_signals(&self) -> SigSet {
        self.signals.pending() | self.process.signals.pending()
    }

    /// Takes a waiting signal of `wanted` out of the thread's queue or the process'.
    pub(crate) fn take_signal(&self, wanted: SigSet) -> Option<SigInfo> {
        let info = self.dequeue(wanted)?;
        self.process.timers.told(&info);
        Some(info)
    }

    fn dequeue(&self, wanted: SigSet) -> Option<SigInfo> {
        if !(self.signals.pending() & wanted).is_empty()
            && let Some(info) = self.signals.with(|queue| queue.take(wanted))
        {
            return Some(info);
        }
        let shared = &self.process.signals;
        if (shared.pending() & wanted).is_empty() {
            return None;
        }
        shared.with(|queue| queue.take(wanted))
    }

    /// Changes the mask of the calling thread.
    pub fn set_mask(&self, mask: SigSet) {
        let before = self.signals.mask();
        self.store_mask(mask);
        let blocked = mask & !before;
        if !(blocked & self.process.signals.pending()).is_empty() {
            self.process.offer_again(self);
        }
    }

    fn store_mask(&self, mask: SigSet) {
        let mask = mask & !SigSet::UNSTOPPABLE;
        self.signals.mask.store(mask.0, Ordering::SeqCst);
        if !(self.waiting_signals() & !mask).is_empty() {
            self.demand_self(Attention::SIGNAL);
        }
    }

    /// Another mask until the end of the call or, when a handler runs, until it returns: rt_sigsuspend, ppoll, pselect6,
    /// epoll_pwait.
    pub fn replace_mask(&self, mask: SigSet) {
        self.signals.replaced.lock().get_or_insert(self.signals.mask());
        self.set_mask(mask);
    }

    /// Ends what [`Thread::replace_mask`] began, unless a handler is going to run: then its frame restores the mask.
    pub fn restore_mask(&self) {
        if self.signals.claimed.lock().is_some() {
            return;
        }
        if let Some(mask) = self.take_replaced() {
            self.set_mask(mask);
        }
    }

    /// The mask that a handler's frame restores, when the current one is only for a call.
    pub(crate) fn take_replaced(&self) -> Option<SigSet> {
        self.signals.replaced.lock().take()
    }

    /// Wants to be woken for signals of `set` although they are blocked.
    pub(crate) fn await_signals(&self, set: SigSet) {
        self.signals.awaited.store(set.0, Ordering::SeqCst);
    }
}
