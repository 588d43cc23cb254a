//! Registers as debuggers want them: of an exception, and of whoever asks.

use crate::arch::cpu::{self, MSR_FS_BASE, MSR_GS_BASE};
use crate::arch::exception::Frame;
use crate::arch::gdt;
use core::arch::asm;
use keelson_elf::{NO_CALL, REGISTERS, UserRegisters};

/// From what the entry code pushed.
pub fn from_frame(frame: &Frame, gs_base: u64) -> [u64; REGISTERS] {
    in_order(frame, bases().0, gs_base)
}

fn in_order(f: &Frame, fs_base: u64, gs_base: u64) -> [u64; REGISTERS] {
    let registers = UserRegisters {
        r15: f.r15,
        r14: f.r14,
        r13: f.r13,
        r12: f.r12,
        rbp: f.rbp,
        rbx: f.rbx,
        r11: f.r11,
        r10: f.r10,
        r9: f.r9,
        r8: f.r8,
        rax: f.rax,
        rcx: f.rcx,
        rdx: f.rdx,
        rsi: f.rsi,
        rdi: f.rdi,
        orig_rax: NO_CALL,
        rip: f.rip,
        cs: f.cs,
        rflags: f.rflags,
        rsp: f.rsp,
        ss: f.ss,
        fs_base,
        gs_base,
    };
    registers.in_order()
}

/// Bases of FS and GS, as they are now.
fn bases() -> (u64, u64) {
    // SAFETY: every x86-64 processor has these registers.
    unsafe { (cpu::rdmsr(MSR_FS_BASE), cpu::rdmsr(MSR_GS_BASE)) }
}

/// The registers of the function that this is inlined into, as far as its callers need them: those that a function saves.
#[inline(always)]
pub fn registers_here() -> [u64; REGISTERS] {
    let mut saved = [0u64; 8];
    // SAFETY: stores registers into `saved`, which has room for all eight.
    unsafe {
        asm!(
            "lea {scratch}, [rip]",
            "mov [{to}], {scratch}",
            "mov [{to} + 8], rsp",
            "mov [{to} + 16], rbp",
            "mov [{to} + 24], rbx",
            "mov [{to} + 32], r12",
            "mov [{to} + 40], r13",
            "mov [{to} + 48], r14",
            "mov [{to} + 56], r15",
            scratch = out(reg) _,
            to = in(reg) saved.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
    let [rip, rsp, rbp, rbx, r12, r13, r14, r15] = saved;
    let (fs_base, gs_base) = bases();
    let (cs, ss) = (u64::from(gdt::CODE.0), u64::from(gdt::DATA.0));
    let registers = UserRegisters {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        orig_rax: NO_CALL,
        rip,
        cs,
        // Bit 1 is always set; interrupts are off.
        rflags: 2,
        rsp,
        ss,
        fs_base,
        gs_base,
        ..UserRegisters::default()
    };
    registers.in_order()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_lwk_wire::dump::register;

    #[test]
    fn registers_are_where_dumps_have_them() {
        let frame = Frame {
            r15: 1,
            rbp: 2,
            rbx: 3,
            rax: 4,
            rdi: 5,
            rip: 6,
            cs: 7,
            rsp: 8,
            ss: 9,
            ..Frame::default()
        };
        let order = in_order(&frame, 10, 11);
        for (place, value) in [
            (register::R15, 1),
            (register::RBP, 2),
            (register::RBX, 3),
            (register::RAX, 4),
            (register::RDI, 5),
            (register::RIP, 6),
            (register::CS, 7),
            (register::RSP, 8),
            (register::SS, 9),
            (register::ORIG_RAX, u64::MAX),
            (register::FS_BASE, 10),
            (register::GS_BASE, 11),
        ] {
            assert_eq!(order[place], value, "register {place}");
        }
    }
}
