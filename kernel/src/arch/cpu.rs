//! Model-specific and control registers, CPUID, halting.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

/// IA32_APIC_BASE.
pub const MSR_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// IA32_GS_BASE.
pub const MSR_GS_BASE: u32 = 0xc000_0101;

/// CR4 bit: user-mode instruction prevention.
pub const CR4_UMIP: u64 = 1 << 11;
/// CR4 bit: supervisor-mode execution prevention.
pub const CR4_SMEP: u64 = 1 << 20;
/// CR4 bit: supervisor-mode access prevention.
pub const CR4_SMAP: u64 = 1 << 21;

/// CPUID leaf `leaf`, sub-leaf `sub`; zeros for a leaf the processor does not have.
pub fn cpuid(leaf: u32, sub: u32) -> CpuidResult {
    let max = __cpuid_count(leaf & 0xc000_0000, 0).eax;
    if leaf > max && leaf & 0xc000_0000 != 0x4000_0000 {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, sub)
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists on this processor.
pub unsafe fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; existence is the caller's promise.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists, and the value does not break what Rust relies on (paging, GS base).
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    };
}

/// Physical address of the root page table.
pub fn cr3() -> u64 {
    let value: u64;
    // SAFETY: reads a register; ring 0.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Switches the address space.
///
/// # Safety
/// The tables map the code, stack and data in use at the same addresses.
pub unsafe fn set_cr3(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Faulting address of the last page fault.
pub fn cr2() -> u64 {
    let value: u64;
    // SAFETY: reads a register; ring 0.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets the protection bits of CR4 that this processor has: UMIP, SMEP, SMAP.
pub fn enable_protection() {
    let features = cpuid(7, 0);
    let mut bits = 0;
    if features.ecx & 1 << 2 != 0 {
        bits |= CR4_UMIP;
    }
    if features.ebx & 1 << 7 != 0 {
        bits |= CR4_SMEP;
    }
    if features.ebx & 1 << 20 != 0 {
        bits |= CR4_SMAP;
    }
    // SAFETY: the bits exist (CPUID) and only forbid what we never do: user pages do not exist.
    unsafe {
        asm!("mov {t}, cr4", "or {t}, {bits}", "mov cr4, {t}", t = out(reg) _, bits = in(reg) bits,
            options(nostack))
    };
}

/// The time stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Stops this core for good (but for NMI, which returns here).
pub fn halt() {
    // SAFETY: interrupts stay off; only time passes.
    unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
}

/// One `pause` in a spin loop.
pub fn pause() {
    core::hint::spin_loop();
}

/// Drops this core's translation of the page at `address`.
pub fn invlpg(address: usize) {
    // SAFETY: dropping a cached translation is always sound.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}
