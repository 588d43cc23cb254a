//! Extents: which blocks hold a file's content (Linux `Documentation/filesystems/ext4/ifork.rst`).
//!
//! The root of the tree lies in the inode, whose record the caller of all functions here writes back. All nodes of a
//! way down are checked: depths, counts, and that entries are where the way says; the order of a node's entries when it
//! is first used; and each extent that is used, that its blocks are the filesystem's to give.

mod insert;
mod remove;
#[cfg(test)]
mod tests;
mod tree;

use crate::engine::{BlockNr, Engine};
use crate::halt::Halt;
use crate::layout::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::layout::inode::{EXTENTS, Inode, MAP_LENGTH};
use keelson_volume::VolumeError;

/// `eh_magic`.
const MAGIC: u16 = 0xf30a;
/// Bytes of a node's header, and of an entry.
const ENTRY: usize = 12;
/// Levels of index nodes that a tree may have.
const DEPTH: u16 = 5;
/// Most blocks of an extent; an unwritten one has one less, since its length is stored with this added.
const LONGEST: u32 = 32_768;

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
struct Extent {
    /// First block of the file.
    logical: u32,
    /// Where it is.
    block: BlockNr,
    /// How many.
    len: u32,
    /// Space without content.
    unwritten: bool,
}

impl Extent {
    fn decode(raw: &[u8]) -> Extent {
        let len = u32::from(u16_at(raw, 4));
        Extent {
            logical: u32_at(raw, 0),
            block: u64::from(u16_at(raw, 6)) << 32 | u64::from(u32_at(raw, 8)),
            len: if len > LONGEST { len - LONGEST } else { len },
            unwritten: len > LONGEST,
        }
    }

    fn encode(&self) -> [u8; ENTRY] {
        let mut raw = [0; ENTRY];
        put_u32(&mut raw, 0, self.logical);
        put_u16(&mut raw, 4, (self.len + if self.unwritten { LONGEST } else { 0 }) as u16);
        put_u16(&mut raw, 6, (self.block >> 32) as u16);
        put_u32(&mut raw, 8, self.block as u32);
        raw
    }

    fn end(&self) -> u32 {
        self.logical.saturating_add(self.len)
    }

    /// Most blocks of one such.
    fn longest(&self) -> u32 {
        if self.unwritten { LONGEST - 1 } else { LONGEST }
    }

    /// The two as one, if they lie behind each other and fit.
    fn joined(&self, next: &Extent) -> Option<Extent> {
        let behind = self.end() == next.logical && self.block + u64::from(self.len) == next.block;
        let fits = self.unwritten == next.unwritten && self.len + next.len <= self.longest();
        (behind && fits).then_some(Extent { len: self.len + next.len, ..*self })
    }
}

/// Gives an inode an empty tree.
pub fn init(inode: &mut Inode) {
    inode.flags |= EXTENTS;
    inode.map = [0; MAP_LENGTH];
    put_u16(&mut inode.map, 0, MAGIC);
    put_u16(&mut inode.map, 4, (MAP_LENGTH / ENTRY - 1) as u16);
}

impl Engine {
    /// What the file has from block `logical` on, as far as it goes.
    pub fn map(&mut self, inode: &Inode, logical: u32) -> Result<Mapping, Halt> {
        let path = self.descend(inode, logical)?;
        let leaf = path.leaf();
        // There is no last block of all to ask for: nobody must loop there.
        let hole = Mapping::Hole((path.end - logical).max(1));
        let Some(at) = leaf.at else { return Ok(hole) };
        let extent = self.extent(inode, leaf.block, at)?;
        if logical >= extent.end() {
            return Ok(hole);
        }
        let into = logical - extent.logical;
        let (block, len) = (extent.block + u64::from(into), (extent.len - into).min(path.end - logical));
        Ok(match extent.unwritten {
            true => Mapping::Unwritten { block, len },
            false => Mapping::Written { block, len },
        })
    }

    /// Where the next block of the file would lie best: behind the one before it, or near the inode.
    pub fn goal(&mut self, inode: &Inode, logical: u32) -> Result<BlockNr, Halt> {
        let path = self.descend(inode, logical)?;
        let leaf = path.leaf();
        if let Some(at) = leaf.at {
            let extent = self.extent(inode, leaf.block, at)?;
            let distance = u64::from(logical.saturating_sub(extent.logical));
            let goal = extent.block + distance;
            // Far into a sparse file there may be no such block.
            let near = (extent.block + u64::from(extent.len)).min(self.geometry.blocks - 1);
            return Ok(if self.geometry.holds(goal, 1) { goal } else { near });
        }
        let group = self.geometry.locate_inode(inode.ino).map_or(0, |(group, _)| group);
        Ok(self.geometry.group_start(group))
    }

    /// An extent, checked.
    fn extent(&mut self, inode: &Inode, node: Option<BlockNr>, at: usize) -> Result<Extent, Halt> {
        let extent = Extent::decode(&self.node(inode, node)?[ENTRY * (1 + at)..ENTRY * (2 + at)]);
        let own =
            inode.ino == self.geometry.journal_inode || !self.allocator.is_system(extent.block, extent.len);
        if extent.len == 0 || !own || !self.geometry.holds(extent.block, u64::from(extent.len)) {
            let damaged = format_args!("inode {} has blocks {}+{}", inode.ino, extent.block, extent.len);
            return Err(self.damaged(damaged));
        }
        Ok(extent)
    }

    /// Charges the file's owner for blocks more or fewer, and counts them in the inode.
    fn charge_blocks(&mut self, inode: &mut Inode, blocks: i64) {
        let sectors = blocks * (self.geometry.block_size as i64 / 512);
        inode.sectors = inode.sectors.saturating_add_signed(sectors);
        self.charge(inode.ino, inode.uid, inode.gid, sectors, 0);
    }

    #[cold]
    fn bad_tree(&mut self, inode: &Inode) -> Halt {
        self.damaged(format_args!("the extent tree of inode {} makes no sense", inode.ino))
    }

    /// Files of ext3 are mapped block by block.
    #[cold]
    fn no_extents(&mut self, inode: &Inode) -> Halt {
        log::error!(
            target: "ext4",
            "inode {} has no extents, as on ext3: copy the file on Linux, or convert it with: chattr +e",
            inode.ino
        );
        Halt::Fail(VolumeError::NotPermitted)
    }
}
