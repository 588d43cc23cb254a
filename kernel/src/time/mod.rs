//! Time: the TSC as monotonic clock (or what stands in for it), the core's timer for deadlines.

mod calibrate;
mod counter;
mod source;
mod timer;
mod wall;
mod watch;

pub(crate) use calibrate::{Measurement, PmTimer};
pub use source::{ClockSource, choose, look, source};
pub(crate) use source::{NAMES, find};
pub(crate) use timer::Timer;
pub use timer::arm_timer;
pub use watch::Watch;
pub(crate) use watch::{compare_as_new, compare_with};

use crate::arch::cpu;
use crate::postmortem;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use keelson_hal::{Clock, Instant, WallClock, WallLine};
use wall::Latch;

/// TSC at boot.
static TSC_BOOT: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per TSC tick, times 2^32; 0 before calibration.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// TSC ticks per second.
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
/// APIC timer ticks per second.
static APIC_HZ: AtomicU64 = AtomicU64::new(0);
/// How the wall clock goes.
static WALL: Latch = Latch::new();
/// Somebody who should know has set the wall clock.
static WALL_IS_KNOWN: AtomicBool = AtomicBool::new(false);

/// Notes the moment of boot: [`Instant::ZERO`].
pub fn boot_begins() {
    TSC_BOOT.store(cpu::rdtsc(), Ordering::Relaxed);
}

/// Begins to find out how fast the clocks run, once, on the first core, with its APIC on. What is done until [`init`] costs no
/// time.
pub(crate) fn measure(pm_timer: Option<PmTimer>) -> Measurement {
    Measurement::begin(pm_timer)
}

/// Finds out how fast the clocks run.
pub(crate) fn init(measurement: Measurement) {
    let rates = measurement.end();
    TSC_HZ.store(rates.tsc_hz, Ordering::Relaxed);
    APIC_HZ.store(rates.apic_hz, Ordering::Relaxed);
    NANOS_PER_TICK.store(nanos_per_tick(rates.tsc_hz), Ordering::Relaxed);
}

/// 10^9 / `hz` as a fixed-point number with 32 bits after the point.
fn nanos_per_tick(hz: u64) -> u64 {
    ((1_000_000_000u128 << 32) / u128::from(hz.max(1))) as u64
}

/// Monotonic time; zero until [`init`].
pub fn now() -> Instant {
    if let Some(nanos) = source::now() {
        return Instant::from_nanos(nanos);
    }
    let ticks = cpu::rdtsc().wrapping_sub(TSC_BOOT.load(Ordering::Relaxed));
    // A core whose TSC is slightly behind must not see the far future.
    let ticks = if ticks > i64::MAX as u64 { 0 } else { ticks };
    Instant::from_nanos(nanos_of(ticks))
}

/// The time of so many ticks of the TSC; zero until [`init`].
pub(crate) fn span_of(ticks: u64) -> Duration {
    Duration::from_nanos(nanos_of(ticks))
}

fn nanos_of(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64
}

/// Ticks of the TSC per second.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Makes time by the TSC an eighth too fast, to see what notices.
pub(crate) fn provoke_skew() {
    let scale = NANOS_PER_TICK.load(Ordering::Relaxed);
    NANOS_PER_TICK.store(scale + scale / 8, Ordering::Relaxed);
}

/// Waits without rest.
pub fn spin(span: Duration) {
    let end = now() + span;
    // Without a calibrated clock (a panic in early boot) assume 4 GHz: better too long than for ever.
    let give_up = (span.as_nanos() as u64).saturating_mul(4);
    let started = cpu::rdtsc();
    let calibrated = tsc_hz() != 0;
    while if calibrated { now() < end } else { cpu::rdtsc().wrapping_sub(started) < give_up } {
        cpu::pause();
    }
}

/// Says what time it is: `wall` since 1970-01-01 00:00:00 UTC. On the first core, as all that changes the wall clock.
pub fn set_wall(wall: Duration) {
    change(WallLine::new(now(), wall));
}

fn change(line: WallLine) {
    WALL.set(line);
    postmortem::booted_at(wall_at_boot());
}

/// What time it was at boot, since 1970, as far as one knows now.
pub fn wall_at_boot() -> Duration {
    let now = now();
    WALL.get().at(now).saturating_sub(now.saturating_since(Instant::ZERO))
}

/// The machine's clocks.
#[derive(Clone, Copy, Default)]
pub struct KernelClock;

impl Clock for KernelClock {
    fn now(&self) -> Instant {
        now()
    }
    fn wall(&self) -> Duration {
        WALL.get().at(now())
    }
    fn wall_is_known(&self) -> bool {
        WALL_IS_KNOWN.load(Ordering::Relaxed)
    }
    fn wall_rate(&self) -> i32 {
        WALL.get().rate
    }
}

impl WallClock for KernelClock {
    fn step(&self, nanos: i64) {
        change(WALL.get().stepped(now(), nanos));
    }
    fn set_rate(&self, rate: i32) {
        change(WALL.get().with_rate(now(), rate));
    }
    fn set_known(&self, known: bool) {
        WALL_IS_KNOWN.store(known, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_exact_enough() {
        let scale = nanos_per_tick(2_709_000_000);
        let year = 2_709_000_000u128 * 86_400 * 365;
        let nanos = (year * u128::from(scale)) >> 32;
        let error = 86_400 * 365 * 1_000_000_000 - nanos as i128;
        assert!((0..20_000_000_000).contains(&error), "{error} ns in a year");
    }
}
