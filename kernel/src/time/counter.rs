//! Counters that belong to no core: the HPET (IA-PC HPET 1.0a) and the ACPI timer. Slow to read, but of a known rate, the same for
//! all cores, and never asleep.

use super::PmTimer;
use super::calibrate::PM_TIMER_HZ;
use crate::acpi::Hpet;
use crate::arch::{cpu, port};
use crate::mm::{self, Mmio};
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::Registers;

/// Registers of the HPET.
const HPET_LEN: usize = 0x400;
const HPET_PERIOD: usize = 0x04;
const HPET_CONFIGURATION: usize = 0x10;
const HPET_COUNTER: usize = 0xf0;
const HPET_RUNS: u32 = 1 << 0;
/// Longest period that the specification allows, in femtoseconds: 100 ns.
const HPET_PERIOD_MAX: u32 = 0x05f5_e100;

const FEMTOS_PER_NANO: u128 = 1_000_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Looks after which a counter that has not moved is none: more than a period of the slowest takes.
const LOOKS: usize = 10_000;

/// A counter and its rate.
pub(super) struct Counter {
    place: Place,
    /// Nanoseconds of a tick, times 2^32.
    scale: u64,
    /// Its largest value; the next one is 0.
    mask: u64,
}

enum Place {
    /// The low half of the HPET's counter: a read of both would be two.
    Hpet(Mmio),
    Port(u16),
}

impl Counter {
    /// The HPET with these registers, counting from here on; `None` when it does not.
    pub fn hpet(table: &Hpet) -> Option<Counter> {
        let registers = mm::map_mmio(table.base, HPET_LEN).ok()?;
        let scale = scale_of_period(registers.read32(HPET_PERIOD))?;
        registers.write32(HPET_CONFIGURATION, registers.read32(HPET_CONFIGURATION) | HPET_RUNS);
        Counter { place: Place::Hpet(registers), scale, mask: u32::MAX.into() }.that_counts()
    }

    /// The ACPI timer; `None` when it does not count.
    pub fn pm(timer: PmTimer) -> Option<Counter> {
        let scale = ((NANOS_PER_SECOND << 32) / u128::from(PM_TIMER_HZ)) as u64;
        Counter { place: Place::Port(timer.port), scale, mask: timer.mask() }.that_counts()
    }

    fn that_counts(self) -> Option<Counter> {
        let first = self.read();
        (0..LOOKS)
            .any(|_| {
                cpu::pause();
                self.read() != first
            })
            .then_some(self)
    }

    /// Its value.
    pub fn read(&self) -> u64 {
        let value: u64 = match &self.place {
            Place::Hpet(registers) => registers.read32(HPET_COUNTER).into(),
            // SAFETY: the FADT names this port for reading.
            Place::Port(port) => unsafe { port::read32(*port) }.into(),
        };
        value & self.mask
    }

    /// Ticks from one value to a later one, if it did not go round in between.
    pub fn ticks(&self, from: u64, to: u64) -> u64 {
        to.wrapping_sub(from) & self.mask
    }

    /// So many ticks in nanoseconds.
    pub fn nanos(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    /// Nanoseconds in which it goes round.
    pub fn round(&self) -> u64 {
        self.nanos(self.mask + 1)
    }
}

/// The scale of an HPET; `None` for a period that none has.
fn scale_of_period(femtos: u32) -> Option<u64> {
    (1..=HPET_PERIOD_MAX).contains(&femtos).then(|| ((u128::from(femtos) << 32) / FEMTOS_PER_NANO) as u64)
}

/// Time by a counter that goes round, for all cores: somebody has to ask at least twice in each round, and the halt of a core does,
/// which never takes longer than 100 ms.
pub(super) struct Elapsed {
    /// Ticks since the beginning, and what the counter showed then.
    ticks: AtomicU64,
    origin: AtomicU64,
    /// Nanoseconds at the beginning.
    nanos: AtomicU64,
}

impl Elapsed {
    pub const fn new() -> Elapsed {
        Elapsed { ticks: AtomicU64::new(0), origin: AtomicU64::new(0), nanos: AtomicU64::new(0) }
    }

    /// It is `nanos` now. Before anybody asks.
    pub fn begin(&self, counter: &Counter, nanos: u64) {
        self.origin.store(counter.read(), Ordering::Relaxed);
        self.nanos.store(nanos, Ordering::Release);
    }

    /// What time it is.
    pub fn now(&self, counter: &Counter) -> u64 {
        let ticks = self.advance(counter.mask, || counter.read());
        self.nanos.load(Ordering::Relaxed) + counter.nanos(ticks)
    }

    /// Ticks since the beginning, never less than before.
    fn advance(&self, mask: u64, read: impl FnOnce() -> u64) -> u64 {
        let before = self.ticks.load(Ordering::Acquire);
        // Behind the load, so that the value is a later one, or one that another core was faster than.
        let value = read().wrapping_sub(self.origin.load(Ordering::Relaxed));
        let more = value.wrapping_sub(before) & mask;
        if more > mask / 2 {
            return before;
        }
        self.ticks.fetch_max(before + more, Ordering::AcqRel).max(before + more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        // QEMU's HPET: 100 MHz. A PC's: 14.318180 MHz.
        assert_eq!(scale_of_period(10_000_000), Some(10 << 32));
        let pc = u128::from(scale_of_period(69_841_279).unwrap());
        assert_eq!((pc * 14_318_180) >> 32, 1_000_000_004, "4 ns in a second");
        assert_eq!((scale_of_period(0), scale_of_period(HPET_PERIOD_MAX + 1)), (None, None));
    }

    #[test]
    fn time_goes_on_when_the_counter_goes_round() {
        const MASK: u64 = 0xff_ffff;
        let elapsed = Elapsed::new();
        elapsed.origin.store(0xff_fff0, Ordering::Relaxed);
        let mut seen = 0;
        for step in 0..100u64 {
            let ticks = step * 0x70_0000;
            seen = elapsed.advance(MASK, || (0xff_fff0 + ticks) & MASK);
            assert_eq!(seen, ticks);
        }
        // Another core read a moment before.
        assert_eq!(elapsed.advance(MASK, || (0xff_fff0 + seen - 5) & MASK), seen);
    }

    #[test]
    fn time_never_goes_back_between_cores() {
        static ELAPSED: Elapsed = Elapsed::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let reader = || {
            let mut seen = 0;
            for _ in 0..100_000 {
                let now = ELAPSED.advance(0xffff, || COUNTER.fetch_add(1, Ordering::SeqCst) & 0xffff);
                assert!(now >= seen);
                seen = now;
            }
        };
        let readers = [std::thread::spawn(reader), std::thread::spawn(reader)];
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let all = COUNTER.load(Ordering::SeqCst);
        assert!(all - ELAPSED.advance(0xffff, || all & 0xffff) < 4);
    }
}
