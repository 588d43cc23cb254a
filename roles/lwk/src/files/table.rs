//! Descriptors: the numbers of a process.

use super::{Description, FsContext, HostFile, Vfs};
use crate::delegate::{Delegate, Handle, Opened};
use crate::{Errno, room};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

/// Limit of a process that was not given another one (RLIMIT_NOFILE).
const DEFAULT_LIMIT: u32 = 1024;

/// No process can have more (`/proc/sys/fs/nr_open`).
pub const NR_OPEN: u32 = 1 << 20;

/// What a number has for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FdFlags {
    /// Closed by exec (FD_CLOEXEC).
    pub close_on_exec: bool,
}

impl FdFlags {
    /// Stays open.
    pub const NONE: FdFlags = FdFlags { close_on_exec: false };

    /// As O_CLOEXEC in `flags` says.
    pub fn of(flags: u32) -> FdFlags {
        FdFlags { close_on_exec: flags & super::flags::O_CLOEXEC != 0 }
    }
}

#[derive(Clone)]
struct Entry {
    description: Arc<Description>,
    flags: FdFlags,
}

/// The descriptors of a process.
pub struct FdTable {
    state: Mutex<State>,
    vfs: Arc<Vfs>,
    fs: FsContext,
}

struct State {
    entries: Vec<Option<Entry>>,
    /// No smaller number is free.
    first_free: usize,
    limit: u32,
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::new(DEFAULT_LIMIT)
    }
}

impl FdTable {
    /// Nothing is open; numbers stay below `limit`. Shares nothing with the files of other processes.
    pub fn new(limit: u32) -> FdTable {
        FdTable::of(Arc::default(), limit)
    }

    /// Nothing is open; numbers stay below `limit`. Shares names and trees with other processes.
    pub fn of(vfs: Arc<Vfs>, limit: u32) -> FdTable {
        let state = State { entries: Vec::new(), first_free: 0, limit: limit.min(NR_OPEN) };
        FdTable { state: Mutex::new(state), vfs, fs: FsContext::default() }
    }

    /// What the files of all processes share.
    pub fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }

    /// The working directory.
    pub fn fs(&self) -> &FsContext {
        &self.fs
    }

    /// Another RLIMIT_NOFILE. What is open stays open.
    pub fn set_limit(&self, limit: u32) {
        self.state.lock().limit = limit.min(NR_OPEN);
    }

    /// RLIMIT_NOFILE.
    pub fn limit(&self) -> u32 {
        self.state.lock().limit
    }

    /// What a number refers to; EBADF.
    pub fn get(&self, fd: u32) -> Result<Arc<Description>, Errno> {
        self.state.lock().entry(fd).map(|entry| entry.description.clone()).ok_or(Errno::EBADF)
    }

    /// The same, but not for O_PATH.
    pub fn get_open(&self, fd: u32) -> Result<Arc<Description>, Errno> {
        self.get(fd).and_then(|found| if found.is_path() { Err(Errno::EBADF) } else { Ok(found) })
    }

    /// The handle of a host file; EBADF for a number that is not open, `Ok(None)` for a file of the node.
    pub fn handle(&self, fd: u32) -> Result<Option<Handle>, Errno> {
        Ok(self.get(fd)?.file().host().map(HostFile::handle))
    }

    /// Gives the description the smallest free number; EMFILE.
    pub fn insert(&self, description: Arc<Description>, flags: FdFlags) -> Result<u32, Errno> {
        self.insert_from(0, description, flags)
    }

    /// The same, but not below `from`.
    pub fn insert_from(
        &self,
        from: u32,
        description: Arc<Description>,
        flags: FdFlags,
    ) -> Result<u32, Errno> {
        self.state.lock().insert(from, Entry { description, flags })
    }

    /// F_DUPFD: another number, not below `from`.
    pub fn dup(&self, fd: u32, from: u32, flags: FdFlags) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        let description = state.entry(fd).ok_or(Errno::EBADF)?.description.clone();
        if from >= state.limit {
            return Err(Errno::EINVAL);
        }
        state.insert(from, Entry { description, flags })
    }

    /// dup3: `to` is another number for what `fd` is. What `to` was before comes back, to be closed by the caller.
    pub fn dup_to(&self, fd: u32, to: u32, flags: FdFlags) -> Result<Option<Arc<Description>>, Errno> {
        let mut state = self.state.lock();
        let description = state.entry(fd).ok_or(Errno::EBADF)?.description.clone();
        if to >= state.limit {
            return Err(Errno::EBADF);
        }
        state.set(to, Entry { description, flags })
    }

    /// Takes a number away. The caller drops the description: that may be the end of the file.
    pub fn close(&self, fd: u32) -> Result<Arc<Description>, Errno> {
        let entry = self.state.lock().remove(fd as usize);
        entry.map(|entry| entry.description).ok_or(Errno::EBADF)
    }

    /// Takes away the first open number from `first` to `last`, both included. One at a time, so that any number of them needs no
    /// list.
    pub fn close_first(&self, first: u32, last: u32) -> Option<(u32, Arc<Description>)> {
        self.take_first(first, last, |_| true)
    }

    /// exec by process `pid`: closes what is marked.
    pub fn close_on_exec(&self, pid: u32) {
        let mut next = 0;
        while let Some((fd, closed)) = self.take_first(next, u32::MAX, |entry| entry.flags.close_on_exec) {
            closed.closed_by(pid);
            next = fd + 1;
        }
    }

    /// Process `pid` is at its end. Its numbers may be those of another process too, and stay.
    pub fn closed_by(&self, pid: u32) {
        let mut next = 0;
        while let Some((fd, closed)) = self.first_from(next) {
            closed.closed_by(pid);
            next = fd + 1;
        }
    }

    fn first_from(&self, fd: usize) -> Option<(usize, Arc<Description>)> {
        let state = self.state.lock();
        let mut open = state.entries.iter().enumerate().skip(fd);
        open.find_map(|(fd, entry)| Some((fd, entry.as_ref()?.description.clone())))
    }

    fn take_first(
        &self,
        first: u32,
        last: u32,
        which: impl Fn(&Entry) -> bool,
    ) -> Option<(u32, Arc<Description>)> {
        let mut state = self.state.lock();
        let end = (last as usize).saturating_add(1).min(state.entries.len());
        let fd = (first as usize..end).find(|&fd| state.entries[fd].as_ref().is_some_and(&which))?;
        state.remove(fd).map(|entry| (fd as u32, entry.description))
    }

    /// Flags of a number.
    pub fn flags(&self, fd: u32) -> Result<FdFlags, Errno> {
        self.state.lock().entry(fd).map(|entry| entry.flags).ok_or(Errno::EBADF)
    }

    /// Changes the flags of a number.
    pub fn set_flags(&self, fd: u32, flags: FdFlags) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        entry.flags = flags;
        Ok(())
    }

    /// Marks all numbers from `first` to `last` to be closed by exec.
    pub fn mark_range(&self, first: u32, last: u32) {
        let mut state = self.state.lock();
        let end = (last as usize).saturating_add(1).min(state.entries.len());
        let range = state.entries.get_mut(first as usize..end);
        range.into_iter().flatten().flatten().for_each(|entry| entry.flags.close_on_exec = true);
    }

    /// Open numbers, in order.
    pub fn numbers(&self) -> Result<Vec<u32>, Errno> {
        let state = self.state.lock();
        let open = |(fd, entry): (usize, &Option<Entry>)| entry.as_ref().map(|_| fd as u32);
        room::collect(state.entries.iter().enumerate().filter_map(open))
    }

    /// The highest of them.
    pub fn highest(&self) -> Option<u32> {
        self.state.lock().entries.iter().rposition(Option::is_some).map(|fd| fd as u32)
    }

    /// A table of its own with the same content: a thread that no longer shares it. ENOMEM.
    pub fn copy(&self) -> Result<FdTable, Errno> {
        let state = self.state.lock();
        let mut entries = room::with_room(state.entries.len())?;
        entries.extend_from_slice(&state.entries);
        let copied = State { entries, first_free: state.first_free, limit: state.limit };
        Ok(FdTable { state: Mutex::new(copied), vfs: self.vfs.clone(), fs: self.fs.copy() })
    }

    /// The table of a child process. Host files lead to the child's proxy, which has inherited the parent's handles;
    /// numbers that shared a description share one again. ENOMEM, also when the kernel is `short` of memory on the way: each file
    /// takes a little of it, and there may be very many.
    pub fn fork(
        &self,
        parent: &Arc<dyn Delegate>,
        child: &Arc<dyn Delegate>,
        short: impl Fn() -> bool,
    ) -> Result<FdTable, Errno> {
        let copy = self.copy()?;
        let mut state = copy.state.lock();
        let mut made: Vec<(Arc<Description>, Arc<Description>)> = Vec::new();
        for entry in state.entries.iter_mut().flatten() {
            if short() {
                return Err(Errno::ENOMEM);
            }
            let old = entry.description.clone();
            let known = made.iter().find(|(before, _)| Arc::ptr_eq(before, &old));
            entry.description = match known {
                Some((_, new)) => new.clone(),
                None => {
                    let new = old.forked(parent, child);
                    room::push(&mut made, (old, new.clone()))?;
                    new
                }
            };
        }
        drop(state);
        Ok(copy)
    }

    /// What is open. ENOMEM.
    pub fn open_files(&self) -> Result<Vec<Arc<dyn super::File>>, Errno> {
        let state = self.state.lock();
        let mut files = room::with_room(state.entries.len())?;
        files.extend(state.entries.iter().flatten().map(|entry| entry.description.file().clone()));
        Ok(files)
    }

    /// A file that the program inherits from the proxy under its own number.
    pub fn install_host(
        &self,
        fd: u32,
        delegate: &Arc<dyn Delegate>,
        handle: Handle,
        opened: Opened,
        flags: u32,
    ) -> Result<(), Errno> {
        let file = Arc::new(HostFile::new(delegate.clone(), handle, opened));
        let entry = Entry { description: Description::new(file, flags), flags: FdFlags::of(flags) };
        let mut state = self.state.lock();
        // One that was open before the limit was set stays open.
        if fd >= NR_OPEN {
            return Err(Errno::EBADF);
        }
        let before = state.set(fd, entry);
        drop(state);
        before.map(drop)
    }
}

impl State {
    fn entry(&self, fd: u32) -> Option<&Entry> {
        self.entries.get(fd as usize)?.as_ref()
    }

    fn insert(&mut self, from: u32, entry: Entry) -> Result<u32, Errno> {
        let start = self.first_free.max(from as usize);
        let free = |at: &usize| self.entries.get(*at).is_none_or(Option::is_none);
        let at = (start..).find(free).unwrap_or(usize::MAX);
        if at >= self.limit as usize {
            return Err(Errno::EMFILE);
        }
        if self.first_free >= from as usize {
            self.first_free = at + 1;
        }
        self.set(at as u32, entry)?;
        Ok(at as u32)
    }

    fn set(&mut self, fd: u32, entry: Entry) -> Result<Option<Arc<Description>>, Errno> {
        let at = fd as usize;
        if at >= self.entries.len() {
            self.entries.try_reserve(at + 1 - self.entries.len()).map_err(|_| Errno::ENOMEM)?;
            self.entries.resize(at + 1, None);
        }
        Ok(self.entries[at].replace(entry).map(|before| before.description))
    }

    fn remove(&mut self, fd: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(fd)?.take();
        if entry.is_some() {
            self.first_free = self.first_free.min(fd);
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::EventFd;

    #[test]
    fn numbers_are_closed_one_by_one() {
        let table = FdTable::new(64);
        for number in 0..6 {
            let description = Description::new(Arc::new(EventFd::new(0, false)), 2);
            table.insert(description, FdFlags { close_on_exec: number % 2 == 1 }).unwrap();
        }
        let copy = table.copy().unwrap();
        table.close_on_exec(1);
        assert_eq!(table.numbers().unwrap(), [0, 2, 4]);
        assert_eq!(table.close_first(1, 3).map(|(fd, _)| fd), Some(2));
        assert!(table.close_first(1, 3).is_none());
        assert_eq!(table.numbers().unwrap(), [0, 4]);
        assert_eq!(copy.numbers().unwrap(), [0, 1, 2, 3, 4, 5]);
    }
}
