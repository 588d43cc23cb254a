//! New extents, and unwritten ones that get their content.

use super::tree::{Level, Path, index_entry};
use super::{ENTRY, Extent, MAGIC, Mapping};
use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, u16_at, u32_at};
use crate::layout::inode::{Inode, MAP_LENGTH};
use keelson_volume::VolumeError;

/// Times a tree may have to be made larger for one entry: each level splits once.
const SPLITS: usize = 8;

impl Engine {
    /// Says that `len` blocks of the file from `logical` on are at `block`. The place must be a hole. The caller writes
    /// the inode.
    pub fn insert_extent(
        &mut self,
        inode: &mut Inode,
        logical: u32,
        block: BlockNr,
        len: u32,
        unwritten: bool,
    ) -> Result<(), Halt> {
        if len == 0 || logical.checked_add(len).is_none() {
            return Err(Halt::Fail(VolumeError::TooBig));
        }
        self.charge_blocks(inode, i64::from(len));
        // More than one extent can say takes several.
        let mut rest = Extent { logical, block, len, unwritten };
        while rest.len > rest.longest() {
            let part = Extent { len: rest.longest(), ..rest };
            self.insert(inode, part)?;
            rest.logical += part.len;
            rest.block += u64::from(part.len);
            rest.len -= part.len;
        }
        self.insert(inode, rest)
    }

    /// The same, for blocks that are charged already.
    fn insert(&mut self, inode: &mut Inode, new: Extent) -> Result<(), Halt> {
        let mut path = self.descend(inode, new.logical)?;
        let leaf = path.leaf();
        let place = leaf.at.map_or(0, |at| at + 1);
        if let Some(at) = leaf.at {
            let before = self.extent(inode, leaf.block, at)?;
            if before.end() > new.logical {
                return Err(self.bad_tree(inode));
            }
            if let Some(joined) = before.joined(&new) {
                self.put_entry(inode, &path, path.depth, at, joined.encode())?;
                return self.join_next(inode, &path, at);
            }
        }
        if new.end() > path.end {
            return Err(self.bad_tree(inode));
        }
        if place < leaf.entries {
            let next = self.extent(inode, leaf.block, place)?;
            if let Some(joined) = new.joined(&next) {
                return self.put_entry(inode, &path, path.depth, place, joined.encode());
            }
        }
        for _ in 0..SPLITS {
            let leaf = path.leaf();
            if leaf.entries < leaf.room {
                let place = leaf.at.map_or(0, |at| at + 1);
                return self.insert_entry(inode, &path, path.depth, place, new.encode());
            }
            self.make_room(inode, &path)?;
            path = self.descend(inode, new.logical)?;
        }
        Err(self.bad_tree(inode))
    }

    /// The blocks of the file from `logical` on, so many of them, have their content. Those that are not unwritten stay
    /// as they are. The caller writes the inode.
    pub fn mark_written(&mut self, inode: &mut Inode, logical: u32, len: u32) -> Result<(), Halt> {
        let end = logical.saturating_add(len);
        let mut at = logical;
        while at < end {
            let step = match self.map(inode, at)? {
                Mapping::Hole(len) | Mapping::Written { len, .. } => len,
                Mapping::Unwritten { len, .. } => {
                    let len = len.min(end - at);
                    self.write_part(inode, at, len)?;
                    len
                }
            };
            at = at.saturating_add(step.max(1));
        }
        Ok(())
    }

    /// A part of one unwritten extent becomes a written one.
    fn write_part(&mut self, inode: &mut Inode, logical: u32, len: u32) -> Result<(), Halt> {
        let path = self.descend(inode, logical)?;
        let Level { block: node, at: Some(at), .. } = path.leaf() else { return Err(self.bad_tree(inode)) };
        let whole = self.extent(inode, node, at)?;
        let into = logical - whole.logical;
        let part = Extent { logical, block: whole.block + u64::from(into), len, unwritten: false };
        let behind = Extent {
            logical: part.end(),
            block: part.block + u64::from(len),
            len: whole.end() - part.end(),
            unwritten: true,
        };
        match (into, behind.len) {
            (0, 0) => {
                self.put_entry(inode, &path, path.depth, at, part.encode())?;
                self.join_next(inode, &path, at)?;
                match at.checked_sub(1) {
                    Some(before) => {
                        let path = self.descend(inode, logical.saturating_sub(1))?;
                        if path.leaf().at == Some(before) {
                            self.join_next(inode, &path, before)
                        } else {
                            Ok(())
                        }
                    }
                    None => Ok(()),
                }
            }
            (0, _) => {
                self.put_entry(inode, &path, path.depth, at, behind.encode())?;
                self.insert(inode, part)
            }
            (_, rest) => {
                let head = Extent { len: into, ..whole };
                self.put_entry(inode, &path, path.depth, at, head.encode())?;
                self.insert(inode, part)?;
                if rest > 0 { self.insert(inode, behind) } else { Ok(()) }
            }
        }
    }

    /// Makes one of an entry of the leaf and the next, if they lie behind each other.
    fn join_next(&mut self, inode: &mut Inode, path: &Path, at: usize) -> Result<(), Halt> {
        let leaf = path.leaf();
        if at + 1 >= leaf.entries {
            return Ok(());
        }
        let (this, next) = (self.extent(inode, leaf.block, at)?, self.extent(inode, leaf.block, at + 1)?);
        let Some(joined) = this.joined(&next) else { return Ok(()) };
        self.put_entry(inode, path, path.depth, at, joined.encode())?;
        self.remove_entry(inode, path, path.depth, at + 1)
    }

    /// Splits the full node below the lowest one with room; a full root gets a level below it.
    fn make_room(&mut self, inode: &mut Inode, path: &Path) -> Result<(), Halt> {
        let has_room = |&level: &usize| path.level(level).entries < path.level(level).room;
        match (0..path.depth).rev().find(has_room) {
            Some(parent) => self.split(inode, path, parent + 1),
            None => self.grow(inode, path),
        }
    }

    /// Moves the root's entries into a node of their own.
    fn grow(&mut self, inode: &mut Inode, path: &Path) -> Result<(), Halt> {
        let root = inode.map;
        let (entries, depth) = (path.level(0).entries, u16_at(&root, 6));
        if depth >= super::DEPTH || entries == 0 {
            return Err(self.bad_tree(inode));
        }
        let near = self.goal(inode, 0)?;
        let block = self.new_node(inode, near, depth, &root[ENTRY..ENTRY * (1 + entries)])?;
        let first = u32_at(&root, ENTRY);
        inode.map = [0; MAP_LENGTH];
        put_u16(&mut inode.map, 0, MAGIC);
        put_u16(&mut inode.map, 2, 1);
        put_u16(&mut inode.map, 4, (MAP_LENGTH / ENTRY - 1) as u16);
        put_u16(&mut inode.map, 6, depth + 1);
        inode.map[ENTRY..2 * ENTRY].copy_from_slice(&index_entry(first, block));
        Ok(())
    }

    /// Moves the upper half of a node into a new one next to it; its parent has room for that.
    fn split(&mut self, inode: &mut Inode, path: &Path, level: usize) -> Result<(), Halt> {
        let Level { block, entries, at, .. } = path.level(level);
        let Some(near) = block else { return Err(self.bad_tree(inode)) };
        // What is written in order leaves full nodes behind it.
        let keep = if at == Some(entries - 1) { entries - 1 } else { entries / 2 };
        let upper = self.node(inode, block)?[ENTRY * (1 + keep)..ENTRY * (1 + entries)].to_vec();
        let depth = (path.depth - level) as u16;
        let sibling = self.new_node(inode, near, depth, &upper)?;
        self.set_entries(inode, block, keep)?;
        let place = path.level(level - 1).at.map_or(0, |at| at + 1).max(1);
        self.insert_entry(inode, path, level - 1, place, index_entry(u32_at(&upper, 0), sibling))
    }
}
