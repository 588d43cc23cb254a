//! Names: opening, links, directories.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::new_decode_dev;
use keelson_lwk_wire::messages::Part;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};

use super::task::Dir;
use super::{Reply, Task, done, opened};
use crate::fail::Fail;
use crate::proxy::Proxy;
use crate::proxy::confine::Last;
use crate::proxy::handles::Handle;

/// open, creat, openat, openat2
pub(super) fn open(task: &Task<'_>) -> Result<Reply, Fail> {
    let (dir, at) = if matches!(task.nr(), 257 | 437) { (task.dir(0)?, 1) } else { (Dir::Cwd, 0) };
    let (flags, mode, resolve) = match task.nr() {
        2 => (task.int(1), task.int(2), 0),
        85 => ((OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC).bits(), task.int(1), 0),
        257 => (task.int(2), task.int(3), 0),
        _ => {
            let how = task.input(2)?;
            let field = |at: usize| {
                how.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
            };
            if task.arg(3) != 24 {
                return Err(Fail(Errno::E2BIG));
            }
            let (flags, mode, resolve) = (field(0), field(8), field(16));
            let narrow = |value: u64| u32::try_from(value).map_err(|_| Fail(Errno::EINVAL));
            (narrow(flags)?, narrow(mode)?, resolve)
        }
    };
    let flags = OFlags::from_bits_retain(flags & !OFlags::CLOEXEC.bits());
    let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC);
    if task.proxy.rules.read_only && writes && !flags.contains(OFlags::PATH) {
        return Err(Fail(Errno::EROFS));
    }
    // openat2 wants a mode only where one is used.
    let makes = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if makes || task.nr() == 437 { mode } else { 0 };
    let mode =
        if task.nr() == 437 { Mode::from_bits_retain(mode) } else { Mode::from_bits_retain(mode & 0o7777) };
    let resolve = ResolveFlags::from_bits_retain(resolve);
    let fd = task.proxy.rules.open(dir.as_fd(), task.path(at)?, flags, mode, resolve)?;
    refuse_own_proc(&fd)?;
    opened(task, Handle::new(fd))
}

/// What /proc says of this process is not the program's, and its memory holds the node's key. Networks and mounts are of the host
/// rather than the process: links below /proc lead here.
pub(super) fn refuse_own_proc(fd: &impl AsFd) -> Result<(), Fail> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    if rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC) {
        let link = std::fs::read_link(crate::proxy::confine::own_link(fd))?;
        if is_own_secret(&link, std::process::id()) {
            return Err(Fail(Errno::EACCES));
        }
    }
    Ok(())
}

/// True for what /proc has of process `pid` alone. Where networks and mounts are shown is a matter of /proc only: `/proc/net` and
/// `/proc/mounts` lead there.
fn is_own_secret(link: &std::path::Path, pid: u32) -> bool {
    const HOST: [&str; 3] = ["net", "mounts", "mountinfo"];
    let Ok(inside) = link.strip_prefix(format!("/proc/{pid}")) else { return false };
    !inside.iter().next().is_some_and(|first| HOST.iter().any(|name| first == *name))
}

/// readlink, readlinkat
pub(super) fn read_link(task: &Task<'_>) -> Result<Reply, Fail> {
    let (dir, at) = if task.nr() == 267 { (task.dir(0)?, 1) } else { (Dir::Cwd, 0) };
    let target = task.at(&dir, task.path(at)?, Last::Itself, |dir, path| {
        Ok(rustix::fs::readlinkat(dir, path, Vec::new())?.into_bytes())
    })?;
    if task.arg(at + 2) as i32 <= 0 {
        return Err(Fail(Errno::EINVAL));
    }
    let output = task.checked.output(at as u8 + 1, Part::Whole).ok_or(Fail(Errno::EFAULT))?;
    let len = target.len().min(output.len as usize);
    Ok(Reply::value(len as i64).with(Some(output), target))
}

/// path_of: what /proc shows of programs and mappings.
pub(super) fn path_of(task: &Task<'_>) -> Result<Reply, Fail> {
    let link = std::fs::read_link(crate::proxy::confine::own_link(&*task.handle(0)?))?;
    let path = link.into_os_string().into_vec();
    // Pipes and their like have a name, but no path.
    if !path.starts_with(b"/") {
        return Err(Fail(Errno::ENOENT));
    }
    let path = task.proxy.rules.seen(path)?;
    let output = task.checked.output(1, Part::Whole).ok_or(Fail(Errno::EFAULT))?;
    if path.len() > output.len as usize {
        return Err(Fail(Errno::ERANGE));
    }
    Ok(Reply::value(path.len() as i64).with(Some(output), path))
}

/// getcwd, chdir, fchdir
pub(super) fn directory(task: &Task<'_>) -> Result<Reply, Fail> {
    match task.nr() {
        79 => {
            let mut path = task.proxy.rules.seen(rustix::process::getcwd(Vec::new())?.into_bytes())?;
            path.push(0);
            match task.checked.output(0, Part::Whole) {
                Some(output) if output.len as usize >= path.len() => {
                    Ok(Reply::value(path.len() as i64).with(Some(output), path))
                }
                Some(_) => Err(Fail(Errno::ERANGE)),
                None if task.arg(1) < path.len() as u64 => Err(Fail(Errno::ERANGE)),
                None => Err(Fail(Errno::EFAULT)),
            }
        }
        80 => change_directory(task.proxy, task.path(0)?).map(|()| Reply::done()),
        _ => done(rustix::process::fchdir(&*task.handle(0)?)),
    }
}

/// chdir for the program: really, since proxies of its children inherit it.
pub fn change_directory(proxy: &Proxy, path: &[u8]) -> Result<(), Fail> {
    if proxy.rules.root.is_none() {
        return Ok(rustix::process::chdir(OsStr::from_bytes(path))?);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = proxy.rules.open(CWD, path, flags, Mode::empty(), ResolveFlags::empty())?;
    Ok(rustix::process::fchdir(&dir)?)
}

/// Calls that make, remove or rename names.
pub(super) fn change(task: &Task<'_>) -> Result<Reply, Fail> {
    let cwd = || Ok::<Dir, Fail>(Dir::Cwd);
    let path = |index| task.path(index);
    match task.nr() {
        82 => rename(task, (cwd()?, path(0)?), (cwd()?, path(1)?), 0),
        264 => rename(task, (task.dir(0)?, path(1)?), (task.dir(2)?, path(3)?), 0),
        316 => rename(task, (task.dir(0)?, path(1)?), (task.dir(2)?, path(3)?), task.int(4)),
        83 => make_directory(task, &cwd()?, path(0)?, task.int(1)),
        258 => make_directory(task, &task.dir(0)?, path(1)?, task.int(2)),
        84 => unlink(task, &cwd()?, path(0)?, AtFlags::REMOVEDIR),
        87 => unlink(task, &cwd()?, path(0)?, AtFlags::empty()),
        263 => unlink(task, &task.dir(0)?, path(1)?, AtFlags::from_bits_retain(task.int(2))),
        86 => link(task, (cwd()?, path(0)?), (cwd()?, path(1)?), 0),
        265 => link(task, (task.dir(0)?, path(1)?), (task.dir(2)?, path(3)?), task.int(4)),
        88 => symlink(task, path(0)?, &cwd()?, path(1)?),
        266 => symlink(task, path(0)?, &task.dir(1)?, path(2)?),
        133 => make_node(task, &cwd()?, path(0)?, task.int(1), task.int(2)),
        _ => make_node(task, &task.dir(0)?, path(1)?, task.int(2), task.int(3)),
    }
}

/// A name, and where it is looked up.
type Place<'a> = (Dir, &'a [u8]);

fn rename(task: &Task<'_>, from: Place<'_>, to: Place<'_>, flags: u32) -> Result<Reply, Fail> {
    let flags = RenameFlags::from_bits_retain(flags);
    done(task.at(&from.0, from.1, Last::Itself, |old_dir, old| {
        task.at(&to.0, to.1, Last::Itself, |new_dir, new| {
            if flags.is_empty() {
                return Ok(rustix::fs::renameat(old_dir, old, new_dir, new)?);
            }
            Ok(rustix::fs::renameat_with(old_dir, old, new_dir, new, flags)?)
        })
    }))
}

fn make_directory(task: &Task<'_>, dir: &Dir, path: &[u8], mode: u32) -> Result<Reply, Fail> {
    let mode = Mode::from_bits_retain(mode);
    // A slash at the end is allowed here, and only here.
    let path = match path.iter().rposition(|byte| *byte != b'/') {
        Some(last) => path.get(..=last).unwrap_or(path),
        None => path,
    };
    done(task.at(dir, path, Last::Itself, |dir, path| Ok(rustix::fs::mkdirat(dir, path, mode)?)))
}

fn unlink(task: &Task<'_>, dir: &Dir, path: &[u8], flags: AtFlags) -> Result<Reply, Fail> {
    done(task.at(dir, path, Last::Itself, |dir, path| Ok(rustix::fs::unlinkat(dir, path, flags)?)))
}

fn link(task: &Task<'_>, from: Place<'_>, to: Place<'_>, flags: u32) -> Result<Reply, Fail> {
    let flags = AtFlags::from_bits_retain(flags);
    if from.1.is_empty() && flags == AtFlags::SYMLINK_FOLLOW {
        // The open file itself: the program named it by a link below /proc, as we do.
        let file = crate::proxy::confine::own_link(&from.0.as_fd());
        return done(task.at(&to.0, to.1, Last::Itself, |dir, name| {
            Ok(rustix::fs::linkat(rustix::fs::CWD, &file, dir, name, flags)?)
        }));
    }
    let (last, flags) =
        if flags.contains(AtFlags::SYMLINK_FOLLOW) { (Last::Target, flags) } else { (Last::Itself, flags) };
    done(task.at(&from.0, from.1, last, |old_dir, old| {
        task.at(&to.0, to.1, Last::Itself, |new_dir, new| {
            Ok(rustix::fs::linkat(old_dir, old, new_dir, new, flags)?)
        })
    }))
}

fn symlink(task: &Task<'_>, target: &[u8], dir: &Dir, path: &[u8]) -> Result<Reply, Fail> {
    let target = OsStr::from_bytes(target);
    done(task.at(dir, path, Last::Itself, |dir, path| Ok(rustix::fs::symlinkat(target, dir, path)?)))
}

/// FIFOs, regular files and sockets; devices are not for programs on a node.
fn make_node(task: &Task<'_>, dir: &Dir, path: &[u8], mode: u32, dev: u32) -> Result<Reply, Fail> {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Unknown if mode & 0o170_000 == 0 => FileType::RegularFile,
        kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
        FileType::CharacterDevice | FileType::BlockDevice => return Err(Fail(Errno::EPERM)),
        _ => return Err(Fail(Errno::EINVAL)),
    };
    let (major, minor) = new_decode_dev(dev);
    let dev = rustix::fs::makedev(major, minor);
    let mode = Mode::from_bits_retain(mode & 0o7777);
    done(task.at(dir, path, Last::Itself, |dir, path| Ok(rustix::fs::mknodat(dir, path, kind, mode, dev)?)))
}

#[cfg(test)]
mod tests {
    use super::is_own_secret;
    use std::path::Path;

    #[test]
    fn what_proc_has_of_this_process() {
        for (path, secret) in [
            ("/proc/12", true),
            ("/proc/12/mem", true),
            ("/proc/12/task/12/maps", true),
            ("/proc/12/network", true),
            ("/proc/12/net/dev", false),
            ("/proc/12/mounts", false),
            ("/proc/123/mem", false),
            ("/proc/cpuinfo", false),
        ] {
            assert_eq!(is_own_secret(Path::new(path), 12), secret, "{path}");
        }
    }
}
