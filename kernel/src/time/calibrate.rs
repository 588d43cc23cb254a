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
/// Runs agree when they differ by less than this part: 2 us of 10 ms, what reading the PIT takes.
const AGREEMENT: u64 = 5000;
/// TSC ticks after which a clock that does not count is given up: 50 ms at 1 GHz, 10 ms at 5 GHz.
const GIVE_UP: u64 = 50_000_000;
/// Assumed without any clock to compare with.
const FALLBACK_HZ: u64 = 1_000_000_000;

/// Measures both clocks; the fastest of three runs counts, since delays only make a run longer. Two that agree are enough.
///
/// Channel 0 of the PIT is read by latching, because that works everywhere: the gate of channel 2 sits in a
/// port that small virtual machines lack. Its interrupt is masked.
pub fn measure(pm_timer: Option<PmTimer>) -> Rates {
    // SAFETY: nobody else uses the PIT.
    unsafe {
        port::write8(PIT_MODE, PIT_RATE_GENERATOR);
        port::write8(PIT_CHANNEL_0, 0);
        port::write8(PIT_CHANNEL_0, 0);
    }
    // The PIT counts down: its ticks are the difference the other way round.
    let by_pit = || best(PIT_HZ, 0xffff, || 0u64.wrapping_sub(read_pit()));
    let by_pm = || {
        let timer = pm_timer?;
        let mask = timer.mask();
        // SAFETY: the FADT names this port for reading.
        best(PM_TIMER_HZ, mask, || u64::from(unsafe { port::read32(timer.port) }))
    };
    let by_tsc = || {
        let tsc_hz = stated_tsc_hz()?;
        Some(Rates { tsc_hz, ..best(tsc_hz, u64::MAX, cpu::rdtsc)? })
    };
    by_tsc().or_else(by_pit).or_else(by_pm).unwrap_or_else(|| {
        log::warn!(target: "time", "no PIT and no ACPI timer: assuming a TSC of {FALLBACK_HZ} Hz");
        Rates { tsc_hz: FALLBACK_HZ, apic_hz: FALLBACK_HZ }
    })
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

fn read_pit() -> u64 {
    // SAFETY: latching and reading the count changes nothing.
    unsafe {
        port::write8(PIT_MODE, PIT_LATCH_0);
        let low = port::read8(PIT_CHANNEL_0);
        u64::from(low) | u64::from(port::read8(PIT_CHANNEL_0)) << 8
    }
}

/// The fastest of several runs against a counter at `hz` that wraps at `mask`; `None` when it does not count.
fn best(hz: u64, mask: u64, read: impl Fn() -> u64) -> Option<Rates> {
    let mut best = run(hz, mask, &read)?;
    for _ in 1..RUNS {
        let Some(next) = run(hz, mask, &read) else { break };
        let agree = |one: u64, other: u64| one.abs_diff(other) <= one / AGREEMENT;
        let enough = agree(best.tsc_hz, next.tsc_hz) && agree(best.apic_hz, next.apic_hz);
        best = Rates { tsc_hz: best.tsc_hz.min(next.tsc_hz), apic_hz: best.apic_hz.min(next.apic_hz) };
        if enough {
            break;
        }
    }
    Some(best)
}

fn run(hz: u64, mask: u64, read: &impl Fn() -> u64) -> Option<Rates> {
    apic::start_countdown(u32::MAX);
    // What delays this, here or at the end, makes the run longer by both clocks, never shorter.
    let (tsc, count, start) = (cpu::rdtsc(), apic::countdown(), read());
    let (mut last, mut since_progress) = (start, tsc);
    loop {
        let (now, at) = (read(), cpu::rdtsc());
        let passed = now.wrapping_sub(start) & mask;
        if passed >= hz / RUNS_PER_SECOND {
            let apic = u64::from(count.wrapping_sub(apic::countdown()));
            return Some(Rates { tsc_hz: at.wrapping_sub(tsc) * hz / passed, apic_hz: apic * hz / passed });
        }
        if now != last {
            (last, since_progress) = (now, at);
        } else if at.wrapping_sub(since_progress) > GIVE_UP {
            return None;
        }
    }
}
