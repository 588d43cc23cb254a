//! Nodes of the tree: the way down, and entries in and out.

use super::{DEPTH, ENTRY, MAGIC};
use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::{EXTENTS, Inode};

/// A node on the way down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    /// Where it is; `None` is the root, in the inode.
    pub block: Option<BlockNr>,
    /// Entries that it has.
    pub entries: usize,
    /// Entries that it can have.
    pub room: usize,
    /// The last entry that begins at or before the place looked for.
    pub at: Option<usize>,
}

/// The way from the root to a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    levels: [Level; DEPTH as usize + 1],
    /// Levels of index nodes: the leaf is at this index.
    pub depth: usize,
    /// Where the next entry behind the way begins.
    pub end: u32,
}

impl Path {
    /// The leaf.
    pub fn leaf(&self) -> Level {
        self.levels[self.depth]
    }

    /// A node; 0 is the root.
    pub fn level(&self, level: usize) -> Level {
        self.levels[level]
    }
}

/// Entries, room, levels below; `None` when a header makes no sense.
fn header(raw: &[u8]) -> Option<(usize, usize, u16)> {
    let (entries, room, depth) = (usize::from(u16_at(raw, 2)), usize::from(u16_at(raw, 4)), u16_at(raw, 6));
    let fits = entries <= room && room > 0 && ENTRY * (1 + room) <= raw.len();
    (u16_at(raw, 0) == MAGIC && fits && depth <= DEPTH).then_some((entries, room, depth))
}

/// The last entry that begins at or before `logical`.
fn last_not_after(raw: &[u8], entries: usize, logical: u32) -> Option<usize> {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = (low + high) / 2;
        if u32_at(raw, ENTRY * (1 + middle)) <= logical { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1)
}

/// The child that an index entry names.
fn child(entry: &[u8]) -> BlockNr {
    u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4))
}

/// An index entry.
pub fn index_entry(logical: u32, block: BlockNr) -> [u8; ENTRY] {
    let mut raw = [0; ENTRY];
    put_u32(&mut raw, 0, logical);
    put_u32(&mut raw, 4, block as u32);
    put_u16(&mut raw, 8, (block >> 32) as u16);
    raw
}

impl Engine {
    /// The way to where `logical` is or would be.
    pub(super) fn descend(&mut self, inode: &Inode, logical: u32) -> Result<Path, Halt> {
        if inode.flags & EXTENTS == 0 {
            return Err(self.no_extents(inode));
        }
        let Some((mut entries, mut room, depth)) = header(&inode.map) else {
            return Err(self.bad_tree(inode));
        };
        let mut path = Path { levels: Default::default(), depth: usize::from(depth), end: u32::MAX };
        let mut block = None;
        for level in 0..=path.depth {
            let raw = self.node(inode, block)?;
            let at = last_not_after(raw, entries, logical);
            let next = at.map_or(0, |at| at + 1);
            let mut end = path.end;
            if next < entries {
                end = end.min(u32_at(raw, ENTRY * (1 + next)));
            }
            let down = ENTRY * (1 + at.unwrap_or(0));
            let below = child(&raw[down..down + ENTRY]);
            path.levels[level] = Level { block, entries, room, at };
            path.end = end;
            if level == path.depth {
                break;
            }
            let found =
                match entries > 0 && self.geometry.holds(below, 1) && !self.allocator.is_system(below, 1) {
                    true => header(self.node(inode, Some(below))?),
                    false => None,
                };
            match found {
                Some((count, most, left)) if usize::from(left) == path.depth - level - 1 && count > 0 => {
                    (entries, room, block) = (count, most, Some(below));
                }
                _ => return Err(self.bad_tree(inode)),
            }
        }
        if path.end < logical {
            return Err(self.bad_tree(inode));
        }
        Ok(path)
    }

    /// A node's bytes.
    pub(super) fn node<'a>(&'a mut self, inode: &'a Inode, block: Option<BlockNr>) -> Result<&'a [u8], Halt> {
        match block {
            None => Ok(&inode.map),
            Some(block) => self.read(block, kind(inode)),
        }
    }

    /// Changes bytes of a node.
    fn put(
        &mut self,
        inode: &mut Inode,
        block: Option<BlockNr>,
        at: usize,
        bytes: &[u8],
    ) -> Result<(), Halt> {
        let range = at..at + bytes.len();
        match block {
            None => inode.map[range].copy_from_slice(bytes),
            Some(block) => self.edit(block, kind(inode), range)?.copy_from_slice(bytes),
        }
        Ok(())
    }

    /// Replaces an entry. If it is a node's first one, the keys above follow.
    pub(super) fn put_entry(
        &mut self,
        inode: &mut Inode,
        path: &Path,
        level: usize,
        at: usize,
        entry: [u8; ENTRY],
    ) -> Result<(), Halt> {
        self.put(inode, path.levels[level].block, ENTRY * (1 + at), &entry)?;
        if at == 0 {
            self.put_keys(inode, path, level, u32_at(&entry, 0))?;
        }
        Ok(())
    }

    /// Puts an entry into a node that has room.
    pub(super) fn insert_entry(
        &mut self,
        inode: &mut Inode,
        path: &Path,
        level: usize,
        at: usize,
        entry: [u8; ENTRY],
    ) -> Result<(), Halt> {
        let Level { block, entries, .. } = path.levels[level];
        let tail = self.node(inode, block)?[ENTRY * (1 + at)..ENTRY * (1 + entries)].to_vec();
        self.put(inode, block, ENTRY * (2 + at), &tail)?;
        self.put(inode, block, 2, &(entries as u16 + 1).to_le_bytes())?;
        self.put_entry(inode, path, level, at, entry)
    }

    /// Takes an entry out of a node. When it was the first one, the keys above follow; an empty node is left for the
    /// caller.
    pub(super) fn remove_entry(
        &mut self,
        inode: &mut Inode,
        path: &Path,
        level: usize,
        at: usize,
    ) -> Result<(), Halt> {
        let Level { block, entries, .. } = path.levels[level];
        let tail = self.node(inode, block)?[ENTRY * (2 + at)..ENTRY * (1 + entries)].to_vec();
        self.put(inode, block, ENTRY * (1 + at), &tail)?;
        self.put(inode, block, 2, &(entries as u16 - 1).to_le_bytes())?;
        if at == 0 && entries > 1 {
            self.put_keys(inode, path, level, u32_at(&tail, 0))?;
        }
        Ok(())
    }

    /// A node's first entry begins at `logical` now: so do the entries above that lead to it as the first one.
    fn put_keys(&mut self, inode: &mut Inode, path: &Path, level: usize, logical: u32) -> Result<(), Halt> {
        for above in (0..level).rev() {
            let Level { block, at, .. } = path.levels[above];
            let at = at.unwrap_or(0);
            self.put(inode, block, ENTRY * (1 + at), &logical.to_le_bytes())?;
            if at > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Makes a node of these entries; its block is charged to the file.
    pub(super) fn new_node(
        &mut self,
        inode: &mut Inode,
        near: BlockNr,
        depth: u16,
        entries: &[u8],
    ) -> Result<BlockNr, Halt> {
        let block = self.allocate_metadata(near)?;
        let has_checksum = self.geometry.checksum_seed.is_some();
        let raw = self.fresh(block, kind(inode));
        let room = (raw.len() - if has_checksum { 4 } else { 0 }) / ENTRY - 1;
        put_u16(raw, 0, MAGIC);
        put_u16(raw, 2, (entries.len() / ENTRY) as u16);
        put_u16(raw, 4, room as u16);
        put_u16(raw, 6, depth);
        raw[ENTRY..ENTRY + entries.len()].copy_from_slice(entries);
        self.charge_blocks(inode, 1);
        Ok(block)
    }

    /// Sets a node's number of entries, without touching them.
    pub(super) fn set_entries(
        &mut self,
        inode: &mut Inode,
        block: Option<BlockNr>,
        entries: usize,
    ) -> Result<(), Halt> {
        self.put(inode, block, 2, &(entries as u16).to_le_bytes())
    }
}

fn kind(inode: &Inode) -> Kind {
    Kind::Extents { owner: inode.ino, generation: inode.generation }
}
