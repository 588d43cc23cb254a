//! How a hash tree comes to be and grows: blocks of names and index blocks are divided when they are full.

use super::entry::{Broken, Entry, New, Shape, need};
use super::hash::{Hasher, Version};
use super::index::{
    CONTINUED, ENTRY, FIELDS_LENGTH, Frame, LEVELS_MOST, NODE_START, Path, ROOT_FIELDS, ROOT_START, block_at,
    hash_at, limit, put_counts, put_entry,
};
use super::{CHAIN_MOST, DOTS, finish, kind};
use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32};
use crate::layout::inode::{INDEXED, Inode};
use alloc::vec::Vec;
use keelson_volume::VolumeError;

/// An entry on its way to another place.
#[derive(Clone, Copy)]
struct Piece<'a> {
    hash: u32,
    used: usize,
    entry: New<'a>,
}

impl Engine {
    /// Makes a tree of a directory of one block: its names move to a second one, the only one that the index has.
    pub(super) fn tree_plant(&mut self, dir: &mut Inode) -> Result<(), Halt> {
        let first = self.dir_block(dir, 0)?;
        let hasher = Hasher::new(Version::of_new(&self.geometry), &self.geometry);
        let content = self.read(first, kind(dir))?.to_vec();
        let pieces = self.dir_names(dir, first, |shape, _| {
            let raw = &content[..];
            let mut dots = shape.entries(raw, 0);
            let (dot, dot_dot) = (dots.next().ok_or(Broken(0))??, dots.next().ok_or(Broken(0))??);
            if dot.name != b"." || dot.length != DOTS || dot_dot.name != b".." {
                return Err(Broken(0));
            }
            pieces(shape, raw, dot_dot.at + dot_dot.length, &hasher)
        })?;
        let (logical, leaf) = self.dir_grow(dir)?;
        let geometry = self.geometry;
        pack(Shape::new(&geometry), &pieces, self.fresh(leaf, kind(dir)));
        let raw = self.edit(first, kind(dir), 0..geometry.block_size)?;
        raw[ROOT_FIELDS..].fill(0);
        put_u16(raw, DOTS + 4, (geometry.block_size - DOTS) as u16);
        raw[ROOT_FIELDS + 4] = hasher.version().code();
        raw[ROOT_FIELDS + 5] = FIELDS_LENGTH;
        put_entry(raw, ROOT_START, 0, 0, logical);
        put_counts(raw, ROOT_START, limit(&geometry, ROOT_START), 1);
        dir.flags |= INDEXED;
        Ok(())
    }

    /// Adds a name to a tree.
    pub(super) fn tree_insert(&mut self, dir: &mut Inode, new: &New<'_>) -> Result<(), Halt> {
        let root = self.tree_root(dir)?;
        let hash = root.hasher.major(new.name);
        let mut path = self.tree_descend(dir, &root, hash)?;
        let leaf = self.tree_leaf(dir, &path)?;
        if self.dir_put(dir, leaf, new)? {
            return Ok(());
        }
        let content = self.read(leaf, kind(dir))?.to_vec();
        let mut pieces = self.dir_names(dir, leaf, |shape, _| pieces(shape, &content, 0, &root.hasher))?;
        pieces.push(Piece { hash, used: need(new.name.len()), entry: *new });
        let shape = Shape::new(&self.geometry);
        let used: usize = pieces.iter().map(|piece| piece.used).sum();
        if used <= shape.end / 4 * 3 {
            // There is room enough, only in pieces.
            pack(shape, &pieces, self.edit(leaf, kind(dir), 0..content.len())?);
            return Ok(());
        }
        pieces.sort_unstable_by_key(|piece| piece.hash);
        let (low, high) = pieces.split_at(boundary(&pieces, used, shape.end));
        // One entry cannot fill a block.
        let (Some(last), Some(first)) = (low.last(), high.first()) else {
            return Err(
                self.damaged(format_args!("directory {} has a block that cannot be divided", dir.ino))
            );
        };
        let is_continued = last.hash == first.hash;
        if is_continued {
            self.check_chain(dir, &path, first.hash)?;
        }
        self.tree_make_room(dir, &mut path)?;
        let (logical, upper) = self.dir_grow(dir)?;
        pack(shape, high, self.fresh(upper, kind(dir)));
        pack(shape, low, self.edit(leaf, kind(dir), 0..content.len())?);
        let from = if is_continued { first.hash | CONTINUED } else { first.hash };
        match path.frames().last() {
            Some(frame) => self.index_insert(dir, frame, from, logical),
            None => Ok(()),
        }
    }

    /// The block of names that a path leads to.
    pub(super) fn tree_leaf(&mut self, dir: &Inode, path: &Path) -> Result<BlockNr, Halt> {
        if path.leaf == 0 {
            return Err(
                self.damaged(format_args!("directory {} has an index that leads to its root", dir.ino))
            );
        }
        self.dir_block(dir, path.leaf)
    }

    /// Refuses to make one more block of names with the same hash when there are very many.
    fn check_chain(&mut self, dir: &Inode, path: &Path, hash: u32) -> Result<(), Halt> {
        let mut path = path.clone();
        for _ in 1..CHAIN_MOST - 1 {
            if self.tree_next_hash(dir, &path)? != Some(hash | CONTINUED) {
                return Ok(());
            }
            self.tree_advance(dir, &mut path)?;
        }
        Err(Halt::Fail(VolumeError::NoSpace))
    }

    /// Makes the lowest index block of a path have room for a further entry.
    fn tree_make_room(&mut self, dir: &mut Inode, path: &mut Path) -> Result<(), Halt> {
        let depth = path.frames().len();
        let level = match path.frames().iter().rposition(|frame| !frame.is_full()) {
            Some(level) => level,
            None if depth > LEVELS_MOST => return Err(Halt::Fail(VolumeError::NoSpace)),
            None => {
                self.tree_deepen(dir, path)?;
                1
            }
        };
        for level in level + 1..path.frames().len() {
            self.tree_split_node(dir, path, level)?;
        }
        Ok(())
    }

    /// Moves the root's entries to an index block of their own. It has more room than the root.
    fn tree_deepen(&mut self, dir: &mut Inode, path: &mut Path) -> Result<(), Halt> {
        let root = path.frames()[0];
        let (logical, block) = self.dir_grow(dir)?;
        let entries = self.read(root.block, kind(dir))?[root.start..root.start + root.count * ENTRY].to_vec();
        let node = self.new_index_node(dir, block, &entries);
        let geometry = self.geometry;
        let levels = path.frames().len() as u8;
        let raw = self.edit(root.block, kind(dir), 0..ROOT_START + ENTRY)?;
        raw[ROOT_FIELDS + 6] = levels;
        put_entry(raw, ROOT_START, 0, 0, logical);
        put_counts(raw, ROOT_START, limit(&geometry, ROOT_START), 1);
        path.frames()[0] = Frame { count: 1, at: 0, ..root };
        path.deepen(Frame { at: root.at, ..node });
        Ok(())
    }

    /// Moves the upper half of an index block's entries to a new one. That above it has room.
    fn tree_split_node(&mut self, dir: &mut Inode, path: &mut Path, level: usize) -> Result<(), Halt> {
        let old = path.frames()[level];
        let half = old.count / 2;
        let (logical, block) = self.dir_grow(dir)?;
        let raw = self.read(old.block, kind(dir))?;
        let from = hash_at(raw, old.start, half);
        let entries = raw[old.start + half * ENTRY..old.start + old.count * ENTRY].to_vec();
        let node = self.new_index_node(dir, block, &entries);
        let raw = self.edit(old.block, kind(dir), old.start..old.start + 4)?;
        put_counts(raw, 0, old.limit, half);
        self.index_insert(dir, &path.frames()[level - 1], from, logical)?;
        let frames = path.frames();
        frames[level - 1].count += 1;
        if old.at < half {
            frames[level].count = half;
        } else {
            frames[level - 1].at += 1;
            frames[level] = Frame { at: old.at - half, ..node };
        }
        Ok(())
    }

    /// Makes an index block below the root, of entries that fit.
    fn new_index_node(&mut self, dir: &Inode, block: BlockNr, entries: &[u8]) -> Frame {
        let geometry = self.geometry;
        let (limit, count) = (limit(&geometry, NODE_START), entries.len() / ENTRY);
        let raw = self.fresh(block, kind(dir));
        put_u16(raw, 4, geometry.block_size as u16);
        raw[NODE_START..NODE_START + entries.len()].copy_from_slice(entries);
        let first = block_at(entries, 0, 0);
        put_entry(raw, NODE_START, 0, 0, first);
        put_counts(raw, NODE_START, limit, count);
        Frame { block, start: NODE_START, count, limit, at: 0 }
    }

    /// Adds an entry behind the one that the path took, to an index block with room.
    fn index_insert(&mut self, dir: &Inode, frame: &Frame, hash: u32, block: u32) -> Result<(), Halt> {
        let end = (frame.count + 1) * ENTRY;
        let raw = self.edit(frame.block, kind(dir), frame.start..frame.start + end)?;
        let place = (frame.at + 1) * ENTRY;
        raw.copy_within(place..end - ENTRY, place + ENTRY);
        put_u32(raw, place, hash);
        put_u32(raw, place + 4, block);
        put_counts(raw, 0, frame.limit, frame.count + 1);
        Ok(())
    }
}

/// The entries of a block from byte `from` on, in the order in which they lie there.
fn pieces<'a>(shape: Shape, raw: &'a [u8], from: usize, hasher: &Hasher) -> Result<Vec<Piece<'a>>, Broken> {
    let mut pieces = Vec::with_capacity(128);
    for entry in shape.entries(raw, from) {
        let Entry { ino, file_type, name, .. } = entry?;
        if ino != 0 {
            let entry = New { name, ino, file_type };
            pieces.push(Piece { hash: hasher.major(name), used: need(name.len()), entry });
        }
    }
    Ok(pieces)
}

/// Where to divide sorted entries that together take up to one of the longest more than the `most` bytes of a block:
/// as near to the middle as one hash does not come to both sides, and in the middle when every place is within one.
fn boundary(pieces: &[Piece<'_>], used: usize, most: usize) -> usize {
    let middle = middle(pieces, used);
    let (mut low, mut best) = (0, None);
    for (index, piece) in pieces.iter().enumerate() {
        let is_apart = index > 0 && pieces[index - 1].hash != piece.hash;
        let distance = index.abs_diff(middle);
        let fits = low <= most && used - low <= most;
        if is_apart && fits && best.is_none_or(|(_, least)| distance < least) {
            best = Some((index, distance));
        }
        low += piece.used;
    }
    best.map_or(middle, |(index, _)| index)
}

/// Where both sides take as equal a part of the bytes as entries allow, so that either fits into a block.
fn middle(pieces: &[Piece<'_>], used: usize) -> usize {
    let mut low = 0;
    for (index, piece) in pieces.iter().enumerate() {
        if low + piece.used / 2 > used / 2 {
            return index.max(1);
        }
        low += piece.used;
    }
    pieces.len()
}

/// Fills a block with entries that fit, without free space between them.
fn pack(shape: Shape, pieces: &[Piece<'_>], raw: &mut [u8]) {
    raw.fill(0);
    if pieces.is_empty() {
        put_u16(raw, 4, shape.end as u16);
    }
    let mut at = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = index + 1 == pieces.len();
        let length = if is_last { shape.end - at } else { piece.used };
        shape.put(raw, at, length, &piece.entry);
        at += length;
    }
    finish(shape, raw);
}
