//! Memory: one address space for all cores.
//!
//! ```text
//! 0000000000000000  nothing (a null pointer faults); one page for starting cores while they start
//! ffff800000000000  direct map of RAM and firmware tables: read-write, no execute
//! ffffc00000000000  device registers: uncached
//! ffffd00000000000  stacks of the cores, each above an unmapped guard
//! ffffffff80000000  the image: text r-x, rodata r--, data rw-
//! ```

mod address_space;
pub mod buddy;
mod dma;
pub mod frames;
pub mod heap;
pub mod paging;
pub mod regions;
mod rescue;
pub mod stack;

pub use address_space::{init, init_frames, map_identity_page, map_mmio, map_picture, unmap_identity_page};
pub use dma::{KernelDma, Mmio};
pub use paging::PAGE_SIZE;
pub use rescue::RescueDma;
pub(crate) use rescue::{
    enter as enter_rescue, place as rescue_place, reserve as reserve_rescue, stack_top as rescue_stack_top,
};

/// Start of the direct map.
pub const DIRECT_MAP: usize = 0xffff_8000_0000_0000;
/// Start of the window of device registers.
pub const MMIO: usize = 0xffff_c000_0000_0000;
/// Start of the stacks.
pub const STACKS: usize = 0xffff_d000_0000_0000;

/// Lets what others hold be looked at: for a core that is about to take a dump after it stopped all others.
///
/// # Safety
/// The other cores are stopped for good, and this one never continues what it was doing.
pub(crate) unsafe fn break_locks() {
    // SAFETY: the caller's.
    unsafe {
        frames::break_locks();
        address_space::break_lock();
    }
}

/// Where the direct map shows `phys`.
pub const fn phys_to_virt(phys: u64) -> usize {
    DIRECT_MAP + phys as usize
}

/// Physical memory through the direct map, for parsers of firmware tables.
pub struct DirectMap;

impl crate::acpi::PhysicalMemory for DirectMap {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        if !address_space::is_mapped(address, len) {
            return None;
        }
        // SAFETY: mapped, as just checked; firmware tables are not written to.
        Some(unsafe { core::slice::from_raw_parts(phys_to_virt(address) as *const u8, len) })
    }
}
