//! Where talc has its memory from: blocks of the frame allocator, which go back as soon as nothing in them is in use.

use crate::mm::{PAGE_SIZE, frames, phys_to_virt};
use core::alloc::Layout;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

/// Least growth of the heap, so that it does not fragment into pages.
const GROWTH: usize = 256 * 1024;
/// Room for talc's own records in a block, the bins of the first one included.
const OVERHEAD: usize = 4096;
/// Allocations from this size on leave something for smaller ones: who makes them can do without.
const LARGE: usize = 32 * 1024;

/// Memory in whole pages; the addresses are those of the kernel.
pub trait Blocks {
    /// So many contiguous bytes, whole pages. A large allocation does not get the last there is.
    fn take(&mut self, len: usize, is_large: bool) -> Option<usize>;

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from [`Blocks::take`], and nothing uses it.
    unsafe fn give_back(&mut self, block: Range<usize>);
}

/// Blocks of the usual size that went back since boot.
static RETURNED: AtomicUsize = AtomicUsize::new(0);

/// How many that were, without the heap's lock; it may begin again at 0.
pub fn returned() -> usize {
    RETURNED.load(Ordering::Relaxed)
}

/// The frame allocator.
#[derive(Debug)]
pub struct Frames;

impl Blocks for Frames {
    fn take(&mut self, len: usize, is_large: bool) -> Option<usize> {
        let order = frames::order_for(len as u64)?;
        let block = if is_large { frames::allocate_if_possible(order)? } else { frames::allocate(order)? };
        let rest = block + len as u64..block + (PAGE_SIZE << order);
        // SAFETY: whole pages of the block just allocated that nobody uses.
        unsafe { frames::free_range(rest) };
        Some(phys_to_virt(block))
    }

    unsafe fn give_back(&mut self, block: Range<usize>) {
        // Larger ones had one thing in them, and come and go.
        if block.len() <= GROWTH {
            RETURNED.fetch_add(1, Ordering::Relaxed);
        }
        let start = block.start - phys_to_virt(0);
        // SAFETY: the caller's.
        unsafe { frames::free_range(start as u64..(start + block.len()) as u64) };
    }
}

/// Feeds talc from blocks, each of which is a heap of its own.
#[derive(Debug)]
pub struct Growing<B> {
    blocks: B,
    /// One that is empty: what is allocated and freed again at the edge of what there is does not take and return a block each time.
    spare: Option<Range<usize>>,
}

impl<B: Blocks> Growing<B> {
    pub const fn new(blocks: B) -> Growing<B> {
        Growing { blocks, spare: None }
    }

    /// A block with room for an allocation.
    fn block_for(&mut self, layout: Layout) -> Option<Range<usize>> {
        let wanted = layout.size().checked_add(layout.align())?.checked_add(OVERHEAD)?;
        let least = wanted.checked_next_multiple_of(PAGE_SIZE as usize)?;
        if let Some(spare) = self.spare.take_if(|spare| spare.len() >= least) {
            return Some(spare);
        }
        // When memory is in pieces, a smaller one will do.
        let lens = [least.max(GROWTH), least];
        let is_large = layout.size() >= LARGE;
        lens.into_iter().find_map(|len| {
            let start = self.blocks.take(len, is_large)?;
            Some(start..start + len)
        })
    }
}

// SAFETY: `acquire` uses nothing but the blocks, which do not come from the heap. `resize` gives a heap back as a whole or leaves it
// as it is, and nobody else changes heaps.
unsafe impl<B: Blocks + core::fmt::Debug> Source for Growing<B> {
    const TRACK_HEAP_END: bool = true;

    fn acquire<N: Binning>(talc: &mut Talc<Self, N>, layout: Layout) -> Result<(), ()> {
        let block = talc.source.block_for(layout).ok_or(())?;
        // SAFETY: the block is ours alone from here on, and mapped read-write.
        let end = unsafe { talc.claim(block.start as *mut u8, block.len()) }.ok_or(())?;
        debug_assert_eq!(end.as_ptr() as usize, block.end, "a heap ends with its block");
        Ok(())
    }

    unsafe fn resize(&mut self, chunk_base: *mut u8, heap_end: *mut u8, is_heap_base: bool) -> *mut u8 {
        if !is_heap_base {
            return heap_end;
        }
        // The whole heap is free. Talc's records are less than a page in front of what it handed out.
        let start = (chunk_base as usize - 1) & !(PAGE_SIZE as usize - 1);
        let block = start..heap_end as usize;
        if self.spare.is_none() && block.len() <= GROWTH {
            self.spare = Some(block);
        } else {
            // SAFETY: it was claimed as it is, and nothing in it is in use.
            unsafe { self.blocks.give_back(block) };
        }
        chunk_base
    }
}

#[cfg(test)]
mod tests;
