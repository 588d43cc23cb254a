//! The interrupt descriptor table, one for all cores.

use super::exception;
use super::gdt;
use crate::irq::vector;
use core::arch::asm;
use spin::Once;

/// One 16-byte gate (Intel SDM volume 3, figure 6-8).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate([u64; 2]);

impl Gate {
    /// An interrupt gate (interrupts stay off) to `handler` on interrupt stack `ist` (0: the current stack).
    fn new(handler: usize, ist: u8) -> Gate {
        let handler = handler as u64;
        let low = handler & 0xffff
            | u64::from(gdt::CODE) << 16
            | u64::from(ist) << 32
            | 0x8e << 40
            | (handler >> 16 & 0xffff) << 48;
        Gate([low, handler >> 32])
    }
}

#[repr(C, align(16))]
struct Table([Gate; 256]);

static IDT: Once<Table> = Once::new();
/// Until the first core has its interrupt stacks.
static EARLY: Once<Table> = Once::new();

/// Loads the table on this core, which has its interrupt stacks ([`gdt::init`]).
pub fn load() {
    load_table(IDT.call_once(|| build(true)));
}

/// Loads a table that reports on the current stack, so that failures of early boot are readable too.
pub fn load_early() {
    load_table(EARLY.call_once(|| build(false)));
}

fn load_table(table: &'static Table) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: size_of::<Table>() as u16 - 1, base: table.0.as_ptr() as u64 };
    // SAFETY: the table lives for ever and every gate leads to a handler.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}

fn build(own_stacks: bool) -> Table {
    let mut gates = [Gate([0; 2]); 256];
    for (number, gate) in gates.iter_mut().enumerate() {
        *gate = if number < exception::COUNT {
            let ist = match number {
                _ if !own_stacks => 0,
                exception::DOUBLE_FAULT => gdt::IST_DOUBLE_FAULT,
                exception::NMI | exception::MACHINE_CHECK => gdt::IST_NMI,
                _ => gdt::IST_EXCEPTION,
            };
            Gate::new(exception::entry(number), ist)
        } else {
            Gate::new(vector::entry(number), 0)
        };
    }
    Table(gates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_carry_the_handler() {
        let gate = Gate::new(0xffff_ffff_8123_4567, 3);
        assert_eq!(gate.0, [0x8123_8e03_0010_4567, 0xffff_ffff]);
    }
}
