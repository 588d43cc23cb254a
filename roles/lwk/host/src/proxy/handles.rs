//! Handles: what the node calls the host's open files (section 5.9).
//!
//! A handle is a number from a random start, never used again in a session. It fits in 31 bits, so that it can stand for a
//! descriptor in control data.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

use keelson_hal::Entropy;
use keelson_lwk_wire::Errno;
use keelson_lwk_wire::messages::{FdKind, Hint};
use rustix::fs::{FileType, OFlags};

use super::lock;
use crate::calls::stat_of;
use crate::fail::Fail;
use crate::link::HostEntropy;

/// Handles fit in this.
const MOST: u64 = i32::MAX as u64;

/// An open file of the program.
pub struct Handle {
    fd: OwnedFd,
    /// What it is.
    pub kind: FdKind,
    /// Held from the moment a reader knows it will not wait until it has read, so that no other reader of this proxy takes what
    /// it saw.
    pub reading: Mutex<()>,
    /// The same for writers.
    pub writing: Mutex<()>,
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Handle {
    /// Takes over an open file.
    pub fn new(fd: OwnedFd) -> Handle {
        let kind = kind_of(&fd);
        Handle { fd, kind, reading: Mutex::new(()), writing: Mutex::new(()) }
    }

    /// For an inotify instance, which looks like nothing in particular.
    pub fn of_kind(fd: OwnedFd, kind: FdKind) -> Handle {
        Handle { kind, ..Handle::new(fd) }
    }

    /// Calls on it do not wait.
    pub fn is_nonblocking(&self) -> bool {
        rustix::fs::fcntl_getfl(self).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
    }

    /// What the node wants to know about it.
    pub fn hint(&self) -> Result<Hint, Fail> {
        let stat = stat_of(&rustix::fs::fstat(self)?);
        let flags = rustix::fs::fcntl_getfl(self)?;
        Ok(Hint {
            kind: self.kind,
            flags: flags.bits(),
            stat,
            seekable: matches!(self.kind, FdKind::Regular | FdKind::Directory | FdKind::Block),
            tty: self.kind == FdKind::Terminal,
        })
    }
}

fn kind_of(fd: &OwnedFd) -> FdKind {
    let Ok(stat) = rustix::fs::fstat(fd) else { return FdKind::Other };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FdKind::Regular,
        FileType::Directory => FdKind::Directory,
        FileType::BlockDevice => FdKind::Block,
        FileType::Fifo => FdKind::Pipe,
        FileType::Socket => FdKind::Socket,
        FileType::Symlink => FdKind::Link,
        FileType::CharacterDevice if rustix::termios::isatty(fd) => FdKind::Terminal,
        FileType::CharacterDevice => FdKind::Character,
        FileType::Unknown => FdKind::Other,
    }
}

/// All handles of a session.
pub struct Handles {
    table: RwLock<HashMap<u64, Arc<Handle>>>,
    next: AtomicU64,
    /// Where complaints go: the program's standard error, for as long as it has it.
    complaints: Mutex<Weak<Handle>>,
    /// The same, kept open until the end.
    kept: Mutex<Option<Arc<Handle>>>,
}

impl Default for Handles {
    fn default() -> Handles {
        Handles::new()
    }
}

impl Handles {
    /// None yet.
    pub fn new() -> Handles {
        let start = 0x1_0000 + HostEntropy.next_u64() % (1 << 29);
        Handles {
            table: RwLock::default(),
            next: AtomicU64::new(start),
            complaints: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Those of a parent, with their numbers.
    pub fn inherited(handles: impl IntoIterator<Item = (u64, Handle)>, next: u64) -> Handles {
        let table = handles.into_iter().map(|(number, handle)| (number, Arc::new(handle))).collect();
        Handles {
            table: RwLock::new(table),
            next: AtomicU64::new(next),
            complaints: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The number that the next one gets.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Adds one.
    pub fn add(&self, handle: Handle) -> Result<u64, Fail> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        if number > MOST {
            return Err(Fail(Errno::EMFILE));
        }
        self.write().insert(number, Arc::new(handle));
        Ok(number)
    }

    /// The one with this number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&number).cloned()
    }

    /// All.
    pub fn all(&self) -> Vec<(u64, Arc<Handle>)> {
        let table = self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.iter().map(|(number, handle)| (*number, handle.clone())).collect()
    }

    /// Forgets one: `None` when there is none, else what close(2) says. A call that still uses it keeps it open.
    pub fn close(&self, number: u64) -> Option<Result<(), Fail>> {
        let handle = self.write().remove(&number)?;
        Some(match Arc::try_unwrap(handle) {
            Ok(handle) => nix::unistd::close(handle.fd).map_err(Fail::from),
            Err(_) => Ok(()),
        })
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.table.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Complaints go to this handle.
    pub fn complain_to(&self, number: u64) {
        if let Some(handle) = self.get(number) {
            *lock(&self.complaints) = Arc::downgrade(&handle);
        }
    }

    /// Keeps the place of complaints open beyond the program's end, for what is to be said then.
    pub fn keep_complaints(&self) {
        *lock(&self.kept) = lock(&self.complaints).upgrade();
    }

    /// Where complaints go.
    pub fn complaining(&self) -> Option<u64> {
        let target = lock(&self.complaints).upgrade()?;
        self.all().into_iter().find(|(_, handle)| Arc::ptr_eq(handle, &target)).map(|(number, _)| number)
    }

    /// Writes a line where the program's errors go, if it has such a place.
    pub fn complain(&self, line: &str) {
        if let Some(handle) = lock(&self.complaints).upgrade() {
            // There is no other place to say that it failed.
            let _ = rustix::io::write(&*handle, format!("{line}\n").as_bytes());
        }
    }
}
