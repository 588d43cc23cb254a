//! How much memory System V segments may have, and what becomes of those that nobody wants any more.

use super::PAGE;
use crate::Errno;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::UserMachine;

/// What is left to others unless `shmall=` says otherwise: an eighth of the memory of programs, this at least, and never more than
/// half of it. A program that fails leaves its segments behind; ipcrm(1) must find room to run.
const LEFT_LEAST: u64 = 64 << 20;
/// The part that is left.
const LEFT_PART: u64 = 8;

/// Limits of System V shared memory (`kernel.shmall` and `kernel.shm_rmid_forced` of Linux, Documentation/admin-guide/sysctl).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShmSettings {
    /// Most bytes of all segments together; `None` for nearly all memory of programs.
    pub most: Option<u64>,
    /// A segment goes with its last attach, and at the end of who created it when nobody has it attached.
    pub forced: bool,
}

impl ShmSettings {
    /// Most pages of all segments together.
    pub fn pages(&self, machine: &dyn UserMachine) -> u64 {
        let all = || (0..machine.nodes()).map(|node| machine.memory(node).1).fold(0, u64::saturating_add);
        self.most.unwrap_or_else(|| all_but_a_rest(all())) / PAGE
    }
}

fn all_but_a_rest(all: u64) -> u64 {
    all - (all / LEFT_PART).max(LEFT_LEAST).min(all / 2)
}

/// Pages that segments were promised.
#[derive(Default)]
pub(super) struct Promised(Arc<AtomicU64>);

/// The pages of one segment, given back with it.
pub(super) struct Promise {
    sum: Arc<AtomicU64>,
    pages: u64,
}

impl Promised {
    /// Promises so many bytes unless there would be more than `most` pages in all: ENOSPC, as shmget(2) has it.
    pub fn promise(&self, bytes: u64, most: u64) -> Result<Promise, Errno> {
        let pages = bytes / PAGE;
        let more = |sum: u64| sum.checked_add(pages).filter(|sum| *sum <= most);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::ENOSPC)?;
        Ok(Promise { sum: self.0.clone(), pages })
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.pages, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_leave_something() {
        const MIB: u64 = 1 << 20;
        assert_eq!(all_but_a_rest(8192 * MIB), 7168 * MIB);
        assert_eq!(all_but_a_rest(448 * MIB), 384 * MIB);
        assert_eq!(all_but_a_rest(64 * MIB), 32 * MIB);
        assert_eq!(all_but_a_rest(0), 0);
    }

    #[test]
    fn promises_are_counted() {
        let promised = Promised::default();
        let one = promised.promise(2 * PAGE, 3).unwrap();
        assert_eq!(promised.promise(2 * PAGE, 3).err(), Some(Errno::ENOSPC));
        let other = promised.promise(PAGE, 3).unwrap();
        drop(one);
        assert!(promised.promise(2 * PAGE, 3).is_ok());
        assert!(promised.promise(u64::MAX, u64::MAX).is_ok());
        drop(other);
    }
}
