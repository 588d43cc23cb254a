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
    registered: Option<u64>,
}

impl Sleep {
    pub(crate) fn new(handle: Handle, deadline: Instant) -> Sleep {
        Sleep { handle, deadline, registered: None }
    }

    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        self.unregister();
        self.deadline = deadline;
    }

    fn unregister(&mut self) {
        if let Some(id) = self.registered.take() {
            self.handle.timers().pending.remove(&(self.deadline, id));
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
        match this.registered {
            None => this.registered = Some(this.handle.timers().insert(this.deadline, cx.waker().clone())),
            Some(id) => {
                if let Some(waker) = this.handle.timers().pending.get_mut(&(this.deadline, id)) {
                    waker.clone_from(cx.waker());
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}
