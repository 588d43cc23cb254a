//! Frames for programs: from the frame allocator, counted, zeroed.

use super::counts::{Counts, lengths, order_of};
use super::stock::{self, Stock};
use crate::mm::{self, PAGE_SIZE, frames};
use core::ops::Range;
use core::sync::atomic::{AtomicU16, AtomicU32};
use keelson_hal::user::{Frame, FramePool, PageSize};
use spin::Once;

/// Memory that programs do not get, so that the kernel can go on when they took all there is.
const KERNEL_RESERVE: u64 = 8 << 20;

static COUNTS: Once<Counts<'static>> = Once::new();
static STOCK: Stock = Stock::new();

/// The pool of this machine.
pub struct Pool;

/// All frames are counted here.
pub static POOL: Pool = Pool;

/// Sets up the counts for memory up to `top`; false when there is no memory for them.
pub fn init(top: u64) -> bool {
    let [small, large, huge] = lengths(top);
    let words = small + large + huge + large / 2;
    let Some(order) = frames::order_for(words as u64 * 4) else { return false };
    let Some(block) = frames::allocate(order) else { return false };
    let address = mm::phys_to_virt(block);
    // SAFETY: a fresh block of that length in the direct map, for ever; zeros are atomics of any size.
    COUNTS.call_once(|| unsafe {
        core::ptr::write_bytes(address as *mut u8, 0, (PAGE_SIZE as usize) << order);
        let first = address as *const AtomicU32;
        let slice = |start: usize, len: usize| core::slice::from_raw_parts(first.add(start), len);
        let parts = first.add(small + large + huge) as *const AtomicU16;
        Counts::new(
            slice(0, small),
            slice(small, large),
            slice(small + large, huge),
            core::slice::from_raw_parts(parts, large),
        )
    });
    true
}

/// The frame allocator does not know sizes beyond its own; a frame of a program has one of three.
fn counts() -> &'static Counts<'static> {
    match COUNTS.get() {
        Some(counts) => counts,
        None => panic!("a frame of a program before user mode was set up"),
    }
}

/// A frame of zeros, if there is one.
pub fn allocate(size: PageSize) -> Option<Frame> {
    let address = match STOCK.take(size) {
        Some(address) => address,
        None => {
            let address = take(size).or_else(|| {
                STOCK.give_up();
                take(size)
            })?;
            stock::zero(address, size.bytes());
            address
        }
    };
    counts().begin(address, size);
    Some(Frame::adopt(&POOL, address, size))
}

/// A frame with unknown content.
pub(super) fn take(size: PageSize) -> Option<u64> {
    frames::allocate_above(order_of(size), KERNEL_RESERVE / PAGE_SIZE)
}

/// Gives back what [`take`] gave.
pub(super) fn give_back(address: u64, size: PageSize) {
    // SAFETY: the last reference is gone, and no core has its translation: the tables keep frames until then.
    unsafe { frames::free(address, order_of(size)) };
}

/// Free and total bytes for programs. What is zeroed already is free.
pub fn memory() -> (u64, u64) {
    let statistics = frames::statistics();
    let free = (statistics.free * PAGE_SIZE).saturating_sub(KERNEL_RESERVE);
    (free + STOCK.bytes(), (statistics.total * PAGE_SIZE).saturating_sub(KERNEL_RESERVE))
}

/// The frame around physical address `address`, if it is a program's.
pub fn frame_of_program(address: u64) -> Option<Range<u64>> {
    let size = COUNTS.get()?.piece(address)?.bytes();
    let start = address & !(size - 1);
    Some(start..start + size)
}

/// Gives back the frames that were zeroed in advance.
pub fn give_up_zeroed() {
    STOCK.give_up();
}

/// Prepares zeroed frames, in steps of at most 64 KiB; false when there is nothing to do. For cores that rest or
/// wait; between steps they look whether there is something better to do.
pub fn refill_zeroed(steps: usize) -> bool {
    COUNTS.get().is_some() && (0..steps).all(|_| STOCK.refill_step())
}

impl FramePool for Pool {
    fn retain(&self, address: u64, size: PageSize) {
        counts().retain(address, size);
    }

    fn release(&self, address: u64, size: PageSize) {
        counts().release(address, size, give_back);
    }

    fn references(&self, address: u64) -> usize {
        counts().references(address)
    }

    fn read(&self, address: u64, into: &mut [u8]) {
        // SAFETY: `Frame` checked that the range lies in a frame that is referenced, and all frames are in the
        // direct map. Programs may write at the same time: then the bytes are old or new, and mean nothing to us.
        unsafe {
            core::ptr::copy_nonoverlapping(
                mm::phys_to_virt(address) as *const u8,
                into.as_mut_ptr(),
                into.len(),
            );
        }
    }

    fn write(&self, address: u64, from: &[u8]) {
        // SAFETY: as `read`; the kernel has no references into frames of programs.
        unsafe {
            core::ptr::copy_nonoverlapping(from.as_ptr(), mm::phys_to_virt(address) as *mut u8, from.len());
        }
    }

    fn zero(&self, address: u64, len: u64) {
        // SAFETY: as `write`.
        unsafe { core::ptr::write_bytes(mm::phys_to_virt(address) as *mut u8, 0, len as usize) };
    }

    fn split(&self, address: u64, size: PageSize) {
        counts().split(address, size);
    }
}
