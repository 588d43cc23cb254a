//! Open files of a process: descriptors, what they refer to, and how threads wait for it.
//!
//! Principles:
//!
//! 1. **The node owns the numbers, the host owns its files** (section 5.9). A descriptor leads to a [`Description`], that to a
//!    [`File`]: an object of the node, or a [`HostFile`] that stands for a handle of the proxy.
//! 2. **Files are polled.** A call in progress lies with the thread that makes it ([`Operation`]), so that nothing is allocated
//!    for a read or write that is served here.
//! 3. **Readiness is pushed.** Whoever waits enters a [`WaitQueue`]; a poll with a timeout of 0 only looks (section 5.8).
//!
//! Locks: the position of a description, the lock of a pipe or socket and the tables of epoll come before the lock of a memory
//! map, because bytes are copied to and from programs under them. What is mapped (tmpfs, memfd) is never locked while bytes are
//! copied.

mod budget;
mod buffer;
mod description;
mod devices;
pub mod epoll;
mod eventfd;
mod events;
mod file;
mod filelocks;
pub mod flags;
mod fs;
mod host;
mod memory;
pub mod paths;
mod pipe;
mod ranges;
mod sigio;
mod signalfd;
mod stat;
mod table;
mod timerfd;
pub mod tmpfs;
pub mod unix;
mod user;
mod vfs;
mod wait;

pub use budget::Budget;
pub use buffer::{BytesSource, BytesTarget, Source, Target, moved};
pub use description::Description;
pub use devices::{Device, DeviceKind};
pub use epoll::Epoll;
pub use eventfd::EventFd;
pub use events::Events;
pub use file::{File, Operation};
pub use filelocks::{FileLocks, LockTable, RecordWait, RecordWaits};
pub use fs::{Cwd, FsContext};
pub use host::{HostFile, errno as errno_of};
pub use memory::{Attributes, Content, MemoryFile, seal};
pub use pipe::{Pipe, PipeEnd};
pub use ranges::{Held, Kind as LockKind, Owner as LockOwner, Range as LockRange};
pub use sigio::{Owner, OwnerKind, Sigio};
pub use signalfd::SignalFd;
pub use stat::{FileType, Stat};
pub use table::{FdFlags, FdTable};
pub use timerfd::TimerFd;
pub use user::{Iovec, MAX_TRANSFER, UserBuffer, is_writable, read_iovecs};
pub use vfs::Vfs;
pub use wait::{WaitQueue, Watcher};

use core::sync::atomic::{AtomicU64, Ordering};

/// `st_dev` of files that belong to no file system of the node.
const ANONYMOUS_DEVICE: u64 = 0xc;

static NEXT_INODE: AtomicU64 = AtomicU64::new(1 << 16);

/// A number for a file of the node.
pub fn next_inode() -> u64 {
    NEXT_INODE.fetch_add(1, Ordering::Relaxed)
}

/// What stat(2) tells of a file without a place in a file system.
fn anonymous(inode: u64) -> Stat {
    Stat { device: ANONYMOUS_DEVICE, inode, block_size: 4096, ..Stat::default() }
}
