//! How fast TSC and APIC timer run, measured against a clock of known rate.

use crate::arch::{cpu, port};
use crate::irq::apic;

/// Rates in ticks per second.
pub struct Rates {
    /// Time stamp counter.
    pub tsc_hz: u64,
    /// APIC timer, undivided.
    pub apic_hz: u64,
}

/// The ACPI power management timer: a counter at 3.579545 MHz (ACPI 6.5 section 4.8.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PmTimer {
    /// Its port.
    pub port: u16,
    /// Counts 32 bits instead of 24.
    pub wide: bool,
}

pub(super) const PM_TIMER_HZ: u64 = 3_579_545;

impl PmTimer {
    /// Its largest value.
    pub(super) fn mask(self) -> u64 {
        if self.wide { 0xffff_ffff } else { 0xff_ffff }
    }
}

/// The 8254's input clock.
const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_MODE: u16 = 0x43;
/// Mode 2 (count down from 65536, again and again), low byte then high byte.
const PIT_RATE_GENERATOR: u8 = 0x34;
const PIT_LATCH_0: u8 = 0x00;

/// Measurements per second: 10 ms each.
const RUNS_PER_SECOND: u64 = 100;
const RUNS: usize = 3;
/// Readings of which the quickest counts, at either end of a run.
const READINGS: usize = 32;
/// The readings at the ends of a good run take the same time but for this part of it: 2 us of 10 ms, what reading the PIT takes.
const AGREEMENT: u64 = 5000;
/// TSC ticks after which a clock that does not count is given up: 50 ms at 1 GHz, 10 ms at 5 GHz.
const GIVE_UP: u64 = 50_000_000;
/// Assumed without any clock to compare with.
const FALLBACK_HZ: u64 = 1_000_000_000;

/// A measurement of both clocks, for whose first run the time passes while other things are done.
///
/// Whatever delays a reading of the clock of known rate, at one end of a run, makes the run too long or too short; so each end
/// is read several times, and the run is done again if its quickest readings differ.
///
/// Channel 0 of the PIT is read by latching, because that works everywhere: the gate of channel 2 sits in a
/// port that small virtual machines lack. Its interrupt is masked.
pub struct Measurement {
    /// What the TSC's rate is stated to be: then it is the clock of known rate, else the PIT.
    stated_hz: Option<u64>,
    start: Reading,
}

impl Measurement {
    /// Reads the clocks for the first time. Nobody else uses the PIT and the APIC's timer until [`Measurement::end`].
    pub fn begin() -> Measurement {
        // SAFETY: nobody else uses the PIT.
        unsafe {
            port::write8(PIT_MODE, PIT_RATE_GENERATOR);
            port::write8(PIT_CHANNEL_0, 0);
            port::write8(PIT_CHANNEL_0, 0);
        }
        let stated_hz = stated_tsc_hz();
        let start = if stated_hz.is_some() { first(&cpu::rdtsc) } else { first(&read_pit) };
        Measurement { stated_hz, start }
    }

    /// Reads them again, when a hundredth of a second has passed.
    pub fn end(self, pm_timer: Option<PmTimer>) -> Rates {
        // The PIT begins again every 55 ms. That would go unnoticed, so a run that may have taken as long does not count.
        let passed = cpu::rdtsc().wrapping_sub(self.start.tsc);
        let start = Some(self.start).filter(|_| passed < GIVE_UP);
        let by_pit = || best(PIT_HZ, 0xffff, start, read_pit);
        let by_pm = || {
            let timer = pm_timer?;
            let mask = timer.mask();
            // SAFETY: the FADT names this port for reading.
            best(PM_TIMER_HZ, mask, None, || u64::from(unsafe { port::read32(timer.port) }))
        };
        let measured = match self.stated_hz {
            Some(tsc_hz) => best(tsc_hz, u64::MAX, start, cpu::rdtsc).map(|rates| Rates { tsc_hz, ..rates }),
            None => by_pit().or_else(by_pm),
        };
        measured.unwrap_or_else(|| {
            log::warn!(target: "time", "no PIT and no ACPI timer: assuming a TSC of {FALLBACK_HZ} Hz");
            Rates { tsc_hz: FALLBACK_HZ, apic_hz: FALLBACK_HZ }
        })
    }
}

/// The TSC's rate as the processor (leaf 15h: crystal times ratio) or the hypervisor (leaf 40000010h, in kHz)
/// states it, if the TSC runs at a constant rate at all (leaf 80000007h).
fn stated_tsc_hz() -> Option<u64> {
    if cpu::cpuid(0x8000_0007, 0).edx & 1 << 8 == 0 {
        return None;
    }
    let ratio = cpu::cpuid(0x15, 0);
    if ratio.eax != 0 && ratio.ebx != 0 && ratio.ecx != 0 {
        return Some(u64::from(ratio.ecx) * u64::from(ratio.ebx) / u64::from(ratio.eax));
    }
    let hypervisor = cpu::cpuid(1, 0).ecx & 1 << 31 != 0;
    let khz = if hypervisor && cpu::cpuid(0x4000_0000, 0).eax >= 0x4000_0010 {
        cpu::cpuid(0x4000_0010, 0).eax
    } else {
        0
    };
    (khz != 0).then_some(u64::from(khz) * 1000)
}

/// The PIT's ticks. It counts down: they are the difference the other way round.
fn read_pit() -> u64 {
    // SAFETY: latching and reading the count changes nothing.
    let count = unsafe {
        port::write8(PIT_MODE, PIT_LATCH_0);
        let low = port::read8(PIT_CHANNEL_0);
        u64::from(low) | u64::from(port::read8(PIT_CHANNEL_0)) << 8
    };
    0u64.wrapping_sub(count)
}

/// A reading of all clocks.
#[derive(Clone, Copy)]
struct Reading {
    reference: u64,
    tsc: u64,
    apic: u32,
    /// TSC ticks that it took.
    took: u64,
}

/// The quickest of some readings of the clock of known rate, with the others read beside it.
fn look(read: &impl Fn() -> u64) -> Reading {
    let once = || {
        let before = cpu::rdtsc();
        let (reference, tsc, apic) = (read(), cpu::rdtsc(), apic::countdown());
        Reading { reference, tsc, apic, took: cpu::rdtsc().wrapping_sub(before) }
    };
    (1..READINGS).fold(once(), |best, _| {
        let next = once();
        if next.took < best.took { next } else { best }
    })
}

/// The reading at the start of a run.
fn first(read: &impl Fn() -> u64) -> Reading {
    apic::start_countdown(u32::MAX);
    look(read)
}

/// The best of several runs against a counter at `hz` that wraps at `mask`; `None` when it does not count. The first run began
/// with `start`, if there is one.
fn best(hz: u64, mask: u64, mut start: Option<Reading>, read: impl Fn() -> u64) -> Option<Rates> {
    let mut best: Option<(Rates, u64)> = None;
    for _ in 0..RUNS {
        let start = start.take().unwrap_or_else(|| first(&read));
        let Some(end) = run(hz, mask, &start, &read) else { break };
        let passed = u128::from(end.reference.wrapping_sub(start.reference) & mask);
        let rate = |ticks: u64| (u128::from(ticks) * u128::from(hz) / passed.max(1)) as u64;
        let ticks = end.tsc.wrapping_sub(start.tsc);
        let rates =
            Rates { tsc_hz: rate(ticks), apic_hz: rate(u64::from(start.apic.wrapping_sub(end.apic))) };
        let doubt = end.took.abs_diff(start.took);
        if best.as_ref().is_none_or(|(_, least)| doubt < *least) {
            best = Some((rates, doubt));
        }
        if doubt <= ticks / AGREEMENT {
            break;
        }
    }
    best.map(|(rates, _)| rates)
}

/// The reading at the end of a hundredth of a second.
fn run(hz: u64, mask: u64, start: &Reading, read: &impl Fn() -> u64) -> Option<Reading> {
    let (mut last, mut since_progress) = (start.reference, start.tsc);
    loop {
        let (now, at) = (read(), cpu::rdtsc());
        if now.wrapping_sub(start.reference) & mask >= hz / RUNS_PER_SECOND {
            return Some(look(read));
        }
        if now != last {
            (last, since_progress) = (now, at);
        } else if at.wrapping_sub(since_progress) > GIVE_UP {
            return None;
        }
    }
}
