//! Interrupt vectors and their handlers.
//!
//! A handler sets its bit in the core's [`PerCpu`](crate::smp::PerCpu) block and acknowledges the interrupt:
//! no Rust, no SSE, no stack beyond one word. [`super::KernelPark`] looks at the bits after the halt.
//!
//! A level-triggered wire is not acknowledged here: its device still asserts it, so it would come again at
//! once, and for ever. Until the dispatcher has masked the wire and acknowledges, the APIC holds it back.

//! From ring 3 all vectors go to the user mode's entry code instead, which brings the thread back from
//! [`UserCore::run`](keelson_hal::user::UserCore::run).

use crate::smp::ENTRIES;
use crate::user::entries::Counters;
use core::arch::global_asm;
use core::mem::offset_of;

/// First vector after the exceptions. The legacy PICs are remapped to 20h-2Fh and masked: what still comes
/// from there is spurious.
pub const PIC_BASE: u8 = 0x20;
/// The core's timer.
pub const TIMER: u8 = 0x30;
/// Another core woke a task of this one. Where [`super::call_by`] chose another vector, that one has this one's handler.
pub const WAKE: u8 = 0x31;
/// Another core changed the address space that this one runs.
pub const SHOOTDOWN: u8 = 0x32;
/// First vector for devices.
pub const DEVICES: u8 = 0x40;
/// First vector for level-triggered wires, which the dispatcher acknowledges.
pub const LEVEL: u8 = 0xd0;
/// One past the last vector for devices.
pub const DEVICES_END: u8 = 0xf0;
/// Raised by software only, to leave a mark in an emulator's log. Does nothing.
pub const MARKER: u8 = 0xf0;
/// The local APIC's spurious vector; not acknowledged.
pub const SPURIOUS: u8 = 0xff;

// 64 bytes per vector from 20h on. Offsets in PerCpu: 0 pending bits, 32 address of the EOI register (0: x2APIC,
// where it is MSR 80Bh). Interrupts come in ring 3 and in the halt, so that the CS pushed says whose GS it is.
global_asm!(
    r#"
    .section .text.vectors, "ax"
    .balign 64
    .globl vector_entries, vector_spurious, vector_marker
    vector_entries:
    .set irq_vector, 0x20
    .rept 224
        .balign 64
        testb $3, 8(%rsp)
        jnz 1f
        .if irq_vector == 0x30
        incq %gs:{TIMER}
        .elseif irq_vector == 0x31
        incq %gs:{DOORBELL}
        .elseif irq_vector == 0x32
        incq %gs:{SHOOTDOWN}
        .else
        incq %gs:{DEVICE}
        .endif
        lock orl $(1 << (irq_vector & 31)), %gs:(4 * (irq_vector >> 5))
        .if irq_vector >= 0xd0 && irq_vector < 0xf0
            iretq
        .else
            pushq %rax
            jmp vector_common
        .endif
    1:  pushq $0
        pushq $irq_vector
        jmp keelson_user_trap
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
        iretq
    vector_spurious:
        testb $3, 8(%rsp)
        jnz 1f
        incq %gs:{SPURIOUS}
        iretq
    1:  pushq $0
        pushq $0xff
        jmp keelson_user_trap
    vector_marker:
        iretq
    .text
    "#,
    TIMER = const ENTRIES + offset_of!(Counters, timer),
    DOORBELL = const ENTRIES + offset_of!(Counters, doorbell),
    SHOOTDOWN = const ENTRIES + offset_of!(Counters, shootdown),
    DEVICE = const ENTRIES + offset_of!(Counters, device),
    SPURIOUS = const ENTRIES + offset_of!(Counters, spurious),
    options(att_syntax)
);

/// Address of the handler of vector `number`, 32 or more.
pub fn entry(number: usize) -> usize {
    unsafe extern "C" {
        static vector_entries: u8;
        static vector_spurious: u8;
        static vector_marker: u8;
    }
    if number < usize::from(TIMER) || number == usize::from(SPURIOUS) {
        &raw const vector_spurious as usize
    } else if number == usize::from(MARKER) {
        &raw const vector_marker as usize
    } else {
        &raw const vector_entries as usize + (number - usize::from(PIC_BASE)) * 64
    }
}
