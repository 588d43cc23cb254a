//! What the processor has for programs, and turning it on.

use super::entry;
use crate::arch::cpu::{self, MSR_EFER, MSR_FMASK, MSR_LSTAR, MSR_STAR};
use crate::arch::gdt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// State components of XCR0 that programs get: x87, SSE, AVX, and the three of AVX-512 (Intel SDM volume 1,
/// section 13.1). Not MPX and AMX, whose system calls we do not have, nor protection keys, which are off in CR4.
const COMPONENTS: u64 = 0xe7;
const SSE_ONLY: u64 = 3;
const AVX: u64 = 1 << 2;
const AVX512: u64 = 7 << 5;

/// Size of the area that FXSAVE writes.
pub const LEGACY_AREA: usize = 512;

/// What `syscall` clears: TF, IF, DF, IOPL, NT, RF, AC, and the arithmetic flags as nobody needs them.
const SYSCALL_CLEARS: u64 = 0x25_7fd5;
const EFER_SCE: u64 = 1;

/// Components in use; 0 on a processor without XSAVE.
static XCR0: AtomicU64 = AtomicU64::new(0);
/// Bytes of an extended state.
static AREA: AtomicU32 = AtomicU32::new(LEGACY_AREA as u32);
/// Bits of MXCSR that may be set.
static MXCSR_MASK: AtomicU32 = AtomicU32::new(0xffbf);

/// Components of the extended state, as XCR0 has them; `None` without XSAVE.
pub fn components() -> Option<u64> {
    Some(XCR0.load(Ordering::Relaxed)).filter(|components| *components != 0)
}

/// Bytes of an extended state in standard format.
pub fn area_len() -> usize {
    AREA.load(Ordering::Relaxed) as usize
}

/// Bits of MXCSR that may be set.
pub fn mxcsr_mask() -> u32 {
    MXCSR_MASK.load(Ordering::Relaxed)
}

/// True when the processor has 1 GiB pages.
pub fn has_huge_pages() -> bool {
    cpu::cpuid(0x8000_0001, 0).edx & 1 << 26 != 0
}

/// The components to use of those that the processor `has`.
fn choose(has: u64) -> u64 {
    let mut wanted = has & COMPONENTS;
    if wanted & AVX512 != AVX512 {
        wanted &= !AVX512;
    }
    if wanted & AVX == 0 { wanted & SSE_ONLY } else { wanted }
}

/// Turns everything on, on this core. True when programs can change their FS and GS bases themselves.
pub fn init_core() -> bool {
    let bases = cpu::cpuid(7, 0).ebx & 1 != 0;
    let xsave = cpu::cpuid(1, 0).ecx & 1 << 26 != 0;
    let mut flags = Cr4::read();
    flags.set(Cr4Flags::FSGSBASE, bases);
    flags.set(Cr4Flags::OSXSAVE, xsave);
    // SAFETY: the processor has what is set (CPUID); the kernel's use of SSE does not change.
    unsafe { Cr4::write(flags) };
    if xsave {
        let low = cpu::cpuid(0xd, 0);
        let components = choose(u64::from(low.eax) | u64::from(low.edx) << 32);
        // SAFETY: x87 and SSE are among them, and AVX with all that depends on it (`choose`).
        unsafe { XCr0::write(XCr0Flags::from_bits_truncate(components)) };
        XCR0.store(components, Ordering::Relaxed);
        // Now for what is on.
        AREA.store(cpu::cpuid(0xd, 0).ebx, Ordering::Relaxed);
    }
    // SAFETY: alignment checks exist in ring 3 only.
    unsafe { Cr0::write(Cr0::read() | Cr0Flags::ALIGNMENT_MASK) };
    // SYSRET takes SS from 8 above and CS from 16 above (Intel SDM volume 3, 5.8.8).
    let (kernel, user) = (u64::from(gdt::CODE.0), u64::from(gdt::USER_DATA.0) - 8);
    // SAFETY: the registers exist on every 64-bit processor; the entry code is what they want.
    unsafe {
        cpu::wrmsr(MSR_EFER, cpu::rdmsr(MSR_EFER) | EFER_SCE);
        cpu::wrmsr(MSR_STAR, user << 48 | kernel << 32);
        cpu::wrmsr(MSR_LSTAR, entry::syscall_address(bases));
        cpu::wrmsr(MSR_FMASK, SYSCALL_CLEARS);
    }
    read_mxcsr_mask();
    bases
}

/// FXSAVE says which bits of MXCSR exist (Intel SDM volume 1, 11.6.6); 0 means the first ones.
fn read_mxcsr_mask() {
    #[repr(align(16))]
    struct Area([u8; LEGACY_AREA]);
    let mut area = Area([0; LEGACY_AREA]);
    // SAFETY: the area is as large and as aligned as FXSAVE wants it.
    unsafe { core::arch::x86_64::_fxsave64(area.0.as_mut_ptr()) };
    let mask = u32::from_le_bytes([area.0[28], area.0[29], area.0[30], area.0[31]]);
    if mask != 0 {
        MXCSR_MASK.store(mask, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_come_with_what_they_need() {
        assert_eq!(choose(3), 3);
        assert_eq!(choose(7), 7);
        assert_eq!(choose(0x6_02ff), 0xe7, "neither AMX nor MPX nor protection keys");
        assert_eq!(choose(0x27), 7, "AVX-512 only as a whole");
        assert_eq!(choose(0xe3), 3, "nor without AVX");
    }

    #[test]
    fn a_system_call_starts_with_clean_flags() {
        for flag in [8, 9, 10, 12, 13, 14, 16, 18] {
            assert_ne!(SYSCALL_CLEARS & 1 << flag, 0, "bit {flag}");
        }
        assert_eq!(SYSCALL_CLEARS & 2, 0, "bit 1 is always set");
    }
}
