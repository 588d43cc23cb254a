//! Tasks of one core talking to each other: a notification, a bounded channel, a semaphore.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Wakes every task that waits. Signals are not counted: a task waits for the state it cares about to
/// become true and looks again after each notification.
#[derive(Default)]
pub struct Notify {
    epoch: Cell<u64>,
    waiters: RefCell<VecDeque<Waker>>,
}

impl Notify {
    /// Nobody waits yet.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes all that wait now.
    pub fn notify(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        // Taken one by one: a woken task may wait again, on the next epoch, at once.
        let count = self.waiters.borrow().len();
        for _ in 0..count {
            let waiter = self.waiters.borrow_mut().pop_front();
            let Some(waker) = waiter else { break };
            waker.wake();
        }
    }

    /// Waits for the next [`Notify::notify`] after this call (not after its first poll).
    pub fn notified(&self) -> impl Future<Output = ()> + '_ {
        let epoch = self.epoch.get();
        poll_fn(move |cx| {
            if self.epoch.get() != epoch {
                return Poll::Ready(());
            }
            let mut waiters = self.waiters.borrow_mut();
            if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiters.push_back(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}

struct Channel<T> {
    queue: RefCell<VecDeque<T>>,
    capacity: usize,
    senders: Cell<usize>,
    receiver_gone: Cell<bool>,
    changed: Notify,
}

/// The sending end of [`channel`]; clones send into the same queue.
pub struct Sender<T>(Rc<Channel<T>>);

/// The receiving end of [`channel`].
pub struct Receiver<T>(Rc<Channel<T>>);

/// A first-in first-out queue of at most `capacity` items.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Channel {
        queue: RefCell::new(VecDeque::with_capacity(capacity)),
        capacity,
        senders: Cell::new(1),
        receiver_gone: Cell::new(false),
        changed: Notify::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Queues the item, or returns it when the queue is full or the receiver is gone.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        if self.0.receiver_gone.get() || self.0.queue.borrow().len() >= self.0.capacity {
            return Err(item);
        }
        self.0.queue.borrow_mut().push_back(item);
        self.0.changed.notify();
        Ok(())
    }

    /// Waits for room and queues the item; returns it when the receiver is gone.
    pub async fn send(&self, item: T) -> Result<(), T> {
        let mut item = item;
        loop {
            let changed = self.0.changed.notified();
            match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(back) if self.0.receiver_gone.get() => return Err(back),
                Err(back) => item = back,
            }
            changed.await;
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.set(self.0.senders.get() + 1);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        self.0.changed.notify();
    }
}

impl<T> Receiver<T> {
    /// The oldest item, if there is one.
    pub fn try_receive(&mut self) -> Option<T> {
        let item = self.0.queue.borrow_mut().pop_front();
        if item.is_some() {
            self.0.changed.notify();
        }
        item
    }

    /// Waits for an item; `None` when the queue is empty and every sender is gone.
    pub async fn receive(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.try_receive() {
                return Some(item);
            }
            if self.0.senders.get() == 0 {
                return None;
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
        self.0.changed.notify();
    }
}

/// Counts permits: bounds how many tasks do something at once.
pub struct Semaphore {
    permits: Cell<usize>,
    changed: Notify,
}

/// One permit of a [`Semaphore`], returned when dropped.
pub struct Permit {
    semaphore: Rc<Semaphore>,
}

impl Semaphore {
    /// A semaphore with `permits` permits.
    pub fn new(permits: usize) -> Rc<Semaphore> {
        Rc::new(Semaphore { permits: Cell::new(permits), changed: Notify::new() })
    }

    /// Permits that are free.
    pub fn available(&self) -> usize {
        self.permits.get()
    }

    /// Takes a permit if one is free.
    pub fn try_acquire(self: &Rc<Self>) -> Option<Permit> {
        let free = self.permits.get().checked_sub(1)?;
        self.permits.set(free);
        Some(Permit { semaphore: self.clone() })
    }

    /// Waits for a permit.
    pub async fn acquire(self: &Rc<Self>) -> Permit {
        loop {
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            self.changed.notified().await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.permits.set(self.semaphore.permits.get() + 1);
        self.semaphore.changed.notify();
    }
}
