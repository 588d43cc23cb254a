//! The rest of a core that runs programs and has no timer.

use super::cpu;
use super::pool;
use crate::arch::emulator;
use crate::irq::{self, apic, vector};
use crate::{smp, time};
use core::arch::asm;
use core::cell::Cell;
use keelson_hal::{Instant, Park};

/// Rest until any interrupt, which can only come from another core: no timer runs here, and deadlines are the first
/// core's business. With nothing to do it zeroes frames for later.
#[derive(Default)]
pub struct ComputePark {
    quiet: Cell<bool>,
}

impl Park for ComputePark {
    fn park(&self, deadline: Instant) {
        if !self.quiet.replace(true) {
            apic::mask_local();
        }
        let cpu = smp::this_cpu();
        cpu::serve_requests(cpu);
        cpu::leave_dead_space(cpu);
        let busy = deadline == Instant::ZERO || deadline <= time::now();
        loop {
            // Whoever woke one of our tasks also sent an interrupt, maybe before we looked for tasks last.
            irq::open_window();
            if irq::take_pending(cpu) || busy {
                return;
            }
            if !pool::refill_zeroed(1) {
                break;
            }
        }
        emulator::refresh(&cpu.refreshed, time::now());
        irq::halt();
        irq::take_pending(cpu);
        cpu::serve_requests(cpu);
    }
}

/// Leaves a mark in an emulator's log of interrupts (`-d int`): a software interrupt that does nothing.
pub fn mark() {
    // SAFETY: the vector's handler is a single `iretq`. It uses the stack.
    unsafe { asm!("int {}", const vector::MARKER) };
}
