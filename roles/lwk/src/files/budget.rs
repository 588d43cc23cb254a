//! How much programs may have the kernel keep of something that no process owns and no limit of a process ends.

use core::sync::atomic::{AtomicU64, Ordering};

/// An amount that is taken and given back.
pub struct Budget {
    all: u64,
    left: AtomicU64,
}

/// As good as without end.
impl Default for Budget {
    fn default() -> Budget {
        Budget::new(u64::MAX)
    }
}

impl Budget {
    /// Nothing is taken yet.
    pub fn new(all: u64) -> Budget {
        Budget { all, left: AtomicU64::new(all) }
    }

    /// All of it.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// What can be taken.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// What was taken and not given back.
    pub fn used(&self) -> u64 {
        self.all - self.left()
    }

    /// Takes so much, if there is.
    #[must_use]
    pub fn take(&self, amount: u64) -> bool {
        let rest = |left: u64| left.checked_sub(amount);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok()
    }

    /// Gives back what was taken.
    pub fn give_back(&self, amount: u64) {
        self.left.fetch_add(amount, Ordering::Relaxed);
    }
}
