//! The rest of a core that runs programs and has no timer.

use super::cpu;
use super::pool;
use crate::arch::emulator;
use crate::irq::{self, apic, vector};
use crate::mm::heap;
use crate::smp::idle::{self, LOOK, Patience};
use crate::smp::{self, Idle};
use crate::time;
use core::arch::asm;
use core::cell::Cell;
use keelson_hal::{Instant, Park};

/// Rest until another core has work: no timer runs here, and deadlines are the first core's business. With nothing to do it
/// zeroes frames for later.
pub struct ComputePark {
    quiet: Cell<bool>,
    idle: Idle,
    patience: Patience,
}

impl ComputePark {
    /// Rests like this.
    pub fn new(idle: Idle) -> ComputePark {
        ComputePark { quiet: Cell::new(false), idle: idle.here(), patience: Patience::new(LOOK) }
    }
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
            // Whoever woke one of our tasks also rang, maybe before we looked for tasks last.
            irq::open_window();
            if irq::take_pending(cpu) || busy {
                cpu.doorbell.answer();
                return;
            }
            if cpu.doorbell.has_rung() || !pool::refill_zeroed(1) {
                break;
            }
        }
        heap::settle();
        emulator::refresh(&cpu.refreshed, time::now());
        let rested = irq::resting(cpu, || idle::rest(cpu, self.idle, &self.patience));
        self.patience.learn(rested);
        irq::take_pending(cpu);
        cpu::serve_requests(cpu);
    }
}

/// Leaves a mark in an emulator's log of interrupts (`-d int`): a software interrupt that does nothing.
pub fn mark() {
    // SAFETY: the vector's handler is a single `iretq`. It uses the stack.
    unsafe { asm!("int {}", const vector::MARKER) };
}
