//! Signals that wait for delivery.

use super::info::{Details, SigInfo};
use super::set::{SigSet, is_real_time};
use alloc::collections::VecDeque;

/// Signals sent and not yet delivered, to a process or to a thread. A standard signal is there once at most; real-time signals
/// queue in the order they were sent.
#[derive(Default, Debug)]
pub struct Queue {
    items: VecDeque<SigInfo>,
    pending: SigSet,
}

impl Queue {
    /// Which signals are there.
    pub fn pending(&self) -> SigSet {
        self.pending
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a signal; a standard one that is there already is lost, as in every Unix.
    pub fn push(&mut self, info: SigInfo) {
        if !is_real_time(info.signal) && self.pending.has(info.signal) {
            return;
        }
        self.pending = self.pending | SigSet::of(info.signal);
        self.items.push_back(info);
    }

    /// Takes the next one of `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = (self.pending & wanted).first()?;
        let at = self.items.iter().position(|info| info.signal == signal)?;
        let info = self.items.remove(at)?;
        if !self.items.iter().any(|info| info.signal == signal) {
            self.pending = self.pending & !SigSet::of(signal);
        }
        Some(info)
    }

    /// Counts expirations of a timer on its signal; false when that is not there.
    pub fn add_overrun(&mut self, timer: i32, count: i32) -> bool {
        self.items.iter_mut().any(|info| match &mut info.details {
            Details::Timer { id, overrun, .. } if *id == timer => {
                *overrun = overrun.saturating_add(count);
                true
            }
            _ => false,
        })
    }

    /// Forgets the signals of a set.
    pub fn discard(&mut self, set: SigSet) {
        self.items.retain(|info| !set.has(info.signal));
        self.pending = self.pending & !set;
    }
}
