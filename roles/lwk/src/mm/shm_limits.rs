//! How much memory System V segments and files in /dev/shm may have, and what becomes of segments that nobody wants any more.

use super::PAGE;
use crate::Errno;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::UserMachine;

/// What is left to others unless `shmall=` says otherwise: an eighth of the memory of programs, this at least, and never more than
/// half of it. A program that fails leaves its segments and files behind; ipcrm(1) and rm(1) must find room to run.
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
        self.most.unwrap_or_else(|| all_but_a_rest(memory(machine))) / PAGE
    }
}

/// All memory of programs.
fn memory(machine: &dyn UserMachine) -> u64 {
    (0..machine.nodes()).map(|node| machine.memory(node).1).fold(0, u64::saturating_add)
}

fn all_but_a_rest(all: u64) -> u64 {
    all - (all / LEFT_PART).max(LEFT_LEAST).min(all / 2)
}

/// Memory that stays when programs end: what segments were promised, and what files in /dev/shm have.
#[derive(Default)]
pub struct Lasting(Arc<Sums>);

/// Pages.
#[derive(Default)]
struct Sums {
    segments: AtomicU64,
    files: AtomicU64,
}

/// The pages of one segment, given back with it.
pub(super) struct Promise {
    sums: Arc<Sums>,
    pages: u64,
}

/// What one file in /dev/shm may have.
pub(super) struct Room {
    sums: Arc<Sums>,
    most: u64,
}

impl Lasting {
    /// Promises a segment so many bytes unless there would be more than `shmall=` says in all, or, where it says nothing, not enough
    /// left beside files: ENOSPC, as shmget(2) has it.
    pub(super) fn promise(
        &self,
        bytes: u64,
        settings: &ShmSettings,
        machine: &dyn UserMachine,
    ) -> Result<Promise, Errno> {
        let (pages, sums) = (bytes / PAGE, &self.0);
        let files = if settings.most.is_none() { sums.files.load(Ordering::Relaxed) } else { 0 };
        let most = settings.pages(machine).saturating_sub(files);
        let more = |sum: u64| sum.checked_add(pages).filter(|sum| *sum <= most);
        let promised = sums.segments.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        promised.map_err(|_| Errno::ENOSPC)?;
        Ok(Promise { sums: sums.clone(), pages })
    }

    /// For a file.
    pub(super) fn room(&self, machine: &dyn UserMachine) -> Room {
        Room { sums: self.0.clone(), most: all_but_a_rest(memory(machine)) / PAGE }
    }

    /// Bytes that files in /dev/shm can have, and that they have, beside the segments that there are.
    pub fn files(&self, machine: &dyn UserMachine) -> (u64, u64) {
        let Room { sums, most } = self.room(machine);
        let segments = sums.segments.load(Ordering::Relaxed);
        (most.saturating_sub(segments) * PAGE, sums.files.load(Ordering::Relaxed) * PAGE)
    }
}

impl Room {
    /// Counts bytes that the file gets; false, and nothing counted, when there would be too many in all files and segments.
    pub fn take(&self, bytes: u64) -> bool {
        let segments = self.sums.segments.load(Ordering::Relaxed);
        let more = |files: u64| files.checked_add(bytes / PAGE).filter(|files| files + segments <= self.most);
        self.sums.files.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts bytes that it has no more.
    pub fn give_back(&self, bytes: u64) {
        self.sums.files.fetch_sub(bytes / PAGE, Ordering::Relaxed);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.sums.segments.fetch_sub(self.pages, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn segments_leave_something() {
        const MIB: u64 = 1 << 20;
        assert_eq!(all_but_a_rest(8192 * MIB), 7168 * MIB);
        assert_eq!(all_but_a_rest(448 * MIB), 384 * MIB);
        assert_eq!(all_but_a_rest(64 * MIB), 32 * MIB);
        assert_eq!(all_but_a_rest(0), 0);
    }

    /// A machine whose programs have 16 MiB.
    fn machine() -> Machine {
        let machine = Machine::default();
        machine.limit.store(16 << 20, Ordering::Relaxed);
        machine.limits[1].store(0, Ordering::Relaxed);
        machine
    }

    #[test]
    fn promises_are_counted() {
        let (lasting, machine) = (Lasting::default(), machine());
        let three = ShmSettings { most: Some(3 * PAGE), ..ShmSettings::default() };
        let promise = |pages: u64| lasting.promise(pages * PAGE, &three, &machine);
        let one = promise(2).unwrap();
        assert_eq!(promise(2).err(), Some(Errno::ENOSPC));
        let other = promise(1).unwrap();
        drop(one);
        assert!(promise(2).is_ok());
        let all = ShmSettings { most: Some(u64::MAX), ..ShmSettings::default() };
        assert!(lasting.promise(u64::MAX - PAGE, &all, &machine).is_ok());
        drop(other);
    }

    #[test]
    fn files_and_segments_share_what_is_not_left_to_others() {
        const MIB: u64 = 1 << 20;
        let (lasting, machine, settings) = (Lasting::default(), machine(), ShmSettings::default());
        let room = lasting.room(&machine);
        assert_eq!(lasting.files(&machine), (8 * MIB, 0));
        assert!(room.take(5 * MIB) && !room.take(4 * MIB));
        assert_eq!(lasting.promise(4 * MIB, &settings, &machine).err(), Some(Errno::ENOSPC));
        let segment = lasting.promise(3 * MIB, &settings, &machine).unwrap();
        assert!(!lasting.room(&machine).take(PAGE));
        assert_eq!(lasting.files(&machine), (5 * MIB, 5 * MIB));
        // Who says how much segments may have is not contradicted.
        let all = ShmSettings { most: Some(16 * MIB), ..settings };
        assert!(lasting.promise(13 * MIB, &all, &machine).is_ok());
        drop(segment);
        room.give_back(5 * MIB);
        assert!(room.take(8 * MIB) && !room.take(u64::MAX));
    }
}
