//! Where a path leads: to the host, or into a tree of the node.

use super::Caller;
use super::request::Request;
use crate::Errno;
use crate::files::flags::AT_FDCWD;
use crate::files::paths::{self, Tree};
use crate::files::{Cwd, FdTable, tmpfs};
use crate::process::Process;
use crate::pseudo::{self, Entry, Looker};
use alloc::vec::Vec;

/// Links that are followed before a path counts as a circle (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Bytes that a path may grow to by its links: each of them is as long as a path may be.
const LONGEST: usize = 16 << 10;

/// Components of a path in /proc that are looked at: nothing there lies as deep.
const DEEPEST: usize = 32;

/// Where a path leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// To the host, as the program wrote it.
    Host,
    /// To the host, but to another path than the program wrote.
    HostAt(Vec<u8>),
    /// Into a tree of the node, at this absolute path.
    Local(Tree, Vec<u8>),
}

/// Follows the last component when it is a link, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// O_NOFOLLOW, lstat(2).
    Stay,
    /// As usual.
    Follow,
}

/// The descriptor of a process that a path in /proc is: its number and the process.
pub fn descriptor_at(path: &[u8]) -> Option<(u32, u32)> {
    let number = |text: &[u8]| core::str::from_utf8(text).ok()?.parse().ok();
    let parts: Vec<&[u8]> = paths::parts(path).take(5).collect();
    let [b"proc", pid, b"fd", fd] = parts[..] else { return None };
    Some((number(pid)?, number(fd)?))
}

/// Who looks at /proc.
pub fn looker(caller: &Caller<'_>) -> Looker {
    Looker { pid: caller.thread.process.pid, tid: caller.thread.tid }
}

/// Resolves `path` as seen from `from`, a descriptor or AT_FDCWD.
pub async fn resolve(caller: &Caller<'_>, from: u64, path: &[u8], last: Last) -> Result<Place, Errno> {
    Ok(resolve_with_magic(caller, from, path, last).await?.0)
}

/// The same, and whether a link in /proc led there that leads to an object rather than to a path (RESOLVE_NO_MAGICLINKS).
pub async fn resolve_with_magic(
    caller: &Caller<'_>,
    from: u64,
    path: &[u8],
    last: Last,
) -> Result<(Place, bool), Errno> {
    let files = caller.thread.process.files();
    let absolute = path.first() == Some(&b'/');
    if path.is_empty() {
        return Ok((Place::Host, false));
    }
    let mut changed = false;
    let full = if absolute {
        path.to_vec()
    } else if from as i32 == AT_FDCWD {
        let cwd = match files.fs().cwd() {
            Cwd::Local(cwd) => {
                changed = true;
                cwd
            }
            Cwd::Host(cwd) => cwd,
            Cwd::Unknown => ask_cwd(caller, &caller.thread.process).await?,
        };
        paths::join(&cwd, path)
    } else {
        let directory = files.get(from as u32)?;
        let is_host = directory.file().host().is_some();
        match directory.path() {
            Some(base) if base.starts_with(b"/") => {
                if !is_host && directory.file().stat().file_type() != Some(crate::files::FileType::Directory)
                {
                    return Err(Errno::ENOTDIR);
                }
                changed = !is_host;
                paths::join(base, path)
            }
            _ if is_host => return Ok((Place::Host, false)),
            _ => return Err(Errno::ENOTDIR),
        }
    };
    let last = if path.ends_with(b"/") { Last::Follow } else { last };
    if full.starts_with(b"/proc/") && paths::parts(&full).any(|part| part == b"cwd") {
        learn_cwd(caller, &full).await?;
    }
    walk(&files, looker(caller), &full, changed, last)
}

/// /proc/self/cwd leads to the working directory of the caller, and /proc/[pid]/cwd to another process's.
async fn learn_cwd(caller: &Caller<'_>, full: &[u8]) -> Result<(), Errno> {
    let own = &caller.thread.process;
    if own.files().fs().cwd() == Cwd::Unknown {
        ask_cwd(caller, own).await?;
    }
    let pid = paths::parts(full).nth(1).and_then(|part| core::str::from_utf8(part).ok()?.parse().ok());
    if let Some(other) = pid.and_then(|pid| own.node.process(pid))
        && other.files().fs().cwd() == Cwd::Unknown
    {
        // One whose host is gone is about to end.
        let _ = ask_cwd(caller, &other).await;
    }
    Ok(())
}

/// Asks the proxy of a process for its working directory, once after each change.
async fn ask_cwd(caller: &Caller<'_>, process: &Process) -> Result<Vec<u8>, Errno> {
    let files = process.files();
    let changes = files.fs().changes();
    let request = Request::new(caller, 79, [0, 4096, 0, 0, 0, 0]).output(0, 4096);
    let reply = request.send_through(&process.delegate).await?;
    let text = super::request::output_of(&reply, 0);
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let cwd = text[..end].to_vec();
    // A directory that was removed has no name.
    if !cwd.is_empty() {
        files.fs().told_cwd(&cwd, changes);
    }
    Ok(cwd)
}

fn walk(
    files: &FdTable,
    looker: Looker,
    path: &[u8],
    changed: bool,
    last: Last,
) -> Result<(Place, bool), Errno> {
    let (mut full, mut changed, mut magic) = (paths::normal(path), changed, false);
    for _ in 0..MAX_LINKS {
        if full.len() > LONGEST {
            return Err(Errno::ENAMETOOLONG);
        }
        if let Some(other) = paths::device_link(&full) {
            (full, changed) = (other, true);
        }
        let Some(tree) = paths::tree(&full) else {
            return Ok((if changed { Place::HostAt(full) } else { Place::Host }, magic));
        };
        match next_link(files, looker, &full, last)? {
            None => return Ok((Place::Local(tree, full), magic)),
            Some((other, is_magic)) => {
                (full, changed) = (other, true);
                magic |= is_magic;
            }
        }
    }
    Err(Errno::ELOOP)
}

/// The path with its first link replaced by what that leads to, and whether it is one to an object.
fn next_link(
    files: &FdTable,
    looker: Looker,
    full: &[u8],
    last: Last,
) -> Result<Option<(Vec<u8>, bool)>, Errno> {
    let ends = (1..=full.len()).filter(|&end| end == full.len() || full[end] == b'/');
    for end in ends {
        if end == full.len() && last == Last::Stay {
            break;
        }
        let Some(target) = link_at(files, looker, &full[..end]) else { continue };
        let (directory, _) = paths::split(&full[..end]);
        let joined = paths::join(directory, &target);
        // /proc/self and /proc/thread-self are ordinary ones; those below a process are not.
        let magic = paths::tree(&full[..end]) == Some(Tree::Proc) && paths::parts(&full[..end]).count() > 2;
        return Ok(Some((paths::normal(&[&joined[..], &full[end..]].concat()), magic)));
    }
    Ok(None)
}

/// Where the link at a path of the node leads to.
fn link_at(files: &FdTable, looker: Looker, path: &[u8]) -> Option<Vec<u8>> {
    let vfs = files.vfs();
    match paths::tree(path)? {
        Tree::Proc => {
            let parts: Vec<&[u8]> = paths::parts(path).skip(1).take(DEEPEST).collect();
            pseudo::proc_link(&**vfs.view()?, looker, &parts)
        }
        Tree::Sys => {
            let rest = path.strip_prefix(b"/sys/").and_then(|rest| core::str::from_utf8(rest).ok())?;
            vfs.sys()?.link_at(rest).map(<[u8]>::to_vec)
        }
        Tree::Shm => match vfs.shm.find(below_shm(path)).ok()? {
            tmpfs::Node::Link(link) => Some(link.target.clone()),
            _ => None,
        },
        Tree::Device => None,
    }
}

/// A path of /dev/shm as seen from there.
pub fn below_shm(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/dev/shm").filter(|rest| !rest.is_empty()).unwrap_or(b"/")
}

/// What lies at a path of /proc or /sys.
pub fn entry(files: &FdTable, looker: Looker, tree: Tree, path: &[u8]) -> Result<Entry, Errno> {
    let vfs = files.vfs();
    let view = vfs.view().ok_or(Errno::ENOENT)?;
    if tree == Tree::Proc {
        let parts: Vec<&[u8]> = paths::parts(path).skip(1).take(DEEPEST).collect();
        return pseudo::find_proc(&**view, looker, &parts);
    }
    let rest = path.strip_prefix(b"/sys").unwrap_or(path);
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let rest = core::str::from_utf8(rest).map_err(|_| Errno::ENOENT)?;
    vfs.sys().and_then(|sys| sys.find(rest)).ok_or(Errno::ENOENT)
}
