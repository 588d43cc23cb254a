//! System calls by name, as the kernel answers them: an [`Errno`] each, and nothing in between.

use std::ffi::{CString, c_char, c_int, c_uint};
use std::fmt;

/// The error number of a call; 0 is success.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

pub const O_RDONLY: c_int = 0;
pub const O_WRONLY: c_int = 1;
pub const O_RDWR: c_int = 2;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_TRUNC: c_int = 0o1000;
pub const O_APPEND: c_int = 0o2000;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_DIRECTORY: c_int = 0o200_000;
pub const O_NOFOLLOW: c_int = 0o400_000;
pub const S_IFIFO: c_uint = 0o010_000;
pub const S_IFCHR: c_uint = 0o020_000;
pub const S_IFSOCK: c_uint = 0o140_000;
/// `utimensat`: now, and leave as it is (linux: include/linux/stat.h).
pub const NOW: i64 = (1 << 30) - 1;
pub const OMIT: i64 = (1 << 30) - 2;
const HERE: c_int = -100;
const NO_FOLLOW: c_int = 0x100;

unsafe extern "C" {
    #[link_name = "chmod"]
    fn c_chmod(path: *const c_char, mode: c_uint) -> c_int;
    #[link_name = "chown"]
    fn c_chown(path: *const c_char, uid: c_uint, gid: c_uint) -> c_int;
    #[link_name = "lchown"]
    fn c_lchown(path: *const c_char, uid: c_uint, gid: c_uint) -> c_int;
    #[link_name = "link"]
    fn c_link(old: *const c_char, new: *const c_char) -> c_int;
    #[link_name = "symlink"]
    fn c_symlink(target: *const c_char, new: *const c_char) -> c_int;
    #[link_name = "rename"]
    fn c_rename(old: *const c_char, new: *const c_char) -> c_int;
    #[link_name = "unlink"]
    fn c_unlink(path: *const c_char) -> c_int;
    #[link_name = "mkdir"]
    fn c_mkdir(path: *const c_char, mode: c_uint) -> c_int;
    #[link_name = "rmdir"]
    fn c_rmdir(path: *const c_char) -> c_int;
    #[link_name = "mknod"]
    fn c_mknod(path: *const c_char, mode: c_uint, device: u64) -> c_int;
    #[link_name = "truncate"]
    fn c_truncate(path: *const c_char, length: i64) -> c_int;
    #[link_name = "access"]
    fn c_access(path: *const c_char, mode: c_int) -> c_int;
    #[link_name = "readlink"]
    fn c_readlink(path: *const c_char, into: *mut u8, size: usize) -> isize;
    #[link_name = "open"]
    fn c_open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    #[link_name = "close"]
    fn c_close(fd: c_int) -> c_int;
    #[link_name = "write"]
    fn c_write(fd: c_int, data: *const u8, length: usize) -> isize;
    #[link_name = "read"]
    fn c_read(fd: c_int, data: *mut u8, length: usize) -> isize;
    #[link_name = "utimensat"]
    fn c_utimensat(folder: c_int, path: *const c_char, times: *const [i64; 4], flags: c_int) -> c_int;
    #[link_name = "umask"]
    fn c_umask(mask: c_uint) -> c_uint;
    fn seteuid(uid: c_uint) -> c_int;
    fn setegid(gid: c_uint) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
}

fn text(path: &str) -> CString {
    CString::new(path).expect("a path without NUL")
}

fn outcome(status: isize) -> Errno {
    Errno(if status == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 })
}

// SAFETY of all that follow: texts end with NUL and live until the call returns, and so do buffers, whose sizes are passed.

/// `chmod`.
pub fn chmod(path: &str, mode: c_uint) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_chmod(text(path).as_ptr(), mode) } as isize)
}

/// `chown`; -1 leaves an id as it is.
pub fn chown(path: &str, uid: i64, gid: i64) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_chown(text(path).as_ptr(), uid as c_uint, gid as c_uint) } as isize)
}

/// `lchown`.
pub fn lchown(path: &str, uid: i64, gid: i64) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_lchown(text(path).as_ptr(), uid as c_uint, gid as c_uint) } as isize)
}

/// `link`.
pub fn link(old: &str, new: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_link(text(old).as_ptr(), text(new).as_ptr()) } as isize)
}

/// `symlink`.
pub fn symlink(target: &str, new: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_symlink(text(target).as_ptr(), text(new).as_ptr()) } as isize)
}

/// `rename`.
pub fn rename(old: &str, new: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_rename(text(old).as_ptr(), text(new).as_ptr()) } as isize)
}

/// `unlink`.
pub fn unlink(path: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_unlink(text(path).as_ptr()) } as isize)
}

/// `mkdir`.
pub fn mkdir(path: &str, mode: c_uint) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_mkdir(text(path).as_ptr(), mode) } as isize)
}

/// `rmdir`.
pub fn rmdir(path: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_rmdir(text(path).as_ptr()) } as isize)
}

/// `mknod` with mode 644; devices are 1:3 (`/dev/null`).
pub fn mknod(path: &str, kind: c_uint) -> Errno {
    let device = if kind == S_IFCHR { 0x103 } else { 0 };
    // SAFETY: see above.
    outcome(unsafe { c_mknod(text(path).as_ptr(), kind | 0o644, device) } as isize)
}

/// `truncate`.
pub fn truncate(path: &str, length: i64) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_truncate(text(path).as_ptr(), length) } as isize)
}

/// `access` for reading, with the real ids (root's).
pub fn access(path: &str) -> Errno {
    // SAFETY: see above.
    outcome(unsafe { c_access(text(path).as_ptr(), 4) } as isize)
}

/// `readlink`.
pub fn readlink(path: &str) -> Errno {
    let mut into = [0; 5000];
    // SAFETY: see above.
    outcome(unsafe { c_readlink(text(path).as_ptr(), into.as_mut_ptr(), into.len()) })
}

/// `open` and `close`.
pub fn open(path: &str, flags: c_int, mode: c_uint) -> Errno {
    with_open(path, flags, mode, |_| Errno(0))
}

/// `open`, something with the descriptor, and `close`.
pub fn with_open(path: &str, flags: c_int, mode: c_uint, act: impl FnOnce(c_int) -> Errno) -> Errno {
    // SAFETY: see above.
    let fd = unsafe { c_open(text(path).as_ptr(), flags, mode) };
    if fd == -1 {
        return outcome(-1);
    }
    let result = act(fd);
    // SAFETY: the descriptor was opened above.
    let closed = outcome(unsafe { c_close(fd) } as isize);
    if result.0 != 0 { result } else { closed }
}

/// Opens, writes a byte and closes.
pub fn write(path: &str, flags: c_int) -> Errno {
    // SAFETY: see above.
    with_open(path, flags | O_WRONLY, 0o644, |fd| outcome(unsafe { c_write(fd, b"x".as_ptr(), 1) }))
}

/// Opens, reads a byte and closes.
pub fn read(path: &str) -> Errno {
    let mut byte = [0];
    // SAFETY: see above.
    with_open(path, O_RDONLY, 0, |fd| outcome(unsafe { c_read(fd, byte.as_mut_ptr(), 1) }))
}

/// `utimensat` with nanoseconds that may be [`NOW`] or [`OMIT`], times in seconds.
pub fn utimes(path: &str, accessed: (i64, i64), modified: (i64, i64)) -> Errno {
    let times = [accessed.0, accessed.1, modified.0, modified.1];
    // SAFETY: see above; two `struct timespec` are four words.
    outcome(unsafe { c_utimensat(HERE, text(path).as_ptr(), &times, 0) } as isize)
}

/// `utimensat` of a link itself.
pub fn link_times(path: &str, seconds: i64) -> Errno {
    let times = [seconds, 0, seconds, 0];
    // SAFETY: see above.
    outcome(unsafe { c_utimensat(HERE, text(path).as_ptr(), &times, NO_FOLLOW) } as isize)
}

/// `umask`.
pub fn umask(mask: c_uint) {
    // SAFETY: touches nothing of the process but the mask.
    unsafe { c_umask(mask) };
}

/// Acts as another user with these groups, the first of them its own; 0 is root again.
pub fn become_user(uid: u32, groups: &[u32]) {
    // SAFETY: the list and its length belong together. Root first: nobody else may change groups.
    let status = unsafe {
        seteuid(0) + setegid(groups[0]) + setgroups(groups.len() - 1, groups[1..].as_ptr()) + seteuid(uid)
    };
    assert_eq!(status, 0, "become user {uid}: {}", std::io::Error::last_os_error());
}

impl fmt::Display for Errno {
    /// As in errno(3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "ok",
            1 => "EPERM",
            2 => "ENOENT",
            5 => "EIO",
            6 => "ENXIO",
            9 => "EBADF",
            13 => "EACCES",
            16 => "EBUSY",
            17 => "EEXIST",
            18 => "EXDEV",
            20 => "ENOTDIR",
            21 => "EISDIR",
            22 => "EINVAL",
            26 => "ETXTBSY",
            27 => "EFBIG",
            28 => "ENOSPC",
            30 => "EROFS",
            31 => "EMLINK",
            36 => "ENAMETOOLONG",
            39 => "ENOTEMPTY",
            40 => "ELOOP",
            95 => "EOPNOTSUPP",
            116 => "ESTALE",
            other => return write!(f, "errno {other}"),
        };
        f.write_str(name)
    }
}
