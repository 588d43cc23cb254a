//! Inodes and group descriptors by number.

use super::{BlockNr, Engine, Ino, Kind};
use crate::halt::Halt;
use crate::layout::descriptor::{BLOCK_UNINIT, Descriptor, INODE_UNINIT};
use crate::layout::inode::Inode;
use core::ops::Range;
use keelson_volume::VolumeError;

/// Blocks of inode tables that are read together.
const TOGETHER: u64 = 16;

impl Engine {
    /// An inode's record. Whether it is in use is for the caller to see (`links`, `mode`).
    pub fn inode(&mut self, ino: Ino) -> Result<Inode, Halt> {
        let (block, range) = self.inode_place(ino)?;
        let geometry = self.geometry;
        let bit = 1u64 << (range.start / geometry.inode_size);
        let raw = &self.read(block, Kind::InodeTable)?[range.clone()];
        let inode = Inode::decode(raw, ino, &geometry);
        let Some(slot) = self.cache.get(block) else { return Err(Halt::Need(block, Kind::InodeTable)) };
        if slot.verified & bit == 0 {
            let is_sound = Inode::is_sound(&slot.data[range], ino, &geometry);
            // mke2fs leaves tables that nobody used as they were on the disk: whatever that is, it is no inode.
            if self.was_never_used(ino)? || (!is_sound && !self.is_inode_used(ino)?) {
                return Ok(Inode::blank(ino));
            }
            if !is_sound {
                return Err(self.damaged(format_args!("inode {ino} has a wrong checksum")));
            }
            if let Some(slot) = self.cache.get(block) {
                slot.verified |= bit;
            }
        }
        Ok(inode)
    }

    /// True when the inode is behind the last one of its group that was ever used.
    fn was_never_used(&mut self, ino: Ino) -> Result<bool, Halt> {
        let Some((group, index)) = self.geometry.locate_inode(ino) else { return Ok(true) };
        let descriptor = self.descriptor(group)?;
        let used = self.geometry.inodes_per_group.saturating_sub(descriptor.unused_inodes);
        Ok(descriptor.flags & INODE_UNINIT != 0 || index >= used)
    }

    /// Changes an inode's record.
    pub fn put_inode(&mut self, inode: &Inode) -> Result<(), Halt> {
        let (block, range) = self.inode_place(inode.ino)?;
        let geometry = self.geometry;
        inode.encode(self.edit(block, Kind::InodeTable, range)?, &geometry);
        Ok(())
    }

    /// Clears a record to the last byte (attributes of its last owner lie behind the known fields) and writes an inode.
    pub fn put_new_inode(&mut self, inode: &Inode) -> Result<(), Halt> {
        let (block, range) = self.inode_place(inode.ino)?;
        let geometry = self.geometry;
        let bit = 1u64 << (range.start / geometry.inode_size);
        let raw = self.edit(block, Kind::InodeTable, range)?;
        raw.fill(0);
        inode.encode(raw, &geometry);
        if let Some(slot) = self.cache.get(block) {
            // What the record was before does not matter any more.
            slot.verified |= bit;
        }
        Ok(())
    }

    /// Block of an inode's record and where it lies there.
    pub fn inode_place(&mut self, ino: Ino) -> Result<(BlockNr, Range<usize>), Halt> {
        let Some((group, index)) = self.geometry.locate_inode(ino) else {
            return Err(self.damaged(format_args!("there is no inode {ino}")));
        };
        let descriptor = self.descriptor(group)?;
        let table = descriptor.inode_table;
        let used = self.geometry.inodes_per_group.saturating_sub(descriptor.unused_inodes).max(index + 1);
        let bytes = used as usize * self.geometry.inode_size;
        self.inode_table = table..table + bytes.div_ceil(self.geometry.block_size) as u64;
        let byte = index as usize * self.geometry.inode_size;
        let start = byte % self.geometry.block_size;
        Ok((table + (byte / self.geometry.block_size) as u64, start..start + self.geometry.inode_size))
    }

    /// Blocks that are worth reading together with one that is lacking: of an inode table, its neighbours.
    pub fn together(&self, block: BlockNr, kind: Kind) -> Range<BlockNr> {
        if kind != Kind::InodeTable || !self.inode_table.contains(&block) {
            return block..block + 1;
        }
        let start = block / TOGETHER * TOGETHER;
        start.max(self.inode_table.start)..(start + TOGETHER).min(self.inode_table.end)
    }

    /// A group's descriptor.
    pub fn descriptor(&mut self, group: u32) -> Result<Descriptor, Halt> {
        if group >= self.geometry.groups {
            return Err(Halt::Fail(VolumeError::Io));
        }
        let (block, offset) = self.geometry.descriptor_place(group);
        let size = self.geometry.descriptor_size;
        let is_lazy = self.geometry.is_lazy();
        let mut descriptor = Descriptor::decode(&self.read(block, Kind::Descriptors)?[offset..offset + size]);
        if !is_lazy {
            descriptor.flags &= !(BLOCK_UNINIT | INODE_UNINIT);
            descriptor.unused_inodes = 0;
        }
        Ok(descriptor)
    }

    /// Changes a group's descriptor.
    pub fn put_descriptor(&mut self, group: u32, descriptor: &Descriptor) -> Result<(), Halt> {
        let (block, offset) = self.geometry.descriptor_place(group);
        let geometry = self.geometry;
        let raw = self.edit(block, Kind::Descriptors, offset..offset + geometry.descriptor_size)?;
        descriptor.encode(raw, &geometry, group);
        Ok(())
    }
}
