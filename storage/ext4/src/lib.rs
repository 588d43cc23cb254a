//! An ext4 filesystem on a block device, as a [`Volume`](keelson_volume::Volume).
//!
//! Principles:
//!
//! 1. **Stock tools are the oracle.** The disk is what `mke2fs -t ext4` makes; `e2fsck -fn` must be content with it
//!    after every test, power cuts included.
//! 2. **The superblock is judged first.** What is not known is refused with the name of the feature and the command
//!    that avoids it; nothing from the disk is believed unchecked.

#![cfg_attr(not(any(test, feature = "dev")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod data;
#[cfg(any(test, feature = "dev"))]
pub mod dev;
mod directory;
mod engine;
mod error;
mod extents;
mod halt;
mod io;
mod journal;
pub mod layout;
mod mount;
mod operations;
mod orphans;
mod shared;
mod space;
mod state;
mod stats;
#[cfg(test)]
mod testing;
mod usage;
mod volume;
mod xattr;

pub use error::MountError;
pub use mount::Options;
pub use stats::{CacheCounters, Counters, DataCounters};
pub use usage::Amount;
pub use volume::Ext4Volume;
