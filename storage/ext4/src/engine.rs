//! The filesystem in memory: metadata blocks, the operation that changes them, the transaction it joins.
//!
//! Everything that is on the disk besides file data is read and changed through [`Engine`]. Its functions never wait.
//! An *operation* is a function on it that either succeeds or leaves no trace:
//!
//! ```text
//!             begin            read, edit, fresh, forget ...              end
//!   driver ---------> operation ------------------------------> Ok  ---------> part of the running transaction
//!     ^                                                     \-> Err ---------> rolled back
//!     |                                                                          |
//!     +---- Halt::Need(block): read it from the disk, then once more from the start
//! ```
//!
//! 1. **Operations are atomic for everybody**: for the other tasks, because they do not wait inside; for the disk,
//!    because a transaction holds whole operations; for their caller, because a failed one is undone byte by byte.
//! 2. **Everything that matters is in blocks**, so that undoing bytes undoes everything. What is kept beside them
//!    (free counts, hints, charges) is undone with them or only a hint.
//! 3. **Checksums of whole blocks are made when a transaction is committed** ([`seal`]), once for all operations.
//!    Those of inodes and group descriptors, which are short, are made with each change.
//! 4. **A block that is freed is nobody's until that is committed** (`alloc`), and revoked in the journal.

pub mod cache;
mod operation;
pub mod records;
pub mod seal;

use crate::halt::Halt;
use crate::journal::Journal;
use crate::layout::Geometry;
use crate::space::Allocator;
use crate::stats::Counters;
use crate::usage::Usage;
use alloc::rc::Rc;
use cache::{Cache, Slot};
use keelson_volume::{Limits, Time, VolumeError};
use operation::Operation;

/// Number of a block of the filesystem.
pub type BlockNr = u64;
/// Number of an inode; 1 is the first.
pub type Ino = u32;

/// The root directory's inode.
pub const ROOT: Ino = 2;

/// Most metadata blocks that one operation may change: what the journal keeps room for before it lets one begin.
pub const OPERATION_BLOCKS: usize = 48;

/// Most metadata blocks that one operation may give up: the journal keeps room for their revocations as well.
pub const OPERATION_FORGOTTEN: usize = 600;

/// What a metadata block holds: how to check it when it comes from the disk and what to do before it goes there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The block with the primary superblock.
    Superblock,
    /// Part of the table of group descriptors.
    Descriptors,
    /// Which blocks of a group are in use.
    BlockBitmap(u32),
    /// Which inodes of a group are in use.
    InodeBitmap(u32),
    /// Inode records.
    InodeTable,
    /// A node of an inode's extent tree outside the inode.
    Extents {
        /// Whose.
        owner: Ino,
        /// Its generation.
        generation: u32,
    },
    /// A block of a directory: entries, or an index of the hash tree.
    Directory {
        /// Whose.
        owner: Ino,
        /// Its generation.
        generation: u32,
    },
    /// A block of extended attributes.
    Attributes,
    /// The target of a symbolic link.
    Target,
}

/// The filesystem in memory.
pub struct Engine {
    /// Sizes and places, constant.
    pub geometry: Geometry,
    /// Metadata blocks.
    pub cache: Cache,
    /// Transactions.
    pub journal: Journal,
    /// Space.
    pub allocator: Allocator,
    /// Who uses how much.
    pub usage: Usage,
    /// How much they may.
    pub(crate) limits: Rc<Limits>,
    /// The operation under way must keep to that.
    pub is_limited: bool,
    /// What happened since the mount.
    pub counters: Counters,
    /// The time that this operation stamps. Strictly increases from operation to operation.
    pub now: Time,
    /// By how much the next inode's generation is later than that of the number's last owner: changes with every
    /// inode that is made, seeded by entropy at mount.
    pub next_generation: u32,
    /// The filesystem was cleanly unmounted, or checked, before it was mounted.
    pub was_clean: bool,
    /// Nothing can be changed any more, or ever.
    pub read_only: bool,
    /// The inode table that was looked into last: whose, and where it begins. Tables never move.
    inode_table: Option<(u32, BlockNr)>,
    operation: Operation,
}

impl Engine {
    /// A filesystem without any block in memory.
    pub fn new(geometry: Geometry, cache_bytes: usize, journal: Journal, generation: u32) -> Engine {
        Engine {
            cache: Cache::new(geometry.block_size, cache_bytes),
            allocator: Allocator::new(&geometry),
            usage: Usage::default(),
            limits: Rc::default(),
            is_limited: false,
            counters: Counters::default(),
            now: Time::default(),
            next_generation: generation,
            was_clean: true,
            read_only: false,
            inode_table: None,
            operation: Operation::default(),
            journal,
            geometry,
        }
    }

    /// A block's content.
    pub fn read(&mut self, block: BlockNr, kind: Kind) -> Result<&[u8], Halt> {
        Ok(&self.slot(block, kind)?.data)
    }

    /// A block.
    fn slot(&mut self, block: BlockNr, kind: Kind) -> Result<&mut Slot, Halt> {
        let Some(slot) = self.cache.get(block) else { return Err(Halt::Need(block, kind)) };
        if slot.kind != kind {
            let other = slot.kind;
            let what = format_args!("block {block} is both {kind:?} and {other:?}");
            return Err(damaged(&mut self.counters, what));
        }
        Ok(slot)
    }

    /// Something on the disk cannot be true: counted, logged, and the operation fails.
    #[cold]
    pub fn damaged(&mut self, what: core::fmt::Arguments<'_>) -> Halt {
        damaged(&mut self.counters, what)
    }
}

#[cold]
fn damaged(counters: &mut Counters, what: core::fmt::Arguments<'_>) -> Halt {
    counters.damaged += 1;
    // One line for each of a million damaged blocks helps nobody.
    if counters.damaged <= 100 {
        log::error!(target: "ext4", "damaged filesystem: {what} (repair with: e2fsck -f DEVICE)");
    }
    Halt::Fail(VolumeError::Io)
}
