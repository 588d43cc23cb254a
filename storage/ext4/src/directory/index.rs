//! The hash tree: from a hash to the block of names that holds it (Linux
//! `Documentation/filesystems/ext4/directory.rst`, "Hash Tree Directories").
//!
//! ```text
//! block 0 of the directory: . and .., then the root:  [hash, block] [hash, block] ...
//!                                                             |
//!     index block (none in small directories):        [hash, block] [hash, block] ...
//!                                                             |
//!     block of names: those from this hash up to the next entry's, in any order
//! ```
//!
//! The first entry of an index block has no hash: it holds everything below the second's. In its place are the number
//! of entries that fit and that are in use. The lowest bit of a hash says that names of the same hash are in the block
//! before, too. To old software an index block looks like a block of names with one free entry.

use super::hash::{Hasher, Version};
use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::Geometry;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::Inode;

/// Most levels of index blocks below the root without the feature large_dir: the tree has two levels in all
/// (Linux `EXT4_HTREE_LEVEL_COMPAT`; it refuses deeper ones).
pub const LEVELS_MOST: usize = 1;
/// Where the entries of the root begin.
pub const ROOT_START: usize = 32;
/// Where the entries of another index block begin.
pub const NODE_START: usize = 8;
/// Where the root's fields are: behind `.` and `..`.
pub const ROOT_FIELDS: usize = 24;
/// Bytes of the root's fields, which it tells itself.
pub const FIELDS_LENGTH: u8 = 8;
/// Bytes of an entry.
pub const ENTRY: usize = 8;
/// Bytes for the checksum at the end.
const TAIL: usize = 8;
/// The part of a block number that is one.
const BLOCK_MASK: u32 = 0x0fff_ffff;
/// Bit of a hash: names of the same hash are in the block before, too.
pub const CONTINUED: u32 = 1;

/// Entries that fit into an index block.
pub fn limit(geometry: &Geometry, start: usize) -> usize {
    let tail = if geometry.checksum_seed.is_some() { TAIL } else { 0 };
    (geometry.block_size - start - tail) / ENTRY
}

/// The hash at which entry `index` (not 0) begins.
pub fn hash_at(raw: &[u8], start: usize, index: usize) -> u32 {
    u32_at(raw, start + index * ENTRY)
}

/// The block that entry `index` leads to.
pub fn block_at(raw: &[u8], start: usize, index: usize) -> u32 {
    u32_at(raw, start + index * ENTRY + 4) & BLOCK_MASK
}

/// Writes an entry other than the first.
pub fn put_entry(raw: &mut [u8], start: usize, index: usize, hash: u32, block: u32) {
    put_u32(raw, start + index * ENTRY, hash);
    put_u32(raw, start + index * ENTRY + 4, block);
}

/// Writes the number of entries that fit and that are in use.
pub fn put_counts(raw: &mut [u8], start: usize, limit: usize, count: usize) {
    put_u16(raw, start, limit as u16);
    put_u16(raw, start + 2, count as u16);
}

/// An index block on the way to a block of names.
#[derive(Clone, Copy, Default, Debug)]
pub struct Frame {
    /// Where it is.
    pub block: BlockNr,
    /// Where its entries begin.
    pub start: usize,
    /// How many there are.
    pub count: usize,
    /// How many fit.
    pub limit: usize,
    /// Which one was taken.
    pub at: usize,
}

impl Frame {
    /// True when no further entry fits.
    pub fn is_full(&self) -> bool {
        self.count >= self.limit
    }
}

/// The root of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// Its block.
    pub frame: Frame,
    /// Hashes names.
    pub hasher: Hasher,
    /// Levels of index blocks below.
    pub levels: usize,
}

/// The way from the root to a block of names.
#[derive(Clone, Debug)]
pub struct Path {
    /// From the root down.
    frames: [Frame; LEVELS_MOST + 1],
    /// How many of them there are, 1 or more.
    depth: usize,
    /// The block of names, by its number in the directory.
    pub leaf: u32,
    /// Where its hashes begin, with the bit [`CONTINUED`].
    pub from: u32,
}

impl Path {
    /// Index blocks on the way.
    pub fn frames(&mut self) -> &mut [Frame] {
        &mut self.frames[..self.depth]
    }

    /// A further level comes below the root.
    pub fn deepen(&mut self, node: Frame) {
        for level in (1..self.depth).rev() {
            self.frames[level + 1] = self.frames[level];
        }
        self.frames[1] = node;
        self.depth += 1;
    }
}

impl Engine {
    /// Reads the root of a directory's tree.
    pub(super) fn tree_root(&mut self, dir: &Inode) -> Result<Root, Halt> {
        let block = self.dir_block(dir, 0)?;
        let geometry = self.geometry;
        let raw = self.read(block, super::kind(dir))?;
        let (code, fields, levels) =
            (raw[ROOT_FIELDS + 4], raw[ROOT_FIELDS + 5], usize::from(raw[ROOT_FIELDS + 6]));
        let is_root = u32_at(raw, ROOT_FIELDS) == 0 && fields == FIELDS_LENGTH && levels <= LEVELS_MOST;
        let count = count(raw, ROOT_START, &geometry);
        match (Version::from_code(code), count) {
            (Some(version), Some(count)) if is_root => {
                let limit = limit(&geometry, ROOT_START);
                let frame = Frame { block, start: ROOT_START, count, limit, at: 0 };
                Ok(Root { frame, hasher: Hasher::new(version, &geometry), levels })
            }
            _ => Err(self.damaged(format_args!("directory {} has a bad index root", dir.ino))),
        }
    }

    /// Goes down to the first block that may hold names of a hash.
    pub(super) fn tree_descend(&mut self, dir: &Inode, root: &Root, hash: u32) -> Result<Path, Halt> {
        let mut path = Path { frames: [Frame::default(); LEVELS_MOST + 1], depth: 0, leaf: 0, from: 0 };
        let mut frame = root.frame;
        loop {
            let raw = self.read(frame.block, super::kind(dir))?;
            frame.at = search(raw, frame.start, frame.count, hash);
            let next = block_at(raw, frame.start, frame.at);
            if frame.at > 0 {
                path.from = hash_at(raw, frame.start, frame.at);
            }
            path.frames[path.depth] = frame;
            path.depth += 1;
            if path.depth > root.levels {
                path.leaf = next;
                return Ok(path);
            }
            frame = self.tree_node(dir, next)?;
        }
    }

    /// Where the next block of names begins; `None` behind the last.
    pub(super) fn tree_next_hash(&mut self, dir: &Inode, path: &Path) -> Result<Option<u32>, Halt> {
        let Some(frame) = path.frames[..path.depth].iter().rev().find(|frame| frame.at + 1 < frame.count)
        else {
            return Ok(None);
        };
        let raw = self.read(frame.block, super::kind(dir))?;
        Ok(Some(hash_at(raw, frame.start, frame.at + 1)))
    }

    /// Goes on to the next block of names; false when there is none.
    pub(super) fn tree_advance(&mut self, dir: &Inode, path: &mut Path) -> Result<bool, Halt> {
        let depth = path.depth;
        let Some(level) =
            (0..depth).rev().find(|&level| path.frames[level].at + 1 < path.frames[level].count)
        else {
            return Ok(false);
        };
        let frame = &mut path.frames[level];
        frame.at += 1;
        let frame = *frame;
        let raw = self.read(frame.block, super::kind(dir))?;
        path.from = hash_at(raw, frame.start, frame.at);
        path.leaf = block_at(raw, frame.start, frame.at);
        for level in level + 1..depth {
            let node = self.tree_node(dir, path.leaf)?;
            path.frames[level] = node;
            path.leaf = block_at(self.read(node.block, super::kind(dir))?, node.start, 0);
        }
        Ok(true)
    }

    /// Reads an index block below the root, by its number in the directory.
    fn tree_node(&mut self, dir: &Inode, logical: u32) -> Result<Frame, Halt> {
        let block = self.dir_block(dir, logical)?;
        let geometry = self.geometry;
        let raw = self.read(block, super::kind(dir))?;
        let is_node =
            logical != 0 && u32_at(raw, 0) == 0 && usize::from(u16_at(raw, 4)) == geometry.block_size;
        match count(raw, NODE_START, &geometry) {
            Some(count) if is_node => {
                Ok(Frame { block, start: NODE_START, count, limit: limit(&geometry, NODE_START), at: 0 })
            }
            _ => Err(self.damaged(format_args!("directory {} has a bad index block {logical}", dir.ino))),
        }
    }
}

/// Entries in use, if that can be true.
fn count(raw: &[u8], start: usize, geometry: &Geometry) -> Option<usize> {
    let (fit, used) = (usize::from(u16_at(raw, start)), usize::from(u16_at(raw, start + 2)));
    (fit == limit(geometry, start) && (1..=fit).contains(&used)).then_some(used)
}

/// The last entry that begins at `hash` or before.
fn search(raw: &[u8], start: usize, count: usize, hash: u32) -> usize {
    let (mut low, mut high) = (0, count);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if hash_at(raw, start, middle) <= hash { low = middle } else { high = middle }
    }
    low
}
