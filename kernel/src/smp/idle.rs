//! What a core does while it has nothing to do, besides halting.
//!
//! A halt costs more than it seems: whoever has work sends an interrupt, and a virtual processor that halted has to be scheduled
//! again by its host. A thread that waits for another, or for a network's round trip, waits a few microseconds; so a core that
//! belongs to programs alone looks for work for a while before it halts. And so does the first core for a moment when it has handed
//! work to one that looks, which may have an answer as soon: a program's next call.

use super::PerCpu;
use crate::arch::{cpu, emulator};
use crate::irq::{self, open_window};
use crate::time;
use core::arch::asm;
use core::cell::Cell;
use core::time::Duration;

/// Longest that a core for programs looks before it halts: some round trips of a network.
pub const LOOK: Duration = Duration::from_micros(500);
/// Longest that the first core looks: what a program does between two calls.
pub const LOOK_FOR_ANSWER: Duration = Duration::from_micros(40);

/// Short rests before it looks.
const ENOUGH: u8 = 2;
/// Time between two readings of the clock, a few microseconds as a rule, from which on the processor did something else.
const TAKEN: Duration = Duration::from_millis(1);
/// Looks between two readings of the clock: all that look read it under one lock where it is emulated, and a look itself takes some
/// tens of cycles.
const AT_ONCE: u32 = 16;
/// How long it does not look then.
const QUIET: Duration = Duration::from_millis(20);

/// How a core rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idle {
    /// Looks all the time: the fastest, at the price of the power of a busy core.
    Poll,
    /// MWAIT: a store by another core ends it. `Look` on a processor without it.
    Mwait,
    /// Looks for a while where that helped last time, then halts.
    #[default]
    Look,
    /// Halts.
    Halt,
}

impl Idle {
    /// What that means on this processor.
    pub fn here(self) -> Idle {
        match self {
            Idle::Mwait if !has_mwait() => Idle::Look,
            other => other,
        }
    }
}

/// MONITOR and MWAIT (CPUID.01H:ECX bit 3; Intel SDM volume 2, "CPUID"), with a line of the monitor (leaf 5) that the doorbell
/// fills, on a processor where they work.
fn has_mwait() -> bool {
    // Of family 6: Goldmont and Lunar Lake, whose monitor misses stores, and Xeons 7400, 7500 and E7 of the first generation, which
    // want a CLFLUSH before (erratum AAI65 and its relatives).
    const BROKEN: [u32; 5] = [0x5c, 0xbd, 0x1d, 0x2e, 0x2f];
    if cpu::cpuid(1, 0).ecx & 1 << 3 == 0 || cpu::cpuid(5, 0).ebx & 0xffff > 64 {
        return false;
    }
    let signature = cpu::cpuid(1, 0).eax;
    let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf | signature >> 12 & 0xf0);
    !(family == 6 && BROKEN.contains(&model))
}

/// Whether it is worth looking: what a core learns from its last rests. Short ones would have been found by looking, and so will be
/// the next; behind a long one looking is a waste. And so it is where somebody else wants the processor: a virtual one that is
/// taken away while it looks keeps its host's from those who have the work.
pub struct Patience {
    /// A short rest, and the longest look.
    limit: Duration,
    /// Short rests in a row, up to [`ENOUGH`].
    short: Cell<u8>,
    /// When it may look again, in ticks of the TSC.
    from: Cell<u64>,
}

impl Patience {
    /// For looks that take as long as this.
    pub const fn new(limit: Duration) -> Patience {
        Patience { limit, short: Cell::new(0), from: Cell::new(0) }
    }

    fn looks(&self, now: u64) -> bool {
        self.short.get() >= ENOUGH && now >= self.from.get()
    }

    /// The core rested for so many ticks of the TSC.
    pub fn learn(&self, rested: u64) {
        let short = rested <= ticks(self.limit);
        self.short.set(if short { (self.short.get() + 1).min(ENOUGH) } else { 0 });
    }

    /// The processor was taken away from who looked.
    fn disturbed(&self, now: u64) {
        self.from.set(now.saturating_add(ticks(QUIET)));
    }
}

/// `time` in ticks of the TSC.
fn ticks(time: Duration) -> u64 {
    (u128::from(time::tsc_hz()) * time.as_nanos() / 1_000_000_000) as u64
}

/// Rests until an interrupt comes or somebody rings; may return early. Whoever rests looks for work next, and watches.
pub(crate) fn rest(cpu: &PerCpu, idle: Idle, patience: &Patience) {
    match idle {
        Idle::Mwait => mwait(cpu),
        Idle::Poll => look(cpu, &Patience::new(LOOK)),
        Idle::Look => return look_and_halt(cpu, patience),
        Idle::Halt => return halt(cpu),
    }
    cpu.doorbell.answer();
}

/// Looks for work, if that is worth it, then halts.
pub(crate) fn look_and_halt(cpu: &PerCpu, patience: &Patience) {
    if patience.looks(cpu::rdtsc()) {
        look(cpu, patience);
    }
    halt(cpu);
}

/// Halts, unless something fired meanwhile, which has been let in and would not end the halt, or somebody rang.
pub(crate) fn halt(cpu: &PerCpu) {
    if !cpu.any_pending() && !cpu.doorbell.leave() {
        irq::halt_now();
    }
    cpu.doorbell.answer();
}

/// Looks for a ring or an interrupt, for as long as it may take.
fn look(cpu: &PerCpu, patience: &Patience) {
    let mut last = cpu::rdtsc();
    let (end, taken) = (last.saturating_add(ticks(patience.limit)), ticks(TAKEN));
    // PAUSE leaves the processor to its other thread. QEMU's emulation leaves its main loop's lock to others for it and wants it
    // back, for which it waits longer than for what we wait for.
    let pauses = !emulator::is_emulated();
    while last < end {
        for _ in 0..AT_ONCE {
            if cpu.doorbell.has_rung() {
                return;
            }
            if pauses {
                core::hint::spin_loop();
            }
            open_window();
            if cpu.any_pending() {
                return;
            }
        }
        let now = cpu::rdtsc();
        if now.saturating_sub(last) > taken {
            patience.disturbed(now);
            return;
        }
        last = now;
    }
}

/// Waits for a store to the doorbell, or an interrupt. Other things end MWAIT, too, and some processors do not wait at all: then it
/// is done again, for as long as a core looks, as nobody interrupts a core meanwhile.
fn mwait(cpu: &PerCpu) {
    let (word, end) = (cpu.doorbell.address(), cpu::rdtsc().saturating_add(ticks(LOOK)));
    loop {
        // SAFETY: the processor has it, with no extensions or hints in ECX and EDX. It only looks at the word.
        unsafe {
            asm!("monitor", in("rax") word, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags))
        };
        // What rang before the monitor was armed does not end the wait.
        if cpu.doorbell.has_rung() || cpu.any_pending() || cpu::rdtsc() >= end {
            return;
        }
        // SAFETY: as `irq::open_window`: the handlers save what they use. EAX 0 is state C1, ECX 0 no extensions. As with `hlt`,
        // an interrupt that is pending comes behind `mwait`, and ends it.
        unsafe { asm!("sti", "mwait", "cli", in("eax") 0, in("ecx") 0, options(nostack)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_one_of_this_processor() {
        assert_eq!(Idle::Mwait.here(), if has_mwait() { Idle::Mwait } else { Idle::Look });
        for idle in [Idle::Poll, Idle::Look, Idle::Halt] {
            assert_eq!(idle.here(), idle);
        }
    }

    #[test]
    fn short_rests_are_looked_for_and_nothing_is_where_others_want_the_processor() {
        let patience = Patience::new(LOOK);
        let (short, long) = (0, ticks(LOOK) + 1);
        patience.learn(short);
        assert!(!patience.looks(0), "one is none");
        patience.learn(short);
        assert!(patience.looks(0));
        patience.learn(long);
        assert!(!patience.looks(0));
        for _ in 0..1000 {
            patience.learn(short);
        }
        patience.from.set(5);
        assert!(!patience.looks(4) && patience.looks(5));
        patience.disturbed(7);
        assert_eq!(patience.from.get(), 7 + ticks(QUIET));
    }
}
