//! The objects of one kind: found by key, named by identifiers that are not soon used again.

use super::{Permission, User, ipc};
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use spin::Mutex;

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
    /// With the sequence number of the identifier.
    by_index: BTreeMap<u32, (u32, Arc<T>)>,
    sequence: u32,
}

/// Indices of a table: an identifier is an index and, above it, a sequence number.
const INDICES: u32 = 32_768;

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { state: Mutex::new(TableState { by_index: BTreeMap::new(), sequence: 0 }) }
    }
}

impl<T: Member> Table<T> {
    /// semget(2), msgget(2), shmget(2): the identifier of an object that is there, if `fits`, or of one that `make` makes; at most `most`.
    pub fn get_or_make(
        &self,
        key: u32,
        flags: u64,
        user: &User,
        most: usize,
        fits: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce(Permission) -> Result<T, Errno>,
    ) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        let known = |object: &T| key != ipc::IPC_PRIVATE && object.permission().lock().key == key;
        if let Some((index, (seq, object))) = state.by_index.iter().find(|(_, (_, object))| known(object)) {
            if flags & ipc::IPC_CREAT != 0 && flags & ipc::IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            fits(object)?;
            // What is wanted stands in the bits of owner, group and others alike.
            let wanted = (flags >> 6 | flags >> 3 | flags) as u32 & 7;
            object.permission().lock().check(user, wanted)?;
            return Ok(seq * INDICES + index);
        }
        if key != ipc::IPC_PRIVATE && flags & ipc::IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if state.by_index.len() >= most {
            return Err(Errno::ENOSPC);
        }
        // The first gap.
        let used = state.by_index.keys().zip(0..).take_while(|(index, place)| *index == place).count();
        let index = u32::try_from(used).ok().filter(|index| *index < INDICES).ok_or(Errno::ENOSPC)?;
        let (seq, User { uid, gid, .. }) = (state.sequence, *user);
        let mode = (flags & 0o777) as u32;
        let object = make(Permission { key, uid, gid, cuid: uid, cgid: gid, mode, seq })?;
        // Identifiers stay positive as an int.
        state.sequence = (seq + 1) % (1 << 16);
        state.by_index.insert(index, (seq, Arc::new(object)));
        Ok(seq * INDICES + index)
    }

    /// The object of an identifier; EINVAL.
    pub fn get(&self, id: u32) -> Result<Arc<T>, Errno> {
        let state = self.state.lock();
        let found = state.by_index.get(&(id % INDICES)).filter(|(seq, _)| *seq == id / INDICES);
        found.map(|(_, object)| object.clone()).ok_or(Errno::EINVAL)
    }

    /// The object at an index, with its identifier; an identifier stands for its index, as on Linux. EINVAL. EACCES when there is a
    /// user, who may not read it.
    pub fn at(&self, index: u32, user: Option<&User>) -> Result<(u32, Arc<T>), Errno> {
        let index = index % INDICES;
        let found = self.state.lock().by_index.get(&index).cloned();
        let (seq, object) = found.ok_or(Errno::EINVAL)?;
        if let Some(user) = user {
            object.permission().lock().check(user, 4)?;
        }
        Ok((seq * INDICES + index, object))
    }

    /// Takes an object out.
    pub fn remove(&self, id: u32) {
        let index = id % INDICES;
        let mut state = self.state.lock();
        if state.by_index.get(&index).is_some_and(|(seq, _)| *seq == id / INDICES) {
            state.by_index.remove(&index);
        }
    }

    /// Takes out what is not to stay.
    pub fn retain(&self, stays: impl Fn(&T) -> bool) {
        self.state.lock().by_index.retain(|_, (_, object)| stays(object));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.state.lock().by_index.len()
    }

    /// All objects, one after the other: however many there are, they need no list.
    pub fn all(&self) -> impl Iterator<Item = Arc<T>> {
        self.all_with_ids().map(|(_, object)| object)
    }

    /// The same with their identifiers.
    pub fn all_with_ids(&self) -> impl Iterator<Item = (u32, Arc<T>)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let state = self.state.lock();
            let (index, (seq, object)) = state.by_index.range(from..).next()?;
            from = index + 1;
            Some((seq * INDICES + index, object.clone()))
        })
    }

    /// The highest index in use, 0 for none.
    pub fn highest(&self) -> u32 {
        self.state.lock().by_index.keys().next_back().copied().unwrap_or(0)
    }
}
