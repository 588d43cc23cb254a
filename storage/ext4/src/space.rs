//! Space: which blocks and inodes are free, and who gets them.
//!
//! 1. **A group is found in logarithmic time**: for every group a bound on its longest run, and the count of its free
//!    inodes, are kept in trees ([`tree`]). Inside a group the search goes word by word over one bitmap; one that finds
//!    too little lowers the bound, so that nobody searches there in vain again.
//! 2. **What was freed is held** until its transaction is committed: before that a power cut brings the old owner back.
//! 3. **Promises are kept.** Data that is written later has its blocks reserved when it is accepted; ordinary requests
//!    never take those, nor the blocks kept for extent trees, deletions and the administrator.
//! 4. **A damaged bitmap costs its group, not the filesystem**: it is checked when it is first used, and what it cannot
//!    be is allocated elsewhere.

mod bitmap;
mod bitmaps;
mod blocks;
mod groups;
mod inodes;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod zones;

use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::Geometry;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
pub use groups::Free;
use keelson_volume::VolumeError;
use tree::FreeTree;
pub use zones::Zones;

/// Most blocks kept for what must go on when the disk is full: one in fifty, at most this many.
const RESERVE: u64 = 4096;

/// What is known of free space beside the bitmaps.
pub struct Allocator {
    /// Free blocks of the filesystem, held ones included.
    pub free_blocks: u64,
    /// Free inodes of the filesystem.
    pub free_inodes: u64,
    /// Blocks promised to data that is not written yet.
    promised: u64,
    /// Blocks for the administrator.
    root_blocks: u64,
    /// Blocks for extent trees and deletions.
    reserve: u64,
    /// The operation may take what is reserved: it keeps a promise, or frees more than it takes. Each operation starts
    /// without.
    pub use_reserve: bool,
    /// Freed, but not yet for use.
    held: BTreeMap<BlockNr, u32>,
    groups: Vec<Free>,
    /// No run of the group is longer. A hint: not undone with an operation, and never too low.
    group_runs: FreeTree,
    group_inodes: FreeTree,
    first_block: BlockNr,
    blocks_per_group: u32,
    /// Groups whose descriptors were read.
    counted_groups: u32,
    zones: Zones,
    /// Group for the next directory below the root.
    pub(crate) next_directory_group: u32,
}

impl Allocator {
    /// Nothing is known yet; [`Engine::count_descriptors`] finds out.
    pub fn new(geometry: &Geometry) -> Allocator {
        Allocator {
            free_blocks: 0,
            free_inodes: 0,
            promised: 0,
            root_blocks: geometry.reserved_blocks,
            reserve: (geometry.blocks / 50).min(RESERVE),
            use_reserve: false,
            held: BTreeMap::new(),
            groups: alloc::vec![Free::default(); geometry.groups as usize],
            group_runs: FreeTree::new(geometry.groups),
            first_block: geometry.first_data_block,
            blocks_per_group: geometry.blocks_per_group,
            counted_groups: 0,
            group_inodes: FreeTree::new(geometry.groups),
            zones: Zones::default(),
            next_directory_group: 0,
        }
    }

    /// Blocks that ordinary requests may still take.
    pub fn available(&self) -> u64 {
        self.free_blocks.saturating_sub(self.promised + self.root_blocks + self.reserve)
    }

    /// Blocks promised to data that is not written yet.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// Promises blocks to data that is written later. Not undone with an operation: make it the last step, or take it
    /// back.
    ///
    /// # Errors
    ///
    /// [`Halt::Crowded`] when so many are not available.
    pub fn reserve(&mut self, blocks: u64) -> Result<(), Halt> {
        let available = match self.use_reserve {
            true => self.free_blocks.saturating_sub(self.promised),
            false => self.available(),
        };
        if blocks > available {
            return Err(Halt::Crowded);
        }
        self.promised += blocks;
        Ok(())
    }

    /// Takes a promise back, or notes that it was kept.
    pub fn unreserve(&mut self, blocks: u64) {
        self.promised = self.promised.saturating_sub(blocks);
    }

    /// What belongs to the filesystem itself: superblocks, descriptors, bitmaps, inode tables, the journal.
    pub fn is_system(&self, start: BlockNr, count: u32) -> bool {
        self.zones.overlaps(start, u64::from(count))
    }

    /// Adds to that.
    pub fn add_system(&mut self, start: BlockNr, count: u32) {
        self.zones.add(start, u64::from(count));
    }
}

impl Engine {
    /// No space. A commit may release some, if any is held.
    fn no_space(&mut self) -> Halt {
        self.counters.no_space += 1;
        if self.allocator.held.is_empty() { Halt::Fail(VolumeError::NoSpace) } else { Halt::Crowded }
    }
}
