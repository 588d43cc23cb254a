//! The lock calls of the C library, and what is needed to see that one of them waits.

use std::ffi::c_int;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;

/// A byte range lock as `fcntl` takes and returns it (`struct flock` of x86-64).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Lock {
    pub kind: i16,
    pub whence: i16,
    pub start: i64,
    pub length: i64,
    pub pid: i32,
}

// Linux: include/uapi/asm-generic/fcntl.h, include/uapi/linux/lockf.h, include/uapi/asm-generic/signal.h.
pub const GET: c_int = 5;
pub const SET: c_int = 6;
pub const SET_WAIT: c_int = 7;
pub const SHARED: i16 = 0;
pub const EXCLUSIVE: i16 = 1;
pub const UNLOCK: i16 = 2;
pub const FLOCK_SHARED: c_int = 1;
pub const FLOCK_EXCLUSIVE: c_int = 2;
pub const FLOCK_NO_WAIT: c_int = 4;
pub const FLOCK_UNLOCK: c_int = 8;
pub const LOCKF_UNLOCK: c_int = 0;
pub const LOCKF_LOCK: c_int = 1;
pub const LOCKF_TRY: c_int = 2;
pub const LOCKF_TEST: c_int = 3;
const SIGUSR1: c_int = 10;
pub const SIGKILL: c_int = 9;

#[repr(C)]
struct Action {
    handler: extern "C" fn(c_int),
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

unsafe extern "C" {
    fn fcntl(fd: c_int, command: c_int, lock: *mut Lock) -> c_int;
    fn flock(fd: c_int, operation: c_int) -> c_int;
    fn lockf(fd: c_int, operation: c_int, length: i64) -> c_int;
    fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
    fn gettid() -> c_int;
    fn getpid() -> c_int;
    fn tgkill(process: c_int, thread: c_int, signal: c_int) -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
}

fn done(status: c_int) -> Result<()> {
    if status == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// `fcntl` with a lock; for [`GET`] the lock that is in the way is put into its place.
pub fn range_lock(file: &File, command: c_int, lock: &mut Lock) -> Result<()> {
    // SAFETY: the file is open and the structure has the layout that these commands read and write.
    done(unsafe { fcntl(file.as_raw_fd(), command, lock) })
}

/// `flock`.
pub fn file_lock(file: &File, operation: c_int) -> Result<()> {
    // SAFETY: the file is open; no memory is passed.
    done(unsafe { flock(file.as_raw_fd(), operation) })
}

/// `lockf`, from the file's position.
pub fn section_lock(file: &File, operation: c_int, length: i64) -> Result<()> {
    // SAFETY: the file is open; no memory is passed.
    done(unsafe { lockf(file.as_raw_fd(), operation, length) })
}

/// Number of the calling thread.
pub fn this_thread() -> c_int {
    // SAFETY: touches nothing.
    unsafe { gettid() }
}

extern "C" fn nothing(_signal: c_int) {}

/// From now on [`interrupt`] ends a waiting call with EINTR instead of the process.
pub fn accept_interrupts() {
    let action = Action { handler: nothing, mask: [0; 16], flags: 0, restorer: 0 };
    // SAFETY: the structure has the layout of the C library's, and the handler does nothing.
    let status = unsafe { sigaction(SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(status, 0, "sigaction: {}", Error::last_os_error());
}

/// Interrupts what a thread of this process waits for.
pub fn interrupt(thread: c_int) {
    // SAFETY: a signal to a thread of this process, which has a handler for it.
    unsafe { tgkill(getpid(), thread, SIGUSR1) };
}

/// Ends this process without letting it do anything more.
pub fn die() -> ! {
    // SAFETY: the signal ends the process at once.
    unsafe { kill(getpid(), SIGKILL) };
    unreachable!("SIGKILL can not be ignored")
}
