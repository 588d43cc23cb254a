//! Message buffers: small ones belong to their worker, large ones are borrowed from a pool with a budget.
//!
//! The budget bounds what any number of clients can make a server hold. A worker that needs a large buffer
//! when none is left waits, which stops its connection from being read. No worker holds one large buffer
//! while it waits for another one of the same call: a call with a large request has a small reply.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::{Deref, DerefMut};
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
    returned: Notify,
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

    /// A buffer of at least `len` bytes, as soon as the budget allows. `None` when no buffer is that large, or
    /// there is no memory at all.
    pub async fn acquire(self: &Rc<Self>, len: usize) -> Option<Buffer> {
        let class = self.classes.iter().position(|class| class.size >= len)?;
        loop {
            let returned = self.returned.notified();
            if let Some(bytes) = self.try_take(class) {
                return Some(Buffer { bytes, pool: Some(self.clone()) });
            }
            if self.allocated.get() == 0 {
                // Not the budget but the machine's memory has run out, and nobody will return anything.
                return None;
            }
            self.waits.set(self.waits.get() + 1);
            returned.await;
        }
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
        self.returned.notify();
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
    use core::task::{Context, Poll, Waker};

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
