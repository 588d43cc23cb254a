//! The idle halt: the only place where interrupts are on.

use super::vector;
use crate::arch::cpu::rdtsc;
use crate::arch::emulator;
use crate::mm::heap;
use crate::smp::idle::{self, LOOK_FOR_ANSWER, Patience};
use crate::smp::{self, PerCpu};
use crate::time;
use crate::user;
use core::arch::asm;
use core::sync::atomic::Ordering;
use core::time::Duration;
use keelson_hal::{Instant, Park};

/// Longest rest: what a lost interrupt can cost at most.
const REST_MAX: Duration = Duration::from_millis(100);

/// Rest for the core it is used on. Only the first core takes device interrupts.
pub struct KernelPark {
    /// For the answers of cores that it handed work to.
    patience: Patience,
}

impl KernelPark {
    /// Knows nothing yet.
    pub(crate) const fn new() -> KernelPark {
        KernelPark { patience: Patience::new(LOOK_FOR_ANSWER) }
    }

    /// Rests, interrupts off. One that comes between the last look at what is pending and the halt stays in the APIC until
    /// `sti; hlt`, which it then ends at once: `sti` takes effect after the next instruction.
    fn rest(&self, cpu: &PerCpu) {
        if !cpu.handed.swap(false, Ordering::Relaxed) {
            resting(cpu, || idle::halt(cpu));
            return;
        }
        let rested = resting(cpu, || idle::look_and_halt(cpu, &self.patience));
        self.patience.learn(rested);
    }
}

impl Park for KernelPark {
    fn park(&self, deadline: Instant) {
        let cpu = smp::this_cpu();
        let first = cpu.core() == 0;
        let now = time::now();
        emulator::refresh(&cpu.refreshed, now);
        user::cpu::serve_requests(cpu);
        user::cpu::leave_dead_space(cpu);
        let deadline = deadline.min(now + REST_MAX);
        let deadline = if first { deadline.min(super::next_polled()) } else { deadline };
        if deadline <= now || cpu.any_pending() {
            cpu.doorbell.answer();
            open_window();
        } else {
            heap::settle();
            time::arm_timer(deadline, now);
            self.rest(cpu);
        }
        collect(cpu);
        if first {
            super::dispatch_polled(time::now());
        }
    }
}

/// Lets pending interrupts in, without rest.
pub(crate) fn open_window() {
    // SAFETY: the handlers save what they use; they touch only the pending bits. No `nomem`: they write.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Halts until the next interrupt, for who counts it as rest.
pub(crate) fn halt_now() {
    // SAFETY: as `open_window`.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Counts what `how` takes as rest, in which the core may be stopped: it holds no lock. Returns how long it took, in ticks of the
/// TSC.
pub(crate) fn resting(cpu: &PerCpu, how: impl FnOnce()) -> u64 {
    let begin = rdtsc();
    cpu.rest.begin(begin);
    cpu.holding.set_resting(true);
    how();
    cpu.holding.set_resting(false);
    let end = rdtsc();
    cpu.rest.end(end);
    end.saturating_sub(begin)
}

/// Rests until any interrupt, without timer and without dispatching: for a core that has no tasks.
pub fn rest() {
    let cpu = smp::this_cpu();
    user::cpu::serve_requests(cpu);
    user::cpu::leave_dead_space(cpu);
    resting(cpu, || idle::halt(cpu));
    take_pending(cpu);
}

/// Forgets what fired, without dispatching; true if anything did.
pub(crate) fn take_pending(cpu: &PerCpu) -> bool {
    let any = cpu.any_pending();
    if any {
        cpu.pending.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
    any
}

/// Dispatches what the handlers noted.
fn collect(cpu: &PerCpu) {
    for (index, word) in cpu.pending.iter().enumerate() {
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let mut bits = word.swap(0, Ordering::Acquire);
        while bits != 0 {
            let number = index as u8 * 32 + bits.trailing_zeros() as u8;
            bits &= bits - 1;
            // The timer and the wake-up only had to end the halt.
            if (vector::DEVICES..vector::DEVICES_END).contains(&number) {
                super::dispatch(number);
            }
        }
    }
}
