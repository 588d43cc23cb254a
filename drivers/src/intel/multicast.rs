//! The filter for group addresses: a table of 4,096 bits, of which an address has one.

use super::regs::{MTA, MTA_WORDS};
use keelson_hal::{MacAddress, Registers};

/// The table as last written.
pub(crate) struct Groups([u32; MTA_WORDS]);

impl Groups {
    /// An empty table, written.
    pub fn none(registers: &dyn Registers) -> Groups {
        (0..MTA_WORDS).for_each(|word| registers.write32(MTA + 4 * word, 0));
        Groups([0; MTA_WORDS])
    }

    /// Receives these groups and no others, but for those that have the same bit.
    pub fn set(&mut self, registers: &dyn Registers, groups: &[MacAddress]) {
        let mut table = [0u32; MTA_WORDS];
        for &group in groups {
            let hash = hash(group);
            table[hash / 32] |= 1 << (hash % 32);
        }
        for (word, &bits) in table.iter().enumerate() {
            if bits != self.0[word] {
                registers.write32(MTA + 4 * word, bits);
            }
        }
        self.0 = table;
    }
}

/// Bit of the table for a group: 12 bits of the address, from bit 36 on (RCTL.MO = 0).
pub(crate) fn hash(group: MacAddress) -> usize {
    (usize::from(group.0[4]) >> 4 | usize::from(group.0[5]) << 4) & 0xfff
}
