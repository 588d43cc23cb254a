//! The frame allocator: a binary buddy over physical memory.
//!
//! Free memory is kept in blocks of 2^order frames, order 0 (4 KiB) to 18 (1 GiB), each aligned to its size.
//! An allocation splits the smallest block that is large enough; a block given back merges with its buddy
//! (the neighbour with which it forms the next larger block) as often as that is free too. Both take a
//! number of steps bounded by the number of orders, whatever the size of the memory.
//!
//! The allocator needs no memory of its own beyond one bitmap that the caller hands over: the free lists
//! are linked through the free blocks themselves, reached through [`FrameAccess`]. The bitmap has one bit
//! for each possible block of each order, set while exactly that block is in a free list; it answers "is the
//! buddy free?" without a look at memory that may be in use, and finds most double frees.
//!
//! Each NUMA node has an allocator of its own ([`super::frames`]): a block never has memory of two.
//!
//! Not here: locking (one lock around the whole), per-core caches.

#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 4096;
/// The largest order: 2^18 frames are 1 GiB.
pub const MAX_ORDER: usize = 18;

const ORDERS: usize = MAX_ORDER + 1;
/// End of a free list.
const NONE: u64 = u64::MAX;

/// The smallest order whose blocks hold `bytes`; `None` beyond 1 GiB.
pub fn order_for(bytes: u64) -> Option<usize> {
    let frames = bytes.div_ceil(FRAME_SIZE).max(1).checked_next_power_of_two()?;
    let order = frames.trailing_zeros() as usize;
    (order <= MAX_ORDER).then_some(order)
}

/// Reads and writes the first 16 bytes of free frames.
///
/// The allocator calls it only for the first frame of a block that is free, or at this moment becomes free.
pub trait FrameAccess {
    /// The two words at physical address `frame`.
    fn read(&self, frame: u64) -> [u64; 2];
    /// Replaces them.
    fn write(&mut self, frame: u64, words: [u64; 2]);
}

/// Numbers of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameStatistics {
    /// Added and not reserved.
    pub total: u64,
    /// Not allocated.
    pub free: u64,
    /// Most that were ever allocated at once.
    pub high_water: u64,
    /// Allocations that found no block.
    pub failures: u64,
}

impl FrameStatistics {
    /// Allocated frames.
    pub fn used(&self) -> u64 {
        self.total - self.free
    }
}

/// Why a block was not taken back. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// The order is above [`MAX_ORDER`], the address no multiple of the block's size, or beyond the end.
    NotABlock,
    /// The block or a part of it is free already.
    AlreadyFree,
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FreeError::NotABlock => "no block of the frame allocator",
            FreeError::AlreadyFree => "block is free already",
        })
    }
}

/// The allocator. Addresses are physical, in bytes.
pub struct Buddy<'m, M> {
    memory: M,
    bitmap: &'m mut [u64],
    /// First frame that the bitmap covers, a multiple of the largest block.
    first: u64,
    /// Number of frames it covers, a multiple too.
    frames: u64,
    /// First block of each free list.
    heads: [u64; ORDERS],
    statistics: FrameStatistics,
}

impl<'m, M: FrameAccess> Buddy<'m, M> {
    /// Words of bitmap needed for memory between two physical addresses: 64 KiB for each GiB.
    pub fn bitmap_words(span: Range<u64>) -> usize {
        (2 * covered_frames(&span).1 / 64) as usize
    }

    /// An allocator that has no memory yet and can be given any within `span`.
    ///
    /// # Panics
    ///
    /// When `bitmap` is shorter than [`Buddy::bitmap_words`].
    pub fn new(span: Range<u64>, bitmap: &'m mut [u64], memory: M) -> Self {
        let (first, frames) = covered_frames(&span);
        assert!(bitmap.len() >= Self::bitmap_words(span), "bitmap too short for {frames} frames");
        bitmap.fill(0);
        Buddy { memory, bitmap, first, frames, heads: [NONE; ORDERS], statistics: FrameStatistics::default() }
    }

    /// Adds the whole frames of `range`. What the bitmap does not cover is left out. The range must
    /// not overlap one added before (see [`super::regions::usable`]).
    pub fn add(&mut self, range: Range<u64>) {
        let mut frame = range.start.div_ceil(FRAME_SIZE).max(self.first);
        let end = (range.end / FRAME_SIZE).min(self.end());
        while frame < end {
            let order = largest_order_at(frame, end);
            self.release(frame, order);
            self.statistics.total += 1 << order;
            self.statistics.free += 1 << order;
            frame += 1 << order;
        }
    }

    /// Takes the free frames that `range` touches out of the allocator for good; returns how many.
    pub fn reserve(&mut self, range: Range<u64>) -> u64 {
        let mut frame = (range.start / FRAME_SIZE).max(self.first);
        let end = range.end.div_ceil(FRAME_SIZE).min(self.end());
        let mut taken = 0;
        while frame < end {
            let Some((start, order)) = self.free_block_around(frame) else {
                frame += 1;
                continue;
            };
            self.unlink(start, order);
            let after = start + (1 << order);
            // Give back what lies before and behind the range, largest blocks first.
            self.release_run(start, frame);
            self.release_run(end, after);
            taken += after.min(end) - frame;
            frame = after;
        }
        self.statistics.total -= taken;
        self.statistics.free -= taken;
        taken
    }

    /// A block of 2^`order` frames, aligned to its size, contents undefined.
    pub fn allocate(&mut self, order: usize) -> Option<u64> {
        let found = (order..ORDERS).find(|&order| self.heads[order] != NONE);
        self.take(found.map(|found| (self.heads[found] / FRAME_SIZE, found)), order)
    }

    /// The block with the lowest address, if it ends at or below `limit`. For boot: the search takes time in
    /// proportion to `limit`.
    pub fn allocate_below(&mut self, order: usize, limit: u64) -> Option<u64> {
        let limit = (limit / FRAME_SIZE).min(self.end());
        let first = self.first;
        let lowest = |candidate: usize| {
            let last = limit.checked_sub(1u64.checked_shl(order as u32)?)?;
            (first >> candidate..=last >> candidate)
                .map(|n| n << candidate)
                .find(|&n| self.is_free(n, candidate))
        };
        let found = (order..ORDERS).filter_map(|candidate| Some((lowest(candidate)?, candidate))).min();
        self.take(found, order)
    }

    /// Takes back a block that [`Buddy::allocate`] returned for the same `order`.
    pub fn free(&mut self, address: u64, order: usize) -> Result<(), FreeError> {
        let frame = address / FRAME_SIZE;
        if order > MAX_ORDER
            || !address.is_multiple_of(FRAME_SIZE << order)
            || frame < self.first
            || frame.checked_add(1 << order).is_none_or(|end| end > self.end())
            || self.statistics.used() < 1 << order
        {
            return Err(FreeError::NotABlock);
        }
        // Free blocks further inside are not looked for: that would cost time in proportion to the block.
        if self.free_block_around(frame).is_some() {
            return Err(FreeError::AlreadyFree);
        }
        self.release(frame, order);
        self.statistics.free += 1 << order;
        Ok(())
    }

    /// The free block that contains physical address `address`.
    pub fn free_block(&self, address: u64) -> Option<Range<u64>> {
        let frame = address / FRAME_SIZE;
        if !(self.first..self.end()).contains(&frame) {
            return None;
        }
        let (start, order) = self.free_block_around(frame)?;
        Some(start * FRAME_SIZE..(start + (1 << order)) * FRAME_SIZE)
    }

    /// Free blocks of each order.
    pub fn free_blocks(&self) -> [u64; MAX_ORDER + 1] {
        core::array::from_fn(|order| {
            let next = |at: &u64| Some(self.memory.read(*at)[0]).filter(|next| *next != NONE);
            let first = Some(self.heads[order]).filter(|head| *head != NONE);
            core::iter::successors(first, next).count() as u64
        })
    }

    /// How the memory is used.
    pub fn statistics(&self) -> FrameStatistics {
        self.statistics
    }

    /// The frame behind the last one that the bitmap covers.
    fn end(&self) -> u64 {
        self.first + self.frames
    }

    /// Takes the free block `found`, of which the first 2^`order` frames become allocated.
    fn take(&mut self, found: Option<(u64, usize)>, order: usize) -> Option<u64> {
        let Some((frame, mut size)) = found else {
            self.statistics.failures += 1;
            return None;
        };
        self.unlink(frame, size);
        while size > order {
            size -= 1;
            self.link(frame + (1 << size), size);
        }
        self.statistics.free -= 1 << order;
        self.statistics.high_water = self.statistics.high_water.max(self.statistics.used());
        Some(frame * FRAME_SIZE)
    }

    /// Puts a block into the free lists, merged with its buddies.
    fn release(&mut self, mut frame: u64, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !self.is_free(buddy, order) {
                break;
            }
            self.unlink(buddy, order);
            frame = frame.min(buddy);
            order += 1;
        }
        self.link(frame, order);
    }

    fn release_run(&mut self, mut frame: u64, end: u64) {
        while frame < end {
            let order = largest_order_at(frame, end);
            self.release(frame, order);
            frame += 1 << order;
        }
    }

    /// The free block that contains `frame`.
    fn free_block_around(&self, frame: u64) -> Option<(u64, usize)> {
        (0..ORDERS)
            .map(|order| (frame >> order << order, order))
            .find(|&(start, order)| self.is_free(start, order))
    }

    fn is_free(&self, frame: u64, order: usize) -> bool {
        let (word, mask) = self.bit(frame, order);
        self.bitmap[word] & mask != 0
    }

    /// Where the bitmap has the block: first the bits of all blocks of order 0, then those of order 1...
    fn bit(&self, frame: u64, order: usize) -> (usize, u64) {
        let before = 2 * self.frames - ((2 * self.frames) >> order);
        let bit = before + ((frame - self.first) >> order);
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    /// Puts a block at the head of its list. A free block's words are [next, previous].
    fn link(&mut self, frame: u64, order: usize) {
        let (word, mask) = self.bit(frame, order);
        self.bitmap[word] |= mask;
        let (address, next) = (frame * FRAME_SIZE, self.heads[order]);
        self.memory.write(address, [next, NONE]);
        if next != NONE {
            let [after, _] = self.memory.read(next);
            self.memory.write(next, [after, address]);
        }
        self.heads[order] = address;
    }

    fn unlink(&mut self, frame: u64, order: usize) {
        let (word, mask) = self.bit(frame, order);
        self.bitmap[word] &= !mask;
        let [next, previous] = self.memory.read(frame * FRAME_SIZE);
        if next != NONE {
            let [after, _] = self.memory.read(next);
            self.memory.write(next, [after, previous]);
        }
        if previous != NONE {
            let [_, before] = self.memory.read(previous);
            self.memory.write(previous, [next, before]);
        } else {
            self.heads[order] = next;
        }
    }
}

/// The first frame and the number of frames of a span, rounded to whole blocks of the largest order.
fn covered_frames(span: &Range<u64>) -> (u64, u64) {
    let block = FRAME_SIZE << MAX_ORDER;
    let (first, end) = (span.start / block, span.end.div_ceil(block));
    (first << MAX_ORDER, end.saturating_sub(first) << MAX_ORDER)
}

/// The order of the largest aligned block that starts at `frame` and ends at or before `end`.
fn largest_order_at(frame: u64, end: u64) -> usize {
    let fits = (end - frame).ilog2();
    frame.trailing_zeros().min(fits).min(MAX_ORDER as u32) as usize
}

#[cfg(test)]
mod tests;
