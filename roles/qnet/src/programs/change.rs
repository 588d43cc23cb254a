//! What changes files: `mkdir`, `rmdir`, `rm`, `mv`, `cp`.

use super::text::Options;
use crate::client::{CopyError, OpenFlags, copy};
use crate::procs::{Exit, Process};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::Errno;

/// Type bits of a mode.
const TYPE: u32 = 0xf000;
const DIRECTORY: u32 = 0x4000;
const LINK: u32 = 0xa000;

/// How deep `-r` goes.
const DEPTH: usize = 64;

/// What went wrong, with what.
type Result2<T> = Result<T, (String, Errno)>;

/// Gives an error its path.
fn of<T>(path: &str, result: Result<T, Errno>) -> Result2<T> {
    result.map_err(|errno| (path.into(), errno))
}

pub(super) async fn mkdir(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "p", "m").await?;
    let mode = match options.value('m').map(|mode| u32::from_str_radix(mode, 8)) {
        None => process.new_mode(0o777),
        Some(Ok(mode)) if mode <= 0o7777 => mode,
        Some(_) => return Err(process.usage("a mode is an octal number").await),
    };
    if options.rest.is_empty() {
        return Err(process.usage("a directory is needed").await);
    }
    let mut status = 0;
    for name in &options.rest {
        let path = process.path(name);
        let made = match options.has('p') {
            true => make_all(process, &path, mode).await,
            false => process.files().mkdir(&path, mode).await,
        };
        if let Err(errno) = made {
            process.warn(name, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

/// A directory and those above it; those that are there are left alone.
async fn make_all(process: &Process, path: &str, mode: u32) -> Result<(), Errno> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends.filter(|end| *end > 0) {
        let dir = path.get(..end).unwrap_or_default();
        if process.files().stat(dir).await.is_ok_and(|stat| stat.mode & TYPE == DIRECTORY) {
            continue;
        }
        match process.files().mkdir(dir, mode).await {
            Ok(()) => {}
            // Somebody was faster.
            Err(Errno::EEXIST) if end < path.len() => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) async fn rmdir(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    if options.rest.is_empty() {
        return Err(process.usage("a directory is needed").await);
    }
    let mut status = 0;
    for name in &options.rest {
        if let Err(errno) = process.files().rmdir(&process.path(name)).await {
            process.warn(name, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

pub(super) async fn rm(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "frR", "").await?;
    let is_forced = options.has('f');
    if options.rest.is_empty() && !is_forced {
        return Err(process.usage("a path is needed").await);
    }
    let recursive = options.has('r') || options.has('R');
    let mut status = 0;
    for name in &options.rest {
        let path = process.path(name);
        let removed = match recursive {
            true => remove_tree(process, &path, 0).await,
            false => of(name, process.files().unlink(&path).await),
        };
        match removed {
            Ok(()) => {}
            Err((_, Errno::ENOENT)) if is_forced => {}
            Err((path, errno)) => {
                process.warn(&path, errno).await;
                status = 1;
            }
        }
    }
    Ok(status)
}

async fn remove_tree(process: &Process, path: &str, depth: usize) -> Result2<()> {
    let files = process.files();
    if depth >= DEPTH {
        return Err((path.into(), Errno::ELOOP));
    }
    let stat = of(path, files.lstat(path).await)?;
    if stat.mode & TYPE != DIRECTORY {
        return of(path, files.unlink(path).await);
    }
    // Reread after each, so that no list of it is kept and nothing is missed.
    let mut failed = None;
    loop {
        let items = of(path, first_items(process, path).await)?;
        let mut removed = 0;
        for name in items {
            let below = format!("{}/{name}", path.trim_end_matches('/'));
            match Box::pin(remove_tree(process, &below, depth + 1)).await {
                Ok(()) => removed += 1,
                Err(problem) => failed = Some(problem),
            }
        }
        if removed == 0 {
            break;
        }
    }
    match failed {
        Some(problem) => Err(problem),
        None => of(path, files.rmdir(path).await),
    }
}

/// Some entries of a directory, from its start.
async fn first_items(process: &Process, path: &str) -> Result<Vec<String>, Errno> {
    let directory = process.files().open(&format!("{path}/"), OpenFlags::READ).await?;
    let mut names = Vec::new();
    while names.is_empty() {
        let items = directory.read_dir().await?;
        if items.is_empty() {
            break;
        }
        names.extend(items.into_iter().map(|item| item.name).filter(|name| name != "." && name != ".."));
    }
    directory.close().await?;
    Ok(names)
}

/// Where several things go: each with its target.
async fn targets<'a>(process: &Process, names: &[&'a str]) -> Result<Vec<(&'a str, String, String)>, Exit> {
    let Some((to, from)) = names.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(process.usage("a source and a target are needed").await);
    };
    let target = process.path(to);
    let is_directory = process.files().stat(&target).await.is_ok_and(|stat| stat.mode & TYPE == DIRECTORY);
    if from.len() > 1 && !is_directory {
        return Err(process.fail(to, Errno::ENOTDIR).await);
    }
    let one = |name: &&'a str| {
        let source = process.path(name);
        let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let target = match is_directory {
            true => format!("{}/{last}", target.trim_end_matches('/')),
            false => target.clone(),
        };
        (*name, source, target)
    };
    Ok(from.iter().map(one).collect())
}

pub(super) async fn mv(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "f", "").await?;
    let mut status = 0;
    for (name, from, to) in targets(process, &options.rest).await? {
        let moved = match process.files().rename(&from, &to).await {
            // On another node, or another volume: copied, then removed.
            Err(Errno::EXDEV) => match copy_tree(process, &from, &to, true, 0).await {
                Ok(()) => remove_tree(process, &from, 0).await,
                Err(problem) => Err(problem),
            },
            result => of(name, result),
        };
        if let Err((path, errno)) = moved {
            process.warn(&path, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

pub(super) async fn cp(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "frRp", "").await?;
    let recursive = options.has('r') || options.has('R');
    let mut status = 0;
    for (_, from, to) in targets(process, &options.rest).await? {
        if let Err((path, errno)) = copy_tree(process, &from, &to, recursive, 0).await {
            process.warn(&path, errno).await;
            status = 1;
        }
    }
    Ok(status)
}

async fn copy_tree(process: &Process, from: &str, to: &str, recursive: bool, depth: usize) -> Result2<()> {
    let files = process.files();
    if depth >= DEPTH {
        return Err((from.into(), Errno::ELOOP));
    }
    let stat = match recursive {
        true => of(from, files.lstat(from).await)?,
        false => of(from, files.stat(from).await)?,
    };
    match stat.mode & TYPE {
        DIRECTORY if !recursive => return Err((from.into(), Errno::EISDIR)),
        LINK => {
            let target = of(from, files.readlink(from).await)?;
            return of(to, files.symlink(&target, to).await);
        }
        DIRECTORY => {}
        _ => return copy_file(process, from, to, stat.mode & 0o777).await,
    }
    if is_below(to, from) {
        return Err((to.into(), Errno::EINVAL));
    }
    match files.mkdir(to, process.new_mode(stat.mode & 0o777) | 0o700).await {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err((to.into(), errno)),
    }
    let directory = of(from, files.open(&format!("{from}/"), OpenFlags::READ).await)?;
    loop {
        let items = of(from, directory.read_dir().await)?;
        if items.is_empty() {
            break;
        }
        for item in items.iter().filter(|item| item.name != "." && item.name != "..") {
            let from = format!("{}/{}", from.trim_end_matches('/'), item.name);
            let to = format!("{}/{}", to.trim_end_matches('/'), item.name);
            Box::pin(copy_tree(process, &from, &to, true, depth + 1)).await?;
        }
    }
    of(from, directory.close().await)
}

/// Whether a path is another or leads into it, as far as text tells.
fn is_below(path: &str, dir: &str) -> bool {
    let dir = dir.trim_end_matches('/');
    path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

async fn copy_file(process: &Process, from: &str, to: &str, mode: u32) -> Result2<()> {
    let files = process.files();
    let source = of(from, files.open(from, OpenFlags::READ).await)?;
    // Emptying the target first would empty the source.
    if let Ok(target) = files.stat(to).await {
        let source = of(from, source.stat().await)?;
        if source.dev == target.dev && source.ino == target.ino && is_same_place(from, to) {
            return Err((to.into(), Errno::EINVAL));
        }
    }
    let target = of(to, files.open_mode(to, OpenFlags::REPLACE, process.new_mode(mode)).await)?;
    copy(&source, &target, |_| ()).await.map_err(|error| match error {
        CopyError::From(errno) => (from.into(), errno),
        CopyError::To(errno) => (to.into(), errno),
    })?;
    of(to, target.close().await)?;
    of(from, source.close().await)
}

/// Whether two paths are on one node, of which serial numbers are not comparable otherwise.
fn is_same_place(one: &str, other: &str) -> bool {
    let node = |path: &str| {
        let rest = path.trim_start_matches('/').strip_prefix("net/").map(String::from);
        rest.map(|rest| String::from(rest.split('/').next().unwrap_or_default()))
    };
    node(one) == node(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_others() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a/") && is_below("/x", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/a", "/a/b"));
        assert!(is_same_place("/net/b/x", "/net/b") && is_same_place("/x", "/y"));
        assert!(!is_same_place("/net/b/x", "/x") && !is_same_place("/net/b/x", "/net/c/x"));
    }
}
