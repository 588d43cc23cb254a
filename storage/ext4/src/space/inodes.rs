//! Inodes: who gets which, and giving them back.

use super::{Engine, bitmap};
use crate::engine::{BlockNr, Ino, Kind, ROOT};
use crate::halt::Halt;
use crate::layout::bytes::u32_at;
use crate::layout::descriptor::INODE_UNINIT;
use crate::layout::inode::Inode;
use keelson_volume::VolumeError;

/// Groups between directories below the root, so that trees have room to grow.
const SPREAD: u32 = 5;

impl Engine {
    /// Allocates an inode below `parent`: a blank record with its number, and a generation that the number never had.
    /// The caller fills it and writes it with [`Engine::put_new_inode`].
    ///
    /// # Errors
    ///
    /// NoSpace when none is free.
    pub fn allocate_inode(&mut self, parent: &Inode, directory: bool) -> Result<Inode, Halt> {
        let near = self.geometry.locate_inode(parent.ino).map_or(0, |(group, _)| group);
        let goal = match directory && parent.ino == ROOT {
            true => self.allocator.next_directory_group % self.geometry.groups,
            false => near,
        };
        let find = |from| self.allocator.group_inodes.find(from, 1);
        let Some(group) = find(goal).or_else(|| find(0)) else {
            self.counters.no_space += 1;
            return Err(Halt::Fail(VolumeError::NoSpace));
        };
        if directory && parent.ino == ROOT {
            // A hint: an operation that fails later leaves it moved.
            self.allocator.next_directory_group = group + SPREAD;
        }
        let first = if group == 0 { self.geometry.first_inode - 1 } else { 0 };
        let block = self.inode_bitmap(group)?;
        // A group with inodes in use has a block bitmap too, as on Linux.
        self.block_bitmap(group)?;
        let inodes = self.geometry.inodes_per_group;
        let bits = self.read(block, Kind::InodeBitmap(group))?;
        let Some(index) = bitmap::find(bits, first, inodes, false) else {
            return Err(self.damaged(format_args!("group {group} has fewer free inodes than it says")));
        };
        self.put_bits(block, Kind::InodeBitmap(group), index, 1, true)?;
        let mut descriptor = self.descriptor(group)?;
        let Some(free) = descriptor.free_inodes.checked_sub(1) else {
            return Err(self.damaged(format_args!("group {group} has more free inodes than it says")));
        };
        descriptor.free_inodes = free;
        descriptor.directories += u32::from(directory);
        let behind = self.geometry.inodes_per_group - index - 1;
        descriptor.unused_inodes = descriptor.unused_inodes.min(behind);
        self.put_descriptor(group, &descriptor)?;
        self.count_free(group, 0, -1);
        let ino = group * self.geometry.inodes_per_group + index + 1;
        let mut inode = Inode::blank(ino);
        inode.generation = self.next_generation_of(ino)?;
        Ok(inode)
    }

    /// Gives an inode back. Its record keeps its generation, for the next owner to differ from.
    pub fn free_inode(&mut self, ino: Ino, directory: bool) -> Result<(), Halt> {
        let place = self.geometry.locate_inode(ino).filter(|_| ino >= self.geometry.first_inode);
        let Some((group, index)) = place else {
            return Err(self.damaged(format_args!("inode {ino} cannot be freed")));
        };
        let block = self.inode_bitmap(group)?;
        if !bitmap::get(self.read(block, Kind::InodeBitmap(group))?, index) {
            return Err(self.damaged(format_args!("inode {ino} is freed twice")));
        }
        self.put_bits(block, Kind::InodeBitmap(group), index, 1, false)?;
        let mut descriptor = self.descriptor(group)?;
        descriptor.free_inodes += 1;
        descriptor.directories = descriptor.directories.saturating_sub(u32::from(directory));
        self.put_descriptor(group, &descriptor)?;
        self.count_free(group, 0, 1);
        Ok(())
    }

    /// True when the bitmap has the inode in use.
    pub fn is_inode_used(&mut self, ino: Ino) -> Result<bool, Halt> {
        let Some((group, index)) = self.geometry.locate_inode(ino) else { return Ok(false) };
        let descriptor = self.descriptor(group)?;
        if descriptor.flags & INODE_UNINIT != 0 {
            return Ok(false);
        }
        Ok(bitmap::get(self.read(descriptor.inode_bitmap, Kind::InodeBitmap(group))?, index))
    }

    /// Always later than what the record had, by a number that nobody can tell beforehand.
    fn next_generation_of(&mut self, ino: Ino) -> Result<u32, Halt> {
        let (block, range) = self.inode_place(ino)?;
        let last = u32_at(&self.read(block, Kind::InodeTable)?[range], 0x64);
        // A linear congruential step; entropy seeded it at mount.
        self.next_generation = self.next_generation.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Ok(last.wrapping_add(1 + (self.next_generation >> 24)).max(1))
    }

    /// The block of a group's bitmap, made if it never was.
    fn inode_bitmap(&mut self, group: u32) -> Result<BlockNr, Halt> {
        let mut descriptor = self.descriptor(group)?;
        let block = descriptor.inode_bitmap;
        if descriptor.flags & INODE_UNINIT != 0 {
            let (inodes, all) = (self.geometry.inodes_per_group, self.geometry.block_size as u32 * 8);
            bitmap::put(self.fresh(block, Kind::InodeBitmap(group)), inodes, all - inodes, true);
            descriptor.flags &= !INODE_UNINIT;
            self.put_descriptor(group, &descriptor)?;
        }
        Ok(block)
    }
}
