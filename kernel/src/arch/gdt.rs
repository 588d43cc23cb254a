//! Segments and the task state segment of a core, with its interrupt stacks.

use crate::smp;
use alloc::boxed::Box;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lgdt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// Selector of the 64-bit code segment; the same as in the boot tables.
pub const CODE: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
/// Selector of the data segment.
pub const DATA: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring0);
/// Selector of programs' data segment. The numbers are Linux's, because signal frames show them and debuggers
/// know a 64-bit program by them; SYSRET wants this one below the code's.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(5, PrivilegeLevel::Ring3);
/// Selector of programs' code segment.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(6, PrivilegeLevel::Ring3);
const TSS: SegmentSelector = SegmentSelector::new(7, PrivilegeLevel::Ring0);
/// Entries of the table; a TSS takes two.
const ENTRIES: usize = 9;

/// Interrupt stack of exceptions: index in the TSS's table, which gates count from 1.
pub const IST_EXCEPTION: u16 = 0;
/// Interrupt stack of NMI and machine checks.
pub const IST_NMI: u16 = 1;
/// Interrupt stack of double faults.
pub const IST_DOUBLE_FAULT: u16 = 2;
const IST_STACKS: usize = 3;
/// The panic report formats and symbolises on these.
const IST_STACK_SIZE: usize = 16 * 1024;
/// Where interrupts of ring 3 land: a frame of seven words, which the entry code takes away at once.
const TRAP_STACK_SIZE: usize = 1024;

/// What one core's segment registers refer to.
#[repr(C, align(16))]
struct Tables {
    gdt: [u64; ENTRIES],
    /// Address of the core's `PerCpu`: how an NMI finds it when GS may be a program's ([`PER_CPU`]).
    cpu: u64,
    tss: TaskStateSegment,
}

/// Offset of the `PerCpu`'s address from the table's base.
pub const PER_CPU: usize = core::mem::offset_of!(Tables, cpu);
/// The table's limit: by this the entry code knows that it is a core's own.
pub const LIMIT: u16 = (ENTRIES * 8 - 1) as u16;

/// Gives this core a GDT and TSS of its own, for ever.
pub fn init() {
    let tables = Box::leak(Box::new(Tables { gdt: [0; ENTRIES], cpu: 0, tss: TaskStateSegment::new() }));
    // The table is packed: changed as a copy.
    let mut stacks = tables.tss.interrupt_stack_table;
    for slot in stacks.iter_mut().take(IST_STACKS) {
        *slot = new_stack(IST_STACK_SIZE);
    }
    tables.tss.interrupt_stack_table = stacks;
    let mut stacks = tables.tss.privilege_stack_table;
    stacks[0] = new_stack(TRAP_STACK_SIZE);
    tables.tss.privilege_stack_table = stacks;
    tables.cpu = &raw const *smp::this_cpu() as u64;
    let tables: &'static Tables = {
        tables.gdt = descriptors(&raw const tables.tss);
        tables
    };
    let pointer = DescriptorTablePointer { limit: LIMIT, base: VirtAddr::from_ptr(&raw const tables.gdt) };
    // SAFETY: 1. the tables live for ever; 2. code and data selectors mean what they meant before; 3. the TSS
    // is not in use by another core.
    unsafe {
        lgdt(&pointer);
        CS::set_reg(CODE);
        for set in [DS::set_reg, ES::set_reg, SS::set_reg] {
            set(DATA);
        }
        load_tss(TSS);
    }
}

/// The top of a stack for ever.
fn new_stack(size: usize) -> VirtAddr {
    let memory = Box::leak(alloc::vec![0u8; size].into_boxed_slice());
    VirtAddr::from_ptr(memory.as_ptr_range().end).align_down(16u64)
}

/// The table's content: kernel segments at the selectors the boot tables have them at.
fn descriptors(tss: *const TaskStateSegment) -> [u64; ENTRIES] {
    let word = |descriptor| match descriptor {
        Descriptor::UserSegment(word) | Descriptor::SystemSegment(word, _) => word,
    };
    let mut gdt = [0; ENTRIES];
    let mut set = |selector: SegmentSelector, word| gdt[usize::from(selector.index())] = word;
    set(CODE, word(Descriptor::kernel_code_segment()));
    set(DATA, word(Descriptor::kernel_data_segment()));
    set(USER_DATA, word(Descriptor::user_data_segment()));
    set(USER_CODE, word(Descriptor::user_code_segment()));
    // SAFETY: only makes a descriptor of the address; who loads it promises that the TSS stays.
    if let Descriptor::SystemSegment(low, high) = unsafe { Descriptor::tss_segment_unchecked(tss) } {
        gdt[usize::from(TSS.index())] = low;
        gdt[usize::from(TSS.index()) + 1] = high;
    }
    gdt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_the_boot_tables_and_of_linux() {
        assert_eq!((CODE.0, DATA.0), (0x10, 0x18));
        assert_eq!((USER_DATA.0, USER_CODE.0), (0x2b, 0x33));
        assert_eq!(PER_CPU, 72);
    }

    #[test]
    fn descriptors_are_what_the_selectors_say() {
        let gdt = descriptors(&raw const *Box::leak(Box::new(TaskStateSegment::new())));
        // Access byte (Intel SDM volume 3, section 3.4.5): present, DPL, code or data, type.
        let access = |selector: SegmentSelector| gdt[usize::from(selector.index())] >> 40 & 0xff;
        assert_eq!([CODE, DATA, USER_DATA, USER_CODE].map(access), [0x9b, 0x93, 0xf3, 0xfb]);
        assert_eq!(access(TSS), 0x89, "an available TSS");
    }
}
