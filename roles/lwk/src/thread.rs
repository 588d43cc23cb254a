//! A thread of a Linux program, as others see it.

use crate::process::Process;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use spin::Mutex;

/// A thread. Its registers belong to the task that runs it; this is the part that others may look at and knock on.
pub struct Thread {
    /// Thread id; equal to the process id for the first one.
    pub tid: u32,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// The core it runs on.
    pub core: AtomicUsize,
    /// Something wants its attention before it goes on in ring 3: a signal, the end of the process, a request to stop.
    attention: AtomicBool,
    /// Its task, while it waits interruptibly.
    waiting: Mutex<Option<Waker>>,
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
            attention: AtomicBool::new(false),
            waiting: Mutex::new(None),
        }
    }

    /// Makes the thread look around: ends its interruptible wait, or calls its core back from ring 3.
    pub fn notify(&self) {
        self.attention.store(true, Ordering::Release);
        let waker = self.waiting.lock().take();
        match waker {
            Some(waker) => waker.wake(),
            None => self.process.system.machine.kick(self.core.load(Ordering::Acquire)),
        }
    }

    /// True when something wants the thread's attention.
    pub fn wanted(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// The thread looks around now: call before looking.
    pub fn attend(&self) {
        self.attention.store(false, Ordering::Release);
    }

    /// Waits for `future` unless something wants the thread's attention first; what is ready at once is returned in any case.
    pub async fn interruptible<F: Future>(&self, future: F) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        let result = poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            *self.waiting.lock() = Some(cx.waker().clone());
            if self.wanted() { Poll::Ready(Err(Interrupted)) } else { Poll::Pending }
        })
        .await;
        self.waiting.lock().take();
        result
    }
}
