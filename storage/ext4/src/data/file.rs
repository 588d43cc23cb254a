//! The cached content of one file.

use super::chunk::Chunk;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;
use keelson_hal::Instant;

/// A read from the disk that is under way.
pub struct Load {
    /// Which one.
    pub ticket: u64,
    /// The blocks it brings.
    pub blocks: Range<u32>,
    /// Something else was written there meanwhile: what it brings is old.
    pub spoiled: bool,
}

/// What is known of a file's content.
#[derive(Default)]
pub struct File {
    /// By position.
    pub chunks: BTreeMap<u32, Chunk>,
    /// Those with dirty blocks.
    pub dirty: BTreeSet<u32>,
    /// Blocks reserved.
    pub reserved: u64,
    /// User and group for whom they are counted: the file's.
    pub payer: (u32, u32),
    /// Tells it apart from a file that had the number before.
    pub birth: u64,
    /// Reads under way.
    pub loads: Vec<Load>,
    /// A task is writing it back.
    pub is_flushing: bool,
    /// Blocks are on their way to the disk right now.
    pub is_writing: bool,
    /// An operation waits for the writes to end.
    pub is_wanted: bool,
    /// Times its writing back began and ended.
    pub rounds: (u64, u64),
    /// Since when it has had something dirty.
    pub dirty_since: Option<Instant>,
    /// Data was lost, and nobody was told.
    pub is_lost: bool,
    /// Data is in the device that no flush made safe.
    pub needs_flush: bool,
    /// The block with the file's end, if the disk has something else than zeros behind that.
    pub soiled: Option<u32>,
    /// Where a sequential reader goes on.
    pub next_read: u64,
    /// How far to read ahead of it, 0 for other readers.
    pub window: u64,
    /// What was read ahead, or is about to be.
    pub ahead: u64,
}

/// Which bit of a block.
pub type Bits = fn(&Chunk) -> u64;

impl File {
    /// True when nothing is lost by forgetting it.
    pub fn is_idle(&self) -> bool {
        self.chunks.is_empty()
            && self.loads.is_empty()
            && !self.is_flushing
            && !self.is_lost
            && !self.needs_flush
    }

    /// The first run of blocks in `range` whose bit is `set`. A chunk has `per_chunk` blocks.
    pub fn run(&self, range: Range<u32>, per_chunk: u32, bits: Bits, set: bool) -> Option<Range<u32>> {
        let mut start = None;
        let mut at = range.start;
        while at < range.end {
            let within = at % per_chunk;
            let left = (per_chunk - within).min(range.end - at);
            let word = self.chunks.get(&(at / per_chunk)).map_or(0, bits);
            let wanted = if set == start.is_none() { word } else { !word };
            // Up to the first block that starts the run, or ends it.
            let stop = (wanted >> within).trailing_zeros().min(left);
            at += stop;
            if stop < left {
                match start {
                    None => start = Some(at),
                    Some(start) => return Some(start..at),
                }
            }
        }
        start.map(|start| start..range.end)
    }

    /// Marks reads under way that touch these blocks as old.
    pub fn spoil(&mut self, blocks: Range<u32>) {
        for load in &mut self.loads {
            load.spoiled |= load.blocks.start < blocks.end && blocks.start < load.blocks.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cross_chunks() {
        let mut file = File::default();
        file.chunks.entry(0).or_default().valid = 0xf000;
        file.chunks.entry(1).or_default().valid = 0x000f;
        file.chunks.entry(3).or_default().valid = 0xffff;
        let valid = |range, set| file.run(range, 16, |chunk| chunk.valid, set);
        assert_eq!(valid(0..100, true), Some(12..20));
        assert_eq!(valid(13..15, true), Some(13..15));
        assert_eq!(valid(20..100, true), Some(48..64));
        assert_eq!(valid(64..100, true), None);
        assert_eq!(valid(0..100, false), Some(0..12));
        assert_eq!(valid(12..100, false), Some(20..48));
        assert_eq!(valid(50..64, false), None);
        assert_eq!(valid(50..70, false), Some(64..70));
        assert_eq!(valid(5..5, false), None);
    }
}
