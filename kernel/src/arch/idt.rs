//! The interrupt descriptor table, one for all cores.

use super::exception;
use super::gdt;
use crate::irq::vector;
use spin::Once;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};
use x86_64::{PrivilegeLevel, VirtAddr};

static IDT: Once<InterruptDescriptorTable> = Once::new();
/// Until the first core has its interrupt stacks.
static EARLY: Once<InterruptDescriptorTable> = Once::new();

/// In place of [`IDT`] once a vector means the same as another one ([`alias`]).
static ALIASED: Once<InterruptDescriptorTable> = Once::new();

/// Loads the table on this core, which has its interrupt stacks ([`gdt::init`]).
pub fn load() {
    ALIASED.get().unwrap_or_else(|| IDT.call_once(|| build(true))).load();
}

/// Gives vector `number` the handler of `like`, on cores that [`load`] the table from now on. The first call counts.
pub fn alias(number: u8, like: u8) {
    ALIASED.call_once(|| {
        let mut idt = build(true);
        set(&mut idt[number], vector::entry(like.into()), None);
        idt
    });
}

/// Loads a table that reports on the current stack, so that failures of early boot are readable too.
pub fn load_early() {
    EARLY.call_once(|| build(false)).load();
}

fn build(own_stacks: bool) -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    exceptions(&mut idt, own_stacks);
    for number in exception::COUNT as u8..=u8::MAX {
        set(&mut idt[number], vector::entry(number.into()), None);
    }
    idt
}

/// Exceptions by number (Intel SDM volume 3, table 6-1). Those that no processor raises stay without a gate.
fn exceptions(idt: &mut InterruptDescriptorTable, own_stacks: bool) {
    let to = |stack| own_stacks.then_some(stack);
    let common = to(gdt::IST_EXCEPTION);
    let nmi = to(gdt::IST_NMI);
    set(&mut idt.divide_error, exception::entry(0), common);
    set(&mut idt.debug, exception::entry(1), common);
    set(&mut idt.non_maskable_interrupt, exception::entry(exception::NMI), nmi);
    set_for_programs(&mut idt.breakpoint, exception::entry(3), common);
    set_for_programs(&mut idt.overflow, exception::entry(4), common);
    set(&mut idt.bound_range_exceeded, exception::entry(5), common);
    set(&mut idt.invalid_opcode, exception::entry(6), common);
    set(&mut idt.device_not_available, exception::entry(7), common);
    set(&mut idt.double_fault, exception::entry(exception::DOUBLE_FAULT), to(gdt::IST_DOUBLE_FAULT));
    set(&mut idt.invalid_tss, exception::entry(10), common);
    set(&mut idt.segment_not_present, exception::entry(11), common);
    set(&mut idt.stack_segment_fault, exception::entry(12), common);
    set(&mut idt.general_protection_fault, exception::entry(13), common);
    set(&mut idt.page_fault, exception::entry(14), common);
    set(&mut idt.x87_floating_point, exception::entry(16), common);
    set(&mut idt.alignment_check, exception::entry(17), common);
    set(&mut idt.machine_check, exception::entry(exception::MACHINE_CHECK), nmi);
    set(&mut idt.simd_floating_point, exception::entry(19), common);
    set(&mut idt.virtualization, exception::entry(20), common);
    set(&mut idt.cp_protection_exception, exception::entry(21), common);
    set(&mut idt.hv_injection_exception, exception::entry(28), common);
    set(&mut idt.vmm_communication_exception, exception::entry(29), common);
    set(&mut idt.security_exception, exception::entry(30), common);
}

/// An interrupt gate (interrupts stay off) to `handler`, on an interrupt stack or the current one.
fn set<F>(gate: &mut Entry<F>, handler: usize, stack: Option<u16>) {
    set_at(PrivilegeLevel::Ring0, gate, handler, stack);
}

/// The same for a gate that programs may go through with an instruction.
fn set_for_programs<F>(gate: &mut Entry<F>, handler: usize, stack: Option<u16>) {
    set_at(PrivilegeLevel::Ring3, gate, handler, stack);
}

fn set_at<F>(level: PrivilegeLevel, gate: &mut Entry<F>, handler: usize, stack: Option<u16>) {
    // SAFETY: 1. `handler` is assembler that ends in `iretq` and takes the frame this vector pushes, with or
    // without an error code; 2. the stack exists on every core that loads the table with stacks.
    unsafe {
        let options = gate.set_handler_addr(VirtAddr::new(handler as u64));
        // The current selector may still be a loader's.
        options.set_code_selector(gdt::CODE).set_privilege_level(level);
        if let Some(index) = stack {
            options.set_stack_index(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_carry_handler_and_stack() {
        let mut gate: Entry<()> = Entry::missing();
        set(&mut gate, 0xffff_ffff_8123_4567, Some(gdt::IST_DOUBLE_FAULT));
        // Intel SDM volume 3, figure 6-8: offset 15:0, selector, IST 3, present interrupt gate, offset 63:16.
        let bytes = format!("{gate:?}");
        assert_eq!(gate.handler_addr().as_u64(), 0xffff_ffff_8123_4567, "{bytes}");
    }

    #[test]
    fn every_interrupt_has_a_gate() {
        let idt = build(true);
        let present = (32..=255u8).filter(|number| idt[*number].handler_addr().as_u64() != 0).count();
        assert_eq!(present, 224);
    }
}
