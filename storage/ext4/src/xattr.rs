//! Extended attributes: names with values that belong to an inode.
//!
//! They lie in the inode's record behind its known fields, and what does not fit there in one block, which Linux may
//! let several inodes share. A value is in one of the two. Setting one writes both places anew: attributes are few.
//!
//! Inodes and names are judged before anything is changed. What callers get of access control lists has the form that
//! it has outside of filesystems.

mod acl;
mod format;
mod names;
#[cfg(test)]
mod tests;

use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::layout::bytes::{put_u32, u16_at, u32_at};
use crate::layout::inode::Inode;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;
use format::{Attribute, BLOCK_START, Broken, Stored};
use keelson_volume::VolumeError;
use names::Name;

/// Bytes of an inode record that every one has (Linux `Documentation/filesystems/ext4/inodes.rst`); how many more are
/// known fields is told behind them.
const RECORD_BASE: usize = 128;
/// The magic number in front of a record's attributes.
const MAGIC_LENGTH: usize = 4;
/// Place of `s_feature_compat` in the superblock, and its bit ext_attr.
const FEATURE_COMPAT: usize = 0x5c;
const COMPAT_EXT_ATTR: u32 = 0x8;

impl Engine {
    /// An attribute's value.
    pub fn xattr_get(&mut self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        let Some(Name { index, suffix, .. }) = names::split(name) else { return Ok(None) };
        let mut value = None;
        self.xattr_each(inode, |stored| {
            if value.is_none() && (stored.index, stored.suffix) == (index, suffix) {
                value = Some(stored.value.to_vec());
            }
        })?;
        match value {
            Some(disk) if is_acl(index) => match acl::from_disk(&disk) {
                Some(usual) => Ok(Some(usual)),
                None => Err(self.damaged(format_args!("inode {} has a bad access control list", inode.ino))),
            },
            value => Ok(value),
        }
    }

    /// The names of all attributes.
    pub fn xattr_list(&mut self, inode: &Inode) -> Result<Vec<Vec<u8>>, Halt> {
        let mut all = Vec::new();
        self.xattr_each(inode, |stored| all.extend(names::join(stored.index, stored.suffix)))?;
        Ok(all)
    }

    /// Sets an attribute, whether there is one of this name or not, and puts the inode.
    /// [`VolumeError::NoSpace`] when it does not fit beside the others.
    pub fn xattr_set(&mut self, inode: &mut Inode, name: &[u8], value: &[u8]) -> Result<(), Halt> {
        let Some(Name { index, suffix, settable: true }) = names::split(name) else {
            return Err(Halt::Fail(VolumeError::Invalid));
        };
        let value = if is_acl(index) {
            Cow::Owned(acl::to_disk(value).ok_or(Halt::Fail(VolumeError::Invalid))?)
        } else {
            Cow::Borrowed(value)
        };
        // More than a block never fits: not to be copied about.
        if value.len() > self.geometry.block_size {
            return Err(Halt::Fail(VolumeError::NoSpace));
        }
        let new = Attribute { index, suffix: suffix.to_vec(), value: value.into_owned() };
        self.note_attributes()?;
        self.put_inode(inode)?;
        let (mut inner, mut outer) = (self.record_attributes(inode)?, self.block_attributes(inode)?);
        let was_inner = take(&mut inner, &new);
        let was_outer = take(&mut outer, &new);
        let (_, room) = self.record_area(inode)?;
        inner.push(new);
        if format::fit(&inner, room.len(), 0) {
            self.put_record(inode, &inner)?;
            if was_outer {
                self.put_block(inode, outer)?;
            }
        } else {
            outer.extend(inner.pop());
            if was_inner {
                self.put_record(inode, &inner)?;
            }
            self.put_block(inode, outer)?;
        }
        self.put_inode(inode)
    }

    /// Removes an attribute, and puts the inode; false when there is none of this name.
    pub fn xattr_remove(&mut self, inode: &mut Inode, name: &[u8]) -> Result<bool, Halt> {
        let Some(Name { index, suffix, settable: true }) = names::split(name) else { return Ok(false) };
        let gone = Attribute { index, suffix: suffix.to_vec(), value: Vec::new() };
        let (mut inner, mut outer) = (self.record_attributes(inode)?, self.block_attributes(inode)?);
        let was_inner = take(&mut inner, &gone);
        let was_outer = take(&mut outer, &gone);
        if was_inner {
            self.put_record(inode, &inner)?;
        }
        if was_outer {
            self.put_block(inode, outer)?;
        }
        if was_inner || was_outer {
            self.put_inode(inode)?;
        }
        Ok(was_inner || was_outer)
    }

    /// Gives up the block of attributes of an inode that is deleted. Its caller puts the inode.
    pub fn xattr_free(&mut self, inode: &mut Inode) -> Result<(), Halt> {
        let block = inode.attributes;
        if block == 0 {
            return Ok(());
        }
        let references = self.attribute_references(inode)?;
        if references > 1 {
            format::put_references(self.edit(block, Kind::Attributes, 0..8)?, references - 1);
        } else {
            self.forget(block);
            self.free_blocks(block, 1)?;
        }
        inode.attributes = 0;
        let sectors = self.block_sectors();
        inode.sectors = inode.sectors.saturating_sub(sectors);
        self.charge(inode.ino, inode.uid, inode.gid, -(sectors as i64), 0);
        Ok(())
    }

    fn xattr_each(&mut self, inode: &Inode, mut look: impl FnMut(Stored<'_>)) -> Result<(), Halt> {
        let mut each = |area: &[u8], start| -> Result<(), Broken> {
            for stored in format::entries(area, start) {
                look(stored?);
            }
            Ok(())
        };
        let (block, area) = self.record_area(inode)?;
        let raw = self.read(block, Kind::InodeTable)?;
        let mut result = if has_magic(raw, &area) { each(&raw[area], 0) } else { Ok(()) };
        if result.is_ok() && inode.attributes != 0 {
            self.attribute_references(inode)?;
            result = each(self.read(inode.attributes, Kind::Attributes)?, BLOCK_START);
        }
        result.map_err(|Broken| self.bad_attributes(inode))
    }

    fn record_attributes(&mut self, inode: &Inode) -> Result<Vec<Attribute>, Halt> {
        let (block, area) = self.record_area(inode)?;
        let raw = self.read(block, Kind::InodeTable)?;
        if !has_magic(raw, &area) {
            return Ok(Vec::new());
        }
        let attributes: Result<_, Broken> =
            format::entries(&raw[area], 0).map(|one| one.map(Attribute::from)).collect();
        attributes.map_err(|Broken| self.bad_attributes(inode))
    }

    fn block_attributes(&mut self, inode: &Inode) -> Result<Vec<Attribute>, Halt> {
        if inode.attributes == 0 {
            return Ok(Vec::new());
        }
        self.attribute_references(inode)?;
        let raw = self.read(inode.attributes, Kind::Attributes)?;
        let attributes: Result<_, Broken> =
            format::entries(raw, BLOCK_START).map(|one| one.map(Attribute::from)).collect();
        attributes.map_err(|Broken| self.bad_attributes(inode))
    }

    /// How many inodes share an inode's block of attributes.
    fn attribute_references(&mut self, inode: &Inode) -> Result<u32, Halt> {
        let block = inode.attributes;
        if self.geometry.holds(block, 1)
            && !self.allocator.is_system(block, 1)
            && let Some(references) = format::references(self.read(block, Kind::Attributes)?)
        {
            return Ok(references);
        }
        Err(self.bad_attributes(inode))
    }

    #[cold]
    fn bad_attributes(&mut self, inode: &Inode) -> Halt {
        self.damaged(format_args!("inode {} has bad extended attributes", inode.ino))
    }

    /// Where attributes are in an inode's record, behind the magic number; empty when there is no room.
    fn record_area(&mut self, inode: &Inode) -> Result<(BlockNr, Range<usize>), Halt> {
        let (block, record) = self.inode_place(inode.ino)?;
        let raw = &self.read(block, Kind::InodeTable)?[record.clone()];
        let known = if raw.len() > RECORD_BASE { usize::from(u16_at(raw, RECORD_BASE)) } else { 0 };
        if known % 4 != 0 || RECORD_BASE + known > record.len() {
            return Err(self.bad_attributes(inode));
        }
        let start = record.start + RECORD_BASE + known + MAGIC_LENGTH;
        // A record whose known fields are not told is older than attributes in records.
        if known == 0 || start >= record.end {
            return Ok((block, record.end..record.end));
        }
        Ok((block, start..record.end))
    }

    /// Writes the attributes of a record, in which they fit. Its checksum is made when the inode is put.
    fn put_record(&mut self, inode: &Inode, attributes: &[Attribute]) -> Result<(), Halt> {
        let (block, area) = self.record_area(inode)?;
        if area.is_empty() {
            return Ok(());
        }
        let raw = self.edit(block, Kind::InodeTable, area.start - MAGIC_LENGTH..area.end)?;
        let (magic, area) = raw.split_at_mut(MAGIC_LENGTH);
        put_u32(magic, 0, if attributes.is_empty() { 0 } else { format::MAGIC });
        format::put(attributes, area, 0);
        Ok(())
    }

    /// Writes the attributes that are in a block; a block that is shared stays as it is for the others.
    fn put_block(&mut self, inode: &mut Inode, mut attributes: Vec<Attribute>) -> Result<(), Halt> {
        let block_size = self.geometry.block_size;
        if attributes.is_empty() {
            return self.xattr_free(inode);
        }
        if !format::fit(&attributes, block_size, BLOCK_START) {
            return Err(Halt::Fail(VolumeError::NoSpace));
        }
        attributes.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
        if inode.attributes != 0 && self.attribute_references(inode)? == 1 {
            format::put_block(&attributes, self.edit(inode.attributes, Kind::Attributes, 0..block_size)?);
            return Ok(());
        }
        let goal =
            self.geometry.locate_inode(inode.ino).map_or(0, |(group, _)| self.geometry.group_start(group));
        let block = self.allocate_metadata(goal)?;
        format::put_block(&attributes, self.fresh(block, Kind::Attributes));
        self.xattr_free(inode)?;
        inode.attributes = block;
        let sectors = self.block_sectors();
        inode.sectors += sectors;
        self.charge(inode.ino, inode.uid, inode.gid, sectors as i64, 0);
        Ok(())
    }

    /// Notes in the superblock that there are attributes.
    fn note_attributes(&mut self) -> Result<(), Halt> {
        let (block, offset) = self.geometry.superblock_place();
        let place = offset + FEATURE_COMPAT;
        let features = u32_at(self.read(block, Kind::Superblock)?, place);
        if features & COMPAT_EXT_ATTR == 0 {
            let raw = self.edit(block, Kind::Superblock, place..place + 4)?;
            put_u32(raw, 0, features | COMPAT_EXT_ATTR);
        }
        Ok(())
    }

    fn block_sectors(&self) -> u64 {
        self.geometry.block_size as u64 / 512
    }
}

fn is_acl(index: u8) -> bool {
    matches!(index, names::ACL_ACCESS | names::ACL_DEFAULT)
}

fn has_magic(raw: &[u8], area: &Range<usize>) -> bool {
    !area.is_empty() && u32_at(raw, area.start - MAGIC_LENGTH) == format::MAGIC
}

/// Takes the attribute with the name of `like` away; false when there is none.
fn take(attributes: &mut Vec<Attribute>, like: &Attribute) -> bool {
    let place = attributes.iter().position(|one| one.order() == like.order());
    place.map(|place| attributes.remove(place)).is_some()
}
