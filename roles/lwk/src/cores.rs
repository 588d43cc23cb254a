//! The cores of the node: what runs on each, and what state each is in (section 10).

use crate::account::{Phase, Times, Usage};
use crate::run;
use crate::system::CoreWork;
use crate::thread::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use keelson_hal::user::UserContext;

/// State of a core, with the numbers that IHK's tools know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CoreState {
    /// Does not run threads yet.
    NotBooted = 0,
    /// No thread is ready.
    Idle = 1,
    /// In ring 3.
    User = 2,
    /// In the kernel.
    Kernel = 3,
    /// A thread sleeps, or waits for a futex or a signal.
    Heavy = 4,
    /// A thread waits for the host.
    Offload = 5,
    /// The node is frozen, and a thread here has not stopped yet.
    Freezing = 8,
    /// The node is frozen, and nothing runs here.
    Frozen = 9,
}

/// A core that runs threads.
pub struct Core {
    /// Its number on the machine.
    pub number: usize,
    state: AtomicU32,
    entries: AtomicU64,
    switches: AtomicU64,
    threads: AtomicUsize,
    times: Times,
}

/// A thread that begins or goes on on a core.
pub struct Start {
    /// The thread.
    pub thread: Arc<Thread>,
    /// Its registers; its extended state is in memory.
    pub context: UserContext,
}

impl Core {
    pub(crate) fn new(number: usize) -> Core {
        Core {
            number,
            state: AtomicU32::new(CoreState::Idle as u32),
            entries: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            threads: AtomicUsize::new(0),
            times: Times::default(),
        }
    }

    /// What the core does.
    pub fn state(&self) -> CoreState {
        match self.state.load(Ordering::Relaxed) {
            0 => CoreState::NotBooted,
            1 => CoreState::Idle,
            2 => CoreState::User,
            4 => CoreState::Heavy,
            5 => CoreState::Offload,
            _ => CoreState::Kernel,
        }
    }

    pub(crate) fn set_state(&self, state: CoreState) {
        self.state.store(state as u32, Ordering::Relaxed);
    }

    /// Rises at every entry from ring 3, every return from the host and every end of idleness: a core that stays in the kernel
    /// while this stands still hangs.
    pub fn progress(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) {
        // One writer: the core itself.
        self.entries.store(self.entries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How often a thread left the core to others, or to nobody.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    pub(crate) fn count_switch(&self) {
        // One writer here, too.
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// From `now` (nanoseconds) on the core does something else. Called by the core itself.
    pub(crate) fn enter(&self, phase: Phase, now: u64) {
        self.times.enter(phase, now);
    }

    /// Time that it spent in ring 3 and in the kernel for threads, up to `now` since boot.
    pub fn usage(&self, now: Duration) -> Usage {
        self.times.usage(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Threads that have their place here.
    pub fn threads(&self) -> usize {
        self.threads.load(Ordering::Acquire)
    }

    pub(crate) fn seat(&self) {
        self.threads.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a place if fewer than `most` are taken.
    pub(crate) fn seat_below(&self, most: usize) -> bool {
        let one_more = |threads| (threads < most).then_some(threads + 1);
        self.threads.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Only one place is taken.
    pub(crate) fn is_alone(&self) -> bool {
        self.threads.load(Ordering::Acquire) == 1
    }

    pub(crate) fn leave(&self) {
        self.threads.fetch_sub(1, Ordering::AcqRel);
    }

    /// Gives a thread to the core.
    pub(crate) fn start(self: &Arc<Core>, start: Start) {
        start.thread.core.store(self.number, Ordering::Release);
        start.thread.moved.notify();
        let (core, run_on) = (self.clone(), start.thread.process.system.run_on);
        let work: CoreWork = Box::new(move |here| {
            here.executor.spawn("thread", run::thread(start, core, here.user.clone()));
        });
        if !run_on(self.number, work) {
            log::error!("lwk: core {} takes no threads", self.number);
        }
    }
}
