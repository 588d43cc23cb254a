//! Requests between submission and completion.

use super::BlkCounters;
use super::setup::Limits;
use crate::dma::DmaBuffer;
use crate::virtio::Virtqueue;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use keelson_hal::{BlockCompletion, BlockError, Ticket};

/// A slot's place in the header memory: 16 bytes of header, then the status byte.
pub(super) const PLACE: usize = 32;
pub(super) const STATUS_AT: usize = 16;

/// Status bytes (virtio 1.2 section 5.2.6).
pub(super) const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What the status byte holds until the device writes it; no status has this value.
pub(super) const STATUS_NONE: u8 = 0xff;

/// Where a slot's request is.
pub(super) enum State {
    Free,
    InFlight { buffer: Vec<u8>, waker: Option<Waker> },
    Abandoned { buffer: Vec<u8> },
    Done(BlockCompletion),
}

pub(super) struct Slot {
    pub(super) state: State,
    /// Counts the slot's uses, so that an old ticket does not name a new request.
    pub(super) generation: u32,
}

/// The queue and its requests.
pub(super) struct Inner {
    pub(super) queue: Virtqueue,
    pub(super) headers: DmaBuffer,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u16>,
    pub(super) room_wakers: Vec<Waker>,
    pub(super) counters: BlkCounters,
    pub(super) gone: bool,
}

impl Inner {
    /// The device has used the chain of `slot`.
    pub(super) fn finish(&mut self, slot: u16) {
        let result = match self.headers.read8(usize::from(slot) * PLACE + STATUS_AT) {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(BlockError::Unsupported),
            _ => Err(BlockError::Io),
        };
        self.complete(slot, result);
        self.wake_room();
    }

    /// Moves a slot out of the device's hands.
    pub(super) fn complete(&mut self, slot: u16, result: Result<(), BlockError>) {
        self.counters.errors += u64::from(result.is_err());
        let state = &mut self.slots[usize::from(slot)].state;
        match mem::replace(state, State::Free) {
            State::InFlight { buffer, waker } => {
                *state = State::Done(BlockCompletion { result, buffer });
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned { .. } => self.release(slot),
            // The queue hands out each token once, so that these two do not happen.
            other => *state = other,
        }
    }

    pub(super) fn release(&mut self, slot: u16) {
        let entry = &mut self.slots[usize::from(slot)];
        entry.state = State::Free;
        entry.generation = entry.generation.wrapping_add(1) & 0xff_ffff;
        self.free.push(slot);
        self.wake_room();
    }

    pub(super) fn wake_room(&mut self) {
        self.room_wakers.drain(..).for_each(Waker::wake);
    }

    /// Ends everything in flight. Buffers of a device that may not have stopped are not given back.
    pub(super) fn fail_all(&mut self, stopped: bool) {
        if !stopped {
            self.queue.leak();
            self.headers.leak();
        }
        for slot in 0..self.slots.len() {
            if let State::InFlight { buffer, .. } | State::Abandoned { buffer } = &mut self.slots[slot].state
            {
                if !stopped {
                    mem::forget(mem::take(buffer));
                }
                self.complete(slot as u16, Err(BlockError::Gone));
            }
        }
        self.wake_room();
    }

    /// A slot is free, and descriptors for the longest request.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        let descriptors = usize::from(self.queue.free_descriptors());
        !self.free.is_empty() && (self.gone || descriptors >= limits.segments + 2)
    }

    /// The slot a ticket names, if it still does.
    pub(super) fn slot_of(&self, ticket: Ticket) -> Option<u16> {
        let slot = (ticket.0 & 0xff) as u16;
        let current = self.slots.get(usize::from(slot))?;
        (current.generation == ticket.0 >> 8).then_some(slot)
    }
}
