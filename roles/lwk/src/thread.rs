//! A thread of a Linux program, as others see it.

use crate::account::Times;
use crate::event::Event;
use crate::process::Process;
use crate::rseq::Rseq;
use crate::sched::Placement;
use crate::signals::ThreadSignals;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use spin::Mutex;

/// A thread. Its registers belong to the task that runs it; this is the part that others may look at and knock on.
pub struct Thread {
    /// Thread id; equal to the process id for the first one.
    pub tid: u32,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// The core it runs on, as the machine counts them.
    pub core: AtomicUsize,
    /// Its signals.
    pub signals: ThreadSignals,
    /// Its CPU time.
    pub times: Times,
    /// Where it may run, and how it is counted.
    pub placement: Mutex<Placement>,
    /// `comm`: at most 15 bytes and a zero.
    pub name: Mutex<[u8; 16]>,
    /// Where a zero is stored and waiters are woken at its end (set_tid_address(2)); 0 for nowhere.
    pub clear_child_tid: AtomicU64,
    /// Head of its list of robust futexes; 0 for none.
    pub robust_list: AtomicU64,
    /// What it waits for, when it waits: [`Wait`] as a number.
    pub(crate) wait: AtomicU8,
    /// The system call it is in, plus 1; 0 when it is in none, or in one that is served at once.
    pub(crate) call: AtomicU32,
    /// The next clone makes a helper thread (system call 731).
    pub(crate) helper_hint: AtomicBool,
    /// Scheduling policy and priority as the program set them; without effect.
    pub(crate) policy: Mutex<crate::sched::Policy>,
    /// `PR_SET_TIMERSLACK`, in nanoseconds; without effect.
    pub(crate) slack: AtomicU64,
    /// What setting it to 0 makes of it: what the thread was born with.
    pub(crate) born_slack: AtomicU64,
    /// Its restartable sequences, if it has any.
    pub(crate) rseq: Mutex<Option<Rseq>>,
    /// It came to another core, or ends.
    pub(crate) moved: Event,
    attention: AtomicU32,
    /// Its task, while it waits interruptibly.
    waiting: Mutex<Option<Waker>>,
}

/// Reasons to look around before going on in ring 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attention(u32);

impl Attention {
    /// A signal may be there.
    pub const SIGNAL: Attention = Attention(1);
    /// The process ends, or another of its threads calls exec.
    pub const END: Attention = Attention(2);
    /// It is to run on another core.
    pub const MOVE: Attention = Attention(4);
    /// The process is stopped.
    pub const STOP: Attention = Attention(8);
    /// The node is frozen.
    pub const FREEZE: Attention = Attention(16);
    /// It was kept from going on, perhaps within a restartable sequence.
    pub const RSEQ: Attention = Attention(32);
}

/// What a waiting thread waits for (section 10, states of cores).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Wait {
    /// Something that another program does.
    Other = 0,
    /// A sleep, a futex, a signal: may last.
    Heavy = 1,
    /// The host.
    Host = 2,
}

/// A wait ended because something wants the thread's attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

impl Thread {
    /// A thread that is going to run on `core`.
    pub fn new(tid: u32, process: Arc<Process>, core: usize) -> Thread {
        Thread {
            tid,
            process,
            core: AtomicUsize::new(core),
            signals: ThreadSignals::default(),
            times: Times::default(),
            placement: Mutex::default(),
            name: Mutex::new([0; 16]),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            wait: AtomicU8::new(0),
            call: AtomicU32::new(0),
            helper_hint: AtomicBool::new(false),
            policy: Mutex::default(),
            slack: AtomicU64::new(50_000),
            born_slack: AtomicU64::new(50_000),
            rseq: Mutex::default(),
            moved: Event::default(),
            attention: AtomicU32::new(0),
            waiting: Mutex::new(None),
        }
    }

    /// Makes the thread look whether there is a signal for it.
    pub fn notify(&self) {
        self.demand(Attention::SIGNAL);
    }

    /// Makes the thread look around: ends its interruptible wait, or calls its core back from ring 3.
    pub(crate) fn demand(&self, what: Attention) {
        self.demand_self(what);
        let waker = self.waiting.lock().take();
        match waker {
            Some(waker) => waker.wake(),
            None => self.process.system.machine.kick(self.core.load(Ordering::Acquire)),
        }
    }

    /// The same by the thread itself, which is not in ring 3.
    pub(crate) fn demand_self(&self, what: Attention) {
        self.attention.fetch_or(what.0, Ordering::AcqRel);
    }

    /// The thread looks at this now: call before looking.
    pub(crate) fn settled(&self, what: Attention) {
        self.attention.fetch_and(!what.0, Ordering::AcqRel);
    }

    /// True when this wants its attention.
    pub(crate) fn demanded(&self, what: Attention) -> bool {
        self.attention.load(Ordering::Acquire) & what.0 != 0
    }

    /// True when something wants the thread's attention.
    pub fn wanted(&self) -> bool {
        self.attention.load(Ordering::Acquire) != 0
    }

    /// Waits for `future` unless a handler has to run or the thread has to end first; what is ready at once is returned in any
    /// case.
    pub async fn interruptible<F: Future>(&self, future: F) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        let result = poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            *self.waiting.lock() = Some(cx.waker().clone());
            if self.wanted() && self.must_return() { Poll::Ready(Err(Interrupted)) } else { Poll::Pending }
        })
        .await;
        self.waiting.lock().take();
        result
    }

    /// The same for a wait of a certain kind.
    pub async fn wait_for<F: Future>(&self, kind: Wait, future: F) -> Result<F::Output, Interrupted> {
        self.wait.store(kind as u8, Ordering::Relaxed);
        let result = self.interruptible(future).await;
        self.wait.store(Wait::Other as u8, Ordering::Relaxed);
        result
    }

    /// Waits for `future` unless the thread has to end first.
    pub async fn killable<F: Future>(&self, future: F) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        let result = poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            *self.waiting.lock() = Some(cx.waker().clone());
            if self.demanded(Attention::END) { Poll::Ready(Err(Interrupted)) } else { Poll::Pending }
        })
        .await;
        self.waiting.lock().take();
        result
    }

    fn must_return(&self) -> bool {
        self.demanded(Attention::END) || self.demanded(Attention::SIGNAL) && self.claim()
    }

    /// The system call it is in.
    pub fn call(&self) -> Option<u32> {
        self.call.load(Ordering::Relaxed).checked_sub(1)
    }

    /// True while it waits for something that a signal may break off.
    pub fn is_waiting(&self) -> bool {
        self.waiting.lock().is_some()
    }

    /// What it waits for.
    pub fn waits_for(&self) -> Wait {
        match self.wait.load(Ordering::Relaxed) {
            1 => Wait::Heavy,
            2 => Wait::Host,
            _ => Wait::Other,
        }
    }

    /// True while the host does something for it.
    pub fn is_with_host(&self) -> bool {
        self.waits_for() == Wait::Host || self.process.delegate.has_call_of(self.tid)
    }

    /// `comm`, without its zeros.
    pub fn comm(&self) -> Vec<u8> {
        self.name.lock().iter().copied().take_while(|byte| *byte != 0).collect()
    }

    /// Sets `comm` to the first 15 bytes.
    pub fn set_comm(&self, name: &[u8]) {
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().take(15).zip(name.iter().take_while(|byte| **byte != 0)) {
            *place = *byte;
        }
        *self.name.lock() = bytes;
    }
}
