//! What the program may not do, beyond what its user may not (section 5.11).
//!
//! `--root` is kept with openat2(RESOLVE_IN_ROOT): a path is resolved to a descriptor below the root, and the call is made on
//! that. There is no seccomp filter: no maintained crate installs one from safe code.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::family;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::fail::Fail;

/// The directory that is `/` for the program.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens it.
    pub fn open(path: &Path) -> std::io::Result<Root> {
        let path = path.canonicalize()?;
        let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { fd, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Restrictions.
#[derive(Debug, Default)]
pub struct Rules {
    /// `--root`
    pub root: Option<Root>,
    /// `--ro`
    pub read_only: bool,
    /// `--deny=net`
    pub deny_net: bool,
    /// `--ioctl=flat`
    pub flat_ioctl: bool,
}

/// Whether the last component of a path, if it is a symbolic link, stands for what it points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// For itself.
    Itself,
    /// For its target.
    Target,
}

impl Rules {
    /// EROFS with `--ro`.
    pub fn may_write(&self) -> Result<(), Fail> {
        if self.read_only { Err(Fail(Errno::EROFS)) } else { Ok(()) }
    }

    /// EACCES for a socket of a family that reaches beyond this machine, with `--deny=net`.
    pub fn may_socket(&self, family: u16) -> Result<(), Fail> {
        if self.deny_net && family != family::UNIX { Err(Fail(Errno::EACCES)) } else { Ok(()) }
    }

    /// Calls `with` with a directory and a path that mean what `path` means to the program. `last` says how `with` takes a
    /// symbolic link at its end.
    pub fn locate<T>(
        &self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        last: Last,
        with: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        let Some(root) = &self.root else { return with(dir, OsStr::from_bytes(path)) };
        if path.is_empty() {
            return with(dir, OsStr::new(""));
        }
        let full = root.absolute(dir, path)?;
        if last == Last::Target
            && let Ok(found) = root.resolve(&full, OFlags::PATH, Mode::empty())
        {
            return with(CWD, own_link(&found).as_os_str());
        }
        let (parent, name) = match full.iter().rposition(|byte| *byte == b'/') {
            Some(at) => full.split_at(at + 1),
            None => (&b"/"[..], &full[..]),
        };
        if matches!(name, b"" | b"." | b"..") {
            let found = root.resolve(&full, OFlags::PATH, Mode::empty())?;
            return with(CWD, own_link(&found).as_os_str());
        }
        let parent = root.resolve(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        with(parent.as_fd(), OsStr::from_bytes(name))
    }

    /// open(2) for the program.
    pub fn open(
        &self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Fail> {
        let flags = flags | OFlags::CLOEXEC;
        match &self.root {
            Some(root) => {
                let full = root.absolute(dir, path)?;
                Ok(rustix::fs::openat2(
                    &root.fd,
                    OsStr::from_bytes(&full),
                    flags,
                    mode,
                    resolve | ResolveFlags::IN_ROOT,
                )?)
            }
            None if resolve.is_empty() => Ok(rustix::fs::openat(dir, OsStr::from_bytes(path), flags, mode)?),
            None => Ok(rustix::fs::openat2(dir, OsStr::from_bytes(path), flags, mode, resolve)?),
        }
    }

    /// A directory as the program sees it.
    pub fn seen(&self, path: Vec<u8>) -> Result<Vec<u8>, Fail> {
        match &self.root {
            Some(root) => root.seen(&path).ok_or(Fail(Errno::ENOENT)),
            None => Ok(path),
        }
    }
}

impl Root {
    /// `path` from the root on.
    fn absolute(&self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>, Fail> {
        if path.is_empty() {
            return Err(Fail(Errno::ENOENT));
        }
        if path.starts_with(b"/") {
            return Ok(path.to_vec());
        }
        let dir = if is_cwd(dir) {
            rustix::process::getcwd(Vec::new())?.into_bytes()
        } else {
            std::fs::read_link(own_link(&dir))?.into_os_string().into_vec()
        };
        let mut full = self.seen(&dir).ok_or(Fail(Errno::EACCES))?;
        full.push(b'/');
        full.extend_from_slice(path);
        Ok(full)
    }

    fn seen(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = Path::new(OsStr::from_bytes(path)).strip_prefix(&self.path).ok()?;
        Some([b"/", below.as_os_str().as_bytes()].concat())
    }

    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Fail> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.fd, OsStr::from_bytes(path), flags, mode, ResolveFlags::IN_ROOT)?)
    }
}

fn is_cwd(dir: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    dir.as_raw_fd() == CWD.as_raw_fd()
}

/// The name by which the kernel lets us reach an open file once more.
pub fn own_link(fd: &impl AsFd) -> OsString {
    use std::os::fd::AsRawFd;
    OsString::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}
