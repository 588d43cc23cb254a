//! Deadlines of sleeping tasks, in order.

use crate::Handle;
use alloc::collections::BTreeMap;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use keelson_hal::Instant;

/// All pending deadlines of an executor. Insert, remove and expiry are logarithmic in their number.
#[derive(Default)]
pub(crate) struct Timers {
    pending: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

impl Timers {
    fn insert(&mut self, deadline: Instant, waker: Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert((deadline, id), waker);
        id
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Removes one waker whose deadline is not after `now`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<Waker> {
        let entry = self.pending.first_entry()?;
        if entry.key().0 > now { None } else { Some(entry.remove()) }
    }
}

/// Waits until a deadline; see [`Handle::sleep_until`].
pub struct Sleep {
    handle: Handle,
    deadline: Instant,
    /// Its entry among the executor's deadlines: for this one, or an earlier one that it had before.
    registered: Option<(Instant, u64)>,
}

impl Sleep {
    pub(crate) fn new(handle: Handle, deadline: Instant) -> Sleep {
        Sleep { handle, deadline, registered: None }
    }

    /// Moves the deadline. One that is put off keeps its entry, which wakes the task once for nothing: deadlines that are put off
    /// with every packet, as those of TCP are, cost nothing so.
    pub fn reset(&mut self, deadline: Instant) {
        if self.registered.is_some_and(|(at, _)| at > deadline) {
            self.unregister();
        }
        self.deadline = deadline;
    }

    fn unregister(&mut self) {
        if let Some(entry) = self.registered.take() {
            self.handle.timers().pending.remove(&entry);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.handle.now() >= self.deadline {
            self.unregister();
            return Poll::Ready(());
        }
        if self.deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        let this = &mut *self;
        let mut timers = this.handle.timers();
        if let Some(waker) = this.registered.and_then(|entry| timers.pending.get_mut(&entry)) {
            waker.clone_from(cx.waker());
        } else {
            this.registered = Some((this.deadline, timers.insert(this.deadline, cx.waker().clone())));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}
