//! Pads that are made before their records are there.

use core::mem;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::Waker;

use spin::Mutex;
use zeroize::Zeroizing;

use super::pad::Pad;
use super::{MOST, Protection};
use crate::handshake::KEY_LEN;

/// Bytes of a text that does not come alone.
const LONG: usize = 8 << 10;

/// The key of one direction of a connection, and pads for its next records. One end's task takes them for the records; others make a
/// part now and then, on any processor: who waits for the other end has nothing else to do, and saves the task the time.
pub struct Ahead {
    /// Nothing of it stays in memory behind the connection.
    key: Zeroizing<[u8; KEY_LEN]>,
    /// What is done to records. Where texts stay as they are, a pad is over with the key of its tag.
    pub(super) protection: Protection,
    /// Records that were begun: the number of the next one.
    count: AtomicU64,
    /// Bytes that the text of the next one may have: as many as the last one's. Half of what was thought then, if that had fewer, as
    /// the last record of a long frame is short.
    expected: AtomicUsize,
    /// For records of even and of odd numbers: who waits prepares for the record behind that of its request, which may not have begun
    /// yet.
    slots: [Mutex<Slot>; 2],
    /// Who made all there was to make for a long text, and may go on when that has begun.
    done: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Slot {
    /// The record that the pad is for. No other is ever combined with it.
    number: u64,
    pad: Pad,
}

impl Ahead {
    pub(super) fn new(key: &[u8; KEY_LEN], protection: Protection) -> Ahead {
        Ahead {
            key: Zeroizing::new(*key),
            protection,
            count: AtomicU64::new(0),
            expected: AtomicUsize::new(0),
            slots: Default::default(),
            done: Mutex::default(),
        }
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Makes a part of what record `number` will be combined with, or the next one if that is later, as if its text were as long as
    /// those before, or had these `bytes`. True when there is more to make; a part takes a microsecond, or a few under emulation.
    /// False, too, while somebody else is at it. Of a row of long records `waker` is told when there is more again. Never has to be
    /// called.
    pub fn prepare(&self, number: u64, bytes: usize, waker: &Waker) -> bool {
        let number = number.max(self.next());
        let Some(mut slot) = self.slot(number).try_lock() else { return false };
        if slot.number > number {
            return false;
        }
        let expected = self.expected().max(self.encrypted(bytes.min(MOST)));
        if slot.number < number {
            slot.pad.end(expected);
            slot.number = number;
        }
        let more = slot.pad.prepare(&self.key, number, expected);
        if !more && expected > LONG {
            *self.done.lock() = Some(waker.clone());
        }
        more
    }

    /// Begins the next record: `pad`, which is over, becomes what was made for this one, if anything was. Returns the key of its tag.
    /// For the task alone that seals or opens the records.
    pub(super) fn begin(&self, pad: &mut Pad) -> [u8; 32] {
        let number = self.count.load(Ordering::Relaxed);
        self.count.store(number + 1, Ordering::Release);
        let mut slot = self.slot(number).lock();
        if slot.number == number {
            mem::swap(&mut slot.pad, pad);
        }
        drop(slot);
        // Out of the lock first: whoever is woken looks again at once.
        let done = self.done.lock().take();
        if let Some(waker) = done {
            waker.wake();
        }
        pad.authenticator(&self.key, number)
    }

    /// Ends the record with a text of so many bytes.
    pub(super) fn end(&self, pad: &mut Pad, bytes: usize) {
        self.expected.store(self.encrypted(bytes).max(self.expected() / 2), Ordering::Relaxed);
        pad.end(self.expected());
    }

    /// So many bytes of a text, if they are encrypted.
    fn encrypted(&self, bytes: usize) -> usize {
        match self.protection {
            Protection::Aead => bytes,
            Protection::Mac => 0,
        }
    }

    fn expected(&self) -> usize {
        self.expected.load(Ordering::Relaxed)
    }

    fn slot(&self, number: u64) -> &Mutex<Slot> {
        let [even, odd] = &self.slots;
        if number.is_multiple_of(2) { even } else { odd }
    }
}
