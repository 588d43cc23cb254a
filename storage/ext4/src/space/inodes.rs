//! Inodes: who gets which, and giving them back.

use super::{Engine, bitmap};
use crate::engine::{Ino, Kind, ROOT};
use crate::halt::Halt;
use crate::layout::bytes::u32_at;
use crate::layout::descriptor::INODE_UNINIT;
use crate::layout::inode::Inode;
use keelson_volume::VolumeError;

/// Groups between directories below the root, so that trees have room to grow.
const SPREAD: u32 = 5;
/// Groups that are looked at for one with room for a tree.
const LOOKS: usize = 8;

impl Engine {
    /// Allocates an inode below `parent`: a blank record with its number, and a generation that the number never had.
    /// The caller fills it and writes it with [`Engine::put_new_inode`].
    ///
    /// # Errors
    ///
    /// NoSpace when none is free.
    pub fn allocate_inode(&mut self, parent: &Inode, directory: bool) -> Result<Inode, Halt> {
        let near = self.geometry.locate_inode(parent.ino).map_or(0, |(group, _)| group);
        let spread = directory && parent.ino == ROOT;
        let goal = if spread { self.spread_goal() } else { near };
        loop {
            let inodes = &self.allocator.group_inodes;
            let Some(group) = inodes.find(goal, 1).or_else(|| inodes.find(0, 1)) else {
                self.counters.no_space += 1;
                return Err(Halt::Fail(VolumeError::NoSpace));
            };
            let ino = match self.take_inode(group, directory) {
                Ok(ino) => ino,
                // Damaged, which was said: the others are not.
                Err(Halt::Fail(_)) if self.allocator.free_of(group).no_inodes => continue,
                Err(halt) => return Err(halt),
            };
            if spread {
                self.move_next_directory(group.saturating_add(SPREAD));
            }
            let mut inode = Inode::blank(ino);
            inode.generation = self.next_generation_of(ino)?;
            return Ok(inode);
        }
    }

    /// Takes the first free inode of a group: so all behind the last one ever used stay unused.
    fn take_inode(&mut self, group: u32, directory: bool) -> Result<Ino, Halt> {
        let inodes = self.geometry.inodes_per_group;
        let first = if group == 0 { self.geometry.first_inode - 1 } else { 0 };
        let block = self.inode_bitmap(group)?;
        // A group with inodes in use has a block bitmap too, as on Linux. A damaged one is not needed for inodes.
        match self.block_bitmap(group) {
            Err(halt) if !self.allocator.free_of(group).no_blocks => return Err(halt),
            _ => {}
        }
        let bits = self.read(block, Kind::InodeBitmap(group))?;
        let Some(index) = bitmap::find(bits, first, inodes, false) else {
            self.allocator.avoid_inodes(group);
            return Err(self.damaged(format_args!("group {group} has reserved inodes that are free")));
        };
        self.put_bits(block, Kind::InodeBitmap(group), index, 1, true)?;
        let mut descriptor = self.descriptor(group)?;
        let Some(free) = descriptor.free_inodes.checked_sub(1) else {
            return Err(self.damaged(format_args!("group {group} has more free inodes than it says")));
        };
        descriptor.free_inodes = free;
        descriptor.directories += u32::from(directory);
        descriptor.unused_inodes = descriptor.unused_inodes.min(inodes - index - 1);
        self.put_descriptor(group, &descriptor)?;
        self.count_free(group, 0, -1);
        Ok(group * inodes + index + 1)
    }

    /// The group for the next directory below the root: some way behind the last one, and with at least the average of
    /// free inodes and blocks if one such is near (what Orlov's allocator does, in simple form).
    fn spread_goal(&self) -> u32 {
        let (allocator, groups) = (&self.allocator, self.geometry.groups);
        let inodes = (allocator.free_inodes / u64::from(groups)).max(1) as u32;
        let blocks = (allocator.free_blocks / u64::from(groups)) as u32;
        let first = allocator.next_directory_group % groups;
        let mut next = first;
        for _ in 0..LOOKS {
            let found = allocator.group_inodes.find(next, inodes);
            let Some(group) = found.or_else(|| allocator.group_inodes.find(0, inodes)) else { break };
            if allocator.free_of(group).blocks >= blocks {
                return group;
            }
            next = (group + 1) % groups;
        }
        first
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
        // A bitmap that was never made is not made to be looked at.
        if self.descriptor(group)?.flags & INODE_UNINIT != 0 {
            return Ok(false);
        }
        let block = self.inode_bitmap(group)?;
        Ok(bitmap::get(self.read(block, Kind::InodeBitmap(group))?, index))
    }

    /// Always later than what the record had, by a number that nobody can tell beforehand.
    fn next_generation_of(&mut self, ino: Ino) -> Result<u32, Halt> {
        let (block, range) = self.inode_place(ino)?;
        let last = u32_at(&self.read(block, Kind::InodeTable)?[range], 0x64);
        // A linear congruential step; entropy seeded it at mount.
        self.next_generation = self.next_generation.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Ok(last.wrapping_add(1 + (self.next_generation >> 24)).max(1))
    }
}
