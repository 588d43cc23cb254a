//! How long a core rested, and how long it did not.
//!
//! A core counts only when it begins and ends a halt, so that one that never rests pays nothing.

use crate::arch::cpu::rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

/// Set while the core rests.
const RESTING: u64 = 1 << 63;

/// Time in ticks of the time stamp counter. Only the core itself writes.
pub(crate) struct Rest {
    /// Ticks that the core rested. While it rests: when it would have begun to, had it rested from then on only, and [`RESTING`].
    /// One word, so that who looks from another core never sees half a change.
    state: AtomicU64,
    /// When the core came.
    came: AtomicU64,
}

impl Rest {
    pub const fn new() -> Rest {
        Rest { state: AtomicU64::new(0), came: AtomicU64::new(0) }
    }

    /// The core is there from now on.
    pub fn come(&self, now: u64) {
        self.came.store(now, Ordering::Relaxed);
    }

    pub fn begin(&self, now: u64) {
        let rested = self.state.load(Ordering::Relaxed) & !RESTING;
        self.state.store(now.saturating_sub(rested) | RESTING, Ordering::Release);
    }

    pub fn end(&self, now: u64) {
        let begun = self.state.load(Ordering::Relaxed) & !RESTING;
        self.state.store(now.saturating_sub(begun), Ordering::Release);
    }

    /// Ticks of rest and of work until now.
    pub fn read(&self) -> (u64, u64) {
        let state = self.state.load(Ordering::Acquire);
        // Behind the look at the state, so that it is not before the beginning of a rest.
        self.split(state, rdtsc())
    }

    fn split(&self, state: u64, now: u64) -> (u64, u64) {
        let rested = if state & RESTING != 0 { now.saturating_sub(state & !RESTING) } else { state };
        (rested, now.saturating_sub(self.came.load(Ordering::Relaxed)).saturating_sub(rested))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_and_work_make_the_time_that_passed() {
        let rest = Rest::new();
        rest.come(1000);
        let at = |now| rest.split(rest.state.load(Ordering::Relaxed), now);
        assert_eq!(at(1100), (0, 100));
        rest.begin(1100);
        assert_eq!((at(1100), at(1150)), ((0, 100), (50, 100)));
        rest.end(1160);
        assert_eq!((at(1160), at(1200)), ((60, 100), (60, 140)));
        rest.begin(1200);
        // A look in the middle shows no less than one before it.
        assert_eq!((at(1200), at(1300)), ((60, 140), (160, 140)));
        rest.end(1300);
        assert_eq!(at(1300), (160, 140));
    }
}
