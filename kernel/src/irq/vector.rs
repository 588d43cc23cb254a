//! Interrupt vectors and their handlers.
//!
//! A handler sets its bit in the core's [`PerCpu`](crate::smp::PerCpu) block and acknowledges the interrupt:
//! no Rust, no SSE, no stack beyond one word. [`super::KernelPark`] looks at the bits after the halt.
//!
//! A level-triggered wire is not acknowledged here: its device still asserts it, so it would come again at
//! once, and for ever. Until the dispatcher has masked the wire and acknowledges, the APIC holds it back.

use core::arch::global_asm;

/// First vector after the exceptions. The legacy PICs are remapped to 20h-2Fh and masked: what still comes
/// from there is spurious.
pub const PIC_BASE: u8 = 0x20;
/// The core's timer.
pub const TIMER: u8 = 0x30;
/// Another core woke a task of this one.
pub const WAKE: u8 = 0x31;
/// First vector for devices.
pub const DEVICES: u8 = 0x40;
/// First vector for level-triggered wires, which the dispatcher acknowledges.
pub const LEVEL: u8 = 0xd0;
/// One past the last vector for devices.
pub const DEVICES_END: u8 = 0xf0;
/// The local APIC's spurious vector; not acknowledged.
pub const SPURIOUS: u8 = 0xff;

// 32 bytes per vector from 20h on. Offsets in PerCpu: 0 pending bits, 32 address of the EOI register (0: x2APIC,
// where it is MSR 80Bh).
global_asm!(
    r#"
    .section .text.vectors, "ax"
    .balign 32
    vector_entries:
    .set irq_vector, 0x20
    .rept 224
        .balign 32
        pushq %rax
        lock orl $(1 << (irq_vector & 31)), %gs:(4 * (irq_vector >> 5))
        .if irq_vector >= 0xd0 && irq_vector < 0xf0
            popq %rax
            iretq
        .else
            jmp vector_common
        .endif
        .set irq_vector, irq_vector + 1
    .endr
    .balign 16
    vector_common:
        movq %gs:32, %rax
        testq %rax, %rax
        jz 1f
        movl $0, (%rax)
        popq %rax
        iretq
    1:  pushq %rcx
        pushq %rdx
        movl $0x80b, %ecx
        xorl %eax, %eax
        xorl %edx, %edx
        wrmsr
        popq %rdx
        popq %rcx
        popq %rax
    vector_spurious:
        iretq
    .text
    "#,
    options(att_syntax)
);

/// Address of the handler of vector `number`, 32 or more.
pub fn entry(number: usize) -> usize {
    unsafe extern "C" {
        static vector_entries: u8;
        static vector_spurious: u8;
    }
    if number < usize::from(TIMER) || number == usize::from(SPURIOUS) {
        &raw const vector_spurious as usize
    } else {
        &raw const vector_entries as usize + (number - usize::from(PIC_BASE)) * 32
    }
}
