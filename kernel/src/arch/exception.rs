//! Processor exceptions. Those of ring 3 bring the program back ([`UserCore::run`](keelson_hal::user::UserCore));
//! of the others only an NMI returns that another core sent ([`postmortem`]). Each of the rest ends in a report and the
//! `panic=` behaviour.

use super::{cpu, gdt};
use crate::user::entries::count;
use crate::{mm, panic, postmortem, smp};
use core::arch::global_asm;
use core::fmt;

/// Number of exception vectors.
pub const COUNT: usize = 32;
/// Non-maskable interrupt.
pub const NMI: usize = 2;
/// Double fault.
pub const DOUBLE_FAULT: usize = 8;
const PAGE_FAULT: usize = 14;
/// Machine check.
pub const MACHINE_CHECK: usize = 18;

/// MXCSR as the kernel has it: all exceptions masked, round to nearest (Intel SDM volume 1, section 10.2.3).
const MXCSR: u32 = 0x1f80;

const NAMES: [&str; COUNT] = [
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack segment fault",
    "general protection fault",
    "page fault",
    "reserved exception 15",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection exception",
    "reserved exception 22",
    "reserved exception 23",
    "reserved exception 24",
    "reserved exception 25",
    "reserved exception 26",
    "reserved exception 27",
    "hypervisor injection exception",
    "VMM communication exception",
    "security exception",
    "reserved exception 31",
];

/// Registers at the exception, as the entry code pushes them.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

// 16 bytes per vector, so that the address of an entry is computed. Vectors 8, 10-14, 17, 21, 29 and 30 push
// an error code; the others get a zero in its place.
global_asm!(
    r#"
    .section .text.exceptions, "ax"
    .balign 16
    .globl exception_entries
    exception_entries:
    .set exception_vector, 0
    .rept 32
        .balign 16
        .if (0x60227d00 >> exception_vector) & 1
        .else
        pushq $0
        .endif
        pushq $exception_vector
        jmp exception_common
        .set exception_vector, exception_vector + 1
    .endr
    exception_common:
        testb $3, 24(%rsp)
        jz 1f
        cmpq $2, (%rsp)
        je 1f
        cmpq $8, (%rsp)
        je 1f
        cmpq $18, (%rsp)
        jne keelson_user_trap
    1:  pushq %rax
        pushq %rbx
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rbp
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        cld
        movl ${GS_BASE}, %ecx
        rdmsr
        shlq $32, %rdx
        orq %rdx, %rax
        movq %rax, %rsi
        # GS may be a program's: an NMI comes between any two instructions, `swapgs` included. The core's own
        # descriptor table says where its block is.
        subq $16, %rsp
        sgdt (%rsp)
        cmpw ${LIMIT}, (%rsp)
        jne 2f
        movq 2(%rsp), %rax
        movq {PER_CPU}(%rax), %rax
        movq %rax, %rdx
        shrq $32, %rdx
        movl ${GS_BASE}, %ecx
        wrmsr
    2:  addq $16, %rsp
        movq %rsp, %rdi
        xorl %ebp, %ebp
        cmpq $2, {VECTOR}(%rsp)
        je 3f
        andq $-16, %rsp
        call {report}
        ud2
        # An NMI may go back to where it came from, so that nothing may change: neither the registers that Rust code uses, xmm0-15
        # and MXCSR with them, nor the GS base. x87 and the upper halves of AVX are nobody's in the kernel.
    3:  movq %rsp, %rbx
        movq %rsi, %r12
        subq $272, %rsp
        andq $-16, %rsp
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movaps %xmm\n, 16*\n(%rsp)
        .endr
        stmxcsr 256(%rsp)
        movl ${MXCSR}, 260(%rsp)
        ldmxcsr 260(%rsp)
        call {nmi}
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movaps 16*\n(%rsp), %xmm\n
        .endr
        ldmxcsr 256(%rsp)
        movq %r12, %rax
        movq %r12, %rdx
        shrq $32, %rdx
        movl ${GS_BASE}, %ecx
        wrmsr
        movq %rbx, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rbp
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rbx
        popq %rax
        addq $16, %rsp
        iretq
    .text
    "#,
    report = sym report,
    nmi = sym nmi,
    VECTOR = const core::mem::offset_of!(Frame, vector),
    MXCSR = const MXCSR,
    LIMIT = const gdt::LIMIT,
    PER_CPU = const gdt::PER_CPU,
    GS_BASE = const cpu::MSR_GS_BASE,
    options(att_syntax)
);

/// Address of the entry code of exception `number`.
pub fn entry(number: usize) -> usize {
    unsafe extern "C" {
        static exception_entries: u8;
    }
    &raw const exception_entries as usize + number * 16
}

/// What happened, for the report's headline.
pub struct Headline<'a> {
    frame: &'a Frame,
    /// Faulting address of a page fault.
    address: u64,
    /// The core whose stack guard that is.
    guard_of: Option<usize>,
}

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(core) = self.guard_of {
            return write!(f, "stack overflow on core {core} (at {:#x})", self.address);
        }
        let number = self.frame.vector as usize;
        f.write_str(NAMES.get(number).unwrap_or(&"unknown exception"))?;
        let error = self.frame.error;
        match number {
            PAGE_FAULT => {
                let access = match error {
                    e if e & 1 << 4 != 0 => "executing",
                    e if e & 1 << 1 != 0 => "writing",
                    _ => "reading",
                };
                let why = match error {
                    e if e & 1 << 3 != 0 => "damaged page table",
                    e if e & 1 != 0 => "not allowed there",
                    _ => "nothing mapped there",
                };
                write!(f, " {access} {:#x}: {why} (error code {error:#x})", self.address)
            }
            10..=13 if error != 0 => write!(f, " (selector {:#x}, error code {error:#x})", error & 0xfff8),
            _ if error != 0 => write!(f, " (error code {error:#x})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self;
        // Narrow enough for a screen of 80 columns.
        writeln!(f, "  rip {:016x}  rsp {:016x}  rbp {:016x}", r.rip, r.rsp, r.rbp)?;
        writeln!(f, "  rax {:016x}  rbx {:016x}  rcx {:016x}", r.rax, r.rbx, r.rcx)?;
        writeln!(f, "  rdx {:016x}  rsi {:016x}  rdi {:016x}", r.rdx, r.rsi, r.rdi)?;
        writeln!(f, "  r8  {:016x}  r9  {:016x}  r10 {:016x}", r.r8, r.r9, r.r10)?;
        writeln!(f, "  r11 {:016x}  r12 {:016x}  r13 {:016x}", r.r11, r.r12, r.r13)?;
        write!(
            f,
            "  r14 {:016x}  r15 {:016x}  rflags {:08x}  cs {:02x} ss {:02x}",
            r.r14, r.r15, r.rflags, r.cs, r.ss
        )
    }
}

/// Called by the entry code of NMI, on its stack, with the GS base that the interrupted code had. Returns to that code when
/// another core sent the NMI.
extern "C" fn nmi(frame: &Frame, gs_base: u64) {
    let cpu = smp::this_cpu();
    count(&cpu.entries.nmi);
    if !postmortem::nmi(cpu, frame, gs_base) {
        report(frame, gs_base);
    }
}

/// Called by the entry code, on an interrupt stack, with everything else as the exception left it; GS base is what the interrupted
/// code had.
extern "C" fn report(frame: &Frame, gs_base: u64) -> ! {
    let number = frame.vector as usize;
    let address = cpu::cr2();
    // A double fault is a page fault whose handler could not run; CR2 still says where.
    let guard_of =
        matches!(number, PAGE_FAULT | DOUBLE_FAULT).then(|| mm::stack::guard_of(address as usize)).flatten();
    panic::exception(&Headline { frame, address, guard_of }, frame, gs_base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headline(vector: u64, error: u64, address: u64, guard_of: Option<usize>) -> String {
        let frame = Frame { vector, error, ..Frame::default() };
        Headline { frame: &frame, address, guard_of }.to_string()
    }

    #[test]
    fn headlines_read_well() {
        assert_eq!(
            headline(14, 2, 0xdead, None),
            "page fault writing 0xdead: nothing mapped there (error code 0x2)"
        );
        assert_eq!(
            headline(14, 0x11, 0x1000, None),
            "page fault executing 0x1000: not allowed there (error code 0x11)"
        );
        assert_eq!(headline(14, 2, 0x10, Some(3)), "stack overflow on core 3 (at 0x10)");
        assert_eq!(headline(0, 0, 0, None), "divide error");
        assert_eq!(headline(13, 0x18, 0, None), "general protection fault (selector 0x18, error code 0x18)");
    }

    #[test]
    fn the_frame_matches_what_the_entry_code_pushes() {
        assert_eq!(core::mem::offset_of!(Frame, vector), 15 * 8);
        assert_eq!(size_of::<Frame>(), 22 * 8);
    }
}
