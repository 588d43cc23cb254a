//! What is free in each group, and how long its runs can be.

use super::Allocator;
use crate::engine::BlockNr;

/// A group's free blocks and inodes, and whether they can be had.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Free {
    /// Blocks.
    pub blocks: u32,
    /// Inodes.
    pub inodes: u32,
    /// The block bitmap is damaged: nothing is allocated here until the next mount.
    pub no_blocks: bool,
    /// The inode bitmap is.
    pub no_inodes: bool,
}

impl Allocator {
    /// Counts free blocks and inodes of a group. Blocks are those of one run at most.
    pub fn count(&mut self, group: u32, blocks: i64, inodes: i64) {
        let Some(free) = self.groups.get_mut(group as usize) else { return };
        let changed =
            |count: u32, change: i64| (i64::from(count) + change).clamp(0, i64::from(u32::MAX)) as u32;
        (free.blocks, free.inodes) = (changed(free.blocks, blocks), changed(free.inodes, inodes));
        let free = *free;
        if !free.no_blocks {
            self.free_blocks = self.free_blocks.saturating_add_signed(blocks);
            self.join_runs(group, blocks.clamp(0, i64::from(u32::MAX)) as u32);
        }
        if !free.no_inodes {
            self.free_inodes = self.free_inodes.saturating_add_signed(inodes);
            self.group_inodes.set(group, free.inodes);
        }
    }

    /// A run of a group may have become free for use: it, what is before it and what is behind it can be one.
    fn join_runs(&mut self, group: u32, count: u32) {
        let Some(free) = self.groups.get(group as usize).filter(|free| !free.no_blocks) else { return };
        let (most, now) = (free.blocks, self.group_runs.get(group));
        let longest = if count > 0 { now.saturating_mul(2).saturating_add(count) } else { now };
        self.group_runs.set(group, longest.min(most));
    }

    /// A search through all of a group found nothing longer than this.
    pub(super) fn note_longest(&mut self, group: u32, longest: u32) {
        if longest < self.group_runs.get(group) {
            self.group_runs.set(group, longest);
        }
    }

    /// Blocks that the running transaction freed: not to be used before it is committed.
    pub fn hold(&mut self, start: BlockNr, count: u32) {
        self.held.insert(start, count);
    }

    /// What [`Allocator::hold`] was told is free for use: its transaction is committed.
    pub fn release(&mut self, start: BlockNr, count: u32) {
        self.held.remove(&start);
        let (first, per_group) = (start.saturating_sub(self.first_block), u64::from(self.blocks_per_group));
        let last = first + u64::from(count.max(1)) - 1;
        for group in first / per_group..=last / per_group {
            // More than the part that is in this group does no harm.
            self.join_runs(group as u32, count);
        }
    }

    /// Nothing is allocated in a group whose block bitmap cannot be trusted.
    pub fn avoid_blocks(&mut self, group: u32) {
        let Some(free) = self.groups.get_mut(group as usize).filter(|free| !free.no_blocks) else { return };
        free.no_blocks = true;
        self.free_blocks = self.free_blocks.saturating_sub(u64::from(free.blocks));
        self.group_runs.set(group, 0);
    }

    /// The same for inodes.
    pub fn avoid_inodes(&mut self, group: u32) {
        let Some(free) = self.groups.get_mut(group as usize).filter(|free| !free.no_inodes) else { return };
        free.no_inodes = true;
        self.free_inodes = self.free_inodes.saturating_sub(u64::from(free.inodes));
        self.group_inodes.set(group, 0);
    }

    /// A group's counts.
    pub fn free_of(&self, group: u32) -> Free {
        self.groups.get(group as usize).copied().unwrap_or_default()
    }

    /// The end of the held run that a block is in.
    pub(super) fn held_until(&self, block: BlockNr) -> Option<BlockNr> {
        let (&start, &count) = self.held.range(..=block).next_back()?;
        let end = start + u64::from(count);
        (block < end).then_some(end)
    }

    /// The start of the first held run in a range.
    pub(super) fn next_held(&self, from: BlockNr, to: BlockNr) -> Option<BlockNr> {
        self.held.range(from..to).next().map(|(&start, _)| start)
    }
}
