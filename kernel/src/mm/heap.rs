//! The heap: talc on blocks of the direct map.
//!
//! Every block comes from the frame allocator as one physically contiguous piece, and talc never joins two
//! claims, so that a single allocation is always contiguous for devices ([`keelson_hal::Dma::phys_of`]).

use super::{PAGE_SIZE, frames, phys_to_virt, rescue};
use core::alloc::{GlobalAlloc, Layout};
use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

/// Least growth of the heap, so that it does not fragment into pages.
const GROWTH: usize = 256 * 1024;
/// Room for talc's own records in a block, the bins of the first one included.
const OVERHEAD: usize = 4096;

/// Feeds talc from the frame allocator; never gives back.
#[derive(Debug)]
pub struct Frames;

// SAFETY: `acquire` uses nothing but the frame allocator, which does not allocate from the heap.
unsafe impl Source for Frames {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted =
            layout.size().checked_add(layout.align()).and_then(|n| n.checked_add(OVERHEAD)).ok_or(())?;
        let len = wanted.max(GROWTH).next_multiple_of(PAGE_SIZE as usize);
        let order = frames::order_for(len as u64).ok_or(())?;
        let block = frames::allocate(order).ok_or(())?;
        give_back_tail(block, order, len);
        // SAFETY: the block is ours alone from here on and is mapped read-write in the direct map.
        unsafe { talc.claim(phys_to_virt(block) as *mut u8, len) }.map(|_| ()).ok_or(())
    }
}

/// Returns the part of a block beyond `len` to the frame allocator, in aligned pieces from the end down.
fn give_back_tail(block: u64, order: usize, len: usize) {
    let mut end = PAGE_SIZE << order;
    let len = len as u64;
    while end > len {
        let mut piece = (end.trailing_zeros() - PAGE_SIZE.trailing_zeros()) as usize;
        while end - (PAGE_SIZE << piece) < len {
            piece -= 1;
        }
        end -= PAGE_SIZE << piece;
        // SAFETY: an aligned part of the block just allocated that nobody uses.
        unsafe { frames::free(block + end, piece) };
    }
}

/// The heap of the image; on a host the system's allocator is used and this one stays empty.
static HEAP: TalcLock<spin::Mutex<()>, Frames> = TalcLock::new(Frames);

#[cfg_attr(keelson_image, global_allocator)]
#[cfg_attr(not(keelson_image), allow(dead_code))]
static ALLOCATOR: Allocator = Allocator;

/// The heap, or after the kernel failed what was set aside for that: the heap may be what failed, and its lock be held.
struct Allocator;

// SAFETY: all from one of two allocators; what one of them gave is never given back to the other, because what was set aside
// takes nothing back, and is the only one from then on.
unsafe impl GlobalAlloc for Allocator {
    // Out of line: each of thousands of places would have both ways.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if rescue::is_entered() {
            return rescue::allocate(layout);
        }
        // SAFETY: the caller's.
        unsafe { HEAP.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if !rescue::is_entered() {
            // SAFETY: the caller's.
            unsafe { HEAP.dealloc(at, layout) }
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        if !rescue::is_entered() {
            // SAFETY: the caller's.
            return unsafe { HEAP.realloc(at, layout, len) };
        }
        let Ok(wanted) = Layout::from_size_align(len, layout.align()) else { return core::ptr::null_mut() };
        let to = rescue::allocate(wanted);
        if !to.is_null() {
            // SAFETY: `at` has that many bytes, and `to` is new.
            unsafe { core::ptr::copy_nonoverlapping(at, to, len.min(layout.size())) };
        }
        to
    }
}

/// Use of the heap in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeapCounts {
    /// In live allocations.
    pub used: usize,
    /// Taken from the frame allocator.
    pub claimed: usize,
    /// Live allocations.
    pub allocations: usize,
    /// Allocations since boot: what a piece of work adds is what it costs.
    pub allocations_made: u64,
}

/// How much of the heap is in use.
pub fn counts() -> HeapCounts {
    let heap = HEAP.lock();
    let c = heap.counters();
    HeapCounts {
        used: c.allocated_bytes,
        claimed: c.claimed_bytes,
        allocations: c.allocation_count,
        allocations_made: c.total_allocation_count,
    }
}
