//! The inodes whose records on the disk are not to be believed.
//!
//! What the engine changes reaches the inode tables only when the journal is checkpointed. Until then the
//! inodes it changed are kept here: with their exact times, which the engine does not tell and the volume's
//! operation clock does, and with what the engine said of them since. All others are read from their records.

use crate::inode::{Status, Times};
use alloc::collections::BTreeMap;

/// What is known of an inode whose record lags behind.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    /// `None`: as on the disk, if there is such an inode at all.
    pub times: Option<Times>,
    /// `None`: ask the engine.
    pub status: Option<Status>,
}

/// All inodes changed since the last checkpoint, or about to be.
#[derive(Default)]
pub(crate) struct Lagging {
    inodes: BTreeMap<u32, Known>,
}

impl Lagging {
    /// `None` when the record on the disk is right.
    pub fn get(&self, inode: u32) -> Option<&Known> {
        self.inodes.get(&inode)
    }

    /// An operation changed or may change the inode; it has these times.
    pub fn change(&mut self, inode: u32, times: Times) {
        self.inodes.insert(inode, Known { times: Some(times), status: None });
    }

    /// An operation changed nothing but the times.
    pub fn change_times(&mut self, inode: u32, times: Times, status: Status) {
        self.inodes.insert(inode, Known { times: Some(times), status: Some(status) });
    }

    /// The inode was freed, or soon will be.
    pub fn forget(&mut self, inode: u32) {
        self.inodes.insert(inode, Known::default());
    }

    /// What the engine says of an inode now.
    pub fn learn(&mut self, inode: u32, status: Status) {
        if let Some(known) = self.inodes.get_mut(&inode) {
            known.status = Some(status);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// The journal was checkpointed: every record is right.
    pub fn checkpointed(&mut self) {
        self.inodes.clear();
    }
}
