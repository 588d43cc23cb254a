//! Attributes of files and file systems.

use std::os::fd::AsFd;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::{Stat, Statfs, Statx, Timespec, Timeval, Ustat, Utimbuf, new_decode_dev};
use keelson_lwk_wire::messages::Part;
use rustix::fs::{
    Access, AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, ResolveFlags, StatxFlags, Timestamps, Uid,
};

use super::task::Dir;
use super::{Reply, Task, done};
use crate::fail::Fail;
use crate::proxy::confine::{Last, own_link};

/// Flags of fstatat and its kin.
fn last_of(flags: AtFlags) -> Last {
    if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { Last::Itself } else { Last::Target }
}

/// stat, fstat, lstat, newfstatat, statx
pub(super) fn stat(task: &Task<'_>) -> Result<Reply, Fail> {
    let stat = match task.nr() {
        5 => rustix::fs::fstat(&*task.handle(0)?)?,
        332 => return statx(task),
        nr => {
            let (dir, at, flags) = match nr {
                4 => (Dir::Cwd, 0, AtFlags::empty()),
                6 => (Dir::Cwd, 0, AtFlags::SYMLINK_NOFOLLOW),
                _ => (task.dir(0)?, 1, AtFlags::from_bits_retain(task.int(3))),
            };
            task.at(&dir, task.path(at)?, last_of(flags), |dir, path| {
                Ok(rustix::fs::statat(dir, path, flags)?)
            })?
        }
    };
    let at = if task.nr() == 262 { 2 } else { 1 };
    let output = task.checked.output(at, Part::Whole).ok_or(Fail(Errno::EFAULT))?;
    Ok(Reply::done().with(Some(output), stat_of(&stat).to_bytes()))
}

/// As the node's program sees it.
pub fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        nlink: stat.st_nlink,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        size: stat.st_size,
        blksize: stat.st_blksize,
        blocks: stat.st_blocks,
        atime: stat.st_atime,
        atime_nsec: stat.st_atime_nsec as i64,
        mtime: stat.st_mtime,
        mtime_nsec: stat.st_mtime_nsec as i64,
        ctime: stat.st_ctime,
        ctime_nsec: stat.st_ctime_nsec as i64,
    }
}

fn statx(task: &Task<'_>) -> Result<Reply, Fail> {
    let flags = AtFlags::from_bits_retain(task.int(2));
    let mask = StatxFlags::from_bits_retain(task.int(3));
    let dir = task.dir(0)?;
    let found = task.at(&dir, task.path(1)?, last_of(flags), |dir, path| {
        Ok(rustix::fs::statx(dir, path, flags, mask)?)
    })?;
    let statx = Statx {
        mask: found.stx_mask,
        blksize: found.stx_blksize,
        attributes: found.stx_attributes.bits(),
        nlink: found.stx_nlink,
        uid: found.stx_uid,
        gid: found.stx_gid,
        mode: found.stx_mode,
        ino: found.stx_ino,
        size: found.stx_size,
        blocks: found.stx_blocks,
        attributes_mask: found.stx_attributes_mask.bits(),
        atime: found.stx_atime.tv_sec,
        atime_nsec: found.stx_atime.tv_nsec,
        btime: found.stx_btime.tv_sec,
        btime_nsec: found.stx_btime.tv_nsec,
        ctime: found.stx_ctime.tv_sec,
        ctime_nsec: found.stx_ctime.tv_nsec,
        mtime: found.stx_mtime.tv_sec,
        mtime_nsec: found.stx_mtime.tv_nsec,
        rdev_major: found.stx_rdev_major,
        rdev_minor: found.stx_rdev_minor,
        dev_major: found.stx_dev_major,
        dev_minor: found.stx_dev_minor,
        mnt_id: found.stx_mnt_id,
        dio_mem_align: found.stx_dio_mem_align,
        dio_offset_align: found.stx_dio_offset_align,
    };
    let output = task.checked.output(4, Part::Whole).ok_or(Fail(Errno::EFAULT))?;
    Ok(Reply::done().with(Some(output), statx.to_bytes()))
}

/// An O_PATH descriptor for what a path means: for calls that exist for paths or descriptors only.
fn opened_path(task: &Task<'_>, dir: &Dir, path: &[u8], last: Last) -> Result<std::os::fd::OwnedFd, Fail> {
    let flags = OFlags::PATH | if last == Last::Itself { OFlags::NOFOLLOW } else { OFlags::empty() };
    task.proxy.rules.open(dir.as_fd(), path, flags, Mode::empty(), ResolveFlags::empty())
}

/// ustat, statfs, fstatfs
pub(super) fn statfs(task: &Task<'_>) -> Result<Reply, Fail> {
    let output = task.checked.output(1, Part::Whole).ok_or(Fail(Errno::EFAULT));
    let found = match task.nr() {
        136 => return ustat(task),
        137 => rustix::fs::fstatfs(opened_path(task, &Dir::Cwd, task.path(0)?, Last::Target)?)?,
        _ => rustix::fs::fstatfs(&*task.handle(0)?)?,
    };
    // The two halves of f_fsid have no accessors; their text form has them.
    let statfs = Statfs {
        kind: found.f_type,
        bsize: found.f_bsize,
        blocks: found.f_blocks,
        bfree: found.f_bfree,
        bavail: found.f_bavail,
        files: found.f_files,
        ffree: found.f_ffree,
        fsid: match task.nr() {
            138 => rustix::fs::fstatvfs(&*task.handle(0)?)?.f_fsid,
            _ => rustix::fs::fstatvfs(opened_path(task, &Dir::Cwd, task.path(0)?, Last::Target)?)?.f_fsid,
        },
        namelen: found.f_namelen,
        frsize: found.f_frsize,
        flags: found.f_flags,
    };
    Ok(Reply::done().with(Some(output?), statfs.to_bytes()))
}

/// By the mount table: the call itself has no safe interface, and hardly a user.
fn ustat(task: &Task<'_>) -> Result<Reply, Fail> {
    let (major, minor) = new_decode_dev(task.int(0));
    let wanted = format!("{major}:{minor}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let place = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        let dev = words.next()?;
        words.nth(1).filter(|_| dev == wanted)
    });
    let found = rustix::fs::statfs(place.ok_or(Fail(Errno::EINVAL))?)?;
    let ustat = Ustat { tfree: found.f_bfree.min(i32::MAX as u64) as i32, tinode: found.f_ffree };
    let output = task.checked.output(1, Part::Whole).ok_or(Fail(Errno::EFAULT))?;
    Ok(Reply::done().with(Some(output), ustat.to_bytes()))
}

/// access, faccessat, faccessat2
pub(super) fn access(task: &Task<'_>) -> Result<Reply, Fail> {
    let (dir, at, flags) = match task.nr() {
        21 => (Dir::Cwd, 0, AtFlags::empty()),
        269 => (task.dir(0)?, 1, AtFlags::empty()),
        _ => (task.dir(0)?, 1, AtFlags::from_bits_retain(task.int(3))),
    };
    let mode = task.int(at + 1);
    if mode & !7 != 0 {
        return Err(Fail(Errno::EINVAL));
    }
    let wanted = Access::from_bits_retain(mode);
    if wanted.contains(Access::WRITE_OK) {
        task.proxy.rules.may_write()?;
    }
    done(task.at(&dir, task.path(at)?, last_of(flags), |dir, path| {
        Ok(rustix::fs::accessat(dir, path, wanted, flags)?)
    }))
}

/// truncate, ftruncate, fallocate
pub(super) fn resize(task: &Task<'_>) -> Result<Reply, Fail> {
    let length =
        |index| i64::try_from(task.arg(index)).map(|len| len as u64).map_err(|_| Fail(Errno::EINVAL));
    match task.nr() {
        76 => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK;
            let length = length(1)?;
            let fd =
                task.proxy.rules.open(CWD, task.path(0)?, flags, Mode::empty(), ResolveFlags::empty())?;
            done(rustix::fs::ftruncate(fd, length))
        }
        77 => done(rustix::fs::ftruncate(&*task.handle(0)?, length(1)?)),
        _ => {
            let mode = FallocateFlags::from_bits_retain(task.int(1));
            done(rustix::fs::fallocate(&*task.handle(0)?, mode, length(2)?, length(3)?))
        }
    }
}

/// chmod, fchmod, fchmodat
pub(super) fn chmod(task: &Task<'_>) -> Result<Reply, Fail> {
    let mode = |index| Mode::from_bits_retain(task.int(index) & 0o7777);
    let (dir, at) = match task.nr() {
        91 => return done(rustix::fs::fchmod(&*task.handle(0)?, mode(1))),
        90 => (Dir::Cwd, 0),
        _ => (task.dir(0)?, 1),
    };
    done(task.at(&dir, task.path(at)?, Last::Target, |dir, path| {
        Ok(rustix::fs::chmodat(dir, path, mode(at + 1), AtFlags::empty())?)
    }))
}

/// chown, fchown, lchown, fchownat
pub(super) fn chown(task: &Task<'_>) -> Result<Reply, Fail> {
    // -1 leaves an id as it is.
    let id = |index| Some(task.int(index)).filter(|id| *id != u32::MAX);
    let owner = |index| id(index).map(Uid::from_raw);
    let group = |index| id(index).map(Gid::from_raw);
    let (dir, at, flags) = match task.nr() {
        93 => return done(rustix::fs::fchown(&*task.handle(0)?, owner(1), group(2))),
        92 => (Dir::Cwd, 0, AtFlags::empty()),
        94 => (Dir::Cwd, 0, AtFlags::SYMLINK_NOFOLLOW),
        _ => (task.dir(0)?, 1, AtFlags::from_bits_retain(task.int(4))),
    };
    done(task.at(&dir, task.path(at)?, last_of(flags), |dir, path| {
        Ok(rustix::fs::chownat(dir, path, owner(at + 1), group(at + 2), flags)?)
    }))
}

/// utime, utimes, futimesat, utimensat
pub(super) fn set_times(task: &Task<'_>) -> Result<Reply, Fail> {
    let (dir, at) = if matches!(task.nr(), 261 | 280) { (task.dir(0)?, 1) } else { (Dir::Cwd, 0) };
    let times = match task.checked.input(at + 1, Part::Whole) {
        Some(bytes) => times(task.nr(), bytes)?,
        None => {
            let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            Timestamps { last_access: now, last_modification: now }
        }
    };
    let flags = if task.nr() == 280 { AtFlags::from_bits_retain(task.int(3)) } else { AtFlags::empty() };
    let Some(path) = task.checked.path(at) else {
        // NULL in utimensat and futimesat: the directory descriptor itself.
        return match dir {
            Dir::Handle(handle) if flags.is_empty() => done(rustix::fs::futimens(&*handle, &times)),
            Dir::Handle(_) => Err(Fail(Errno::EINVAL)),
            Dir::Cwd => Err(Fail(Errno::EFAULT)),
        };
    };
    done(
        task.at(&dir, path, last_of(flags), |dir, path| Ok(rustix::fs::utimensat(dir, path, &times, flags)?)),
    )
}

fn times(nr: u32, bytes: &[u8]) -> Result<Timestamps, Fail> {
    let (first, second) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    let pair = |make: fn(&[u8]) -> Option<(i64, i64)>| Some((make(first)?, make(second)?));
    let found = match nr {
        132 => Utimbuf::read(bytes).map(|times| ((times.actime, 0), (times.modtime, 0))),
        280 => pair(|bytes| Timespec::read(bytes).map(|time| (time.sec, time.nsec))),
        _ => {
            let times = pair(|bytes| Timeval::read(bytes).map(|time| (time.sec, time.usec)));
            let valid = |(_, usec): (i64, i64)| (0..1_000_000).contains(&usec);
            if times.is_some_and(|(access, modification)| !valid(access) || !valid(modification)) {
                return Err(Fail(Errno::EINVAL));
            }
            times.map(|(access, modification)| {
                ((access.0, access.1 * 1000), (modification.0, modification.1 * 1000))
            })
        }
    };
    let (access, modification) = found.ok_or(Fail(Errno::EFAULT))?;
    let time = |(tv_sec, tv_nsec)| rustix::fs::Timespec { tv_sec, tv_nsec };
    Ok(Timestamps { last_access: time(access), last_modification: time(modification) })
}

/// A path that reaches what an O_PATH descriptor stands for.
pub(super) fn path_of(
    task: &Task<'_>,
    path: &[u8],
    last: Last,
) -> Result<(std::os::fd::OwnedFd, std::ffi::OsString), Fail> {
    let fd = opened_path(task, &Dir::Cwd, path, last)?;
    let link = own_link(&fd);
    Ok((fd, link))
}
