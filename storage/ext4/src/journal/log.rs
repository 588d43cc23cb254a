//! The log: a ring of blocks inside the journal's inode.

use super::Sequence;
use super::format::{Format, Superblock};
use crate::engine::BlockNr;
use alloc::vec::Vec;

/// A run of the journal's blocks that lies together on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number within the journal of the first.
    pub logical: u32,
    /// Where that is.
    pub block: BlockNr,
    /// How many.
    pub count: u32,
}

/// The ring. Blocks of it are named by their number within the journal.
pub struct Log {
    /// What its blocks look like.
    pub format: Format,
    /// The journal's superblock.
    pub superblock: Superblock,
    places: Vec<Place>,
    first: u32,
    end: u32,
    /// The next to be written.
    pub head: u32,
    /// The oldest that is needed, and the transaction that begins there (or the next one).
    pub tail: (u32, Sequence),
    /// The same as the disk has it, safely.
    pub safe_tail: (u32, Sequence),
    /// The newest tail whose home writes are all flushed: what the superblock may say next.
    pub flushed_tail: (u32, Sequence),
    /// Home writes have ended since the last flush.
    pub awaits_flush: bool,
    /// The journal's superblock on the disk says that the log is empty.
    pub is_marked_empty: bool,
}

impl Log {
    /// An empty log; the next transaction has the number `next`.
    pub fn new(superblock: Superblock, places: Vec<Place>, block_size: usize, next: Sequence) -> Log {
        let (first, end) = (superblock.first(), superblock.end());
        Log {
            format: superblock.format(block_size),
            superblock,
            places,
            first,
            end,
            head: first,
            tail: (first, next),
            safe_tail: (first, next),
            flushed_tail: (first, next),
            awaits_flush: false,
            is_marked_empty: true,
        }
    }

    /// Where it lies.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Blocks of the ring.
    pub fn length(&self) -> u32 {
        self.end - self.first
    }

    /// Blocks of transactions that are not known to be home.
    pub fn pending(&self) -> u32 {
        self.between(self.tail.0, self.head)
    }

    /// Blocks that a flush would set free.
    pub fn awaiting(&self) -> u32 {
        self.between(self.safe_tail.0, self.tail.0)
    }

    fn between(&self, from: u32, to: u32) -> u32 {
        (to + self.length() - from) % self.length()
    }

    /// Blocks that must not be overwritten.
    pub fn used(&self) -> u32 {
        self.between(self.safe_tail.0, self.head)
    }

    /// Blocks that may be written. One always stays free: a full ring looks like an empty one.
    pub fn room(&self) -> usize {
        (self.length() - self.used() - 1) as usize
    }

    /// Blocks that a transaction takes.
    pub fn needed(&self, blocks: usize, revoked: usize) -> usize {
        let descriptors = blocks.div_ceil(self.format.tags_per_block());
        blocks + descriptors + revoked.div_ceil(self.format.revokes_per_block()) + 1
    }

    /// The block `count` behind `at`.
    pub fn after(&self, at: u32, count: u32) -> u32 {
        self.first + (at - self.first + count) % self.length()
    }

    /// Where a block of the journal is on the disk, and how many behind it follow there.
    pub fn place(&self, logical: u32) -> Option<(BlockNr, u32)> {
        place(&self.places, logical)
    }

    /// Consecutive blocks of the ring, from `at` on, as runs on the disk.
    pub fn runs(&self, mut at: u32, mut blocks: Vec<u8>) -> Vec<(BlockNr, Vec<u8>)> {
        let size = self.format.block_size;
        let mut runs = Vec::new();
        while !blocks.is_empty() {
            let Some((block, together)) = self.place(at) else { break };
            let count = together.min(self.end - at).min((blocks.len() / size) as u32);
            let rest = blocks.split_off(count as usize * size);
            runs.push((block, core::mem::replace(&mut blocks, rest)));
            at = self.after(at, count);
        }
        runs
    }

    /// All home writes that have ended are safe.
    pub fn note_flush(&mut self) {
        self.awaits_flush = false;
        self.flushed_tail = self.tail;
    }

    /// The log was empty, and the oldest transaction is one that is about to be written.
    pub fn begin_at(&mut self, tail: (u32, Sequence)) {
        (self.tail, self.flushed_tail) = (tail, tail);
    }

    /// What is older is home.
    pub fn move_tail(&mut self, tail: (u32, Sequence)) {
        self.tail = tail;
        if !self.awaits_flush {
            self.flushed_tail = tail;
        }
    }

    /// The superblock with the log's start as far as that is safe (or 0 when `empty`), and where it goes.
    pub fn encode_superblock(&mut self, empty: bool) -> (BlockNr, Vec<u8>) {
        let (start, sequence) = self.flushed_tail;
        let raw = self.superblock.encode(if empty { 0 } else { start }, sequence);
        (self.place(0).map_or(0, |(block, _)| block), raw)
    }
}

/// Where a block of the journal is on the disk, and how many from it on follow there.
pub fn place(places: &[Place], logical: u32) -> Option<(BlockNr, u32)> {
    let index = places.partition_point(|place| place.logical <= logical).checked_sub(1)?;
    let place = places[index];
    let into = logical - place.logical;
    (into < place.count).then(|| (place.block + u64::from(into), place.count - into))
}
