//! Semaphore sets (semop(2), semctl(2)).

use super::{Member, Permission, Sysv, User};
use crate::event::Event;
use crate::{Errno, room};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use spin::Mutex;

/// Most sets (`SEMMNI`), as Linux has it.
pub const SETS_MOST: usize = 32_000;
/// Most semaphores of a set (`SEMMSL`).
pub const SEMAPHORES_MOST: usize = 32_000;
/// Most operations of a call (`SEMOPM`).
pub const OPERATIONS_MOST: usize = 500;
/// The highest value (`SEMVMX`).
pub const VALUE_MOST: u16 = 32_767;
/// Most semaphores of the node: what Linux would allow is more memory than there is.
pub(super) const ALL_MOST: u64 = 1_024_000;

/// A set.
pub struct Set {
    permission: Mutex<Permission>,
    state: Mutex<SetState>,
    /// Something changed that others may wait for.
    changed: Event,
    /// Semaphores.
    count: usize,
}

struct SetState {
    semaphores: Vec<Semaphore>,
    /// What the end of a process gives back, by process and number (`SEM_UNDO`).
    undo: BTreeMap<(u32, u16), i16>,
    operated_at: i64,
    changed_at: i64,
    gone: bool,
}

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: u16,
    /// Process that changed it last.
    pid: u32,
    /// Callers that wait for more, and for zero.
    more: u32,
    zero: u32,
}

/// One operation (`struct sembuf`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Number of the semaphore.
    pub number: u16,
    /// What is added; 0 waits until it is zero.
    pub by: i16,
    /// `SEM_UNDO`: given back at the end of the process.
    pub undo: bool,
}

/// What an attempt came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// All is done.
    Done,
    /// Operation `0` stands in the way.
    Blocked(usize),
}

/// What callers of a semaphore wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// A higher value.
    More,
    /// Zero.
    Zero,
}

impl Member for Set {
    fn permission(&self) -> &Mutex<Permission> {
        &self.permission
    }
}

impl Sysv {
    /// semget(2).
    pub fn semget(&self, key: u32, semaphores: u64, flags: u64, user: &User) -> Result<u32, Errno> {
        // An int.
        let semaphores = i32::try_from(semaphores as u32).map_or(usize::MAX, |count| count as usize);
        if semaphores > SEMAPHORES_MOST {
            return Err(Errno::EINVAL);
        }
        let fits = |set: &Set| if semaphores > set.count { Err(Errno::EINVAL) } else { Ok(()) };
        self.semaphores.get_or_make(key, flags, user, SETS_MOST, fits, |permission| {
            if semaphores == 0 {
                return Err(Errno::EINVAL);
            }
            let mut list = room::with_room(semaphores)?;
            list.resize(semaphores, Semaphore::default());
            if !self.semaphores_there.take(semaphores as u64) {
                return Err(Errno::ENOSPC);
            }
            let state = SetState {
                semaphores: list,
                undo: BTreeMap::new(),
                operated_at: 0,
                changed_at: user.now,
                gone: false,
            };
            let (permission, state) = (Mutex::new(permission), Mutex::new(state));
            Ok(Set { permission, state, changed: Event::default(), count: semaphores })
        })
    }

    /// `IPC_RMID`: whoever waits gets EIDRM.
    pub fn remove_set(&self, id: u32, user: &User) -> Result<(), Errno> {
        let set = self.semaphores.get(id)?;
        set.permission.lock().check_owner(user)?;
        if !core::mem::replace(&mut set.state.lock().gone, true) {
            self.semaphores.remove(id);
            self.semaphores_there.give_back(set.count as u64);
            set.changed.notify();
        }
        Ok(())
    }

    /// The end of a process: what it is to give back.
    pub fn process_ended(&self, pid: u32) {
        for set in self.semaphores.all() {
            set.give_back(pid);
        }
    }

    /// Semaphores of all sets.
    pub fn semaphores_in_use(&self) -> u64 {
        self.semaphores_there.used()
    }
}

impl Set {
    /// Semaphores.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What to await before the next attempt: ask first, attempt, then await.
    pub fn changed(&self) -> crate::event::Changed<'_> {
        self.changed.changed()
    }

    /// Does all operations, or none. ERANGE beyond the highest value, EIDRM when the set is gone.
    pub fn attempt(&self, changes: &[Change], user: &User) -> Result<Step, Errno> {
        let mut state = self.state.lock();
        if state.gone {
            return Err(Errno::EIDRM);
        }
        // On a copy of those that are named: later operations see what earlier ones did.
        let mut values: BTreeMap<u16, i32> = BTreeMap::new();
        let mut undo: BTreeMap<u16, i32> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            let semaphore = state.semaphores.get(usize::from(change.number)).ok_or(Errno::EFBIG)?;
            let value = values.entry(change.number).or_insert(i32::from(semaphore.value));
            if change.by == 0 && *value != 0 || *value + i32::from(change.by) < 0 {
                return Ok(Step::Blocked(index));
            }
            *value += i32::from(change.by);
            if *value > i32::from(VALUE_MOST) {
                return Err(Errno::ERANGE);
            }
            if change.undo {
                let before = state.undo.get(&(user.pid, change.number)).copied().unwrap_or(0);
                let after = undo.entry(change.number).or_insert(i32::from(before));
                *after -= i32::from(change.by);
                i16::try_from(*after).map_err(|_| Errno::ERANGE)?;
            }
        }
        for (number, value) in values {
            if let Some(semaphore) = state.semaphores.get_mut(usize::from(number)) {
                (semaphore.value, semaphore.pid) = (value as u16, user.pid);
            }
        }
        for (number, adjustment) in undo {
            // It was seen to fit.
            state.undo.insert((user.pid, number), adjustment as i16);
        }
        state.operated_at = user.now;
        let altered = changes.iter().any(|change| change.by != 0);
        drop(state);
        if altered {
            self.changed.notify();
        }
        Ok(Step::Done)
    }

    /// Counts a caller that begins or ceases to wait for a semaphore.
    pub fn count_waiter(&self, number: u16, waits: Waits, begins: bool) {
        let mut state = self.state.lock();
        let Some(semaphore) = state.semaphores.get_mut(usize::from(number)) else { return };
        let count = if waits == Waits::More { &mut semaphore.more } else { &mut semaphore.zero };
        *count = if begins { count.saturating_add(1) } else { count.saturating_sub(1) };
    }

    /// Callers that wait for a semaphore: `GETNCNT`, `GETZCNT`.
    pub fn waiters(&self, number: usize, waits: Waits) -> Result<u32, Errno> {
        let state = self.state.lock();
        let semaphore = state.semaphores.get(number).ok_or(Errno::EINVAL)?;
        Ok(if waits == Waits::More { semaphore.more } else { semaphore.zero })
    }

    /// Value and process of a semaphore: `GETVAL`, `GETPID`.
    pub fn value(&self, number: usize) -> Result<(u16, u32), Errno> {
        let state = self.state.lock();
        state.semaphores.get(number).map(|its| (its.value, its.pid)).ok_or(Errno::EINVAL)
    }

    /// All values: `GETALL`. ENOMEM.
    pub fn values(&self) -> Result<Vec<u16>, Errno> {
        let mut values = room::with_room(self.count)?;
        values.extend(self.state.lock().semaphores.iter().map(|semaphore| semaphore.value));
        Ok(values)
    }

    /// `SETVAL`, and `SETALL` with the first number 0. What processes were to give back is forgotten.
    pub fn set_values(&self, first: usize, values: &[u16], user: &User) -> Result<(), Errno> {
        if values.iter().any(|value| *value > VALUE_MOST) {
            return Err(Errno::ERANGE);
        }
        let mut state = self.state.lock();
        if state.gone {
            return Err(Errno::EIDRM);
        }
        let last = first.checked_add(values.len()).ok_or(Errno::EINVAL)?;
        let named = state.semaphores.get_mut(first..last).ok_or(Errno::EINVAL)?;
        for (semaphore, value) in named.iter_mut().zip(values) {
            (semaphore.value, semaphore.pid) = (*value, user.pid);
        }
        state.undo.retain(|(_, number), _| !(first..last).contains(&usize::from(*number)));
        state.changed_at = user.now;
        drop(state);
        self.changed.notify();
        Ok(())
    }

    /// Last operation and last change, in seconds since 1970.
    pub fn times(&self) -> (i64, i64) {
        let state = self.state.lock();
        (state.operated_at, state.changed_at)
    }

    /// `IPC_SET` was done.
    pub fn touch(&self, now: i64) {
        self.state.lock().changed_at = now;
    }

    fn give_back(&self, pid: u32) {
        let (mut state, mut given) = (self.state.lock(), false);
        let first = |state: &SetState| Some(*state.undo.range((pid, 0)..=(pid, u16::MAX)).next()?.0);
        while let Some(key) = first(&state) {
            given = true;
            let adjustment = state.undo.remove(&key).unwrap_or(0);
            if let Some(semaphore) = state.semaphores.get_mut(usize::from(key.1)) {
                let value = i32::from(semaphore.value) + i32::from(adjustment);
                semaphore.value = value.clamp(0, i32::from(VALUE_MOST)) as u16;
                semaphore.pid = pid;
            }
        }
        drop(state);
        if given {
            self.changed.notify();
        }
    }
}
