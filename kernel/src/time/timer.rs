//! A core's timer, which ends its rest when something is due.

use super::{APIC_HZ, ClockSource, source, tsc_hz};
use crate::arch::cpu;
use crate::irq::apic;
use crate::smp;
use crate::user::entries::count;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::Instant;

/// What the timer of a core is set to.
///
/// Setting it costs a write to the APIC, which a hypervisor or an emulator traps and answers with timers of its own: as much as all
/// the rest of a small packet. Cores rest often and are mostly woken by something else, long before what they would be woken for
/// otherwise. So a timer that is set already, and early enough, stays as it is: at worst it wakes the core once for nothing.
pub struct Timer {
    /// When it comes, in nanoseconds since boot; zero: it is not known.
    at: AtomicU64,
    /// Timer interrupts of the core when it was set: one more, and it has come.
    come: AtomicU64,
    /// How often it was set.
    sets: AtomicU64,
}

impl Timer {
    pub(crate) const fn new() -> Timer {
        Timer { at: AtomicU64::new(0), come: AtomicU64::new(0), sets: AtomicU64::new(0) }
    }

    /// Whether it will come by `deadline` without anything being done, on a core that had so many timer interrupts.
    fn is_set(&self, deadline: Instant, now: Instant, come: u64) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > now.as_nanos() && at <= deadline.as_nanos() && self.come.load(Ordering::Relaxed) == come
    }

    /// Notes that it is set; only its own core does.
    fn set(&self, at: Instant, come: u64) {
        count(&self.sets);
        self.at.store(at.as_nanos(), Ordering::Relaxed);
        self.come.store(come, Ordering::Relaxed);
    }

    /// How often it was set since the core was started.
    pub fn sets(&self) -> u64 {
        self.sets.load(Ordering::Relaxed)
    }

    /// Somebody used it for something else.
    pub(super) fn forget(&self) {
        self.at.store(0, Ordering::Relaxed);
    }
}

/// Makes this core's timer interrupt at `deadline`, which is after `now`, or earlier.
pub fn arm_timer(deadline: Instant, now: Instant) {
    let cpu = smp::this_cpu();
    let come = cpu.entries.timer.load(Ordering::Relaxed);
    if cpu.timer.is_set(deadline, now, come) {
        return;
    }
    cpu.timer.set(deadline, come);
    let span = (deadline - now).as_nanos();
    if apic::tsc_deadline() && source() == ClockSource::Tsc {
        let ticks = span * u128::from(tsc_hz()) / 1_000_000_000;
        apic::start_deadline(cpu::rdtsc() + ticks as u64);
    } else {
        apic::leave_deadlines();
        let ticks = span * u128::from(APIC_HZ.load(Ordering::Relaxed)) / 1_000_000_000;
        apic::start_countdown(u32::try_from(ticks).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_timer_that_comes_early_enough_is_not_set_again() {
        let timer = Timer::new();
        assert!(!timer.is_set(at(100), at(0), 0), "nobody set it");
        timer.set(at(50), 3);
        assert!(timer.is_set(at(50), at(10), 3) && timer.is_set(at(100), at(49), 3));
        assert!(!timer.is_set(at(49), at(10), 3), "it is wanted earlier");
        assert!(!timer.is_set(at(100), at(10), 4), "it has come, if early");
        assert!(!timer.is_set(at(100), at(50), 3), "it is over, and nobody saw it");
        timer.forget();
        assert!(!timer.is_set(at(100), at(10), 3));
        assert_eq!(timer.sets(), 1);
    }
}
