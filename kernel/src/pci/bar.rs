//! Base address registers (PCI 6.2.5.1): where a function's registers are, and how many.

use super::access::{Address, ConfigAccess};

/// Offset of BAR 0.
pub(super) const FIRST: u16 = 0x10;

/// One base address register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bar {
    /// Ports.
    Io {
        /// First port; 0 when firmware assigned none.
        port: u32,
        /// Number of ports.
        len: u32,
    },
    /// Memory.
    Memory {
        /// Physical address, a multiple of `len`; 0 when firmware assigned none.
        base: u64,
        /// Length in bytes, a power of two.
        len: u64,
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// Sizes the BARs of a function with `count` of them by writing all ones and reading back which address bits
/// stick. The function must not decode addresses meanwhile. The upper half of a 64-bit BAR is `None`, and so
/// is a BAR that is not implemented or makes no sense.
pub(super) fn size_all(access: &impl ConfigAccess, at: Address, count: usize) -> [Option<Bar>; 6] {
    let mut bars = [None; 6];
    let mut index = 0;
    while index < count.min(bars.len()) {
        let offset = FIRST + 4 * index as u16;
        let wide = access.read32(at, offset) & 0b111 == 0b100;
        if wide && index + 1 == count {
            // The upper half would be another register.
            break;
        }
        bars[index] = if wide { size_wide(access, at, offset) } else { size_narrow(access, at, offset) };
        index += if wide { 2 } else { 1 };
    }
    bars
}

fn size_narrow(access: &impl ConfigAccess, at: Address, offset: u16) -> Option<Bar> {
    let (value, mask) = probe(access, at, offset);
    if value & 1 != 0 {
        // Devices may leave the upper half of a port BAR unimplemented.
        let port = value & !0b11;
        let len = lowest_bit((mask & !0b11).into())? as u32;
        return port.is_multiple_of(len).then_some(Bar::Io { port, len });
    }
    // Type 00 is 32-bit, 01 "below 1 MiB" of old; 11 is reserved.
    (value >> 1 & 0b11 < 0b10).then(|| memory(value.into(), (mask & !0xf).into())).flatten()
}

fn size_wide(access: &impl ConfigAccess, at: Address, offset: u16) -> Option<Bar> {
    let (low, low_mask) = probe(access, at, offset);
    let (high, high_mask) = probe(access, at, offset + 4);
    memory(u64::from(high) << 32 | u64::from(low), u64::from(high_mask) << 32 | u64::from(low_mask & !0xf))
}

fn memory(value: u64, mask: u64) -> Option<Bar> {
    let (base, len) = (value & !0xf, lowest_bit(mask)?);
    let sound = base.is_multiple_of(len) && base.checked_add(len).is_some();
    sound.then_some(Bar::Memory { base, len, prefetchable: value & 0b1000 != 0 })
}

/// The register's value, and what it reads after all ones were written. Restores the value.
fn probe(access: &impl ConfigAccess, at: Address, offset: u16) -> (u32, u32) {
    let value = access.read32(at, offset);
    access.write32(at, offset, u32::MAX);
    let mask = access.read32(at, offset);
    access.write32(at, offset, value);
    (value, mask)
}

fn lowest_bit(mask: u64) -> Option<u64> {
    (mask != 0).then(|| mask & mask.wrapping_neg())
}
