//! How much of a NUMA node's memory programs may have (`mem=` of the role that runs them).

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

/// The share of programs in the memory of a node. Without a limit nothing is counted.
pub struct Share {
    most: AtomicU64,
    given: AtomicU64,
}

impl Share {
    /// All there is.
    pub const fn all() -> Share {
        Share { most: AtomicU64::new(u64::MAX), given: AtomicU64::new(0) }
    }

    /// At most so many bytes. Before programs have any.
    pub fn limit(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    fn is_limited(&self) -> Option<u64> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most != u64::MAX)
    }

    /// True when programs get nothing at all.
    pub fn is_none(&self) -> bool {
        self.is_limited() == Some(0)
    }

    /// Counts bytes that a program gets; false, and nothing counted, when that is too much.
    pub fn take(&self, bytes: u64) -> bool {
        let Some(most) = self.is_limited() else { return true };
        let more = |given: u64| given.checked_add(bytes).filter(|sum| *sum <= most);
        self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts bytes that it has no more.
    pub fn give_back(&self, bytes: u64) {
        if self.is_limited().is_some() {
            self.given.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What programs have of free and total bytes.
    pub fn of(&self, free: u64, total: u64) -> (u64, u64) {
        let Some(most) = self.is_limited() else { return (free, total) };
        let left = most.saturating_sub(self.given.load(Ordering::Relaxed));
        (free.min(left), total.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_their_share_and_no_more() {
        let share = Share::all();
        assert!(share.take(u64::MAX) && share.take(u64::MAX));
        share.give_back(5);
        assert_eq!(share.of(7, 9), (7, 9));

        let share = Share::all();
        share.limit(10);
        assert!(share.take(6) && !share.take(5) && share.take(4) && !share.take(1));
        assert_eq!(share.of(7, 20), (0, 10));
        share.give_back(8);
        assert_eq!(share.of(20, 20), (8, 10));
        // Somebody else may have more of it than there is.
        assert_eq!(share.of(3, 20), (3, 10));
        assert!(!share.is_none());
        share.limit(0);
        assert!(share.is_none() && !share.take(1));
    }
}
