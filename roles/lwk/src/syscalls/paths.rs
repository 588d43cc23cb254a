//! System calls on paths (sections 4.1 and 3.12): to the host, or to a tree of the node.

use super::Caller;
use super::forward::{Changes, forward, forward_with, open_at_host};
use super::local;
use super::place::{self, Last, Place, below_shm, resolve};
use super::request::{Request, read_path};
use crate::Errno;
use crate::files::flags::*;
use crate::files::paths::Tree;
use crate::files::{Cwd, Description, FdFlags, FileType, MemoryFile, Stat};
use alloc::vec::Vec;
use core::time::Duration;

/// AT_FDCWD as an argument.
const CWD: u64 = AT_FDCWD as i64 as u64;

/// A call with one path.
struct PathCall {
    /// Its number and arguments, for the host.
    number: u32,
    args: [u64; 6],
    /// Directory, and which argument is the path.
    from: u64,
    argument: u8,
    last: Last,
}

/// Resolves the path of a call. `Err(Ok(..))` is the result when the host has served it.
async fn local_place(caller: &Caller<'_>, call: &PathCall) -> Result<(Tree, Vec<u8>), Result<u64, Errno>> {
    let address = call.args[usize::from(call.argument)];
    let path = match read_path(caller, address).await {
        Ok(path) => path,
        Err(error) => return Err(Err(error)),
    };
    match resolve(caller, call.from, &path, call.last).await {
        Err(error) => Err(Err(error)),
        Ok(Place::Local(tree, path)) => Ok((tree, path)),
        Ok(Place::Host) => Err(forward(caller, call.number, call.args).await),
        Ok(Place::HostAt(path)) => {
            let changes = Changes { paths: alloc::vec![(call.argument, path)], ..Changes::default() };
            Err(forward_with(caller, call.number, call.args, changes).await)
        }
    }
}

/// Follows links unless AT_SYMLINK_NOFOLLOW is set.
fn last(flags: u64) -> Last {
    if flags as u32 & AT_SYMLINK_NOFOLLOW != 0 { Last::Stay } else { Last::Follow }
}

/// openat(directory, path, flags, mode).
pub async fn sys_openat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    open(caller, 257, args, args[2] as u32, args[3] as u32, true).await
}

/// open(path, flags, mode).
pub async fn sys_open(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_openat(caller, [CWD, args[0], args[1], args[2], 0, 0]).await
}

/// creat(path, mode).
pub async fn sys_creat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = O_CREAT | O_WRONLY | O_TRUNC;
    sys_openat(caller, [CWD, args[0], u64::from(flags), args[1], 0, 0]).await
}

/// openat2(directory, path, how, size). What limits the resolution of paths the host knows only.
pub async fn sys_openat2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[3] < 24 {
        return Err(Errno::EINVAL);
    }
    let mm = caller.mm();
    if args[3] > 24 {
        let more = super::request::read_bytes(&mm, args[2].wrapping_add(24), args[3] - 24)?;
        if more.iter().any(|&byte| byte != 0) {
            return Err(Errno::E2BIG);
        }
    }
    let word = |index: u64| mm.read_u64(args[2].wrapping_add(8 * index));
    let (flags, mode, resolve) = (word(0)?, word(1)?, word(2)?);
    let creates = flags as u32 & O_CREAT != 0 || flags as u32 & O_TMPFILE == O_TMPFILE;
    let odd_mode = mode & !0o7777 != 0 || mode != 0 && !creates;
    if flags > u64::from(u32::MAX) || odd_mode || resolve & !0x3f != 0 {
        return Err(Errno::EINVAL);
    }
    const NO_MAGICLINKS: u64 = 2;
    if resolve & !NO_MAGICLINKS == 0 {
        let (magic, open_args) = (resolve == 0, [args[0], args[1], flags, mode, 0, 0]);
        return open(caller, 257, open_args, flags as u32, mode as u32, magic).await;
    }
    // RESOLVE_BENEATH and its like: such a path cannot lead into a tree of the node from a directory of the host.
    forward(caller, 437, [args[0], args[1], args[2], 24, 0, 0]).await
}

/// `magic`: links in /proc that lead to objects may be followed.
async fn open(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    flags: u32,
    mode: u32,
    magic: bool,
) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let path = read_path(caller, args[1]).await?;
    let stays = flags & O_NOFOLLOW != 0 || flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
    let last = if stays { Last::Stay } else { Last::Follow };
    let (mut place, met_magic) = place::resolve_with_magic(caller, args[0], &path, last).await?;
    if met_magic && !magic {
        return Err(Errno::ELOOP);
    }
    if let Place::Local(Tree::Proc, at) = &place
        && let Some((pid, fd)) = place::descriptor_at(at)
        && !stays
    {
        let description = local::descriptor(caller, pid, fd)?;
        if !magic {
            return Err(Errno::ELOOP);
        }
        // A file of the host is opened again by its path.
        let is_host = description.file().host().is_some();
        if let Some(path) = description.path().filter(|path| is_host && path.starts_with(b"/")) {
            place = Place::HostAt(path.to_vec());
        }
    }
    let (changes, shown) = match place {
        Place::Local(tree, at) => {
            let description = local::open(caller, tree, &at, flags, mode)?;
            return files.insert(description, FdFlags::of(flags)).map(u64::from);
        }
        Place::Host => (Changes::default(), shown_path(caller, args[0], &path)),
        Place::HostAt(path) => {
            (Changes { paths: alloc::vec![(1, path.clone())], ..Changes::default() }, Some(path))
        }
    };
    // What it was made with is not where it is: a file without a name has no path.
    let shown = shown.filter(|_| flags & O_TMPFILE != O_TMPFILE);
    // The program's own handles must not reach what the proxy might run.
    let flags_there = u64::from(flags | O_CLOEXEC);
    let host_args = [args[0], args[1], flags_there, u64::from(mode), 0, 0];
    let file = open_at_host(caller, number, host_args, changes).await?;
    let description = Description::with_path(file, flags, shown);
    if flags & O_TRUNC != 0
        && let Some(mapped) = super::mapped::Mapped::of(caller, &description)
    {
        mapped.cut(0);
    }
    files.insert(description, FdFlags::of(flags)).map(u64::from)
}

/// The absolute path of a file of the host, as far as it is known.
fn shown_path(caller: &Caller<'_>, from: u64, path: &[u8]) -> Option<Vec<u8>> {
    use crate::files::paths::{join, normal};
    let files = caller.thread.process.files();
    if path.starts_with(b"/") {
        return Some(normal(path));
    }
    if from as i32 == AT_FDCWD {
        return match files.fs().cwd() {
            Cwd::Host(cwd) => Some(normal(&join(&cwd, path))),
            _ => None,
        };
    }
    let directory = files.get(from as u32).ok()?;
    directory.path().filter(|base| base.starts_with(b"/")).map(|base| normal(&join(base, path)))
}

/// newfstatat(directory, path, buffer, flags).
pub async fn sys_newfstatat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if is_empty_path(caller, args[1], args[3]).await? {
        if args[0] as i32 != AT_FDCWD {
            return super::files::sys_fstat(caller, [args[0], args[2], 0, 0, 0, 0]).await;
        }
        return stat_cwd(caller, 262, args, |stat| stat.to_bytes().to_vec(), args[2]).await;
    }
    stat_path(caller, 262, args, args[0], (1, 2), last(args[3])).await
}

/// stat(path, buffer).
pub async fn sys_stat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    stat_path(caller, 4, args, CWD, (0, 1), Last::Follow).await
}

/// lstat(path, buffer).
pub async fn sys_lstat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    stat_path(caller, 6, args, CWD, (0, 1), Last::Stay).await
}

async fn stat_path(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    from: u64,
    (argument, buffer): (u8, usize),
    last: Last,
) -> Result<u64, Errno> {
    match local_place(caller, &PathCall { number, args, from, argument, last }).await {
        Err(done) => done,
        Ok((tree, path)) => {
            let stat = local::stat(caller, tree, &path, last)?;
            caller.mm().write(args[buffer], &stat.to_bytes()).map(|()| 0)
        }
    }
}

/// True for AT_EMPTY_PATH with an empty path.
async fn is_empty_path(caller: &Caller<'_>, address: u64, flags: u64) -> Result<bool, Errno> {
    if flags as u32 & AT_EMPTY_PATH == 0 {
        return Ok(false);
    }
    Ok(address == 0 || read_path(caller, address).await?.is_empty())
}

/// The working directory itself.
async fn stat_cwd(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    bytes: impl Fn(&Stat) -> Vec<u8>,
    buffer: u64,
) -> Result<u64, Errno> {
    match caller.thread.process.files().fs().cwd() {
        Cwd::Local(path) => {
            let tree = crate::files::paths::tree(&path).ok_or(Errno::ENOENT)?;
            let stat = local::stat(caller, tree, &path, Last::Follow)?;
            caller.mm().write(buffer, &bytes(&stat)).map(|()| 0)
        }
        _ => forward(caller, number, args).await,
    }
}

/// statx(directory, path, flags, mask, buffer).
pub async fn sys_statx(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let bytes = |stat: &Stat| stat.to_statx().to_vec();
    if is_empty_path(caller, args[1], args[2]).await? {
        if args[0] as i32 == AT_FDCWD {
            return stat_cwd(caller, 332, args, bytes, args[4]).await;
        }
        let description = caller.thread.process.files().get(args[0] as u32)?;
        if description.file().host().is_some() {
            return forward(caller, 332, args).await;
        }
        return caller.mm().write(args[4], &bytes(&description.file().stat())).map(|()| 0);
    }
    let last = last(args[2]);
    match local_place(caller, &PathCall { number: 332, args, from: args[0], argument: 1, last }).await {
        Err(done) => done,
        Ok((tree, path)) => {
            let stat = local::stat(caller, tree, &path, last)?;
            caller.mm().write(args[4], &bytes(&stat)).map(|()| 0)
        }
    }
}

/// access(path, mode).
pub async fn sys_access(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let call = PathCall { number: 21, args, from: CWD, argument: 0, last: Last::Follow };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => local::access(caller, tree, &path, args[1] as u32).map(|()| 0),
    }
}

/// faccessat(directory, path, mode) and faccessat2(directory, path, mode, flags).
pub async fn sys_faccessat(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = if number == 439 { args[3] } else { 0 };
    let call = PathCall { number, args, from: args[0], argument: 1, last: last(flags) };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => local::access(caller, tree, &path, args[2] as u32).map(|()| 0),
    }
}

/// readlink(path, buffer, size).
pub async fn sys_readlink(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    read_link(caller, PathCall { number: 89, args, from: CWD, argument: 0, last: Last::Stay }, 1).await
}

/// readlinkat(directory, path, buffer, size).
pub async fn sys_readlinkat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    read_link(caller, PathCall { number: 267, args, from: args[0], argument: 1, last: Last::Stay }, 2).await
}

async fn read_link(caller: &Caller<'_>, call: PathCall, buffer: usize) -> Result<u64, Errno> {
    let (at, size) = (call.args[buffer], call.args[buffer + 1]);
    if size == 0 || size > i32::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => {
            let target = local::read_link(caller, tree, &path)?;
            let len = target.len().min(size as usize);
            caller.mm().write(at, &target[..len])?;
            Ok(len as u64)
        }
    }
}

/// chdir(path). The proxy stays where it is while the program is in a tree of the node.
pub async fn sys_chdir(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let call = PathCall { number: 80, args, from: CWD, argument: 0, last: Last::Follow };
    match local_place(caller, &call).await {
        Err(Ok(result)) => {
            files.fs().set_cwd(Cwd::Unknown);
            Ok(result)
        }
        Err(error) => error,
        Ok((tree, path)) => {
            let stat = local::stat(caller, tree, &path, Last::Follow)?;
            if stat.file_type() != Some(FileType::Directory) {
                return Err(Errno::ENOTDIR);
            }
            files.fs().set_cwd(Cwd::Local(path));
            Ok(0)
        }
    }
}

/// fchdir(fd).
pub async fn sys_fchdir(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    let description = files.get(args[0] as u32)?;
    if description.file().host().is_some() {
        let result = forward(caller, 81, args).await?;
        files.fs().set_cwd(Cwd::Unknown);
        return Ok(result);
    }
    if description.file().stat().file_type() != Some(FileType::Directory) {
        return Err(Errno::ENOTDIR);
    }
    let path = description.path().ok_or(Errno::ENOENT)?;
    files.fs().set_cwd(Cwd::Local(path.to_vec()));
    Ok(0)
}

/// getcwd(buffer, size).
pub async fn sys_getcwd(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let files = caller.thread.process.files();
    if files.fs().cwd() == Cwd::Unknown {
        // Resolving asks.
        resolve(caller, CWD, b".", Last::Follow).await?;
    }
    let (Cwd::Host(mut path) | Cwd::Local(mut path)) = files.fs().cwd() else { return Err(Errno::ENOENT) };
    path.push(0);
    if path.len() as u64 > args[1] {
        return Err(Errno::ERANGE);
    }
    caller.mm().write(args[0], &path)?;
    Ok(path.len() as u64)
}

/// truncate(path, length).
pub async fn sys_truncate(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let call = PathCall { number: 76, args, from: CWD, argument: 0, last: Last::Follow };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => {
            if args[1] > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            let description = local::open(caller, tree, &path, O_WRONLY, 0)?;
            super::transfer::may_grow(caller, &description, args[1])?;
            description.file().truncate(args[1]).map(|()| 0)
        }
    }
}

/// mkdir(path, mode).
pub async fn sys_mkdir(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_mkdirat(caller, [CWD, args[0], args[1], 0, 0, 0]).await
}

/// mkdirat(directory, path, mode).
pub async fn sys_mkdirat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let call = PathCall { number: 258, args, from: args[0], argument: 1, last: Last::Stay };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => local::make_directory(caller, tree, &path, args[2] as u32).map(|()| 0),
    }
}

/// mknod(path, mode, device).
pub async fn sys_mknod(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_mknodat(caller, [CWD, args[0], args[1], args[2], 0, 0]).await
}

/// mknodat(directory, path, mode, device). Device nodes are refused.
pub async fn sys_mknodat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mode = args[2] as u32;
    match FileType::of(mode) {
        Some(FileType::Character | FileType::Block) => return Err(Errno::EPERM),
        Some(FileType::Directory | FileType::Link) => return Err(Errno::EINVAL),
        _ => {}
    }
    let call = PathCall { number: 259, args, from: args[0], argument: 1, last: Last::Stay };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => local::make_file(caller, tree, &path, mode).map(|()| 0),
    }
}

/// unlink(path).
pub async fn sys_unlink(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_unlinkat(caller, [CWD, args[0], 0, 0, 0, 0]).await
}

/// rmdir(path).
pub async fn sys_rmdir(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_unlinkat(caller, [CWD, args[0], AT_REMOVEDIR.into(), 0, 0, 0]).await
}

/// unlinkat(directory, path, flags).
pub async fn sys_unlinkat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = args[2] as u32;
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let call = PathCall { number: 263, args, from: args[0], argument: 1, last: Last::Stay };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((Tree::Shm, path)) => {
            let files = caller.thread.process.files();
            let shm = &files.vfs().shm;
            let path = below_shm(&path);
            let removed =
                if flags & AT_REMOVEDIR != 0 { shm.remove_directory(path) } else { shm.unlink(path) };
            removed.map(|()| 0)
        }
        Ok((tree, path)) => {
            local::stat(caller, tree, &path, Last::Stay)?;
            Err(Errno::EPERM)
        }
    }
}

/// symlink(target, path).
pub async fn sys_symlink(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_symlinkat(caller, [args[0], CWD, args[1], 0, 0, 0]).await
}

/// symlinkat(target, directory, path).
pub async fn sys_symlinkat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let call = PathCall { number: 266, args, from: args[1], argument: 2, last: Last::Stay };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((Tree::Shm, path)) => {
            let target = read_path(caller, args[0]).await?;
            caller.thread.process.files().vfs().shm.symlink(&target, below_shm(&path)).map(|()| 0)
        }
        Ok(_) => Err(Errno::EPERM),
    }
}

/// rename(from, to).
pub async fn sys_rename(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_renameat2(caller, [CWD, args[0], CWD, args[1], 0, 0]).await
}

/// renameat2(directory, from, directory, to, flags); renameat has no flags.
pub async fn sys_renameat2(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    match two_places(caller, 316, args, Last::Stay).await {
        Err(done) => done,
        Ok((from, to)) => {
            let files = caller.thread.process.files();
            files.vfs().shm.rename(below_shm(&from), below_shm(&to), args[4] as u32).map(|()| 0)
        }
    }
}

/// link(from, to).
pub async fn sys_link(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sys_linkat(caller, [CWD, args[0], CWD, args[1], 0, 0]).await
}

/// linkat(directory, from, directory, to, flags).
pub async fn sys_linkat(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let flags = args[4] as u32;
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_path(caller, args[1]).await?;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    let last = if flags & AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Stay };
    let named = match path.is_empty() {
        true => Some(args[0] as u32),
        false if last == Last::Follow => named_descriptor(caller, args[0], &path).await?,
        false => None,
    };
    let files = caller.thread.process.files();
    if let Some((fd, file)) = named.and_then(|fd| Some((fd, files.get(fd).ok()?))) {
        // The open file itself, which may have no other name.
        let to = read_path(caller, args[3]).await?;
        let to = resolve(caller, args[2], &to, Last::Stay).await?;
        if let Some(memory) = file.file().as_any().downcast_ref::<MemoryFile>() {
            // Linux wants the right to search everywhere for that, which root has.
            if path.is_empty() && !caller.thread.process.is_root() {
                return Err(Errno::ENOENT);
            }
            return match to {
                Place::Local(Tree::Shm, to) => files.vfs().shm.link_open(memory, below_shm(&to)).map(|()| 0),
                _ => Err(Errno::EXDEV),
            };
        }
        if file.file().host().is_some() && !path.is_empty() {
            // To the host that is an empty path with this flag alone.
            let paths = match to {
                Place::Host => alloc::vec![(1, Vec::new())],
                Place::HostAt(to) => alloc::vec![(1, Vec::new()), (3, to)],
                Place::Local(..) => return Err(Errno::EXDEV),
            };
            let args = [fd.into(), args[1], args[2], args[3], AT_SYMLINK_FOLLOW.into(), 0];
            return forward_with(caller, 265, args, Changes { paths, ..Changes::default() }).await;
        }
    }
    match two_places(caller, 265, args, last).await {
        Err(done) => done,
        Ok((from, to)) => {
            let files = caller.thread.process.files();
            files.vfs().shm.link(below_shm(&from), below_shm(&to)).map(|()| 0)
        }
    }
}

/// The descriptor of the caller that a path leads to by its link below /proc.
async fn named_descriptor(caller: &Caller<'_>, from: u64, path: &[u8]) -> Result<Option<u32>, Errno> {
    let Place::Local(Tree::Proc, at) = resolve(caller, from, path, Last::Follow).await? else {
        return Ok(None);
    };
    let own = |(pid, fd)| (pid == caller.thread.process.pid).then_some(fd);
    Ok(place::descriptor_at(&at).and_then(own))
}

/// Two paths that must lie in the same tree: both in /dev/shm, or both at the host, which serves them then.
async fn two_places(
    caller: &Caller<'_>,
    number: u32,
    args: [u64; 6],
    last: Last,
) -> Result<(Vec<u8>, Vec<u8>), Result<u64, Errno>> {
    let from = read_path(caller, args[1]).await.map_err(Err)?;
    let to = read_path(caller, args[3]).await.map_err(Err)?;
    let from = resolve(caller, args[0], &from, last).await.map_err(Err)?;
    let to = resolve(caller, args[2], &to, Last::Stay).await.map_err(Err)?;
    let mut changes = Changes::default();
    match (from, to) {
        (Place::Local(Tree::Shm, from), Place::Local(Tree::Shm, to)) => return Ok((from, to)),
        (Place::Local(tree, path), Place::Local(..)) => {
            let found = local::stat(caller, tree, &path, Last::Stay);
            return Err(Err(found.err().unwrap_or(Errno::EPERM)));
        }
        (Place::Local(..), _) | (_, Place::Local(..)) => return Err(Err(Errno::EXDEV)),
        (from, to) => {
            if let Place::HostAt(path) = from {
                changes.paths.push((1, path));
            }
            if let Place::HostAt(path) = to {
                changes.paths.push((3, path));
            }
        }
    }
    Err(forward_with(caller, number, args, changes).await)
}

/// statfs(path, buffer).
pub async fn sys_statfs(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let call = PathCall { number: 137, args, from: CWD, argument: 0, last: Last::Follow };
    match local_place(caller, &call).await {
        Err(done) => done,
        Ok((tree, path)) => {
            local::stat(caller, tree, &path, Last::Follow)?;
            caller.mm().write(args[1], &local::statfs(caller, tree).to_bytes()).map(|()| 0)
        }
    }
}

/// chmod(path, mode), fchmodat(directory, path, mode); chown, lchown, fchownat.
pub async fn sys_change(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let (from, argument, flags) = match number {
        268 => (args[0], 1, 0),
        260 => (args[0], 1, args[4]),
        94 => (CWD, 0, AT_SYMLINK_NOFOLLOW.into()),
        _ => (CWD, 0, 0),
    };
    let call = PathCall { number, args, from, argument, last: last(flags) };
    let (tree, path) = match local_place(caller, &call).await {
        Err(done) => return done,
        Ok(place) => place,
    };
    let first = usize::from(argument) + 1;
    let changed = if matches!(number, 90 | 268) {
        local::change(caller, tree, &path, |attributes| attributes.permissions = args[first] as u32 & 0o7777)
    } else {
        local::change(caller, tree, &path, |attributes| {
            let [uid, gid] = [args[first] as u32, args[first + 1] as u32];
            attributes.uid = if uid == u32::MAX { attributes.uid } else { uid };
            attributes.gid = if gid == u32::MAX { attributes.gid } else { gid };
        })
    };
    changed.map(|()| 0)
}

/// utime(path, times), utimes(path, times), futimesat(directory, path, times), utimensat(directory, path, times, flags).
pub async fn sys_times_of(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let (from, argument) = if matches!(number, 132 | 235) { (CWD, 0) } else { (args[0], 1) };
    if args[usize::from(argument)] == 0 {
        return forward(caller, number, args).await;
    }
    let flags = if number == 280 { args[3] } else { 0 };
    let call = PathCall { number, args, from, argument, last: last(flags) };
    let (tree, path) = match local_place(caller, &call).await {
        Err(done) => return done,
        Ok(place) => place,
    };
    let times = args[usize::from(argument) + 1];
    let now = caller.thread.process.system.clock.wall();
    let [accessed, modified] =
        if times == 0 { [Some(now); 2] } else { read_times(caller, number, times, now)? };
    let changed = local::change(caller, tree, &path, |attributes| {
        attributes.accessed = accessed.unwrap_or(attributes.accessed);
        attributes.modified = modified.unwrap_or(attributes.modified);
    });
    changed.map(|()| 0)
}

/// Two times: what stays as it is is `None` (UTIME_OMIT).
fn read_times(
    caller: &Caller<'_>,
    number: u32,
    at: u64,
    now: Duration,
) -> Result<[Option<Duration>; 2], Errno> {
    const UTIME_NOW: u64 = 0x3fff_ffff;
    const UTIME_OMIT: u64 = 0x3fff_fffe;
    let mm = caller.mm();
    let word = |index: u64| mm.read_u64(at.wrapping_add(index * 8));
    if number == 132 {
        return Ok([Some(Duration::from_secs(word(0)?)), Some(Duration::from_secs(word(1)?))]);
    }
    let unit = if number == 280 { 1 } else { 1000 };
    let one = |index: u64| -> Result<Option<Duration>, Errno> {
        let (seconds, part) = (word(index)?, word(index + 1)?);
        match part {
            UTIME_NOW if unit == 1 => Ok(Some(now)),
            UTIME_OMIT if unit == 1 => Ok(None),
            part if part >= 1_000_000_000 / unit => Err(Errno::EINVAL),
            part => Ok(Some(Duration::new(seconds, (part * unit) as u32))),
        }
    };
    Ok([one(0)?, one(2)?])
}

/// Extended attributes by path: files of the node have none.
pub async fn sys_xattr(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let stays = matches!(number, 189 | 192 | 195 | 198);
    let last = if stays { Last::Stay } else { Last::Follow };
    match local_place(caller, &PathCall { number, args, from: CWD, argument: 0, last }).await {
        Err(done) => done,
        Ok((tree, path)) => {
            local::stat(caller, tree, &path, last)?;
            // An empty list is the truth; everything else there is no support for.
            if matches!(number, 194 | 195) { Ok(0) } else { Err(Errno::EOPNOTSUPP) }
        }
    }
}

/// umask(mask): here for files of the node, there for those of the host.
pub async fn sys_umask(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let mask = args[0] as u32 & 0o777;
    let before = caller.thread.process.umask.swap(mask, core::sync::atomic::Ordering::AcqRel);
    // The proxy's answer is not looked at: this call cannot fail.
    let there = Request::new(caller, 95, [u64::from(mask), 0, 0, 0, 0, 0]);
    let _ = there.send_through(&caller.thread.process.delegate).await;
    Ok(u64::from(before))
}
