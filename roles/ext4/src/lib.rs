//! An ext4 filesystem on a block device, as a [`Volume`](keelson_volume::Volume).
//!
//! Principles:
//!
//! 1. **Stock tools are the oracle.** The disk is what `mke2fs -t ext4` makes; `e2fsck -fn` must be content
//!    with it after every test, power cuts included.
//! 2. **The superblock is judged first.** [`Ext4Volume::mount`] refuses what it does not know with the name
//!    of the feature and the command that avoids it; nothing from the disk is believed unchecked.
//! 3. **Nanoseconds decide.** Every operation has its own strictly increasing time. It is what makes two
//!    changes distinguishable to clients, and the creation time is the discriminator of file handles.
//! 4. **Commits are shared.** Operations run in memory; a commit lets all other ready tasks run before it
//!    syncs, and whoever's operation was in that sync returns with it.
//!
//! The layers, top down:
//!
//! ```text
//!   volume, ops, directory, state    the Volume trait, group commit, cookies, state files
//!   attributes, inode, lagging       attributes: from the disk, or of what changed since the checkpoint
//!   accounting                       what the engine gets wrong
//!   rsext4                           the engine: ext4 and jbd2, unmodified
//!   cache                            pages, read-ahead, coalesced write-back between flushes
//!   hal::BlockDevice
//! ```
//!
//! The engine is `rsext4` 0.9.2 from crates.io, unmodified. It blocks: while it waits for the device, no
//! other task of the core runs. Its defects are worked around from outside where that is possible, each where
//! it shows: block counts of directories (`accounting`), unpadded inode bitmaps (`cache`), journal memory and
//! refused unmounts (`volume`), leaks on a full disk, renames lost in a directory split, device numbers taken
//! for block addresses (`ops`).
//!
//! What remains: between the commit that splits a scattered directory for the first time and the checkpoint
//! right behind it, a power cut leaves a wrong block count, which `e2fsck -p` corrects. A write error on the
//! unaligned ends of file data, which the engine holds back until it syncs, costs the journal (the volume
//! turns read-only) and not only the file. On a disk that writes single sectors of 512 bytes, a power cut can
//! tear the superblock, and `e2fsck -p` must run before the next mount, as on Linux.
//!
//! Not here: extended attributes, ACLs, quotas, files kept alive after their last name is gone.

#![cfg_attr(not(any(test, feature = "dev")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod accounting;
mod attributes;
mod cache;
mod clock;
#[cfg(any(test, feature = "dev"))]
pub mod dev;
mod directory;
mod error;
mod inode;
mod lagging;
mod ops;
mod state;
mod superblock;
mod volume;

pub use cache::CacheCounters;
pub use error::MountError;
pub use volume::{Counters, Ext4Volume, Options};
