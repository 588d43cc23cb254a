//! Stacks of the cores, each with an unmapped guard below it.

use super::paging::Access;
use super::{STACKS, address_space, frames};
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Usable bytes of a stack.
pub const STACK_SIZE: usize = 256 * 1024;
/// Distance between stacks: as much guard as stack, so that a large frame lands in it too.
const SLOT: usize = 2 * STACK_SIZE;
/// Cores that can have a stack.
const SLOTS: usize = 1024;

/// One past the highest core with a stack. Stacks are allocated in the order of cores.
static MAPPED_STACKS: AtomicUsize = AtomicUsize::new(0);

/// Maps the stack of `core` and returns its top; `None` when memory is short.
pub fn allocate(core: usize) -> Option<usize> {
    assert!(core < SLOTS, "no stack for core {core}");
    let order = frames::order_for(STACK_SIZE as u64)?;
    let phys = frames::allocate(order)?;
    let bottom = STACKS + core * SLOT + SLOT - STACK_SIZE;
    address_space::map(bottom as u64, phys, STACK_SIZE as u64, Access::ReadWrite).ok()?;
    MAPPED_STACKS.fetch_max(core + 1, Ordering::Relaxed);
    Some(bottom + STACK_SIZE)
}

/// The physical address behind an address in a stack; what follows there follows in memory too, up to the stack's end.
pub fn physical(address: usize) -> Option<u64> {
    address_space::translate(address)
}

/// All stacks with their physical places.
pub(crate) fn all() -> impl Iterator<Item = (Range<usize>, u64)> {
    let cores = 0..MAPPED_STACKS.load(Ordering::Relaxed);
    cores.filter_map(|core| {
        let top = STACKS + (core + 1) * SLOT;
        let bottom = top - STACK_SIZE;
        Some((bottom..top, physical(bottom)?))
    })
}

/// The core whose guard contains `address`.
pub fn guard_of(address: usize) -> Option<usize> {
    let offset = address.checked_sub(STACKS)?;
    let core = offset / SLOT;
    (core < SLOTS && offset % SLOT < SLOT - STACK_SIZE).then_some(core)
}

/// The mapped stack that contains `address`: a core's, or the boot stack in the image's data.
pub fn around(address: usize) -> Option<Range<usize>> {
    let data = crate::image::layout().data;
    if data.contains(&address) {
        return Some(data);
    }
    let core = address.checked_sub(STACKS)? / SLOT;
    let top = STACKS + (core + 1) * SLOT;
    // `MAPPED_STACKS` and not `SLOTS`: a damaged frame pointer must not lead to a second fault.
    (core < MAPPED_STACKS.load(Ordering::Relaxed) && address >= top - STACK_SIZE)
        .then_some(top - STACK_SIZE..top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_below_their_stacks() {
        assert_eq!(guard_of(STACKS), Some(0));
        assert_eq!(guard_of(STACKS + SLOT - STACK_SIZE - 1), Some(0));
        assert_eq!(guard_of(STACKS + SLOT - STACK_SIZE), None);
        assert_eq!(guard_of(STACKS + 3 * SLOT + 8), Some(3));
        assert_eq!(guard_of(STACKS - 1), None);
        assert_eq!(around(STACKS + SLOT - 1), None, "not mapped");
    }
}
