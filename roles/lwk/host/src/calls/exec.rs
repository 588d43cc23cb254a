//! execve(2) and execveat(2), as far as they are the host's: finding the program, and saying whether it may be executed.
//!
//! The result is a handle through which the node reads it. The proxy itself stays what it is.

use std::os::fd::AsFd;

use keelson_lwk_wire::Errno;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};

use super::task::Dir;
use super::{Reply, Task, opened};
use crate::fail::Fail;
use crate::proxy::confine::{Rules, own_link};
use crate::proxy::handles::Handle;

/// execve, execveat
pub(super) fn open(task: &Task<'_>) -> Result<Reply, Fail> {
    let (dir, path, flags) = match task.nr() {
        59 => (Dir::Cwd, task.path(0)?, AtFlags::empty()),
        _ => (task.dir(0)?, task.path(1)?, AtFlags::from_bits_retain(task.int(4))),
    };
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        let Dir::Handle(handle) = &dir else { return Err(Fail(Errno::ENOENT)) };
        // Executing needs no right to read, and O_PATH handles cannot be read: once more, by name.
        let fd = rustix::fs::open(own_link(&**handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        may_execute(&fd)?;
        return opened(task, Handle::new(fd));
    }
    let no_follow = flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    opened(task, Handle::new(open_program(&task.proxy.rules, dir.as_fd(), path, no_follow)?))
}

/// Opens a program for the node to read.
pub fn open_program(
    rules: &Rules,
    dir: std::os::fd::BorrowedFd<'_>,
    path: &[u8],
    no_follow: bool,
) -> Result<std::os::fd::OwnedFd, Fail> {
    let flags =
        OFlags::RDONLY | OFlags::NONBLOCK | if no_follow { OFlags::NOFOLLOW } else { OFlags::empty() };
    let fd = rules.open(dir, path, flags, Mode::empty(), ResolveFlags::empty())?;
    may_execute(&fd)?;
    Ok(fd)
}

/// EACCES for what is no regular file, has no x bit for us, or lies on a file system without execution.
///
/// Not ETXTBSY for one that is open for writing: Linux counts writers, and only its own execve denies them. A read lease (fcntl(2),
/// F_SETLEASE) would tell of them, but no safe interface takes one.
fn may_execute(fd: &impl AsFd) -> Result<(), Fail> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fail(Errno::EACCES));
    }
    rustix::fs::accessat(CWD, own_link(fd), Access::EXEC_OK, AtFlags::EACCESS)?;
    if rustix::fs::fstatvfs(fd)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(Fail(Errno::EACCES));
    }
    Ok(())
}
