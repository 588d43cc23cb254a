//! Requests between submission and completion.

use super::Engine;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use keelson_hal::{BlockCompletion, BlockCounters, BlockError, BlockOp, Ticket};

/// Where a slot's request is.
pub(super) enum State {
    Free,
    InFlight { op: BlockOp, buffer: Vec<u8>, waker: Option<Waker> },
    Abandoned { op: BlockOp, buffer: Vec<u8> },
    Done(BlockCompletion),
}

pub(super) struct Slot {
    pub(super) state: State,
    /// Counts the slot's uses, so that an old ticket does not name a new request.
    pub(super) generation: u32,
}

/// The engine and its requests.
pub(super) struct Inner<E> {
    pub(super) engine: E,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<u16>,
    pub(super) room_wakers: Vec<Waker>,
    pub(super) counters: BlockCounters,
    pub(super) gone: bool,
}

impl<E: Engine> Inner<E> {
    pub(super) fn new(engine: E, depth: u16) -> Inner<E> {
        Inner {
            engine,
            slots: (0..depth).map(|_| Slot { state: State::Free, generation: 0 }).collect(),
            free: (0..depth).rev().collect(),
            room_wakers: Vec::with_capacity(usize::from(depth)),
            counters: BlockCounters::default(),
            gone: false,
        }
    }

    /// The device is done with the request of `slot`.
    pub(super) fn finish(&mut self, slot: u16, result: Result<(), BlockError>) {
        self.complete(slot, result);
        self.wake_room();
    }

    /// Moves a slot out of the device's hands.
    fn complete(&mut self, slot: u16, result: Result<(), BlockError>) {
        self.count(slot, &result);
        let state = &mut self.slots[usize::from(slot)].state;
        match mem::replace(state, State::Free) {
            State::InFlight { buffer, waker, .. } => {
                *state = State::Done(BlockCompletion { result, buffer });
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned { .. } => self.release(slot),
            // Engines give each slot back once, so that these two do not happen.
            other => *state = other,
        }
    }

    fn count(&mut self, slot: u16, result: &Result<(), BlockError>) {
        let counters = &mut self.counters;
        if result.is_err() {
            counters.errors += 1;
            return;
        }
        let state = &self.slots[usize::from(slot)].state;
        let (State::InFlight { op, buffer, .. } | State::Abandoned { op, buffer }) = state else { return };
        let bytes = buffer.len() as u64;
        match op {
            BlockOp::Read => {
                counters.reads += 1;
                counters.read_bytes += bytes;
            }
            BlockOp::Write | BlockOp::WriteThrough => {
                counters.writes += 1;
                counters.written_bytes += bytes;
            }
            BlockOp::Flush => counters.flushes += 1,
        }
    }

    pub(super) fn release(&mut self, slot: u16) {
        let entry = &mut self.slots[usize::from(slot)];
        entry.state = State::Free;
        entry.generation = entry.generation.wrapping_add(1) & 0xff_ffff;
        self.free.push(slot);
        self.wake_room();
    }

    fn wake_room(&mut self) {
        self.room_wakers.drain(..).for_each(Waker::wake);
    }

    /// Stops the device; everything in flight ends with [`BlockError::Gone`]. Buffers of a device that may not have stopped
    /// are not given back. True when it has.
    pub(super) fn shut_off(&mut self) -> bool {
        self.gone = true;
        let stopped = self.engine.stop();
        for slot in 0..self.slots.len() {
            if let State::InFlight { buffer, .. } | State::Abandoned { buffer, .. } =
                &mut self.slots[slot].state
            {
                if !stopped {
                    mem::forget(mem::take(buffer));
                }
                self.complete(slot as u16, Err(BlockError::Gone));
            }
        }
        self.wake_room();
        stopped
    }

    /// A slot is free, and there is room for the longest request.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() && (self.gone || self.engine.has_room())
    }

    /// The slot a ticket names, if it still does.
    pub(super) fn slot_of(&self, ticket: Ticket) -> Option<u16> {
        let slot = (ticket.0 & 0xff) as u16;
        let current = self.slots.get(usize::from(slot))?;
        (current.generation == ticket.0 >> 8).then_some(slot)
    }
}
