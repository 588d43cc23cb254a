//! Frames for programs: from the frame allocator, counted, zeroed.

use super::counts::{Counts, lengths, order_of};
use super::share::Share;
use super::stock::{self, Stock};
use crate::mm::{self, PAGE_SIZE, frames};
use crate::numa::{self, NODES_MAX};
use crate::smp;
use alloc::boxed::Box;
use core::ops::Range;
use core::sync::atomic::{AtomicU16, AtomicU32};
use keelson_hal::user::{Frame, FramePool, PageSize};
use spin::Once;

static COUNTS: Once<Counts<'static>> = Once::new();
/// One for each NUMA node.
static STOCKS: Once<Box<[Stock]>> = Once::new();
static SHARES: [Share; NODES_MAX] = [const { Share::all() }; NODES_MAX];

/// The pool of this machine.
pub struct Pool;

/// All frames are counted here.
pub static POOL: Pool = Pool;

/// Sets up the counts for memory up to `top`; false when there is no memory for them.
pub fn init(top: u64) -> bool {
    frames::reserve_for(smp::online());
    let [small, large, huge] = lengths(top);
    let words = small + large + huge + large / 2;
    let Some(order) = frames::order_for(words as u64 * 4) else { return false };
    let Some(block) = frames::allocate(order) else { return false };
    let address = mm::phys_to_virt(block);
    // SAFETY: a fresh block of that length in the direct map, for ever; zeros are atomics of any size.
    COUNTS.call_once(|| unsafe {
        core::ptr::write_bytes(address as *mut u32, 0, words);
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
    STOCKS.call_once(|| (0..numa::nodes()).map(Stock::new).collect());
    true
}

/// The frame allocator does not know sizes beyond its own; a frame of a program has one of three.
fn counts() -> &'static Counts<'static> {
    match COUNTS.get() {
        Some(counts) => counts,
        None => panic!("a frame of a program before user mode was set up"),
    }
}

/// A frame of zeros of this node or the nearest that has one.
pub fn allocate(size: PageSize, node: usize) -> Option<Frame> {
    numa::nearest(node).find_map(|node| allocate_on(size, node))
}

/// A frame of zeros of this node, if it has one for programs.
pub fn allocate_on(size: PageSize, node: usize) -> Option<Frame> {
    let stock = stocks().get(node)?;
    let share = SHARES.get(node)?;
    if !share.take(size.bytes()) {
        return None;
    }
    let address = stock.take(size).or_else(|| {
        let address = take(size, node).or_else(|| {
            stock.give_up();
            take(size, node)
        })?;
        stock::zero(address, size.bytes());
        Some(address)
    });
    let Some(address) = address else {
        share.give_back(size.bytes());
        return None;
    };
    counts().begin(address, size);
    Some(Frame::adopt(&POOL, address, size))
}

fn stocks() -> &'static [Stock] {
    STOCKS.get().map(AsRef::as_ref).unwrap_or_default()
}

/// A frame of a node with unknown content.
pub(super) fn take(size: PageSize, node: usize) -> Option<u64> {
    frames::allocate_for_program(order_of(size), node)
}

/// Gives back what [`take`] gave.
pub(super) fn give_back(address: u64, size: PageSize) {
    // SAFETY: the last reference is gone, and no core has its translation: the tables keep frames until then.
    unsafe { frames::free(address, order_of(size)) };
}

/// Ends a program's use of a frame.
fn end(address: u64, size: PageSize) {
    SHARES[numa::node_of_memory(address)].give_back(size.bytes());
    give_back(address, size);
}

/// Lets programs have so many bytes of a node. Before there are any.
pub fn limit(node: usize, bytes: u64) {
    SHARES.get(node).into_iter().for_each(|share| share.limit(bytes));
}

/// Free and total bytes of a node for programs. What is zeroed already is free.
pub fn memory(node: usize) -> (u64, u64) {
    let (statistics, reserve) = (frames::statistics_of(node), frames::reserve(node));
    let in_stock = stocks().get(node).map_or(0, Stock::bytes);
    let free = (statistics.free * PAGE_SIZE).saturating_sub(reserve) + in_stock;
    let total = (statistics.total * PAGE_SIZE).saturating_sub(reserve);
    SHARES.get(node).map_or((0, 0), |share| share.of(free, total))
}

/// The frame around physical address `address`, if it is a program's.
pub fn frame_of_program(address: u64) -> Option<Range<u64>> {
    let size = COUNTS.get()?.piece(address)?.bytes();
    let start = address & !(size - 1);
    Some(start..start + size)
}

/// Gives back the frames that were zeroed in advance.
pub fn give_up_zeroed() {
    stocks().iter().for_each(Stock::give_up);
}

/// Prepares zeroed frames, in steps of at most 64 KiB; false when there is nothing to do. For cores that rest or
/// wait: those of their own node first. Between steps they look whether there is something better to do.
pub fn refill_zeroed(steps: usize) -> bool {
    let here = numa::node_of_core(smp::current_core());
    (0..steps).all(|_| numa::nearest(here).any(refill_step))
}

/// One step for a node: nothing to do where programs get nothing.
fn refill_step(node: usize) -> bool {
    !SHARES[node].is_none() && stocks().get(node).is_some_and(Stock::refill_step)
}

impl FramePool for Pool {
    fn retain(&self, address: u64, size: PageSize) {
        counts().retain(address, size);
    }

    fn release(&self, address: u64, size: PageSize) {
        counts().release(address, size, end);
    }

    fn references(&self, address: u64, size: PageSize) -> usize {
        counts().references(address, size)
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
