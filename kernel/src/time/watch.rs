//! Whether the time stamp counter keeps time: compared with a counter that does, once a second, and between cores when they start.

use super::counter::Counter;
use crate::arch::cpu;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// In a window (from a look to the next) it may be off by this part, and by 10 ms more: what delays a look may delay it in between.
const PART_OF_WINDOW: u64 = 32;
const SLACK: u64 = 10_000_000;
/// Windows in a row after which it counts as wrong.
const WRONG_MAX: usize = 3;
/// Over so many windows it may be off by less.
const LONG: usize = 32;
const PART_OF_LONG: u64 = 128;

/// A pair of readings counts when the first took no longer, in nanoseconds; how often it is tried.
const PAIR_MAX: u64 = 500_000;
const PAIRS: usize = 5;

/// How often the cores compare their counters; how long the one that waits does, in ticks: 30 ms at 1 GHz.
const ROUNDS: usize = 2000;
const PATIENCE: u64 = 30_000_000;

/// Two clocks that should go the same.
#[derive(Default, Debug)]
struct Judge {
    wrong: usize,
    windows: usize,
    /// Nanoseconds by the counter, and how many of them were too many.
    sum: u64,
    excess: i64,
}

impl Judge {
    /// A window that took `nanos` by the counter, and by the other clock as many modulo `round` as `other` says. True when the
    /// counter is wrong.
    fn is_wrong(&mut self, nanos: u64, other: u64, round: u64) -> bool {
        let round = i64::try_from(round).unwrap_or(i64::MAX).max(1);
        let ahead = (nanos as i64).wrapping_sub(other as i64).rem_euclid(round);
        // More than half a round ahead is less than that behind.
        let excess = if ahead > round / 2 { ahead - round } else { ahead };
        let is_off = excess.unsigned_abs() > nanos / PART_OF_WINDOW + SLACK;
        self.wrong = if is_off { self.wrong + 1 } else { 0 };
        self.sum = self.sum.saturating_add(nanos);
        self.excess = self.excess.saturating_add(excess);
        self.windows += 1;
        let mut is_wrong = self.wrong == WRONG_MAX;
        if self.windows == LONG {
            is_wrong |= self.excess.unsigned_abs() > self.sum / PART_OF_LONG + SLACK;
            (self.windows, self.sum, self.excess) = (0, 0, 0);
        }
        is_wrong
    }
}

/// Compares the counter of the first core with another.
pub struct Watch {
    other: &'static Counter,
    judge: Judge,
    last: Option<(u64, u64)>,
}

impl Watch {
    pub(super) fn new(other: &'static Counter) -> Watch {
        Watch { other, judge: Judge::default(), last: None }
    }

    /// Looks at both; false once the time stamp counter has been found to be wrong.
    pub(super) fn look(&mut self, nanos_of: impl Fn(u64) -> u64) -> bool {
        // What comes between the readings (the firmware, a hypervisor) would be taken for an error.
        let Some((ticks, value)) = (0..PAIRS).find_map(|_| {
            let before = cpu::rdtsc();
            let value = self.other.read();
            (nanos_of(cpu::rdtsc().wrapping_sub(before)) <= PAIR_MAX).then_some((before, value))
        }) else {
            self.last = None;
            return true;
        };
        let Some((last_ticks, last_value)) = self.last.replace((ticks, value)) else { return true };
        let other = self.other.nanos(self.other.ticks(last_value, value));
        !self.judge.is_wrong(nanos_of(ticks.wrapping_sub(last_ticks)), other, self.other.round())
    }
}

/// The latest count that a core has read, and by how much one was behind that at most.
static LATEST: AtomicU64 = AtomicU64::new(0);
static BEHIND: AtomicU64 = AtomicU64::new(0);
/// The last core that is done.
static DONE: AtomicUsize = AtomicUsize::new(0);

fn compare() {
    let latest = LATEST.load(Ordering::Acquire);
    // The counter is not read before what another core has noted.
    core::sync::atomic::fence(Ordering::SeqCst);
    // SAFETY: changes nothing.
    unsafe { core::arch::x86_64::_mm_lfence() };
    let now = cpu::rdtsc();
    BEHIND.fetch_max(latest.saturating_sub(now), Ordering::Relaxed);
    LATEST.fetch_max(now, Ordering::AcqRel);
}

/// On a core that has just come: compares with the one that started it, which does the same.
pub(crate) fn compare_as_new(core: usize) {
    (0..ROUNDS).for_each(|_| compare());
    DONE.store(core, Ordering::Release);
}

/// On the core that has started `core`.
pub(crate) fn compare_with(core: usize) {
    let begun = cpu::rdtsc();
    while DONE.load(Ordering::Acquire) != core && cpu::rdtsc().wrapping_sub(begun) < PATIENCE {
        compare();
    }
}

/// By how many ticks the counter of a core was behind that of another, at most.
pub(super) fn behind() -> u64 {
    BEHIND.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// An ACPI timer of 24 bits.
    const ROUND: u64 = 4_686_918_000;

    /// Windows until the counter is found to be wrong, of at most 100.
    fn found(nanos: impl Fn(u64) -> u64, real: impl Fn(u64) -> u64) -> Option<u64> {
        let mut judge = Judge::default();
        (1..=100).find(|n| judge.is_wrong(nanos(*n), real(*n) % ROUND, ROUND))
    }

    #[test]
    fn clocks_that_agree() {
        assert_eq!(found(|_| SECOND, |_| SECOND), None);
        // Late by more than a round, and by as much by both.
        assert_eq!(found(|n| n * SECOND, |n| n * SECOND), None);
        // Rates that calibration leaves a little off.
        assert_eq!(found(|_| SECOND, |_| SECOND + SECOND / 200), None);
        // Noise, but no drift.
        assert_eq!(found(|n| if n % 2 == 0 { SECOND + SLACK } else { SECOND - SLACK }, |_| SECOND), None);
        // One window that somebody delayed at its end, and so the next one the other way.
        let delayed = |n| match n {
            50 => 2 * SECOND,
            51 => 0,
            _ => SECOND,
        };
        assert_eq!(found(delayed, |_| SECOND), None);
    }

    #[test]
    fn clocks_that_do_not() {
        for (nanos, real) in [
            (SECOND, SECOND * 8 / 9),
            (SECOND, SECOND * 9 / 8),
            (SECOND, SECOND / 1000),
            // It stopped, or nearly.
            (0, SECOND),
            (1000, 3 * SECOND),
            (SECOND, 2 * SECOND),
        ] {
            assert_eq!(found(|_| nanos, |_| real), Some(WRONG_MAX as u64), "{nanos} {real}");
        }
        assert_eq!(found(|_| SECOND, |_| SECOND + SECOND / 50), Some(LONG as u64), "in the long run");
    }
}
