//! The local APIC, in xAPIC (registers in memory) or x2APIC (MSRs) mode. Intel SDM volume 3, chapter 11.

use super::vector;
use crate::arch::cpu::{self, MSR_APIC_BASE, MSR_TSC_DEADLINE, rdmsr, wrmsr};
use crate::mm;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const EOI: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const VERSION: u32 = 0x30;
/// In-service and requested vectors: eight registers of 32 bits each, 10h apart.
const IN_SERVICE: u32 = 0x100;
const REQUESTED: u32 = 0x200;
const COMMAND_LOW: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_THERMAL: u32 = 0x330;
const LVT_PERFORMANCE: u32 = 0x340;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const SPURIOUS_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const LVT_NMI: u32 = 4 << 8;
const LVT_MODE: u32 = 7 << 8;
/// Delivery to a vector: the mode that the kernel would have to serve.
const LVT_FIXED: u32 = 0;
const DIVIDE_BY_1: u32 = 0xb;
const COMMAND_PENDING: u32 = 1 << 12;

/// Inter-processor commands: delivery mode with level asserted.
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
const NMI: u32 = 0x4400;
const FIXED: u32 = 0x4000;

/// Where the registers are mapped in xAPIC mode.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);
static X2APIC: AtomicBool = AtomicBool::new(false);
static TSC_DEADLINE: AtomicBool = AtomicBool::new(false);

/// Finds the local APICs of this machine; once, on the first core.
pub fn find() {
    let features = cpu::cpuid(1, 0).ecx;
    X2APIC.store(features & 1 << 21 != 0, Ordering::Relaxed);
    TSC_DEADLINE.store(features & 1 << 24 != 0, Ordering::Relaxed);
    // SAFETY: every x86-64 processor with a local APIC has this register.
    let base = unsafe { rdmsr(MSR_APIC_BASE) } & 0x000f_ffff_ffff_f000;
    match mm::map_mmio(base, 4096) {
        Ok(window) => REGISTERS.store(window.address(), Ordering::Relaxed),
        Err(error) => panic!("cannot map the local APIC at {base:#x}: {error:?}"),
    }
}

/// Turns on this core's APIC with everything masked but NMI.
pub fn init_core() {
    // SAFETY: enables the mode the processor has; the vectors have handlers.
    unsafe {
        let mode = BASE_ENABLE | if x2apic() { BASE_X2APIC } else { 0 };
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | mode);
    }
    write(TASK_PRIORITY, 0);
    write(LVT_LINT0, LVT_MASKED);
    write(LVT_LINT1, LVT_NMI);
    write(DIVIDE, DIVIDE_BY_1);
    let timer = u32::from(vector::TIMER);
    write(LVT_TIMER, if tsc_deadline() { timer | LVT_TSC_DEADLINE } else { timer });
    // The mode must have changed before the deadline register is written (SDM 11.5.4.1).
    core::sync::atomic::fence(Ordering::SeqCst);
    write(SPURIOUS, SPURIOUS_ENABLE | u32::from(vector::SPURIOUS));
}

/// True when local APICs are in x2APIC mode, as they are wherever there is one.
pub fn x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// True when the timer compares against the TSC instead of counting down.
pub fn tsc_deadline() -> bool {
    TSC_DEADLINE.load(Ordering::Relaxed)
}

/// Has this core's timer count down, if it does not already.
pub fn leave_deadlines() {
    if tsc_deadline() && read(LVT_TIMER) & LVT_TSC_DEADLINE != 0 {
        write(LVT_TIMER, u32::from(vector::TIMER));
    }
}

/// Address of the EOI register for the interrupt handlers; 0 in x2APIC mode.
pub fn eoi_address() -> u64 {
    if x2apic() { 0 } else { REGISTERS.load(Ordering::Relaxed) as u64 + u64::from(EOI) }
}

/// Acknowledges the interrupt in service with the highest vector.
pub fn acknowledge() {
    write(EOI, 0);
}

/// This core's APIC number.
pub fn id() -> u32 {
    if x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Raises the timer interrupt after `count` timer ticks.
pub fn start_countdown(count: u32) {
    write(INITIAL_COUNT, count.max(1));
}

/// Ticks left of [`start_countdown`].
pub fn countdown() -> u32 {
    read(CURRENT_COUNT)
}

/// Raises the timer interrupt when the TSC reaches `tsc`; only with [`tsc_deadline`].
pub fn start_deadline(tsc: u64) {
    // SAFETY: the register exists (CPUID); the timer vector has a handler.
    unsafe { wrmsr(MSR_TSC_DEADLINE, tsc) };
}

/// Interrupts the core with APIC number `target`, which has a handler for `vector`.
pub fn send(target: u32, vector: u8) {
    command(target, FIXED | u32::from(vector));
}

/// Brings the core with APIC number `target` back from ring 3, to look at its page tables.
pub fn send_shootdown(target: u32) {
    send(target, vector::SHOOTDOWN);
}

/// Local interrupts besides LINT1, which is the NMI: timer, LINT0, and those that this APIC has of the thermal
/// sensor and the performance counters.
fn local_interrupts() -> impl Iterator<Item = u32> {
    let last = read(VERSION) >> 16 & 0xff;
    let optional = [(LVT_PERFORMANCE, 4), (LVT_THERMAL, 5)];
    let present =
        optional.into_iter().filter(move |(_, number)| last >= *number).map(|(register, _)| register);
    [LVT_TIMER, LVT_LINT0].into_iter().chain(present)
}

/// Masks what could interrupt this core by itself. What is left are other cores, devices aimed at it, and NMI. The
/// firmware's own (SMI) stays as it is.
pub fn mask_local() {
    for register in local_interrupts() {
        let now = read(register);
        if now & LVT_MODE == LVT_FIXED || register == LVT_LINT0 {
            write(register, now | LVT_MASKED);
        }
    }
}

/// What could interrupt this core, or is about to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Local interrupts that are not masked.
    pub unmasked: usize,
    /// Vectors that wait for ring 3 or the halt.
    pub requested: u32,
    /// Vectors that are not acknowledged.
    pub in_service: u32,
    /// Lowest priority class that is let through.
    pub priority: u32,
}

/// Looks at this core's APIC. All zero: nothing interrupts the core unless another one wants it.
pub fn audit() -> Audit {
    let ours = |register: &u32| {
        let now = read(*register);
        now & LVT_MASKED == 0 && now & LVT_MODE == LVT_FIXED
    };
    let vectors = |first: u32| (0..8).map(|n| read(first + 0x10 * n).count_ones()).sum();
    Audit {
        unmasked: local_interrupts().filter(ours).count(),
        requested: vectors(REQUESTED),
        in_service: vectors(IN_SERVICE),
        priority: read(TASK_PRIORITY),
    }
}

/// Stops the core with APIC number `target` wherever it is.
pub fn send_nmi(target: u32) {
    command(target, NMI);
}

/// Resets a core into its wait-for-startup state.
pub fn send_init(target: u32) {
    command(target, INIT);
}

/// Starts a core in real mode at physical address `page` << 12.
pub fn send_startup(target: u32, page: u8) {
    command(target, STARTUP | u32::from(page));
}

fn command(target: u32, low: u32) {
    if x2apic() {
        // This write does not wait for stores before it, which the other core shall see (SDM 11.12.3).
        core::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: the interrupt command register; the command is one of those above.
        unsafe { wrmsr(0x800 + (COMMAND_LOW >> 4), u64::from(target) << 32 | u64::from(low)) };
        return;
    }
    while read(COMMAND_LOW) & COMMAND_PENDING != 0 {
        cpu::pause();
    }
    write(COMMAND_HIGH, target << 24);
    write(COMMAND_LOW, low);
}

fn read(register: u32) -> u32 {
    if x2apic() {
        // SAFETY: x2APIC mode is on and the register exists.
        return unsafe { rdmsr(0x800 + (register >> 4)) } as u32;
    }
    let address = REGISTERS.load(Ordering::Relaxed) + register as usize;
    // SAFETY: `find` mapped the register page.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(register: u32, value: u32) {
    if x2apic() {
        // SAFETY: x2APIC mode is on and the register exists.
        unsafe { wrmsr(0x800 + (register >> 4), u64::from(value)) };
        return;
    }
    let address = REGISTERS.load(Ordering::Relaxed) + register as usize;
    // SAFETY: `find` mapped the register page.
    unsafe { (address as *mut u32).write_volatile(value) }
}
