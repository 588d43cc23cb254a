//! Open file descriptions: what descriptors share after dup and fork (open(2)).

use super::flags::{O_ACCMODE, O_APPEND, O_ASYNC, O_PATH, O_RDONLY, O_WRONLY, SEEK_CUR, SEEK_SET};
use super::host::status;
use super::sigio::Watched;
use super::{Events, File, LockOwner, Operation, Sigio, Source, Target, Watcher};
use crate::Errno;
use crate::delegate::Delegate;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll};
use spin::{Mutex, Once};

/// What F_SETFL, F_SETOWN and F_SETSIG change.
struct Status {
    flags: AtomicU32,
    sigio: Once<Arc<Sigio>>,
}

/// An open file with its mode, flags and position.
pub struct Description {
    /// Shared with the copies that a host file has in children. In front of the file, so that its own end is not told to
    /// whoever asked for signals.
    status: Arc<Status>,
    file: Arc<dyn File>,
    /// Access mode and O_PATH.
    access: u32,
    /// Where the next read or write is done, in files of the node. The host keeps those of its files.
    position: Mutex<u64>,
    /// Absolute path under which it was opened.
    path: Option<Vec<u8>>,
}

impl Description {
    /// `file`, opened with `flags` of open(2).
    pub fn new(file: Arc<dyn File>, flags: u32) -> Arc<Description> {
        Description::with_path(file, flags, None)
    }

    /// The same, opened by a path.
    pub fn with_path(file: Arc<dyn File>, flags: u32, path: Option<Vec<u8>>) -> Arc<Description> {
        Arc::new(Description {
            file,
            access: flags & (O_ACCMODE | O_PATH),
            status: Arc::new(Status { flags: AtomicU32::new(status(flags)), sigio: Once::new() }),
            position: Mutex::new(0),
            path,
        })
    }

    /// What is open.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// What was open, of a description that is no more.
    pub(super) fn into_file(self) -> Arc<dyn File> {
        let file = self.file.clone();
        drop(self);
        file
    }

    /// Path under which it was opened, if it was by a path.
    pub fn path(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    /// As F_GETFL tells: access mode and status flags.
    pub fn flags(&self) -> u32 {
        self.access & O_ACCMODE | self.status.flags.load(Ordering::Acquire) | self.access & O_PATH
    }

    /// Changes those status flags that are in `mask`.
    pub fn set_flags(&self, flags: u32, mask: u32) {
        // Every value is right for a caller that races with another one.
        let _ = self
            .status
            .flags
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(old & !mask | flags & mask));
    }

    /// Who is told of what happens to it, and how.
    pub fn sigio(&self) -> &Arc<Sigio> {
        self.status.sigio.call_once(Arc::default)
    }

    /// Sets O_ASYNC by number `fd`, or takes it away; only files that tell somebody have it. ENOMEM.
    pub fn set_async(&self, on: bool, fd: u32) -> Result<(), Errno> {
        if on == (self.flags() & O_ASYNC != 0) || !self.file.signals() {
            return Ok(());
        }
        self.set_flags(if on { O_ASYNC } else { 0 }, O_ASYNC);
        let watched = Watched { fd, reads: self.readable(), writes: self.writable() };
        self.sigio().set_watched(on.then_some(watched));
        self.watch_for_signals()
    }

    /// Watches the file for whoever is told by signals, or no longer: after a change of O_ASYNC, or of what the file is. ENOMEM,
    /// and nobody is told.
    pub fn watch_for_signals(&self) -> Result<(), Errno> {
        let (Some(queue), Some(sigio)) = (self.file.queue(), self.status.sigio.get()) else { return Ok(()) };
        let watcher = Arc::downgrade(sigio) as Weak<dyn Watcher>;
        queue.unwatch(&watcher);
        if self.flags() & O_ASYNC != 0 {
            queue.watch(watcher).inspect_err(|_| self.set_flags(0, O_ASYNC))?;
            self.file.expect(Events::ALL);
        }
        Ok(())
    }

    /// True when it may be read.
    pub fn readable(&self) -> bool {
        self.access & O_PATH == 0 && self.access & O_ACCMODE != O_WRONLY
    }

    /// True when it may be written.
    pub fn writable(&self) -> bool {
        self.access & O_PATH == 0 && self.access & O_ACCMODE != O_RDONLY
    }

    /// True for what was opened with O_PATH.
    pub fn is_path(&self) -> bool {
        self.access & O_PATH != 0
    }

    /// Reads at a position or at its own, which moves on.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if let Some(errno) = self.refusal(at, self.readable()) {
            return Poll::Ready(Err(errno));
        }
        self.at_position(at, |at| self.file.poll_read(cx, operation, at, into))
    }

    /// Writes at a position or at its own, which moves on.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        if let Some(errno) = self.refusal(at, self.writable()) {
            return Poll::Ready(Err(errno));
        }
        if at.is_none() && self.file.positioned() && operation.flags & O_APPEND != 0 {
            let mut position = self.position.lock();
            let result = self.file.poll_write(cx, operation, None, from);
            if let Poll::Ready(Ok(_)) = result {
                *position = self.file.stat().size;
            }
            return result;
        }
        self.at_position(at, |at| self.file.poll_write(cx, operation, at, from))
    }

    /// Why it is not read or written. What has no positions is asked for one in vain, whichever end of it is open, as on Linux.
    fn refusal(&self, at: Option<u64>, allowed: bool) -> Option<Errno> {
        let has_none = at.is_some() && self.file.host().is_none() && !self.file.positioned();
        match (self.is_path(), has_none, allowed) {
            (false, true, _) => Some(Errno::ESPIPE),
            (false, false, true) => None,
            _ => Some(Errno::EBADF),
        }
    }

    fn at_position(
        &self,
        at: Option<u64>,
        act: impl FnOnce(Option<u64>) -> Poll<Result<usize, Errno>>,
    ) -> Poll<Result<usize, Errno>> {
        if self.file.host().is_some() {
            return act(at);
        }
        match (at, self.file.positioned()) {
            (_, false) => act(None),
            (Some(at), true) => act(Some(at)),
            (None, true) => {
                let mut position = self.position.lock();
                let result = act(Some(*position));
                if let Poll::Ready(Ok(count)) = result {
                    *position = position.saturating_add(count as u64);
                }
                result
            }
        }
    }

    /// Runs `act` with the position: reading directories.
    pub fn with_position<T>(&self, act: impl FnOnce(&mut u64) -> T) -> T {
        act(&mut self.position.lock())
    }

    /// lseek(2) for files of the node.
    pub fn seek(&self, offset: i64, whence: u32) -> Result<u64, Errno> {
        if !self.file.positioned() {
            return Err(Errno::ESPIPE);
        }
        let mut position = self.position.lock();
        let to = match whence {
            SEEK_SET => u64::try_from(offset).map_err(|_| Errno::EINVAL)?,
            SEEK_CUR => position.checked_add_signed(offset).ok_or(Errno::EINVAL)?,
            _ => self.file.seek(offset, whence)?,
        };
        if to > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        *position = to;
        Ok(to)
    }

    /// What no other open description is called, for as long as there is this one.
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Process `pid` closed one of its numbers for it: with any of them it loses its record locks on the file (fcntl(2)).
    pub fn closed_by(&self, pid: u32) {
        if !self.is_path()
            && let Some(locks) = self.file.locks()
        {
            locks.records.release(LockOwner::Process(pid));
        }
    }

    /// The description in a child: the same one, or for a host file one of its own that leads to the child's proxy.
    pub fn forked(
        self: &Arc<Self>,
        parent: &Arc<dyn Delegate>,
        child: &Arc<dyn Delegate>,
    ) -> Arc<Description> {
        match self.file.forked(parent, child) {
            None => self.clone(),
            Some(file) => Arc::new(Description {
                file,
                access: self.access,
                status: self.status.clone(),
                position: Mutex::new(*self.position.lock()),
                path: self.path.clone(),
            }),
        }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if let Some(locks) = self.file.locks() {
            locks.description_ended(self.id());
        }
    }
}
