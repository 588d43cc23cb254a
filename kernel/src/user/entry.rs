//! The assembly between the kernel and ring 3: offsets, entry points, one call.

use super::cpu::UserCpu;
use crate::arch::gdt;
use crate::smp::PerCpu;
use core::arch::global_asm;
use core::mem::offset_of;
use keelson_hal::user::Registers;

const USER: usize = offset_of!(PerCpu, user);

global_asm!(
    include_str!("entry.s"),
    KERNEL_STACK = const USER + offset_of!(UserCpu, kernel_stack),
    CONTEXT = const USER + offset_of!(UserCpu, context),
    AREA = const USER + offset_of!(UserCpu, area),
    USER_STACK = const USER + offset_of!(UserCpu, user_stack),
    FS_LOADED = const USER + offset_of!(UserCpu, fs_loaded),
    GS_LOADED = const USER + offset_of!(UserCpu, gs_loaded),
    VECTOR = const USER + offset_of!(UserCpu, vector),
    ERROR = const USER + offset_of!(UserCpu, error),
    ADDRESS = const USER + offset_of!(UserCpu, address),
    MXCSR = const USER + offset_of!(UserCpu, mxcsr),
    HAS_BASES = const USER + offset_of!(UserCpu, has_bases),
    SYSCALLS = const crate::smp::ENTRIES + offset_of!(super::entries::Counters, syscalls),
    USER_DATA = const gdt::USER_DATA.0,
    USER_CODE = const gdt::USER_CODE.0,
    options(att_syntax)
);

unsafe extern "C" {
    fn keelson_user_enter(registers: *mut Registers) -> u64;
    safe static keelson_syscall_bases: u8;
    safe static keelson_syscall_plain: u8;
}

/// Where the `syscall` instruction goes: with `bases`, programs can change their FS and GS bases themselves.
pub fn syscall_address(bases: bool) -> u64 {
    if bases { &raw const keelson_syscall_bases as u64 } else { &raw const keelson_syscall_plain as u64 }
}

/// Runs a program until it comes back. True: by a system call; false: [`UserCpu::vector`] and its neighbours
/// say why.
///
/// # Safety
/// 1. This core was prepared ([`super::features::init_core`]), its address space is the program's, and the
///    extended state at [`UserCpu::area`] is loaded.
/// 2. RIP is below 2^47; FS and GS bases are loaded.
pub unsafe fn enter(registers: &mut Registers) -> bool {
    // SAFETY: the caller's promise; the code keeps to the C calling convention.
    unsafe { keelson_user_enter(registers) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_where_the_entry_code_puts_them() {
        let source = include_str!("entry.s");
        let constant = |name: &str| -> usize {
            let line = source.lines().find(|line| line.starts_with(&format!(".set {name}, ")));
            let value = line.and_then(|line| line.rsplit(' ').next()).expect("defined");
            value.parse().expect("a number")
        };
        for (name, offset) in [
            ("RAX", offset_of!(Registers, rax)),
            ("RBX", offset_of!(Registers, rbx)),
            ("RCX", offset_of!(Registers, rcx)),
            ("RDX", offset_of!(Registers, rdx)),
            ("RSI", offset_of!(Registers, rsi)),
            ("RDI", offset_of!(Registers, rdi)),
            ("RBP", offset_of!(Registers, rbp)),
            ("RSP", offset_of!(Registers, rsp)),
            ("R8", offset_of!(Registers, r8)),
            ("R9", offset_of!(Registers, r9)),
            ("R10", offset_of!(Registers, r10)),
            ("R11", offset_of!(Registers, r11)),
            ("R12", offset_of!(Registers, r12)),
            ("R13", offset_of!(Registers, r13)),
            ("R14", offset_of!(Registers, r14)),
            ("R15", offset_of!(Registers, r15)),
            ("RIP", offset_of!(Registers, rip)),
            ("RFLAGS", offset_of!(Registers, rflags)),
            ("FS_BASE", offset_of!(Registers, fs_base)),
            ("GS_BASE", offset_of!(Registers, gs_base)),
        ] {
            assert_eq!(constant(name), offset, "{name}");
        }
        assert_eq!(size_of::<Registers>(), 160);
    }

    #[test]
    fn per_core_fields_are_reached_by_a_short_displacement() {
        assert!(USER + size_of::<UserCpu>() < 1 << 12);
        assert_ne!(syscall_address(true), syscall_address(false));
    }
}
