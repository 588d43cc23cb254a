//! A notification between cores: whoever waits looks again.

use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use spin::Mutex;

/// Wakes every task that waits, on any core. Notifications are not counted: a task waits for the state it cares about, and looks
/// again after each.
#[derive(Default)]
pub struct Event {
    epoch: AtomicU64,
    waiters: Mutex<Vec<Waker>>,
}

impl Event {
    /// Wakes all that wait now. Call without locks that a woken task would take.
    pub fn notify(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let waiters = core::mem::take(&mut *self.waiters.lock());
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Waits for the next [`Event::notify`] after this call: call first, look at the state, then await.
    pub fn changed(&self) -> Changed<'_> {
        Changed { event: self, epoch: self.epoch.load(Ordering::SeqCst) }
    }
}

/// See [`Event::changed`].
pub struct Changed<'a> {
    event: &'a Event,
    epoch: u64,
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiters = self.event.waiters.lock();
        // Looked at under the lock: a notification from here on finds the waker.
        if self.event.epoch.load(Ordering::SeqCst) != self.epoch {
            return Poll::Ready(());
        }
        if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
