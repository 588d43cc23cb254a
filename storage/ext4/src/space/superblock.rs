//! Counting at mount, and the counts in the superblock.

use super::Engine;
use crate::engine::{BlockNr, Kind};
use crate::halt::Halt;
use crate::layout::bytes::put_u32;
use crate::layout::checksum::crc32c;
use crate::layout::descriptor::Descriptor;
use crate::layout::superblock::LENGTH;

impl Engine {
    /// Reads all group descriptors, checks them, and counts what is free. At mount. It goes on where it stopped for a
    /// block that was lacking: a table that is longer than the cache is read once, too.
    pub fn count_descriptors(&mut self) -> Result<(), Halt> {
        let geometry = self.geometry;
        let table = geometry.inode_table_blocks();
        let descriptors = (geometry.groups as usize * geometry.descriptor_size).div_ceil(geometry.block_size);
        while self.allocator.counted_groups < geometry.groups {
            let group = self.allocator.counted_groups;
            let (block, offset) = geometry.descriptor_place(group);
            let raw = &self.read(block, Kind::Descriptors)?[offset..offset + geometry.descriptor_size];
            if !Descriptor::is_sound(raw, &geometry, group) {
                return Err(self.damaged(format_args!("descriptor of group {group}: checksum")));
            }
            let descriptor = self.descriptor(group)?;
            let inside = geometry.holds(descriptor.block_bitmap, 1)
                && geometry.holds(descriptor.inode_bitmap, 1)
                && geometry.holds(descriptor.inode_table, u64::from(table));
            if !inside
                || descriptor.free_blocks > geometry.group_blocks(group)
                || descriptor.free_inodes > geometry.inodes_per_group
                || descriptor.unused_inodes > geometry.inodes_per_group
            {
                return Err(self.damaged(format_args!("descriptor of group {group}")));
            }
            let allocator = &mut self.allocator;
            allocator.count(group, i64::from(descriptor.free_blocks), i64::from(descriptor.free_inodes));
            allocator.add_system(descriptor.block_bitmap, 1);
            allocator.add_system(descriptor.inode_bitmap, 1);
            allocator.add_system(descriptor.inode_table, table);
            if geometry.has_superblock(group) {
                let count = 1 + descriptors as u32 + geometry.reserved_descriptor_blocks;
                allocator.add_system(geometry.group_start(group), count);
            }
            allocator.counted_groups += 1;
        }
        Ok(())
    }

    /// Makes the superblock fit for a commit, if the running transaction changes it. Its free counts alone are no
    /// reason to be part of one: whoever finds a journal to replay counts the groups (Linux, e2fsck, [this
    /// engine](Engine::count_descriptors)).
    pub fn seal_superblock(&mut self) {
        let (block, _) = self.geometry.superblock_place();
        if self.cache.peek(block).is_some_and(|slot| slot.running) {
            self.finish_superblock();
        }
    }

    /// Writes the free counts into the superblock, with its checksum; the block, if it is in memory.
    pub fn finish_superblock(&mut self) -> Option<(BlockNr, &[u8])> {
        let (block, offset) = self.geometry.superblock_place();
        let (blocks, inodes) = (self.allocator.free_blocks, self.allocator.free_inodes as u32);
        let data = &mut self.cache.get(block)?.data;
        let raw = &mut data[offset..offset + LENGTH];
        put_u32(raw, 0xc, blocks as u32);
        if self.geometry.descriptor_size >= 64 {
            put_u32(raw, 0x158, (blocks >> 32) as u32);
        }
        put_u32(raw, 0x10, inodes);
        if self.geometry.checksum_seed.is_some() {
            let sum = crc32c(!0, &raw[..0x3fc]);
            put_u32(raw, 0x3fc, sum);
        }
        Some((block, data))
    }
}
