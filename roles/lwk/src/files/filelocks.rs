//! Locks of files that the node keeps itself: fcntl(2) and flock(2), which do not see each other.

use super::WaitQueue;
use super::ranges::{Held, Kind, Owner, Range, Ranges};
use crate::{Errno, room};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Context;
use spin::Mutex;

/// Processes in a circle, at most: as Linux, which looks no further either.
const MOST_IN_CIRCLE: usize = 10;

/// The locks of a file.
#[derive(Default)]
pub struct FileLocks {
    /// Of byte ranges (fcntl(2)).
    pub records: LockTable,
    /// Of the whole file (flock(2)).
    pub whole: LockTable,
}

impl FileLocks {
    /// An open description is gone, and its locks with it.
    pub fn description_ended(&self, id: usize) {
        self.records.release(Owner::Description(id));
        self.whole.release(Owner::Description(id));
    }
}

/// Locks that see each other, and who waits for them.
#[derive(Default)]
pub struct LockTable {
    ranges: Mutex<Ranges>,
    queue: WaitQueue,
}

impl LockTable {
    /// A lock of another owner that is in the way of this one.
    pub fn conflict(&self, owner: Owner, range: Range, kind: Kind) -> Option<Held> {
        self.ranges.lock().conflict(owner, range, kind)
    }

    /// Takes a lock, or gives one back (`None`); the lock that is in the way, if there is one. ENOLCK when there are too many, or
    /// when the kernel is `short` of memory.
    pub fn set(
        &self,
        owner: Owner,
        range: Range,
        kind: Option<Kind>,
        short: bool,
    ) -> Result<Option<Held>, Errno> {
        let mut ranges = self.ranges.lock();
        if let Some(held) = kind.and_then(|kind| ranges.conflict(owner, range, kind)) {
            return Ok(Some(held));
        }
        let frees = ranges.set(owner, range, kind, short)?;
        drop(ranges);
        if frees {
            self.queue.wake();
        }
        Ok(None)
    }

    /// Takes a lock of the whole file as flock(2) does: who has one of the other kind loses it first, and others may be faster.
    pub fn set_whole(&self, owner: Owner, kind: Option<Kind>, short: bool) -> Result<Option<Held>, Errno> {
        let other = match kind {
            Some(Kind::Read) => Kind::Write,
            _ => Kind::Read,
        };
        if kind.is_some() && self.ranges.lock().has(owner, other) {
            self.release(owner);
        }
        self.set(owner, Range::ALL, kind, short)
    }

    /// Gives back all locks of an owner.
    pub fn release(&self, owner: Owner) {
        if self.ranges.lock().release(owner) {
            self.queue.wake();
        }
    }

    /// Wakes the task when a lock is given back. Register first and try afterwards.
    pub fn register(&self, cx: &Context<'_>) {
        self.queue.register(cx);
    }

    /// A task that registered is not going to try any more: the others register anew, so that those who leave do not add up.
    pub fn leave(&self) {
        self.queue.wake();
    }
}

/// Processes of a node that wait for record locks of such files, and circles of them (fcntl(2), EDEADLK). What waits for files of
/// the host is in [`crate::locks`]; circles of both kinds are not found.
///
/// Locks: before those of all tables.
#[derive(Default)]
pub struct RecordWaits {
    waits: Mutex<Vec<RecordWait>>,
}

/// A thread that waits.
pub struct RecordWait {
    /// Its number.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// The locks of the file.
    pub locks: Arc<FileLocks>,
    /// What it wants.
    pub range: Range,
    /// And how.
    pub kind: Kind,
}

impl RecordWaits {
    /// A thread waits from now on for a lock that `blocker` has; entering again changes nothing.
    ///
    /// # Errors
    ///
    /// EDEADLK when its process would wait for itself, ENOLCK without memory.
    pub fn enter(&self, wait: RecordWait, blocker: Owner) -> Result<(), Errno> {
        // Held while looking: the last of a circle to come sees all of it.
        let mut waits = self.waits.lock();
        let mut owner = blocker;
        for _ in 0..MOST_IN_CIRCLE {
            // Descriptions are anybody's.
            let Owner::Process(pid) = owner else { break };
            if pid == wait.pid {
                return Err(Errno::EDEADLK);
            }
            let blocked = waits.iter().find(|other| other.pid == pid).and_then(RecordWait::blocker);
            let Some(next) = blocked else { break };
            owner = next;
        }
        if waits.iter().any(|other| other.tid == wait.tid) {
            return Ok(());
        }
        room::push(&mut waits, wait).map_err(|_| Errno::ENOLCK)
    }

    /// The thread does not wait any more.
    pub fn leave(&self, tid: u32) {
        let mut waits = self.waits.lock();
        let own = waits.iter().position(|wait| wait.tid == tid).map(|at| waits.swap_remove(at));
        drop(waits);
        drop(own);
    }
}

impl RecordWait {
    /// Who has now what it waits for.
    fn blocker(&self) -> Option<Owner> {
        let held = self.locks.records.conflict(Owner::Process(self.pid), self.range, self.kind);
        held.map(|held| held.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(locks: &FileLocks, owner: Owner, byte: u64) -> Option<Owner> {
        let range = Range { first: byte, last: byte };
        let held = locks.records.set(owner, range, Some(Kind::Write), false).unwrap();
        held.map(|held| held.owner)
    }

    fn wait(waits: &RecordWaits, locks: &Arc<FileLocks>, pid: u32, byte: u64) -> Result<(), Errno> {
        let range = Range { first: byte, last: byte };
        let blocker = take(locks, Owner::Process(pid), byte).expect("somebody has it");
        waits.enter(RecordWait { tid: pid, pid, locks: locks.clone(), range, kind: Kind::Write }, blocker)
    }

    #[test]
    fn the_last_of_a_circle_is_told() {
        for (count, result) in [(2, Err(Errno::EDEADLK)), (10, Err(Errno::EDEADLK)), (11, Ok(()))] {
            let (waits, locks) = (RecordWaits::default(), Arc::<FileLocks>::default());
            for pid in 0..count {
                assert_eq!(take(&locks, Owner::Process(pid), pid.into()), None);
            }
            for pid in 0..count - 1 {
                assert_eq!(wait(&waits, &locks, pid, u64::from(pid) + 1), Ok(()));
                assert_eq!(wait(&waits, &locks, pid, u64::from(pid) + 1), Ok(()), "woken in vain");
            }
            assert_eq!(wait(&waits, &locks, count - 1, 0), result);
            // Whoever has got its lock is no link any more.
            waits.leave(0);
            assert_eq!(wait(&waits, &locks, count - 1, 0), Ok(()));
        }
    }

    #[test]
    fn what_descriptions_have_closes_no_circle() {
        let (waits, locks) = (RecordWaits::default(), Arc::<FileLocks>::default());
        assert_eq!(take(&locks, Owner::Description(8), 0), None);
        assert_eq!(take(&locks, Owner::Process(1), 1), None);
        assert_eq!(wait(&waits, &locks, 1, 0), Ok(()));
        assert_eq!(wait(&waits, &locks, 2, 1), Ok(()));
    }
}
