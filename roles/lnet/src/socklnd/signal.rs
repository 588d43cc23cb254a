//! Wakes the one task that waits for it; unlike a [`Notify`](keelson_exec::sync::Notify) it remembers, and tells
//! whether anybody waits.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

#[derive(Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the waiter, or the next one to come.
    pub fn raise(&self) {
        self.raised.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// True when a task waits that nothing has woken yet.
    pub fn is_awaited(&self) -> bool {
        self.waiter.borrow().is_some()
    }

    /// Waits until it is raised, and lowers it.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
