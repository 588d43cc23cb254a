//! Message buffers: small ones belong to their worker, large ones are borrowed from a pool with a budget.
//!
//! The budget bounds what any number of clients can make a server hold. A worker that needs a large buffer
//! when none is left waits, which stops its connection from being read. No worker holds one large buffer
//! while it waits for another one of the same call: a call with a large request has a small reply.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll, Waker};
use keelson_exec::sync::Notify;

/// Size of the buffers every worker owns: enough for every message but READ, WRITE and directory pages.
pub const SMALL_BUFFER: usize = 4096;

/// Size of the middle class: a directory page or a UDP transfer with its headers.
const MIDDLE_BUFFER: usize = 72 * 1024;

/// Bytes of a fixed length, all initialised; goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Option<Rc<BufferPool>>,
}

impl Buffer {
    /// A zeroed buffer that belongs to no pool.
    pub fn unpooled(len: usize) -> Buffer {
        Buffer { bytes: vec![0; len], pool: None }
    }

    /// Wraps bytes that already exist.
    pub fn from_vec(bytes: Vec<u8>) -> Buffer {
        Buffer { bytes, pool: None }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.give_back(core::mem::take(&mut self.bytes));
        }
    }
}

/// Buffers of one length.
#[derive(Default)]
struct Class {
    size: usize,
    free: RefCell<Vec<Vec<u8>>>,
    /// Fewest free buffers since the last [`BufferPool::trim`]: these are not needed.
    least_free: Cell<usize>,
}

/// Buffers of two sizes under one budget. Buffers are allocated when first needed, kept for reuse, and
/// freed when they have not been needed for a while.
#[derive(Default)]
pub struct BufferPool {
    /// Ascending.
    classes: [Class; 2],
    budget: usize,
    allocated: Cell<usize>,
    waits: Cell<u64>,
    /// Those who wait, in the order in which they came: who returns a buffer and wants the next one at once must not
    /// be faster than they.
    queue: RefCell<VecDeque<Waiting>>,
    next_ticket: Cell<u64>,
    /// Notified when somebody begins to wait where nobody did.
    pressed: Notify,
}

struct Waiting {
    ticket: u64,
    waker: Waker,
}

/// A place in the queue, once there is one. Given up when dropped.
struct Turn<'a> {
    pool: &'a BufferPool,
    ticket: Option<u64>,
}

impl core::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BufferPool({} of {} bytes)", self.allocated.get(), self.budget)
    }
}

impl BufferPool {
    /// A pool of at most `budget` bytes whose largest buffers have `largest` bytes. The budget is raised to
    /// two of the largest where it is less.
    pub fn new(budget: usize, largest: usize) -> Rc<BufferPool> {
        let largest = largest.max(MIDDLE_BUFFER);
        Rc::new(BufferPool {
            classes: [MIDDLE_BUFFER, largest].map(|size| Class { size, ..Class::default() }),
            budget: budget.max(2 * largest),
            ..BufferPool::default()
        })
    }

    /// Length of the largest buffer.
    pub fn largest(&self) -> usize {
        self.classes[1].size
    }

    /// Bytes allocated now, in use or free.
    pub fn allocated(&self) -> usize {
        self.allocated.get()
    }

    /// How often somebody had to wait for a buffer.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// Whether somebody waits for a buffer.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Waits until somebody begins to wait.
    pub(crate) fn pressure(&self) -> impl Future<Output = ()> + '_ {
        self.pressed.notified()
    }

    /// A buffer of at least `len` bytes, as soon as the budget allows and those who came before have theirs. `None`
    /// when no buffer is that large, or there is no memory at all.
    pub async fn acquire(self: &Rc<Self>, len: usize) -> Option<Buffer> {
        let class = self.classes.iter().position(|class| class.size >= len)?;
        let mut turn = Turn { pool: self, ticket: None };
        let bytes = poll_fn(|cx| turn.poll(class, cx)).await?;
        Some(Buffer { bytes, pool: Some(self.clone()) })
    }

    /// Frees the buffers that were not needed since the last call.
    pub fn trim(&self) {
        for class in &self.classes {
            let mut free = class.free.borrow_mut();
            let kept = free.len().saturating_sub(class.least_free.get());
            self.allocated.set(self.allocated.get() - (free.len() - kept) * class.size);
            free.truncate(kept);
            class.least_free.set(kept);
        }
    }

    fn try_take(&self, class: usize) -> Option<Vec<u8>> {
        let (wanted, other) = (self.classes.get(class)?, self.classes.get(1 - class)?);
        if let Some(bytes) = wanted.take_free() {
            return Some(bytes);
        }
        // Free buffers of the other size make room.
        while self.allocated.get() + wanted.size > self.budget {
            other.take_free()?;
            self.allocated.set(self.allocated.get() - other.size);
        }
        // Memory may run out before the budget does: then wait like for the budget.
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(wanted.size).ok()?;
        bytes.resize(wanted.size, 0);
        self.allocated.set(self.allocated.get() + wanted.size);
        Some(bytes)
    }

    fn give_back(&self, bytes: Vec<u8>) {
        match self.classes.iter().find(|class| class.size == bytes.len()) {
            Some(class) => class.free.borrow_mut().push(bytes),
            None => self.allocated.set(self.allocated.get().saturating_sub(bytes.len())),
        }
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some(first) = self.queue.borrow().front() {
            first.waker.wake_by_ref();
        }
    }
}

impl Turn<'_> {
    fn poll(&mut self, class: usize, cx: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        let pool = self.pool;
        let first = pool.queue.borrow().front().map(|first| first.ticket);
        if first.is_none() || first == self.ticket {
            let bytes = pool.try_take(class);
            // With nothing allocated it is not the budget but the machine's memory that has run out, and nobody will
            // return anything.
            if bytes.is_some() || pool.allocated.get() == 0 {
                self.leave();
                return Poll::Ready(bytes);
            }
        }
        let mut queue = pool.queue.borrow_mut();
        let waker = cx.waker().clone();
        let place = |ticket| queue.binary_search_by_key(&ticket, |waiting: &Waiting| waiting.ticket).ok();
        let place = self.ticket.and_then(place);
        match place.and_then(|place| queue.get_mut(place)) {
            Some(waiting) => waiting.waker = waker,
            None => {
                let ticket = pool.next_ticket.get();
                pool.next_ticket.set(ticket + 1);
                pool.waits.set(pool.waits.get() + 1);
                self.ticket = Some(ticket);
                queue.push_back(Waiting { ticket, waker });
                if queue.len() == 1 {
                    pool.pressed.notify();
                }
            }
        }
        Poll::Pending
    }

    /// The next one may find a buffer, too.
    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            // Those in front leave first, but for who gives up; tickets are in order.
            let mut queue = self.pool.queue.borrow_mut();
            if let Ok(place) = queue.binary_search_by_key(&ticket, |waiting| waiting.ticket) {
                queue.remove(place);
            }
            drop(queue);
            self.pool.wake_first();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Class {
    fn take_free(&self) -> Option<Vec<u8>> {
        let mut free = self.free.borrow_mut();
        let bytes = free.pop();
        self.least_free.set(self.least_free.get().min(free.len()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_budget_bounds_and_buffers_are_reused() {
        let pool = BufferPool::new(0, 1 << 20);
        let first = now(pool.acquire(1 << 20)).flatten().expect("first");
        let second = now(pool.acquire(100_000)).flatten().expect("second");
        assert_eq!((first.len(), second.len()), (1 << 20, 1 << 20));
        assert!(now(pool.acquire(100_000)).is_none(), "a third must wait");
        assert_eq!(pool.waits(), 1);
        drop(first);
        assert!(now(pool.acquire(100_000)).flatten().is_some());
        assert_eq!(pool.allocated(), 2 << 20);
        assert!(now(pool.acquire((1 << 20) + 1)).flatten().is_none(), "larger than any buffer");
    }

    #[test]
    fn first_come_first_served() {
        let pool = BufferPool::new(0, 1 << 20);
        let mut held: Vec<Buffer> = (0..2).filter_map(|_| now(pool.acquire(1 << 20)).flatten()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..3).map(|_| alloc::boxed::Box::pin(pool.acquire(1 << 20))).collect();
        assert!(waiting.iter_mut().all(|future| future.as_mut().poll(&mut cx).is_pending()));
        held.pop();
        // Whoever comes now, or came later, waits although there is a buffer.
        assert!(now(pool.acquire(10)).is_none());
        assert!(waiting[1].as_mut().poll(&mut cx).is_pending());
        assert!(waiting[0].as_mut().poll(&mut cx).map(|buffer| buffer.is_some()) == Poll::Ready(true));
        // Who gives up lets the next one forward.
        drop(waiting.remove(1));
        held.pop();
        assert!(waiting[1].as_mut().poll(&mut cx).map(|buffer| buffer.is_some()) == Poll::Ready(true));
        assert_eq!((pool.waits(), pool.queue.borrow().len()), (4, 0));
    }

    #[test]
    fn free_buffers_of_the_other_size_make_room() {
        let pool = BufferPool::new(0, 1 << 20);
        let large = (now(pool.acquire(1 << 20)), now(pool.acquire(1 << 20)));
        assert!(now(pool.acquire(10)).is_none());
        drop(large);
        assert_eq!(now(pool.acquire(10)).flatten().expect("middle").len(), MIDDLE_BUFFER);
    }

    #[test]
    fn buffers_not_needed_are_freed() {
        let pool = BufferPool::new(8 << 20, 1 << 20);
        let both = (now(pool.acquire(1 << 20)), now(pool.acquire(1 << 20)));
        drop(both);
        pool.trim();
        assert_eq!(pool.allocated(), 2 << 20, "needed since the last time");
        drop(now(pool.acquire(1 << 20)));
        pool.trim();
        assert_eq!(pool.allocated(), 1 << 20, "one was enough");
        pool.trim();
        assert_eq!(pool.allocated(), 0);
    }
}
