//! The heap: talc on blocks of the direct map, and what each core keeps of small blocks in front of it ([`magazines`]).
//!
//! Every block comes from the frame allocator as one physically contiguous piece, and talc never joins two
//! claims, so that a single allocation is always contiguous for devices ([`keelson_hal::Dma::phys_of`]). A block in which nothing is
//! in use any more goes back ([`source`]).

mod magazines;
mod source;

use super::rescue;
use crate::smp::{self, MAX_CORES};
use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use magazines::{Class, Depots, Own};
use source::{Frames, Growing};
use spin::Once;
use talc::TalcLock;

/// The heap of the image; on a host the system's allocator is used and this one stays empty.
static HEAP: TalcLock<spin::Mutex<()>, Growing<Frames>> = TalcLock::new(Growing::new(Frames));

/// Small blocks that talc takes for used, and no core has.
static DEPOTS: Depots = Depots::new();

/// What a core keeps of small blocks: nothing before [`init_this_core`].
#[derive(Default)]
pub struct Magazines(Once<Box<Own>>);

impl Magazines {
    /// Of a core that does not run.
    pub const fn new() -> Magazines {
        Magazines(Once::new())
    }
}

/// From now on this core keeps small blocks itself.
pub fn init_this_core() {
    smp::here().magazines.0.call_once(|| Box::new(Own::new()));
}

#[inline]
fn own() -> Option<&'static Own> {
    smp::here().magazines.0.get().map(|own| &**own)
}

/// For a core that is about to rest. When blocks of the heap went back since it last did, what it and the depots keep goes back, too:
/// some hundred small blocks that nobody uses would each hold one of 256 KiB, where something large has been, for ever.
#[inline]
pub fn settle() {
    if let Some(own) = own().filter(|own| own.has_changed(source::returned())) {
        give_back_small(own);
    }
}

#[cold]
fn give_back_small(own: &Own) {
    own.empty(&DEPOTS, |class, block| {
        // SAFETY: a block of this class, allocated as that, which nobody uses and nobody keeps.
        unsafe { HEAP.dealloc(block.as_ptr(), class.layout()) };
    });
}

#[cfg_attr(keelson_image, global_allocator)]
#[cfg_attr(not(keelson_image), allow(dead_code))]
static ALLOCATOR: Allocator = Allocator;

/// The heap, or after the kernel failed what was set aside for that: the heap may be what failed, and its lock be held.
struct Allocator;

// SAFETY: all from one of two allocators; what one of them gave is never given back to the other, because what was set aside
// takes nothing back, and is the only one from then on. A small block is allocated as large as its class, which follows from
// its layout, and given back as that.
unsafe impl GlobalAlloc for Allocator {
    // Out of line: each of thousands of places would have both ways.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if rescue::is_entered() {
            return rescue::allocate(layout);
        }
        let class = Class::of(layout);
        if let (Some(class), Some(own)) = (class, own())
            && let Some(block) = own.take(&DEPOTS, class)
        {
            return block.as_ptr();
        }
        // SAFETY: the caller's; a class has no empty layout.
        unsafe { HEAP.alloc(class.map_or(layout, Class::layout)) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if rescue::is_entered() {
            return;
        }
        let class = Class::of(layout);
        let (Some(class), Some(block), Some(own)) = (class, NonNull::new(at), own()) else {
            // SAFETY: the caller's; a small block is as large as its class.
            return unsafe { HEAP.dealloc(at, class.map_or(layout, Class::layout)) };
        };
        if let Some(overflow) = own.put(&DEPOTS, class, block) {
            while let Some(block) = overflow.pop() {
                // SAFETY: a block of this class, allocated as that, which nobody uses and nobody keeps.
                unsafe { HEAP.dealloc(block.as_ptr(), class.layout()) };
            }
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(len, layout.align()) else { return ptr::null_mut() };
        let (old, new) = (Class::of(layout), Class::of(wanted));
        if !rescue::is_entered() {
            if old.is_some() && old == new {
                return at;
            }
            if old.is_none() && new.is_none() {
                // SAFETY: the caller's.
                return unsafe { HEAP.realloc(at, layout, len) };
            }
        }
        // SAFETY: the caller's: `wanted` is not empty.
        let to = unsafe { self.alloc(wanted) };
        if !to.is_null() {
            // SAFETY: `at` has that many bytes, and `to` is new; then `at` is used no more.
            unsafe {
                ptr::copy_nonoverlapping(at, to, len.min(layout.size()));
                self.dealloc(at, layout);
            }
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
    let kept =
        DEPOTS.kept((0..MAX_CORES).filter_map(|core| smp::cpu(core).magazines.0.get()).map(|own| &**own));
    let heap = HEAP.lock();
    let c = heap.counters();
    HeapCounts {
        used: c.allocated_bytes.saturating_sub(kept.bytes),
        claimed: c.claimed_bytes,
        allocations: c.allocation_count.saturating_sub(kept.blocks),
        allocations_made: c.total_allocation_count + kept.served,
    }
}
