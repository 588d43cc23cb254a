//! Futexes (futex(2), section 3.6): who waits for a word of memory.
//!
//! Waiters lie in buckets by the name of the word ([`FutexKey`]). The word is looked at under the bucket's lock, and whoever
//! changes it wakes under the same lock afterwards: no wake-up is lost.

use crate::Errno;
use crate::mm::{FutexKey, Mm};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use spin::{Mutex, MutexGuard};

const BUCKETS: usize = 256;

/// Wakes those whose bit set has any of these.
pub const ANY: u32 = u32::MAX;

/// The futexes of the node.
pub struct Futexes {
    buckets: Vec<Mutex<Bucket>>,
}

#[derive(Default)]
struct Bucket {
    waiters: VecDeque<Entry>,
}

struct Entry {
    key: FutexKey,
    bits: u32,
    waiter: Arc<Waiter>,
}

/// A thread that waits.
struct Waiter {
    state: Mutex<WaiterState>,
    /// The bucket it lies in; changed under the locks of both.
    bucket: AtomicUsize,
}

#[derive(Default)]
struct WaiterState {
    woken: bool,
    waker: Option<Waker>,
}

/// The word of a waiter, and how to look at it.
#[derive(Clone, Copy)]
pub struct Word<'a> {
    /// The address space.
    pub mm: &'a Mm,
    /// The address in it.
    pub at: u64,
    /// Its name.
    pub key: FutexKey,
}

impl Default for Futexes {
    fn default() -> Futexes {
        let buckets = (0..BUCKETS).map(|_| Mutex::default()).collect();
        Futexes { buckets }
    }
}

impl Futexes {
    fn index(&self, key: &FutexKey) -> usize {
        // Words are 4 bytes apart, address spaces and objects are numbered: a multiplication spreads both.
        let mixed =
            (key.offset / 4).wrapping_add(key.owner.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as usize % BUCKETS
    }

    fn bucket(&self, index: usize) -> MutexGuard<'_, Bucket> {
        // The index is a remainder, or one that was.
        self.buckets[index % BUCKETS].lock()
    }

    /// Waits for a wake-up of `bits` if the word is `expected`; EAGAIN if it is not, EFAULT if it is nowhere. Dropping the wait
    /// ends it.
    pub fn wait(&self, word: Word<'_>, expected: u32, bits: u32) -> Result<Waiting<'_>, Errno> {
        loop {
            let index = self.index(&word.key);
            let mut bucket = self.bucket(index);
            // Page tables only: resolving a fault takes locks that come before the bucket's.
            let Some(value) = word.mm.space().load_u32(word.at) else {
                drop(bucket);
                word.mm.load_u32(word.at)?;
                continue;
            };
            if value != expected {
                return Err(Errno::EAGAIN);
            }
            let waiter = Arc::new(Waiter { state: Mutex::default(), bucket: AtomicUsize::new(index) });
            bucket.waiters.push_back(Entry { key: word.key, bits, waiter: waiter.clone() });
            return Ok(Waiting { futexes: self, waiter });
        }
    }

    /// Wakes up to `most` waiters of a word, those that waited longest first; how many.
    pub fn wake(&self, key: FutexKey, most: usize, bits: u32) -> usize {
        let mut wakers = Vec::new();
        let count = self.bucket(self.index(&key)).wake(key, most, bits, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        count
    }

    /// Wakes up to `wake` waiters of `from` and lets up to `move_` others wait for `to` instead: how many were woken and moved.
    /// With `expected` only if the word is that, else EAGAIN.
    pub fn requeue(
        &self,
        from: Word<'_>,
        to: FutexKey,
        wake: usize,
        moved: usize,
        expected: Option<u32>,
    ) -> Result<(usize, usize), Errno> {
        let (source, target) = (self.index(&from.key), self.index(&to));
        let mut wakers = Vec::new();
        let counts = loop {
            let (mut first, mut second) = self.pair(source, target);
            if let Some(expected) = expected {
                let Some(value) = from.mm.space().load_u32(from.at) else {
                    drop((first, second));
                    from.mm.load_u32(from.at)?;
                    continue;
                };
                if value != expected {
                    return Err(Errno::EAGAIN);
                }
            }
            let woken = first.wake(from.key, wake, ANY, &mut wakers);
            let entries = first.take(from.key, moved);
            let count = entries.len();
            let queue = &mut second.as_mut().unwrap_or(&mut first).waiters;
            for mut entry in entries {
                entry.key = to;
                entry.waiter.bucket.store(target, Ordering::Release);
                queue.push_back(entry);
            }
            break (woken, count);
        };
        wakers.into_iter().for_each(Waker::wake);
        Ok(counts)
    }

    /// Locks two buckets in the order of their numbers; one when they are the same.
    fn pair(&self, first: usize, second: usize) -> (MutexGuard<'_, Bucket>, Option<MutexGuard<'_, Bucket>>) {
        if first == second {
            return (self.bucket(first), None);
        }
        if first < second {
            let one = self.bucket(first);
            (one, Some(self.bucket(second)))
        } else {
            let two = self.bucket(second);
            (self.bucket(first), Some(two))
        }
    }

    /// Changes the word `to` by `change` and wakes waiters: up to `wake` of `from`, and up to `wake_to` of `to` when `change`
    /// says so of the value before (FUTEX_WAKE_OP). How many were woken.
    pub fn wake_op(
        &self,
        from: FutexKey,
        to: Word<'_>,
        wake: usize,
        wake_to: usize,
        change: impl Fn(u32) -> (u32, bool),
    ) -> Result<usize, Errno> {
        let (source, target) = (self.index(&from), self.index(&to.key));
        let mut wakers = Vec::new();
        let count = loop {
            let (mut first, mut second) = self.pair(source, target);
            let space = to.mm.space();
            let old = space.load_u32(to.at);
            let stored = old.and_then(|old| space.compare_exchange_u32(to.at, old, change(old).0));
            let (Some(old), Some(found)) = (old, stored) else {
                drop((first, second));
                // Makes it there and writable, or fails.
                let value = to.mm.load_u32(to.at)?;
                to.mm.compare_exchange_u32(to.at, value, value)?;
                continue;
            };
            if found != old {
                continue;
            }
            let mut count = first.wake(from, wake, ANY, &mut wakers);
            if change(old).1 {
                count += second.as_mut().unwrap_or(&mut first).wake(to.key, wake_to, ANY, &mut wakers);
            }
            break count;
        };
        wakers.into_iter().for_each(Waker::wake);
        Ok(count)
    }
}

impl Bucket {
    fn wake(&mut self, key: FutexKey, most: usize, bits: u32, wakers: &mut Vec<Waker>) -> usize {
        let mut count = 0;
        self.waiters.retain(|entry| {
            if count >= most || entry.key != key || entry.bits & bits == 0 {
                return true;
            }
            count += 1;
            let mut state = entry.waiter.state.lock();
            state.woken = true;
            wakers.extend(state.waker.take());
            false
        });
        count
    }

    /// Takes up to `most` waiters of a word out, those that waited longest first.
    fn take(&mut self, key: FutexKey, most: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut at = 0;
        while taken.len() < most && at < self.waiters.len() {
            if self.waiters[at].key == key {
                taken.extend(self.waiters.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

/// A wait under way: ready when woken.
pub struct Waiting<'a> {
    futexes: &'a Futexes,
    waiter: Arc<Waiter>,
}

impl Waiting<'_> {
    /// True once it was woken: for those who poll before they give way.
    pub fn is_woken(&self) -> bool {
        self.waiter.state.lock().woken
    }
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.waiter.state.lock();
        if state.woken {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        loop {
            let index = self.waiter.bucket.load(Ordering::Acquire);
            let mut bucket = self.futexes.bucket(index);
            if self.waiter.bucket.load(Ordering::Acquire) != index {
                // Requeued in between.
                continue;
            }
            if !self.is_woken() {
                bucket.waiters.retain(|entry| !Arc::ptr_eq(&entry.waiter, &self.waiter));
            }
            return;
        }
    }
}
