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

/// The 8254's input clock.
const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_MODE: u16 = 0x43;
const SYSTEM_CONTROL: u16 = 0x61;
const GATE_2: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const OUT_2: u8 = 1 << 5;
/// Length of one measurement: 10 ms.
const PIT_TICKS: u64 = PIT_HZ / 100;
const RUNS: usize = 3;
/// TSC ticks after which a PIT that does not count is given up: 1 s at 1 GHz, 0.2 s at 5 GHz.
const GIVE_UP: u64 = 1_000_000_000;
/// Assumed without any clock to compare with.
const FALLBACK_HZ: u64 = 1_000_000_000;

/// Measures both clocks; the fastest of three runs counts, since delays only make a run longer.
pub fn measure() -> Rates {
    let mut best: Option<(u64, u64)> = None;
    for _ in 0..RUNS {
        let Some(run) = pit_run() else { break };
        if best.is_none_or(|(tsc, _)| run.0 < tsc) {
            best = Some(run);
        }
    }
    let Some((tsc, apic)) = best else {
        log::warn!(target: "time", "no PIT to measure the TSC with: assuming {FALLBACK_HZ} Hz");
        return Rates { tsc_hz: FALLBACK_HZ, apic_hz: FALLBACK_HZ };
    };
    Rates { tsc_hz: tsc * PIT_HZ / PIT_TICKS, apic_hz: apic * PIT_HZ / PIT_TICKS }
}

/// TSC and APIC ticks while PIT channel 2 counts [`PIT_TICKS`] down; `None` when it does not count.
fn pit_run() -> Option<(u64, u64)> {
    // SAFETY: the PIT's channel 2 and its gate are used by nobody else; the speaker stays off.
    unsafe {
        let control = port::read8(SYSTEM_CONTROL) & !(SPEAKER | GATE_2);
        port::write8(SYSTEM_CONTROL, control);
        port::write8(PIT_MODE, 0xb0); // channel 2, low then high byte, mode 0: output rises at zero
        port::write8(PIT_CHANNEL_2, PIT_TICKS as u8);
        port::write8(PIT_CHANNEL_2, (PIT_TICKS >> 8) as u8);
        apic::start_countdown(u32::MAX);
        let (tsc, count) = (cpu::rdtsc(), apic::countdown());
        port::write8(SYSTEM_CONTROL, control | GATE_2);
        if port::read8(SYSTEM_CONTROL) & OUT_2 != 0 {
            return None; // high at once: nothing there
        }
        while port::read8(SYSTEM_CONTROL) & OUT_2 == 0 {
            if cpu::rdtsc().wrapping_sub(tsc) > GIVE_UP {
                return None;
            }
        }
        Some((cpu::rdtsc().wrapping_sub(tsc), u64::from(count.wrapping_sub(apic::countdown()))))
    }
}
