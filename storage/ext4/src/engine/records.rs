//! Inodes and group descriptors by number.

use super::{BlockNr, Engine, Ino, Kind};
use crate::halt::Halt;
use crate::layout::Geometry;
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
        let slot = self.slot(block, Kind::InodeTable)?;
        if slot.verified & bit != 0 {
            return Ok(Inode::decode(&slot.data[range], ino, &geometry));
        }
        if !self.verify(ino, block, range.start)? {
            return Ok(Inode::blank(ino));
        }
        let slot = self.slot(block, Kind::InodeTable)?;
        Ok(Inode::decode(&slot.data[range], ino, &geometry))
    }

    /// Checks the record of an inode at `start` in its block, and those beside it that may be wanted next. False when it
    /// is no inode.
    #[cold]
    fn verify(&mut self, ino: Ino, block: BlockNr, start: usize) -> Result<bool, Halt> {
        let geometry = self.geometry;
        let Some((group, index)) = geometry.locate_inode(ino) else { return Ok(false) };
        // mke2fs leaves tables that nobody used as they were on the disk: whatever that is, it is no inode.
        let used = self.used_inodes(group)?;
        if index >= used {
            return Ok(false);
        }
        let within = start / geometry.inode_size;
        let first = index - within as u32;
        let slot = self.slot(block, Kind::InodeTable)?;
        for (place, raw) in slot.data.chunks_exact(geometry.inode_size).enumerate() {
            let bit = 1 << place;
            let index = first + place as u32;
            let neighbour = ino - within as u32 + place as u32;
            if index < used && slot.verified & bit == 0 && Inode::is_sound(raw, neighbour, &geometry) {
                slot.verified |= bit;
            }
        }
        if slot.verified & 1 << within != 0 {
            return Ok(true);
        }
        if self.is_inode_used(ino)? {
            return Err(self.damaged(format_args!("inode {ino} has a wrong checksum")));
        }
        Ok(false)
    }

    /// Inodes of a group up to the last one that was ever used.
    fn used_inodes(&mut self, group: u32) -> Result<u32, Halt> {
        let descriptor = self.descriptor(group)?;
        Ok(used_inodes(&descriptor, self.geometry.inodes_per_group))
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
        let table = match self.inode_table {
            Some((last, table)) if last == group => table,
            _ => self.descriptor(group)?.inode_table,
        };
        let byte = index as usize * self.geometry.inode_size;
        let start = byte % self.geometry.block_size;
        // The journal's inode is looked up before the descriptors are checked.
        let block = table.checked_add((byte / self.geometry.block_size) as u64);
        let Some(block) = block.filter(|block| self.geometry.holds(*block, 1)) else {
            return Err(self.damaged(format_args!("descriptor of group {group}: no inode table at {table}")));
        };
        self.inode_table = Some((group, table));
        Ok((block, start..start + self.geometry.inode_size))
    }

    /// Blocks that are worth reading together with one that is lacking: of an inode table, its neighbours.
    pub fn together(&self, block: BlockNr, kind: Kind) -> Range<BlockNr> {
        let table = if kind == Kind::InodeTable { self.used_table() } else { None };
        let Some(table) = table.filter(|table| table.contains(&block)) else { return block..block + 1 };
        let start = block / TOGETHER * TOGETHER;
        start.max(table.start)..(start + TOGETHER).min(table.end)
    }

    /// Used blocks of the inode table that was looked into last.
    fn used_table(&self) -> Option<Range<BlockNr>> {
        let (group, start) = self.inode_table?;
        let (block, offset) = self.geometry.descriptor_place(group);
        let raw = &self.cache.peek(block)?.data[offset..offset + self.geometry.descriptor_size];
        let used = used_inodes(&decode(raw, &self.geometry), self.geometry.inodes_per_group);
        let bytes = used as usize * self.geometry.inode_size;
        Some(start..start + bytes.div_ceil(self.geometry.block_size) as u64)
    }

    /// A group's descriptor.
    pub fn descriptor(&mut self, group: u32) -> Result<Descriptor, Halt> {
        if group >= self.geometry.groups {
            return Err(Halt::Fail(VolumeError::Io));
        }
        let (block, offset) = self.geometry.descriptor_place(group);
        let geometry = self.geometry;
        let raw = &self.read(block, Kind::Descriptors)?[offset..offset + geometry.descriptor_size];
        Ok(decode(raw, &geometry))
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

fn decode(raw: &[u8], geometry: &Geometry) -> Descriptor {
    let mut descriptor = Descriptor::decode(raw);
    if !geometry.is_lazy() {
        descriptor.flags &= !(BLOCK_UNINIT | INODE_UNINIT);
        descriptor.unused_inodes = 0;
    }
    descriptor
}

fn used_inodes(descriptor: &Descriptor, inodes_per_group: u32) -> u32 {
    match descriptor.flags & INODE_UNINIT {
        0 => inodes_per_group.saturating_sub(descriptor.unused_inodes),
        _ => 0,
    }
}
