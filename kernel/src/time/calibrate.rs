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

const RUNS: usize = 3;
/// Readings of which the quickest counts, at either end of a run.
const READINGS: usize = 32;
/// The readings at the ends of a good run take the same time but for this part of it: 2 us of 10 ms, what reading the PIT takes.
const AGREEMENT: u64 = 5000;
/// TSC ticks after which a clock that does not count is given up: 50 ms at 1 GHz, 10 ms at 5 GHz.
const GIVE_UP: u64 = 50_000_000;
/// Assumed without any clock to compare with.
const FALLBACK_HZ: u64 = 1_000_000_000;

/// A clock of known rate.
#[derive(Clone, Copy)]
enum Reference {
    /// The TSC itself, with the rate that it is stated to have.
    Tsc(u64),
    Pm(PmTimer),
    /// Channel 0 of the PIT, read by latching, because that works everywhere: the gate of channel 2 sits in a port that small
    /// virtual machines lack. Its interrupt is masked. Where the firmware gates its clock it does not count.
    Pit,
}

impl Reference {
    /// Ticks per second.
    fn hz(self) -> u64 {
        match self {
            Reference::Tsc(hz) => hz,
            Reference::Pm(_) => PM_TIMER_HZ,
            Reference::Pit => PIT_HZ,
        }
    }

    /// Its largest value.
    fn mask(self) -> u64 {
        match self {
            Reference::Tsc(_) => u64::MAX,
            Reference::Pm(timer) => timer.mask(),
            Reference::Pit => 0xffff,
        }
    }

    /// Ticks of a run: 4 ms, or 10 by the PIT, so that a tick more or less is less than 0.01% of it.
    fn run(self) -> u64 {
        match self {
            Reference::Tsc(_) | Reference::Pm(_) => self.hz() / 250,
            Reference::Pit => self.hz() / 100,
        }
    }

    fn start(self) {
        if let Reference::Pit = self {
            // SAFETY: nobody else uses the PIT.
            unsafe {
                port::write8(PIT_MODE, PIT_RATE_GENERATOR);
                port::write8(PIT_CHANNEL_0, 0);
                port::write8(PIT_CHANNEL_0, 0);
            }
        }
    }

    fn read(self) -> u64 {
        match self {
            Reference::Tsc(_) => cpu::rdtsc(),
            // SAFETY: the FADT names this port for reading.
            Reference::Pm(timer) => u64::from(unsafe { port::read32(timer.port) }),
            Reference::Pit => read_pit(),
        }
    }
}

/// A measurement of both clocks, for whose first run the time passes while other things are done.
///
/// Whatever delays a reading of the clock of known rate, at one end of a run, makes the run too long or too short; so each end
/// is read several times, and the run is done again if its quickest readings differ.
pub struct Measurement {
    reference: Reference,
    start: Reading,
}

impl Measurement {
    /// Reads the clocks for the first time. Nobody else uses the PIT and the APIC's timer until [`Measurement::end`].
    pub fn begin(pm_timer: Option<PmTimer>) -> Measurement {
        let stated = stated_tsc_hz().map(Reference::Tsc);
        let reference = stated.or(pm_timer.map(Reference::Pm)).unwrap_or(Reference::Pit);
        Measurement { reference, start: first(reference) }
    }

    /// Reads them again, when the time of a run has passed.
    pub fn end(self) -> Rates {
        // The PIT begins again every 55 ms. That would go unnoticed, so a run that may have taken as long does not count.
        let passed = cpu::rdtsc().wrapping_sub(self.start.tsc);
        let start = Some(self.start).filter(|_| passed < GIVE_UP);
        let measured = match (self.reference, best(self.reference, start)) {
            (Reference::Tsc(tsc_hz), rates) => rates.map(|rates| Rates { tsc_hz, ..rates }),
            (Reference::Pm(_), None) => best(Reference::Pit, None),
            (_, rates) => rates,
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
fn look(reference: Reference) -> Reading {
    let once = || {
        let before = cpu::rdtsc();
        let (reference, tsc, apic) = (reference.read(), cpu::rdtsc(), apic::countdown());
        Reading { reference, tsc, apic, took: cpu::rdtsc().wrapping_sub(before) }
    };
    (1..READINGS).fold(once(), |best, _| {
        let next = once();
        if next.took < best.took { next } else { best }
    })
}

/// The reading at the start of a run.
fn first(reference: Reference) -> Reading {
    reference.start();
    apic::start_countdown(u32::MAX);
    look(reference)
}

/// The best of several runs; `None` when the clock does not count. The first run began with `start`, if there is one.
fn best(reference: Reference, mut start: Option<Reading>) -> Option<Rates> {
    let mut best: Option<(Rates, u64)> = None;
    for _ in 0..RUNS {
        let start = start.take().unwrap_or_else(|| first(reference));
        let Some(end) = run(reference, &start) else { break };
        let passed = u128::from(end.reference.wrapping_sub(start.reference) & reference.mask());
        let rate = |ticks: u64| (u128::from(ticks) * u128::from(reference.hz()) / passed.max(1)) as u64;
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

/// The reading at the end of a run.
fn run(reference: Reference, start: &Reading) -> Option<Reading> {
    let (mut last, mut since_progress) = (start.reference, start.tsc);
    loop {
        let (now, at) = (reference.read(), cpu::rdtsc());
        if now.wrapping_sub(start.reference) & reference.mask() >= reference.run() {
            return Some(look(reference));
        }
        if now != last {
            (last, since_progress) = (now, at);
        } else if at.wrapping_sub(since_progress) > GIVE_UP {
            return None;
        }
    }
}
