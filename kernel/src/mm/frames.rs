//! The machine's free physical memory, in blocks of 2^order frames.

use super::{PAGE_SIZE, phys_to_virt};
use crate::sync::IrqFree;

/// Largest block: 1 GiB.
pub const MAX_ORDER: u32 = 18;

/// Counts in frames of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameCounts {
    /// Under management.
    pub total: u64,
    /// Not handed out.
    pub free: u64,
}

struct FreeLists {
    /// Physical address of the first free block of each order; 0 ends a list. The first word of a free block
    /// holds the next one.
    heads: [u64; MAX_ORDER as usize + 1],
    counts: FrameCounts,
}

static FRAMES: IrqFree<FreeLists> =
    IrqFree::new(FreeLists { heads: [0; MAX_ORDER as usize + 1], counts: FrameCounts { total: 0, free: 0 } });

/// The order of the smallest block of at least `bytes`.
pub fn order_for(bytes: usize) -> u32 {
    bytes.div_ceil(PAGE_SIZE as usize).next_power_of_two().trailing_zeros()
}

/// Puts `start..end` (physical, page-aligned, in the direct map, unused) under management.
///
/// # Safety
/// The range is usable memory that nothing else uses.
pub unsafe fn add(start: u64, end: u64) {
    let mut lists = FRAMES.lock();
    let mut at = start.max(PAGE_SIZE);
    while at < end {
        let mut order = MAX_ORDER;
        while at % (PAGE_SIZE << order) != 0 || end - at < PAGE_SIZE << order {
            order -= 1;
        }
        // SAFETY: within the caller's range.
        unsafe { lists.push(at, order) };
        lists.counts.total += 1 << order;
        lists.counts.free += 1 << order;
        at += PAGE_SIZE << order;
    }
}

/// Takes 2^`order` contiguous frames, aligned to their size; contents undefined.
pub fn allocate(order: u32) -> Option<u64> {
    let mut lists = FRAMES.lock();
    let found = (order..=MAX_ORDER).find(|order| lists.heads[*order as usize] != 0)?;
    let block = lists.heads[found as usize];
    // SAFETY: a free block in the direct map; nobody but the lists uses it.
    lists.heads[found as usize] = unsafe { (phys_to_virt(block) as *const u64).read() };
    for half in order..found {
        // SAFETY: the upper half of the block just taken.
        unsafe { lists.push(block + (PAGE_SIZE << half), half) };
    }
    lists.counts.free -= 1 << order;
    Some(block)
}

/// Gives a block back.
///
/// # Safety
/// The block came from [`allocate`] with this order (or is an aligned part of one), and nothing uses it.
pub unsafe fn free(block: u64, order: u32) {
    let mut lists = FRAMES.lock();
    // SAFETY: the caller's promise.
    unsafe { lists.push(block, order) };
    lists.counts.free += 1 << order;
}

/// How much there is.
pub fn counts() -> FrameCounts {
    FRAMES.lock().counts
}

impl FreeLists {
    /// # Safety
    /// `block` is an unused block of `order` in the direct map.
    unsafe fn push(&mut self, block: u64, order: u32) {
        // SAFETY: the caller's promise.
        unsafe { (phys_to_virt(block) as *mut u64).write(self.heads[order as usize]) };
        self.heads[order as usize] = block;
    }
}
