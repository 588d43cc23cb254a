//! Memory for a kernel that has failed: set aside while all was well, in use only when nothing else can be trusted.
//!
//! ```text
//!   start | stack | allocations -->            <-- device memory | end
//! ```
//!
//! After [`enter`] the heap is here, and locks that others held are not waited for. Nothing is given back: what comes after is a
//! reset.

use super::{PAGE_SIZE, frames, phys_to_virt};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use keelson_hal::{Dma, DmaRegion};

/// What a NIC's rings and buffers take, twice: those of the largest take 2 MiB.
const LEN: usize = 8 << 20;
/// At the bottom: exceptions are reported on stacks of 16 KiB.
const STACK: usize = 128 << 10;

/// Next free byte, and the end of what is free; addresses in the direct map. 0 while nothing is set aside.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static STACK_TOP: AtomicUsize = AtomicUsize::new(0);
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// Sets memory aside; false when there is none, or there is some already.
pub fn reserve() -> bool {
    if END.load(Ordering::Relaxed) != 0 {
        return false;
    }
    let Some(block) = frames::order_for(LEN as u64).and_then(frames::allocate) else { return false };
    let start = phys_to_virt(block);
    STACK_TOP.store(start + STACK, Ordering::Relaxed);
    NEXT.store(start + STACK, Ordering::Relaxed);
    END.store(start + LEN, Ordering::Release);
    true
}

/// All that is set aside, physical addresses: of no interest to a dump. Empty when there is none.
pub(crate) fn place() -> Range<u64> {
    match STACK_TOP.load(Ordering::Relaxed) {
        0 => 0..0,
        top => {
            let start = super::KernelDma.phys_of(top - STACK);
            start..start + LEN as u64
        }
    }
}

/// Top of the stack that is set aside.
pub(crate) fn stack_top() -> usize {
    STACK_TOP.load(Ordering::Relaxed)
}

/// From here on the heap is this memory. For the core that reports a panic, when all others have stopped, and
/// [`reserve`] had some.
pub(crate) fn enter() {
    IS_ENTERED.store(true, Ordering::Release);
}

/// True after [`enter`].
#[inline(always)]
pub(super) fn is_entered() -> bool {
    IS_ENTERED.load(Ordering::Relaxed)
}

/// Memory of the heap; null when there is no more.
#[cold]
pub(super) fn allocate(layout: Layout) -> *mut u8 {
    let (next, end) = (NEXT.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
    match from_bottom(next, end, layout) {
        Some(start) => {
            NEXT.store(start + layout.size(), Ordering::Relaxed);
            start as *mut u8
        }
        None => ptr::null_mut(),
    }
}

/// Where the next allocation begins.
fn from_bottom(next: usize, end: usize, layout: Layout) -> Option<usize> {
    let start = next.checked_next_multiple_of(layout.align())?;
    (start.checked_add(layout.size())? <= end).then_some(start)
}

/// Where device memory of `len` bytes, whole pages, begins.
fn from_top(next: usize, end: usize, len: usize) -> Option<usize> {
    // As aligned as it is long, as the frame allocator has it: rings rely on that.
    let start = end.checked_sub(len)? & !(len.next_power_of_two() - 1);
    (start >= next).then_some(start)
}

/// Device memory from what is set aside.
#[derive(Clone, Copy, Default)]
pub struct RescueDma;

impl Dma for RescueDma {
    fn allocate(&self, len: usize) -> Option<DmaRegion> {
        if !is_entered() {
            return None;
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE as usize)?;
        let start = from_top(NEXT.load(Ordering::Relaxed), END.load(Ordering::Relaxed), len)?;
        END.store(start, Ordering::Relaxed);
        // SAFETY: nobody else gets this part of the block, which is ours and in the direct map.
        unsafe { ptr::write_bytes(start as *mut u8, 0, len) };
        Some(DmaRegion { virt: start, phys: self.phys_of(start), len })
    }

    fn free(&self, _region: DmaRegion) {}

    fn phys_of(&self, virt: usize) -> u64 {
        super::KernelDma.phys_of(virt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_do_not_meet() {
        let layout = |len, align| Layout::from_size_align(len, align).unwrap();
        assert_eq!(from_bottom(0x1001, 0x2000, layout(0x10, 8)), Some(0x1008));
        assert_eq!(from_bottom(0x1008, 0x2000, layout(0xff8, 8)), Some(0x1008));
        assert_eq!(from_bottom(0x1008, 0x2000, layout(0xff9, 8)), None);
        assert_eq!(from_bottom(0x1008, 0x2000, layout(1, 0x1000)), None);
        assert_eq!(from_bottom(usize::MAX - 2, usize::MAX, layout(8, 8)), None);
        assert_eq!(from_top(0x1000, 0x9000, 0x1000), Some(0x8000));
        assert_eq!(from_top(0x1000, 0x9000, 0x3000), Some(0x4000));
        assert_eq!(from_top(0x8000, 0x9000, 0x1000), Some(0x8000));
        assert_eq!(from_top(0x8001, 0x9000, 0x1000), None);
        assert_eq!(from_top(0x1000, 0x9000, 0x10000), None);
    }
}
