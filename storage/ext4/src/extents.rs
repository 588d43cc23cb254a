//! Extents: which blocks hold a file's content (Linux `Documentation/filesystems/ext4/ifork.rst`).

use crate::engine::{BlockNr, Engine, Kind};
use crate::halt::Halt;
use crate::layout::bytes::{u16_at, u32_at};
use crate::layout::inode::{EXTENTS, Inode, MAP_LENGTH};

/// `eh_magic`.
pub const MAGIC: u16 = 0xf30a;
/// Bytes of a node's header, and of an entry.
pub const ENTRY: usize = 12;
/// Levels of index nodes that a tree may have.
pub const DEPTH: u16 = 5;
/// `ee_len` of the longest extent; what is longer is an unwritten extent, by the excess.
pub const LONGEST: u32 = 32_768;

/// What a file has at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing, for so many blocks: zeros.
    Hole(u32),
    /// Content.
    Written {
        /// Where the place asked for is.
        block: BlockNr,
        /// Blocks from there on.
        len: u32,
    },
    /// Space without content: zeros.
    Unwritten {
        /// Where the place asked for is.
        block: BlockNr,
        /// Blocks from there on.
        len: u32,
    },
}

/// An extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub logical: u32,
    /// Where it is.
    pub block: BlockNr,
    /// How many.
    pub len: u32,
    /// Space without content.
    pub unwritten: bool,
}

impl Extent {
    /// Reads an entry of a leaf.
    pub fn decode(raw: &[u8]) -> Extent {
        let len = u32::from(u16_at(raw, 4));
        Extent {
            logical: u32_at(raw, 0),
            block: u64::from(u16_at(raw, 6)) << 32 | u64::from(u32_at(raw, 8)),
            len: if len > LONGEST { len - LONGEST } else { len },
            unwritten: len > LONGEST,
        }
    }
}

/// A node's header: entries, room for entries, levels below; `None` when it makes no sense.
fn header(raw: &[u8]) -> Option<(usize, usize, u16)> {
    let (entries, room) = (usize::from(u16_at(raw, 2)), usize::from(u16_at(raw, 4)));
    let fits = entries <= room && ENTRY * (1 + room) <= raw.len();
    (u16_at(raw, 0) == MAGIC && fits && u16_at(raw, 6) <= DEPTH).then(|| (entries, room, u16_at(raw, 6)))
}

impl Engine {
    /// What the file has from block `logical` on, as far as it goes.
    pub fn map(&mut self, inode: &Inode, logical: u32) -> Result<Mapping, Halt> {
        if inode.flags & EXTENTS == 0 {
            return Err(self.damaged(format_args!("inode {} has no extents", inode.ino)));
        }
        let kind = Kind::Extents { owner: inode.ino, generation: inode.generation };
        let root: [u8; MAP_LENGTH] = inode.map;
        let Some((mut entries, _, mut depth)) = header(&root) else {
            return Err(self.damaged(format_args!("the extent tree of inode {}", inode.ino)));
        };
        // Where the next sibling of the way down begins: a hole ends there.
        let mut end = u32::MAX;
        let mut block = None;
        loop {
            let raw = match block {
                None => &root[..],
                Some(block) => self.read(block, kind)?,
            };
            let at = last_not_after(raw, entries, logical);
            let next = at.map_or(0, |at| at + 1);
            if next < entries {
                end = end.min(u32_at(raw, ENTRY * (1 + next)));
            }
            let Some(at) = at else { return Ok(Mapping::Hole(end - logical)) };
            let entry = &raw[ENTRY * (1 + at)..ENTRY * (2 + at)];
            if depth == 0 {
                let extent = Extent::decode(entry);
                return self.judge(inode, extent, logical, end);
            }
            let child = u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4));
            let expected = depth - 1;
            let found = match self.geometry.holds(child, 1) {
                true => header(self.read(child, kind)?),
                false => None,
            };
            match found {
                Some((count, _, below)) if below == expected && count > 0 => {
                    (entries, depth, block) = (count, below, Some(child));
                }
                _ => return Err(self.damaged(format_args!("the extent tree of inode {}", inode.ino))),
            }
        }
    }

    fn judge(&mut self, inode: &Inode, extent: Extent, logical: u32, end: u32) -> Result<Mapping, Halt> {
        let into = logical - extent.logical;
        if into >= extent.len {
            return Ok(Mapping::Hole(end - logical));
        }
        if !self.geometry.holds(extent.block, u64::from(extent.len)) {
            return Err(self.damaged(format_args!("inode {} has blocks outside the filesystem", inode.ino)));
        }
        let (block, len) = (extent.block + u64::from(into), (extent.len - into).min(end - logical));
        Ok(match extent.unwritten {
            true => Mapping::Unwritten { block, len },
            false => Mapping::Written { block, len },
        })
    }
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
