//! The machine's free physical memory: one buddy allocator under one lock, linked through the direct map.

use super::buddy::{Buddy, FrameAccess, FrameStatistics, MAX_ORDER};
use super::phys_to_virt;
use crate::sync::SpinLock;
use core::ops::Range;

pub use super::buddy::order_for;

/// Free frames through the direct map.
struct DirectMapAccess;

impl FrameAccess for DirectMapAccess {
    fn read(&self, frame: u64) -> [u64; 2] {
        // SAFETY: the allocator reads only first frames of free blocks, which the direct map shows and nobody
        // else uses.
        unsafe { (phys_to_virt(frame) as *const [u64; 2]).read() }
    }
    fn write(&mut self, frame: u64, words: [u64; 2]) {
        // SAFETY: as above.
        unsafe { (phys_to_virt(frame) as *mut [u64; 2]).write(words) }
    }
}

static FRAMES: SpinLock<Option<Buddy<'static, DirectMapAccess>>> = SpinLock::new(None);

/// Bytes of bitmap that [`init`] needs for memory that ends at `top`.
pub fn bitmap_len(top: u64) -> usize {
    Buddy::<DirectMapAccess>::bitmap_words(top) * 8
}

/// Starts the allocator with `free` ranges below `top`.
///
/// # Safety
/// The ranges are usable memory in the direct map that nothing else uses.
pub unsafe fn init(top: u64, bitmap: &'static mut [u64], free: impl Iterator<Item = Range<u64>>) {
    let mut buddy = Buddy::new(top, bitmap, DirectMapAccess);
    free.for_each(|range| buddy.add(range));
    *FRAMES.lock() = Some(buddy);
}

/// Takes 2^`order` contiguous frames, aligned to their size; contents undefined.
pub fn allocate(order: usize) -> Option<u64> {
    FRAMES.lock().as_mut()?.allocate(order)
}

/// The same, if more than `reserve` frames stay free.
pub fn allocate_above(order: usize, reserve: u64) -> Option<u64> {
    let mut frames = FRAMES.lock();
    let frames = frames.as_mut()?;
    if frames.statistics().free < reserve + (1 << order) {
        return None;
    }
    frames.allocate(order)
}

/// Gives a block back.
///
/// # Safety
/// Nothing uses the block, which came from [`allocate`] with this order or is an aligned part of one.
pub unsafe fn free(block: u64, order: usize) {
    let result = FRAMES.lock().as_mut().map(|buddy| buddy.free(block, order));
    if let Some(Err(error)) = result {
        panic!("memory at {block:#x} (order {order}) given back: {error}");
    }
}

/// The free block that contains physical address `address`.
pub fn free_block(address: u64) -> Option<Range<u64>> {
    FRAMES.lock().as_ref()?.free_block(address)
}

/// Free blocks of each order.
pub fn free_blocks() -> [u64; MAX_ORDER + 1] {
    FRAMES.lock().as_ref().map(Buddy::free_blocks).unwrap_or_default()
}

/// How the memory is used.
pub fn statistics() -> FrameStatistics {
    FRAMES.lock().as_ref().map(Buddy::statistics).unwrap_or_default()
}
