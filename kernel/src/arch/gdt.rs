//! Segments and the task state segment of a core, with its interrupt stacks.

use alloc::boxed::Box;
use core::arch::asm;

/// Selector of the 64-bit code segment; the same as in the boot tables.
pub const CODE: u16 = 0x10;
/// Selector of the data segment.
pub const DATA: u16 = 0x18;
const TSS: u16 = 0x20;

/// Interrupt stack (IST index) of exceptions.
pub const IST_EXCEPTION: u8 = 1;
/// Interrupt stack of NMI and machine checks.
pub const IST_NMI: u8 = 2;
/// Interrupt stack of double faults.
pub const IST_DOUBLE_FAULT: u8 = 3;
const IST_STACKS: usize = 3;
/// The panic report formats and symbolises on these.
const IST_STACK_SIZE: usize = 16 * 1024;

/// Intel SDM volume 3, figure 8-11.
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    rsp: [u64; 3],
    reserved2: u64,
    ist: [u64; 7],
    reserved3: u64,
    reserved4: u16,
    io_map: u16,
}

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 6],
    tss: TaskState,
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Gives this core a GDT and TSS of its own, for ever.
pub fn init() {
    let mut ist = [0; 7];
    for stack in ist.iter_mut().take(IST_STACKS) {
        let memory = Box::leak(alloc::vec![0u8; IST_STACK_SIZE].into_boxed_slice());
        *stack = (memory.as_ptr() as u64 + IST_STACK_SIZE as u64) & !15;
    }
    let tables = Box::leak(Box::new(Tables {
        gdt: [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
        tss: TaskState {
            reserved: 0,
            rsp: [0; 3],
            reserved2: 0,
            ist,
            reserved3: 0,
            reserved4: 0,
            io_map: size_of::<TaskState>() as u16,
        },
    }));
    let [low, high] = tss_descriptor(&raw const tables.tss as u64);
    tables.gdt[4] = low;
    tables.gdt[5] = high;
    let pointer = Pointer { limit: size_of_val(&tables.gdt) as u16 - 1, base: tables.gdt.as_ptr() as u64 };
    // SAFETY: 1. the table lives for ever; 2. selectors 10h and 18h mean what they meant before; 3. the far
    // return goes to the next instruction.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "mov ss, {data:x}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "ltr {tss:x}",
            pointer = in(reg) &raw const pointer,
            data = in(reg) u64::from(DATA),
            code = in(reg) u64::from(CODE),
            tss = in(reg) u64::from(TSS),
            scratch = lateout(reg) _,
        );
    }
}

/// An available 64-bit TSS at `base` (Intel SDM volume 3, figure 8-4).
fn tss_descriptor(base: u64) -> [u64; 2] {
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tss_layout_and_descriptor() {
        assert_eq!(size_of::<TaskState>(), 104);
        assert_eq!(core::mem::offset_of!(TaskState, ist), 0x24);
        assert_eq!(tss_descriptor(0x1122_3344_5566_7788), [0x5500_8966_7788_0067, 0x1122_3344]);
    }
}
