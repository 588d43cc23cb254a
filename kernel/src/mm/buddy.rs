//! The frame allocator: a binary buddy over physical memory.
//!
//! Free memory is kept in blocks of 2^order frames, order 0 (4 KiB) to 18 (1 GiB), each aligned to its size.
//! An allocation splits the smallest block that is large enough; a block given back merges with its buddy
//! (the neighbour with which it forms the next larger block) as often as that is free too. Both take a
//! number of steps bounded by the number of orders, times the levels of a set: one for each factor of 64 in the memory's size.
//!
//! The allocator needs no memory of its own beyond a bitmap that the caller hands over, with one bit for each possible block of each
//! order, small ones first: the free blocks are a set of such numbers ([`NumberSet`]), in which the next one is the smallest that is
//! large enough. Nothing is kept in the blocks themselves: a free block may never have been touched, and on a machine that is not
//! real the first touch of each 2 MiB costs its host a page of that size, a millisecond and more. For the same reason it is the
//! lowest block that is taken, so that what is in use lies close together. The bitmap finds most double frees, too.
//!
//! Each NUMA node has an allocator of its own ([`super::frames`]): a block never has memory of two.
//!
//! Not here: locking (one lock around the whole), per-core caches.

#![forbid(unsafe_code)]

mod set;

use core::fmt;
use core::ops::Range;
use set::NumberSet;

/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 4096;
/// The largest order: 2^18 frames are 1 GiB.
pub const MAX_ORDER: usize = 18;

const ORDERS: usize = MAX_ORDER + 1;

/// The smallest order whose blocks hold `bytes`; `None` beyond 1 GiB.
pub fn order_for(bytes: u64) -> Option<usize> {
    let frames = bytes.div_ceil(FRAME_SIZE).max(1).checked_next_power_of_two()?;
    let order = frames.trailing_zeros() as usize;
    (order <= MAX_ORDER).then_some(order)
}

/// Numbers of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameStatistics {
    /// Added.
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
pub struct Buddy<'m> {
    /// The free blocks, by [`Buddy::number`].
    free: NumberSet<'m>,
    /// First frame that the set covers, a multiple of the largest block.
    first: u64,
    /// Number of frames it covers, a multiple too.
    frames: u64,
    statistics: FrameStatistics,
}

impl<'m> Buddy<'m> {
    /// Words of bitmap needed for memory between two physical addresses: 65 KiB for each GiB.
    pub fn bitmap_words(span: Range<u64>) -> usize {
        NumberSet::words(2 * covered_frames(&span).1)
    }

    /// An allocator that has no memory yet and can be given any within `span`.
    ///
    /// # Panics
    ///
    /// When `bitmap` is shorter than [`Buddy::bitmap_words`].
    pub fn new(span: Range<u64>, bitmap: &'m mut [u64]) -> Self {
        let (first, frames) = covered_frames(&span);
        let free = NumberSet::new(2 * frames, bitmap);
        Buddy { free, first, frames, statistics: FrameStatistics::default() }
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

    /// A block of 2^`order` frames, aligned to its size, contents undefined: the lowest of the smallest that are large enough.
    pub fn allocate(&mut self, order: usize) -> Option<u64> {
        let Some(found) = self.free.next(self.first_number(order)) else {
            self.statistics.failures += 1;
            return None;
        };
        let (frame, mut size) = self.block(found);
        self.free.remove(found);
        while size > order {
            size -= 1;
            self.free.insert(self.number(frame + (1 << size), size));
        }
        self.statistics.free -= 1 << order;
        self.statistics.high_water = self.statistics.high_water.max(self.statistics.used());
        Some(frame * FRAME_SIZE)
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
        let mut count = [0; ORDERS];
        let mut next = self.free.next(0);
        while let Some(number) = next {
            count[self.block(number).1] += 1;
            next = self.free.next(number + 1);
        }
        count
    }

    /// How the memory is used.
    pub fn statistics(&self) -> FrameStatistics {
        self.statistics
    }

    /// The frame behind the last one that the bitmap covers.
    fn end(&self) -> u64 {
        self.first + self.frames
    }

    /// Makes a block free, merged with its buddies.
    fn release(&mut self, mut frame: u64, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !self.is_free(buddy, order) {
                break;
            }
            self.free.remove(self.number(buddy, order));
            frame = frame.min(buddy);
            order += 1;
        }
        self.free.insert(self.number(frame, order));
    }

    /// The free block that contains `frame`.
    fn free_block_around(&self, frame: u64) -> Option<(u64, usize)> {
        (0..ORDERS)
            .map(|order| (frame >> order << order, order))
            .find(|&(start, order)| self.is_free(start, order))
    }

    fn is_free(&self, frame: u64, order: usize) -> bool {
        self.free.contains(self.number(frame, order))
    }

    /// The number of the block of this order that begins at `frame`: first come all blocks of order 0, then those of order 1...
    fn number(&self, frame: u64, order: usize) -> u64 {
        self.first_number(order) + ((frame - self.first) >> order)
    }

    /// The number of the first block of an order.
    fn first_number(&self, order: usize) -> u64 {
        2 * self.frames - (2 * self.frames).checked_shr(order as u32).unwrap_or(0)
    }

    /// The first frame and the order of the block with this number.
    fn block(&self, number: u64) -> (u64, usize) {
        let order = (2 * self.frames / (2 * self.frames - number)).ilog2() as usize;
        (self.first + ((number - self.first_number(order)) << order), order)
    }
}

/// The first frame and the number of frames of a span, rounded to whole blocks of the largest order.
fn covered_frames(span: &Range<u64>) -> (u64, u64) {
    let block = FRAME_SIZE << MAX_ORDER;
    let (first, end) = (span.start / block, span.end.div_ceil(block));
    (first << MAX_ORDER, end.saturating_sub(first) << MAX_ORDER)
}

/// The order of the largest aligned block that starts at `frame` and ends at or before `end`.
pub(super) fn largest_order_at(frame: u64, end: u64) -> usize {
    let fits = (end - frame).ilog2();
    frame.trailing_zeros().min(fits).min(MAX_ORDER as u32) as usize
}

#[cfg(test)]
mod tests;
