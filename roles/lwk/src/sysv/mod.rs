//! System V semaphores and messages, of the whole node (svipc(7)): processes of one node share them as they share memory.

mod messages;
mod semaphores;
#[cfg(test)]
mod tests;

pub use messages::{MESSAGE_MOST, Message, QUEUE_BYTES, QUEUES_MOST, Queue, QueueStat, Wanted};
pub use semaphores::{Change, OPERATIONS_MOST, SEMAPHORES_MOST, SETS_MOST, Set, Step, VALUE_MOST, Waits};

use crate::Errno;
use crate::mm::{ShmUser, ipc};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Mutex;

/// Both kinds.
#[derive(Default)]
pub struct Sysv {
    /// Semaphore sets.
    pub semaphores: Table<Set>,
    /// Message queues.
    pub messages: Table<Queue>,
    /// Semaphores of all sets, or messages in all queues: what bounds the memory that they take.
    semaphores_there: AtomicUsize,
    messages_there: AtomicUsize,
}

/// Who may do what (`struct ipc64_perm`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permission {
    /// Key; 0 for a private one.
    pub key: u32,
    /// Owner.
    pub uid: u32,
    /// Group of the owner.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Group of the creator.
    pub cgid: u32,
    /// Nine bits.
    pub mode: u32,
    /// How often identifiers were given.
    pub seq: u32,
}

impl Permission {
    /// Bytes of the structure.
    pub const BYTES: usize = 48;

    /// EACCES unless `user` has `access` as in a mode: 4 read, 2 write.
    pub fn check(&self, user: &ShmUser, access: u32) -> Result<(), Errno> {
        let granted = if user.uid == 0 {
            7
        } else if user.uid == self.uid || user.uid == self.cuid {
            self.mode >> 6
        } else if user.gid == self.gid || user.gid == self.cgid {
            self.mode >> 3
        } else {
            self.mode
        };
        if granted & access == access { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// EPERM for others than owner and creator.
    pub fn check_owner(&self, user: &ShmUser) -> Result<(), Errno> {
        let owns = user.uid == 0 || user.uid == self.uid || user.uid == self.cuid;
        if owns { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// As programs read it (asm-generic/ipcbuf.h).
    pub fn to_bytes(&self) -> [u8; Permission::BYTES] {
        let mut bytes = [0; Permission::BYTES];
        let words = [self.key, self.uid, self.gid, self.cuid, self.cgid, self.mode, self.seq & 0xffff];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `IPC_SET`: owner, group and mode of such a structure.
    pub fn set(&mut self, bytes: &[u8; Permission::BYTES]) {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (self.uid, self.gid) = (word(4), word(8));
        self.mode = word(20) & 0o777;
    }
}

/// What a [`Table`] has.
pub trait Member {
    /// Its permissions.
    fn permission(&self) -> &Mutex<Permission>;
}

/// Objects by identifier and key.
pub struct Table<T> {
    state: Mutex<TableState<T>>,
}

struct TableState<T> {
    by_id: BTreeMap<u32, Arc<T>>,
    sequence: u32,
}

/// Indices of a table: an identifier is an index and, above it, a sequence number.
const INDICES: u32 = 32_768;

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { state: Mutex::new(TableState { by_id: BTreeMap::new(), sequence: 0 }) }
    }
}

impl<T: Member> Table<T> {
    /// semget(2), msgget(2): the identifier of an object that is there, if `fits`, or of one that `make` makes; at most `most`.
    pub fn get_or_make(
        &self,
        key: u32,
        flags: u64,
        user: &ShmUser,
        most: usize,
        fits: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce(Permission) -> Result<T, Errno>,
    ) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        let known = |object: &T| key != ipc::IPC_PRIVATE && object.permission().lock().key == key;
        if let Some((id, object)) = state.by_id.iter().find(|(_, object)| known(object)) {
            if flags & ipc::IPC_CREAT != 0 && flags & ipc::IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            fits(object)?;
            // What is wanted stands in the bits of owner, group and others alike.
            let wanted = (flags >> 6 | flags >> 3 | flags) as u32 & 7;
            object.permission().lock().check(user, wanted)?;
            return Ok(*id);
        }
        if key != ipc::IPC_PRIVATE && flags & ipc::IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if state.by_id.len() >= most {
            return Err(Errno::ENOSPC);
        }
        let used = |index: &u32| state.by_id.keys().any(|id| id % INDICES == *index);
        let index = (0..INDICES).find(|index| !used(index)).ok_or(Errno::ENOSPC)?;
        let (seq, ShmUser { uid, gid, .. }) = (state.sequence, *user);
        let mode = (flags & 0o777) as u32;
        let object = make(Permission { key, uid, gid, cuid: uid, cgid: gid, mode, seq })?;
        // Identifiers stay positive as an int.
        state.sequence = (seq + 1) % (1 << 16);
        let id = seq * INDICES + index;
        state.by_id.insert(id, Arc::new(object));
        Ok(id)
    }

    /// The object of an identifier; EINVAL.
    pub fn get(&self, id: u32) -> Result<Arc<T>, Errno> {
        self.state.lock().by_id.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// The object at an index, with its identifier; EINVAL.
    pub fn at(&self, index: u32) -> Result<(u32, Arc<T>), Errno> {
        let state = self.state.lock();
        let found = state.by_id.iter().find(|(id, _)| **id % INDICES == index);
        found.map(|(id, object)| (*id, object.clone())).ok_or(Errno::EINVAL)
    }

    /// Takes an object out.
    pub fn remove(&self, id: u32) {
        self.state.lock().by_id.remove(&id);
    }

    /// All objects.
    pub fn all(&self) -> alloc::vec::Vec<Arc<T>> {
        self.state.lock().by_id.values().cloned().collect()
    }

    /// The highest index in use, 0 for none.
    pub fn highest(&self) -> u32 {
        self.state.lock().by_id.keys().map(|id| id % INDICES).max().unwrap_or(0)
    }
}

/// Counts `more` things unless there would be more than `most` of them.
fn count(there: &AtomicUsize, more: usize, most: usize) -> bool {
    let add = |now: usize| now.checked_add(more).filter(|sum| *sum <= most);
    there.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}
