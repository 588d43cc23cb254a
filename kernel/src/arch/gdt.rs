//! Segments and the task state segment of a core, with its interrupt stacks.

use alloc::boxed::Box;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// Selector of the 64-bit code segment; the same as in the boot tables.
pub const CODE: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
/// Selector of the data segment.
pub const DATA: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring0);

/// Interrupt stack of exceptions: index in the TSS's table, which gates count from 1.
pub const IST_EXCEPTION: u16 = 0;
/// Interrupt stack of NMI and machine checks.
pub const IST_NMI: u16 = 1;
/// Interrupt stack of double faults.
pub const IST_DOUBLE_FAULT: u16 = 2;
const IST_STACKS: usize = 3;
/// The panic report formats and symbolises on these.
const IST_STACK_SIZE: usize = 16 * 1024;

/// What one core's segment registers refer to.
struct Tables {
    gdt: GlobalDescriptorTable<6>,
    tss: TaskStateSegment,
}

/// Gives this core a GDT and TSS of its own, for ever.
pub fn init() {
    let tables =
        Box::leak(Box::new(Tables { gdt: GlobalDescriptorTable::empty(), tss: TaskStateSegment::new() }));
    // The table is packed: changed as a copy.
    let mut stacks = tables.tss.interrupt_stack_table;
    for slot in stacks.iter_mut().take(IST_STACKS) {
        let memory = Box::leak(alloc::vec![0u8; IST_STACK_SIZE].into_boxed_slice());
        *slot = VirtAddr::from_ptr(memory.as_ptr_range().end).align_down(16u64);
    }
    tables.tss.interrupt_stack_table = stacks;
    let tss = fill(&mut tables.gdt, &tables.tss);
    tables.gdt.load();
    // SAFETY: 1. the tables live for ever; 2. code and data selectors mean what they meant before; 3. the TSS
    // is not in use by another core.
    unsafe {
        CS::set_reg(CODE);
        for set in [DS::set_reg, ES::set_reg, SS::set_reg] {
            set(DATA);
        }
        load_tss(tss);
    }
}

/// The descriptors at the selectors the boot tables have them at; returns the TSS's.
fn fill(gdt: &mut GlobalDescriptorTable<6>, tss: &'static TaskStateSegment) -> SegmentSelector {
    // The Linux boot protocol leaves entry 1 unused.
    gdt.append(Descriptor::UserSegment(0));
    let code = gdt.append(Descriptor::kernel_code_segment());
    let data = gdt.append(Descriptor::kernel_data_segment());
    assert!((code, data) == (CODE, DATA), "segments are not where the boot tables have them");
    gdt.append(Descriptor::tss_segment(tss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_the_boot_tables() {
        let mut gdt = GlobalDescriptorTable::empty();
        let tss = fill(&mut gdt, Box::leak(Box::new(TaskStateSegment::new())));
        assert_eq!((CODE.0, DATA.0, tss.0), (0x10, 0x18, 0x20));
    }
}
