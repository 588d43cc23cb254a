//! Whose process it is.

use alloc::sync::Arc;
use alloc::vec::Vec;

/// User and groups of a process (credentials(7)).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ids {
    /// Users.
    pub user: Id,
    /// Groups.
    pub group: Id,
    /// Supplementary groups.
    pub groups: Arc<Vec<u32>>,
}

/// The four ids of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Id {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// For files.
    pub file: u32,
}

impl Id {
    /// All alike.
    pub const fn all(id: u32) -> Id {
        Id { real: id, effective: id, saved: id, file: id }
    }
}

impl Ids {
    /// True when a process with these ids may send signals to one with `other` (kill(2)).
    pub fn may_signal(&self, other: &Ids) -> bool {
        let (mine, its) = (self.user, other.user);
        mine.effective == 0
            || [mine.real, mine.effective].iter().any(|id| *id == its.real || *id == its.saved)
    }

    /// True when a process with these ids may change how one with `other` is scheduled (sched_setscheduler(2), setpriority(2)).
    pub fn may_schedule(&self, other: &Ids) -> bool {
        let (mine, its) = (self.user.effective, other.user);
        mine == 0 || mine == its.real || mine == its.effective
    }
}
