//! Calls that take a path, all in one shape.

use super::sys::{self, Errno, NOW};

/// Its name, and what it does with a path. Where a second name is needed there is `spare`, a file, and `fresh`, which is not.
pub type Call = (&'static str, fn(&str) -> Errno);

/// All of them. Those that change nothing come first.
pub const CALLS: [Call; 24] = [
    ("stat", |path| std::fs::metadata(path).map_or_else(number, |_| Errno(0))),
    ("lstat", |path| std::fs::symlink_metadata(path).map_or_else(number, |_| Errno(0))),
    ("access", sys::access),
    ("readlink", sys::readlink),
    ("open for reading", |path| sys::open(path, sys::O_RDONLY | sys::O_NONBLOCK, 0)),
    ("open for writing", |path| sys::open(path, sys::O_WRONLY | sys::O_NONBLOCK, 0)),
    ("open O_DIRECTORY", |path| sys::open(path, sys::O_RDONLY | sys::O_DIRECTORY, 0)),
    ("open O_NOFOLLOW", |path| sys::open(path, sys::O_RDONLY | sys::O_NOFOLLOW | sys::O_NONBLOCK, 0)),
    ("chmod", |path| sys::chmod(path, 0o640)),
    ("chown", |path| sys::chown(path, 5, 6)),
    ("lchown", |path| sys::lchown(path, 7, 8)),
    ("utimensat", |path| sys::utimes(path, (0, NOW), (0, NOW))),
    ("utimensat of the link", |path| sys::link_times(path, 1_000_000_000)),
    ("truncate", |path| sys::truncate(path, 2)),
    ("open O_TRUNC", |path| sys::open(path, sys::O_WRONLY | sys::O_TRUNC | sys::O_NONBLOCK, 0)),
    ("open O_CREAT", |path| sys::open(path, sys::O_RDWR | sys::O_CREAT | sys::O_NONBLOCK, 0o640)),
    ("open O_CREAT O_EXCL", |path| sys::open(path, sys::O_RDWR | sys::O_CREAT | sys::O_EXCL, 0o640)),
    ("mkdir", |path| sys::mkdir(path, 0o750)),
    ("mknod of a FIFO", |path| sys::mknod(path, sys::S_IFIFO)),
    ("symlink", |path| sys::symlink("target", path)),
    ("link of it", |path| sys::link(path, "fresh")),
    ("link to it", |path| sys::link("spare", path)),
    ("rename of it", |path| sys::rename(path, "fresh")),
    ("rename to it", |path| sys::rename("spare", path)),
];

/// Those that remove.
pub const REMOVALS: [Call; 2] = [("unlink", sys::unlink), ("rmdir", sys::rmdir)];

fn number(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(-1))
}
