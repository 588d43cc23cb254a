//! Model-specific and control registers, CPUID, halting.

use core::arch::x86_64::{__cpuid_count, CpuidResult};
use x86_64::instructions::{interrupts, tlb};
use x86_64::registers::control::{Cr2, Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

/// IA32_APIC_BASE.
pub const MSR_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// IA32_PAT: what the bits of a page table entry say about caching.
const MSR_PAT: u32 = 0x277;
/// As a reset leaves it, but write combining in place of write-through (entry 1), which nobody uses.
const PAT: u64 = 0x0007_0406_0007_0106;
/// IA32_GS_BASE.
pub const MSR_GS_BASE: u32 = 0xc000_0101;

/// IA32_EFER.
pub const MSR_EFER: u32 = 0xc000_0080;
/// IA32_STAR: selectors of `syscall` and `sysret`.
pub const MSR_STAR: u32 = 0xc000_0081;
/// IA32_LSTAR: where `syscall` goes.
pub const MSR_LSTAR: u32 = 0xc000_0082;
/// IA32_FMASK: flags that `syscall` clears.
pub const MSR_FMASK: u32 = 0xc000_0084;
/// IA32_FS_BASE.
pub const MSR_FS_BASE: u32 = 0xc000_0100;
/// IA32_KERNEL_GS_BASE: what `swapgs` exchanges with the GS base.
pub const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

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
    // SAFETY: the caller's promise.
    unsafe { Msr::new(msr).read() }
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists, and the value does not break what Rust relies on (paging, GS base).
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(msr).write(value) };
}

/// Physical address of the root page table, with the flags below bit 12.
pub fn cr3() -> u64 {
    let (root, flags) = Cr3::read_raw();
    root.start_address().as_u64() | u64::from(flags)
}

/// Switches the address space to the root table at physical address `root`.
///
/// # Safety
/// The tables map the code, stack and data in use at the same addresses.
pub unsafe fn set_cr3(root: u64) {
    let frame = PhysFrame::containing_address(PhysAddr::new_truncate(root));
    // SAFETY: the caller's promise.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// Forgets all translated addresses of this core but those of global pages, of which there are none.
pub fn flush_tlb() {
    tlb::flush_all();
}

/// Faulting address of the last page fault.
pub fn cr2() -> u64 {
    Cr2::read_raw()
}

/// Sets the protection bits of CR4 that this processor has: UMIP, SMEP, SMAP.
pub fn enable_protection() {
    let features = cpuid(7, 0);
    let mut flags = Cr4::read();
    flags.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.ecx & 1 << 2 != 0);
    flags.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.ebx & 1 << 7 != 0);
    flags.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.ebx & 1 << 20 != 0);
    // SAFETY: the bits exist (CPUID) and only forbid what we never do: user pages do not exist.
    unsafe { Cr4::write(flags) };
}

/// Gives this core write combining for framebuffers, where it can. Before anything is mapped so.
pub fn enable_write_combining() {
    if cpuid(1, 0).edx & 1 << 16 != 0 {
        // SAFETY: 1. the register exists (CPUID); 2. no page has the attribute that changes, so no cache has a line of one.
        unsafe { wrmsr(MSR_PAT, PAT) };
    }
}

/// The time stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Stops this core for good (but for NMI, which returns here).
pub fn halt() {
    interrupts::disable();
    x86_64::instructions::hlt();
}

/// Writes what the caches have to memory, where a reset leaves it alone.
pub fn write_back_caches() {
    // SAFETY: changes nothing that a program can see.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// One `pause` in a spin loop.
pub fn pause() {
    core::hint::spin_loop();
}

/// Drops this core's translation of the page at `address`.
pub fn invlpg(address: usize) {
    tlb::flush(VirtAddr::new_truncate(address as u64));
}

/// Calls `function` on another stack.
///
/// # Safety
/// `top` is the upper end of a stack, a multiple of 16, that nobody uses and that is large enough for `function`.
pub unsafe fn call_on_stack(top: usize, function: extern "C" fn()) {
    // SAFETY: the stack pointer is kept in a register that `function` preserves, and is back afterwards.
    unsafe {
        core::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {function}",
            "mov rsp, r12",
            top = in(reg) top,
            function = in(reg) function,
            out("r12") _,
            clobber_abi("C")
        );
    }
}
