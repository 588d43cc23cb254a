//! Nodes of the tree: the way down, and entries in and out.

use super::{DEPTH, ENTRY, Extent, MAGIC};
use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::{EXTENTS, Inode};
use core::ops::Range;

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

/// True when a node's entries are in order and do not overlap.
fn is_ordered(raw: &[u8], entries: usize, is_leaf: bool) -> bool {
    let mut next = 0u32;
    raw[ENTRY..ENTRY * (1 + entries)].chunks_exact(ENTRY).enumerate().all(|(index, entry)| {
        let first = u32_at(entry, 0);
        let length = if is_leaf { Extent::decode(entry).len } else { 1 };
        let fits = index == 0 || first >= next;
        match first.checked_add(length) {
            Some(end) if fits && length > 0 => {
                next = end;
                true
            }
            _ => false,
        }
    })
}

/// Where the last entry of a node ends.
fn last_end(raw: &[u8], entries: usize, is_leaf: bool) -> u32 {
    let last = &raw[ENTRY * entries..ENTRY * (1 + entries)];
    let length = if is_leaf { Extent::decode(last).len } else { 1 };
    u32_at(last, 0).saturating_add(length)
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
        let (mut block, mut begin, mut limit) = (None, 0, u32::MAX);
        for level in 0..=path.depth {
            let is_leaf = level == path.depth;
            let raw = self.node(inode, block)?;
            // Where the entry above says that this node begins, and where the next one does.
            if entries > 0 && (u32_at(raw, ENTRY) < begin || last_end(raw, entries, is_leaf) > limit)
                || block.is_none() && !is_ordered(raw, entries, is_leaf)
            {
                return Err(self.bad_tree(inode));
            }
            let at = last_not_after(raw, entries, logical);
            let key = |index| (index < entries).then(|| u32_at(raw, ENTRY * (1 + index)));
            let next = key(at.map_or(0, |at| at + 1));
            // Before the first entry the way down is the first one's, too.
            let down = at.unwrap_or(0);
            begin = key(down).unwrap_or(0);
            limit = key(down + 1).unwrap_or(limit);
            let below = child(&raw[ENTRY * (1 + down)..ENTRY * (2 + down)]);
            path.levels[level] = Level { block, entries, room, at };
            path.end = next.unwrap_or(path.end);
            if is_leaf {
                break;
            }
            let is_there =
                entries > 0 && self.geometry.holds(below, 1) && !self.allocator.is_system(below, 1);
            match if is_there { self.checked_node(inode, below)? } else { None } {
                Some((count, most, left)) if usize::from(left) == path.depth - level - 1 => {
                    (entries, room, block) = (count, most, Some(below));
                }
                _ => return Err(self.bad_tree(inode)),
            }
        }
        if path.end <= logical && logical != u32::MAX {
            return Err(self.bad_tree(inode));
        }
        Ok(path)
    }

    /// The header of a node outside the inode. The order of its entries is checked when it is first used.
    fn checked_node(&mut self, inode: &Inode, block: BlockNr) -> Result<Option<(usize, usize, u16)>, Halt> {
        let raw = self.read(block, kind(inode))?;
        // What is split needs something on both sides.
        let Some((entries, room, left)) = header(raw).filter(|&(entries, room, _)| entries > 0 && room >= 4)
        else {
            return Ok(None);
        };
        if let Some(slot) = self.cache.get(block)
            && slot.verified == 0
        {
            if !is_ordered(&slot.data, entries, left == 0) {
                return Ok(None);
            }
            slot.verified = u64::MAX;
        }
        Ok(Some((entries, room, left)))
    }

    /// A node's bytes.
    pub(super) fn node<'a>(&'a mut self, inode: &'a Inode, block: Option<BlockNr>) -> Result<&'a [u8], Halt> {
        match block {
            None => Ok(&inode.map),
            Some(block) => self.read(block, kind(inode)),
        }
    }

    /// Bytes of a node, to be changed.
    fn node_to_edit<'a>(
        &'a mut self,
        inode: &'a mut Inode,
        block: Option<BlockNr>,
        range: Range<usize>,
    ) -> Result<&'a mut [u8], Halt> {
        match block {
            None => Ok(&mut inode.map[range]),
            Some(block) => self.edit(block, kind(inode), range),
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
        self.node_to_edit(inode, block, at..at + bytes.len())?.copy_from_slice(bytes);
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
        let tail = self.node_to_edit(inode, block, ENTRY * (1 + at)..ENTRY * (2 + entries))?;
        tail.copy_within(..ENTRY * (entries - at), ENTRY);
        tail[..ENTRY].copy_from_slice(&entry);
        self.set_entries(inode, block, entries + 1)?;
        if at == 0 {
            self.put_keys(inode, path, level, u32_at(&entry, 0))?;
        }
        Ok(())
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
        let tail = self.node_to_edit(inode, block, ENTRY * (1 + at)..ENTRY * (1 + entries))?;
        tail.copy_within(ENTRY.., 0);
        let first = u32_at(tail, 0);
        self.set_entries(inode, block, entries - 1)?;
        if at == 0 && entries > 1 {
            self.put_keys(inode, path, level, first)?;
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
