//! The list of capabilities (PCI 6.7).

use alloc::vec::Vec;

use super::access::{Address, ConfigAccess};

/// Capability IDs that matter here (PCI Code and ID Assignment 1.11, section 2).
pub mod id {
    /// Message signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// Vendor-specific; virtio describes its registers with it.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Message signalled interrupts with a table.
    pub const MSI_X: u8 = 0x11;
}

/// One entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Kind, see [`id`].
    pub id: u8,
    /// Offset in configuration space, a multiple of 4, at least 0x40.
    pub offset: u16,
}

/// Offset of the pointer to the first capability, and the smallest offset one can have.
const POINTER: u16 = 0x34;
const FIRST: u8 = 0x40;

/// The function's capabilities in the order of the list. A list that runs in a circle ends where it meets
/// itself, one that points into the standard header ends there.
pub(super) fn list(access: &impl ConfigAccess, at: Address) -> Vec<Capability> {
    let mut found = Vec::new();
    let mut seen = 0u64;
    let mut offset = access.read8(at, POINTER) & !3;
    while offset >= FIRST && seen & 1 << (offset / 4) == 0 {
        seen |= 1 << (offset / 4);
        let [id, next, ..] = access.read32(at, offset.into()).to_le_bytes();
        if id == 0xff {
            // All ones: the function is gone.
            break;
        }
        found.push(Capability { id, offset: offset.into() });
        offset = next & !3;
    }
    found
}
