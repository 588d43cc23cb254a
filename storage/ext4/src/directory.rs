//! Directories: names and what they name.
//!
//! A directory starts as one block of entries. When that is full it becomes a hash tree, as with Linux, and then every
//! search, insertion and removal looks at one path down the tree and one block. Only directories that were made
//! without the feature dir_index, or by mke2fs itself, are longer and without a tree; they are searched from the start.
//!
//! Blocks that became empty stay: names that move between blocks could be listed twice or not at all. Of what
//! callers get, names are checked to be none of the impossible; whether inodes exist is for them to see.

mod entry;
mod hash;
mod index;
mod listing;
mod split;
#[cfg(test)]
mod tests;

pub use entry::NAME_MOST;

use crate::engine::{BlockNr, Engine, Ino, Kind, seal};
use crate::extents::Mapping;
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::{INDEXED, Inode};
use entry::{Broken, Found, New, Shape, need};
use keelson_volume::VolumeError;

/// Longest directory. Linux reads only 32 bits of the length without the feature large_dir, and e2fsck takes half.
const SIZE_MOST: u64 = 1 << 31;
/// Most blocks in a row that hold names of one hash. Never reached by chance; who could compute names of one hash
/// would make the whole directory slow.
const CHAIN_MOST: usize = 256;
/// File type code of a directory in its entry (Linux `Documentation/filesystems/ext4/directory.rst`).
pub const TYPE_DIRECTORY: u8 = 2;
/// Length of `.` in its block, and so the place of `..`.
const DOTS: usize = 12;

/// What the blocks of a directory are.
fn kind(dir: &Inode) -> Kind {
    Kind::Directory { owner: dir.ino, generation: dir.generation }
}

impl Engine {
    /// Makes an inode an empty directory. Its caller puts it.
    pub fn dir_init(&mut self, dir: &mut Inode, parent: Ino) -> Result<(), Halt> {
        crate::extents::init(dir);
        dir.flags &= !INDEXED;
        dir.size = 0;
        let (_, block) = self.dir_grow(dir)?;
        let (ino, shape) = (dir.ino, Shape::new(&self.geometry));
        let raw = self.fresh(block, kind(dir));
        let file_type = TYPE_DIRECTORY;
        shape.put(raw, 0, DOTS, &New { name: b".", ino, file_type });
        shape.put(raw, DOTS, shape.end - DOTS, &New { name: b"..", ino: parent, file_type });
        finish(shape, raw);
        Ok(())
    }

    /// What a name names, and of which type that is; the type is 0 where entries do not tell (without the feature
    /// filetype).
    pub fn dir_lookup(&mut self, dir: &Inode, name: &[u8]) -> Result<Option<(Ino, u8)>, Halt> {
        Ok(self.dir_find(dir, name)?.map(|(_, found)| (found.ino, found.file_type)))
    }

    /// Adds a name that is not there yet. Its caller puts `dir`.
    pub fn dir_insert(&mut self, dir: &mut Inode, name: &[u8], ino: Ino, file_type: u8) -> Result<(), Halt> {
        if name.is_empty() || name.len() > NAME_MOST || ino == 0 || is_dots(name) {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        let new = New { name, ino, file_type };
        if self.is_indexed(dir) {
            return self.tree_insert(dir, &new);
        }
        // Without the feature nobody would keep a tree right.
        dir.flags &= !INDEXED;
        let blocks = self.dir_blocks(dir)?;
        for logical in 0..blocks {
            let block = self.dir_block(dir, logical)?;
            if self.dir_put(dir, block, &new)? {
                return Ok(());
            }
        }
        if blocks == 1 && self.geometry.indexed_directories {
            self.tree_plant(dir)?;
            return self.tree_insert(dir, &new);
        }
        let (_, block) = self.dir_grow(dir)?;
        let shape = Shape::new(&self.geometry);
        let raw = self.fresh(block, kind(dir));
        shape.put(raw, 0, shape.end, &new);
        finish(shape, raw);
        Ok(())
    }

    /// Removes a name; what it named, and of which type that is.
    pub fn dir_remove(&mut self, dir: &mut Inode, name: &[u8]) -> Result<(Ino, u8), Halt> {
        if is_dots(name) {
            return Err(Halt::Fail(VolumeError::Invalid));
        }
        let Some((block, found)) = self.dir_find(dir, name)? else {
            return Err(Halt::Fail(VolumeError::NotFound));
        };
        let Found { at, length, before, ino, file_type } = found;
        let raw = self.edit(block, kind(dir), at..at + need(name.len()))?;
        raw.fill(0);
        match before {
            // It becomes free space behind the entry before it.
            Some(before) => {
                let raw = self.edit(block, kind(dir), before + 4..before + 6)?;
                put_u16(raw, 0, (at - before + length) as u16);
            }
            None => put_u16(raw, 4, length as u16),
        }
        Ok((ino, file_type))
    }

    /// Lets a name that is there, which may be `..`, name something else.
    pub fn dir_replace(&mut self, dir: &Inode, name: &[u8], ino: Ino, file_type: u8) -> Result<(), Halt> {
        let Some((block, found)) = self.dir_find(dir, name)? else {
            return Err(Halt::Fail(VolumeError::NotFound));
        };
        let told = self.geometry.file_types;
        let raw = self.edit(block, kind(dir), found.at..found.at + 8)?;
        put_u32(raw, 0, ino);
        if told {
            raw[7] = file_type;
        }
        Ok(())
    }

    /// True when there is nothing but `.` and `..`. Looks at every block up to the first with a name.
    pub fn dir_is_empty(&mut self, dir: &Inode) -> Result<bool, Halt> {
        // That of a tree has its root behind the two.
        let first = u32::from(self.is_indexed(dir));
        let block_size = self.geometry.block_size;
        for logical in first..self.dir_blocks(dir)? {
            let block = self.dir_block(dir, logical)?;
            let has_names = self.dir_names(dir, block, |shape, raw| {
                // An index block, or free altogether.
                if u32_at(raw, 0) == 0 && usize::from(u16_at(raw, 4)) == block_size {
                    return Ok(false);
                }
                for entry in shape.entries(raw, 0) {
                    let entry = entry?;
                    if entry.ino != 0 && !is_dots(entry.name) {
                        return Ok(true);
                    }
                }
                Ok(false)
            })?;
            if has_names {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True when the directory's blocks form a hash tree.
    fn is_indexed(&self, dir: &Inode) -> bool {
        self.geometry.indexed_directories && dir.flags & INDEXED != 0
    }

    /// Number of its blocks.
    fn dir_blocks(&mut self, dir: &Inode) -> Result<u32, Halt> {
        let block_size = self.geometry.block_size as u64;
        if dir.size == 0 || !dir.size.is_multiple_of(block_size) || dir.size > SIZE_MOST {
            return Err(self.damaged(format_args!("directory {} has a length of {}", dir.ino, dir.size)));
        }
        Ok((dir.size / block_size) as u32)
    }

    /// Where its block number `logical` is.
    fn dir_block(&mut self, dir: &Inode, logical: u32) -> Result<BlockNr, Halt> {
        if logical < self.dir_blocks(dir)?
            && let Mapping::Written { block, .. } = self.map(dir, logical)?
        {
            return Ok(block);
        }
        Err(self.damaged(format_args!("directory {} has no block {logical}", dir.ino)))
    }

    /// Looks at a block of names.
    fn dir_names<T>(
        &mut self,
        dir: &Inode,
        block: BlockNr,
        look: impl FnOnce(Shape, &[u8]) -> Result<T, Broken>,
    ) -> Result<T, Halt> {
        let shape = Shape::new(&self.geometry);
        match look(shape, self.read(block, kind(dir))?) {
            Ok(value) => Ok(value),
            Err(Broken(at)) => Err(self
                .damaged(format_args!("directory {} has a bad entry in block {block}, byte {at}", dir.ino))),
        }
    }

    /// Block and place of a name.
    fn dir_find(&mut self, dir: &Inode, name: &[u8]) -> Result<Option<(BlockNr, Found)>, Halt> {
        if self.is_indexed(dir) {
            if is_dots(name) {
                let block = self.dir_block(dir, 0)?;
                let found = self.dir_names(dir, block, |shape, raw| shape.whole(raw).find(raw, name))?;
                return Ok(found.map(|found| (block, found)));
            }
            return self.tree_find(dir, name);
        }
        for logical in 0..self.dir_blocks(dir)? {
            let block = self.dir_block(dir, logical)?;
            if let Some(found) = self.dir_names(dir, block, |shape, raw| shape.find(raw, name))? {
                return Ok(Some((block, found)));
            }
        }
        Ok(None)
    }

    /// Block and place of a name in a hash tree.
    fn tree_find(&mut self, dir: &Inode, name: &[u8]) -> Result<Option<(BlockNr, Found)>, Halt> {
        let root = self.tree_root(dir)?;
        let hash = root.hasher.major(name);
        let mut path = self.tree_descend(dir, &root, hash)?;
        for _ in 0..CHAIN_MOST {
            let block = self.tree_leaf(dir, &path)?;
            if let Some(found) = self.dir_names(dir, block, |shape, raw| shape.find(raw, name))? {
                return Ok(Some((block, found)));
            }
            if self.tree_next_hash(dir, &path)? != Some(hash | index::CONTINUED) {
                return Ok(None);
            }
            self.tree_advance(dir, &mut path)?;
        }
        Err(self.damaged(format_args!("directory {} has an index that goes round in circles", dir.ino)))
    }

    /// Puts an entry into a block if it has room.
    fn dir_put(&mut self, dir: &Inode, block: BlockNr, new: &New<'_>) -> Result<bool, Halt> {
        let needed = need(new.name.len());
        let Some(room) = self.dir_names(dir, block, |shape, raw| shape.find_room(raw, needed))? else {
            return Ok(false);
        };
        let shape = Shape::new(&self.geometry);
        let raw = self.edit(block, kind(dir), room.at..room.at + room.used + needed)?;
        if room.used != 0 {
            put_u16(raw, 4, room.used as u16);
        }
        shape.put(raw, room.used, room.length - room.used, new);
        Ok(true)
    }

    /// Adds a block at the end: its number in the directory, and where it is. To be made from nothing.
    fn dir_grow(&mut self, dir: &mut Inode) -> Result<(u32, BlockNr), Halt> {
        let block_size = self.geometry.block_size as u64;
        let logical = (dir.size / block_size) as u32;
        if dir.size + block_size > SIZE_MOST {
            return Err(Halt::Fail(VolumeError::NoSpace));
        }
        let goal = match logical.checked_sub(1) {
            Some(last) => self.dir_block(dir, last)? + 1,
            None => {
                self.geometry.locate_inode(dir.ino).map_or(0, |(group, _)| self.geometry.group_start(group))
            }
        };
        let block = self.allocate_metadata(goal)?;
        self.insert_extent(dir, logical, block, 1, false)?;
        dir.size += block_size;
        Ok((logical, block))
    }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// The end of a block of names, where its checksum will be.
fn finish(shape: Shape, raw: &mut [u8]) {
    if shape.end < raw.len() {
        seal::put_tail(raw);
    }
}
