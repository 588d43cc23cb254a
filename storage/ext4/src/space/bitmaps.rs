//! The bitmaps of groups: made when they never were, checked when they come from the disk.

use super::{Engine, bitmap};
use crate::engine::{BlockNr, Kind};
use crate::halt::Halt;
use crate::layout::descriptor::{BLOCK_UNINIT, INODE_UNINIT, bitmap_checksum};

impl Engine {
    /// The block of a group's block bitmap, in memory: made if it never was, checked if it is new here.
    pub(super) fn block_bitmap(&mut self, group: u32) -> Result<BlockNr, Halt> {
        let descriptor = self.descriptor(group)?;
        let (block, kind) = (descriptor.block_bitmap, Kind::BlockBitmap(group));
        if descriptor.flags & BLOCK_UNINIT != 0 {
            return self.make_block_bitmap(group);
        }
        if self.allocator.free_of(group).no_blocks {
            return Err(self.damaged(format_args!("blocks of group {group} cannot be had")));
        }
        self.read(block, kind)?;
        if let Some(slot) = self.cache.peek(block)
            && slot.verified == 0
        {
            let (start, size) = (self.geometry.group_start(group), self.geometry.group_blocks(group));
            let bits = &slot.data;
            let own = self.allocator.zones.within(start, start + u64::from(size));
            // Its own bitmaps and tables are in use, and so is what is behind the end.
            let is_right = own
                .map(|(from, to)| ((from - start) as u32, (to - start) as u32))
                .all(|(from, to)| bitmap::find(bits, from, to, false).is_none())
                && bitmap::count_clear(bits, size) == descriptor.free_blocks
                && bitmap_checksum(bits, self.geometry.blocks_per_group, &self.geometry)
                    .is_none_or(|sum| sum == descriptor.block_bitmap_checksum);
            if !is_right {
                self.allocator.avoid_blocks(group);
                return Err(self.damaged(format_args!("the block bitmap of group {group} is wrong")));
            }
            self.note_verified(block);
        }
        Ok(block)
    }

    /// A bitmap with nothing in use but what belongs to the filesystem itself.
    fn make_block_bitmap(&mut self, group: u32) -> Result<BlockNr, Halt> {
        let mut descriptor = self.descriptor(group)?;
        let block = descriptor.block_bitmap;
        let (start, size) = (self.geometry.group_start(group), self.geometry.group_blocks(group));
        let mut bits = alloc::vec![0; self.geometry.block_size];
        for (from, to) in self.allocator.zones.within(start, start + u64::from(size)) {
            bitmap::put(&mut bits, (from - start) as u32, (to - from) as u32, true);
        }
        if bitmap::count_clear(&bits, size) != descriptor.free_blocks {
            self.allocator.avoid_blocks(group);
            return Err(self.damaged(format_args!("group {group} was never used, and yet is not empty")));
        }
        let all = self.geometry.block_size as u32 * 8;
        bitmap::put(&mut bits, size, all - size, true);
        self.fresh(block, Kind::BlockBitmap(group)).copy_from_slice(&bits);
        descriptor.flags &= !BLOCK_UNINIT;
        self.put_descriptor(group, &descriptor)?;
        Ok(block)
    }

    /// The same for a group's inode bitmap.
    pub(super) fn inode_bitmap(&mut self, group: u32) -> Result<BlockNr, Halt> {
        let mut descriptor = self.descriptor(group)?;
        let (block, kind) = (descriptor.inode_bitmap, Kind::InodeBitmap(group));
        let inodes = self.geometry.inodes_per_group;
        if descriptor.flags & INODE_UNINIT != 0 {
            if descriptor.free_inodes != inodes {
                self.allocator.avoid_inodes(group);
                return Err(self.damaged(format_args!("group {group} was never used, and yet has inodes")));
            }
            let all = self.geometry.block_size as u32 * 8;
            bitmap::put(self.fresh(block, kind), inodes, all - inodes, true);
            descriptor.flags &= !INODE_UNINIT;
            descriptor.unused_inodes = inodes;
            self.put_descriptor(group, &descriptor)?;
            return Ok(block);
        }
        if self.allocator.free_of(group).no_inodes {
            return Err(self.damaged(format_args!("inodes of group {group} cannot be had")));
        }
        self.read(block, kind)?;
        if let Some(slot) = self.cache.peek(block)
            && slot.verified == 0
        {
            let bits = &slot.data;
            let is_right = bitmap::count_clear(bits, inodes) == descriptor.free_inodes
                && bitmap_checksum(bits, inodes, &self.geometry)
                    .is_none_or(|sum| sum == descriptor.inode_bitmap_checksum);
            if !is_right {
                self.allocator.avoid_inodes(group);
                return Err(self.damaged(format_args!("the inode bitmap of group {group} is wrong")));
            }
            self.note_verified(block);
        }
        Ok(block)
    }

    fn note_verified(&mut self, block: BlockNr) {
        if let Some(slot) = self.cache.get(block) {
            slot.verified = u64::MAX;
        }
    }

    /// Changes bits, and saves no more than it must.
    pub(super) fn put_bits(
        &mut self,
        block: BlockNr,
        kind: Kind,
        start: u32,
        count: u32,
        value: bool,
    ) -> Result<(), Halt> {
        let bytes = start as usize / 8..(start + count).div_ceil(8) as usize;
        let bits = self.edit(block, kind, bytes)?;
        bitmap::put(bits, start % 8, count, value);
        Ok(())
    }
}
