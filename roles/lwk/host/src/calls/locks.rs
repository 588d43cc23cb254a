//! fcntl(2) and flock(2).
//!
//! A lock that is not free gives no readiness, and a thread that waits in the kernel for it cannot be called back without a
//! signal. So waiting is asking again, soon at first and then every 20 ms; a request that is given up has no lock afterwards. What
//! is lost is the kernel's order of waiters, and its EDEADLK: the node finds circles of its own processes.

use std::time::Duration;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::layout::Flock;
use keelson_lwk_wire::messages::Part;
use nix::fcntl::{FcntlArg, fcntl as nix_fcntl};
use nix::libc;
use rustix::fs::{FlockOperation, OFlags, SealFlags};

use super::{Reply, Task, done};
use crate::fail::Fail;

/// Repeats `attempt` until it does not say that somebody else has the lock.
fn until_free(task: &Task<'_>, mut attempt: impl FnMut() -> Result<(), Fail>) -> Result<(), Fail> {
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt() {
            Err(Fail(Errno::EAGAIN | Errno::EACCES)) => {}
            other => return other,
        }
        task.request.pause(pause)?;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// flock
pub(super) fn flock(task: &Task<'_>) -> Result<Reply, Fail> {
    const NONBLOCKING: u32 = 4;
    let handle = task.handle(0)?;
    let operation = task.int(1);
    let attempt = match operation & !NONBLOCKING {
        1 => FlockOperation::NonBlockingLockShared,
        2 => FlockOperation::NonBlockingLockExclusive,
        8 => return done(rustix::fs::flock(&*handle, FlockOperation::Unlock)),
        _ => return Err(Fail(Errno::EINVAL)),
    };
    let lock = || Ok(rustix::fs::flock(&*handle, attempt)?);
    if operation & NONBLOCKING != 0 || task.request.never_waits() {
        return done(lock());
    }
    done(until_free(task, lock))
}

/// fcntl
pub(super) fn fcntl(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    match task.arg(1) {
        3 => Ok(Reply::value(rustix::fs::fcntl_getfl(&*handle)?.bits().into())),
        4 => done(rustix::fs::fcntl_setfl(&*handle, OFlags::from_bits_retain(task.int(2)))),
        1031 => Ok(Reply::value(rustix::pipe::fcntl_setpipe_size(&*handle, task.int(2) as usize)? as i64)),
        1032 => Ok(Reply::value(rustix::pipe::fcntl_getpipe_size(&*handle)? as i64)),
        1033 => done(rustix::fs::fcntl_add_seals(&*handle, SealFlags::from_bits_retain(task.int(2)))),
        1034 => Ok(Reply::value(rustix::fs::fcntl_get_seals(&*handle)?.bits().into())),
        command => record_lock(task, &handle, command),
    }
}

fn record_lock(task: &Task<'_>, handle: &crate::proxy::handles::Handle, command: u64) -> Result<Reply, Fail> {
    let wanted = Flock::read(task.input(2)?).ok_or(Fail(Errno::EFAULT))?;
    let mut flock = libc::flock {
        l_type: wanted.kind,
        l_whence: wanted.whence,
        l_start: wanted.start,
        l_len: wanted.len,
        l_pid: if command >= 36 { wanted.pid } else { 0 },
    };
    let set = |flock: &libc::flock| {
        let argument = if command >= 36 { FcntlArg::F_OFD_SETLK(flock) } else { FcntlArg::F_SETLK(flock) };
        nix_fcntl(handle, argument).map(|_| ()).map_err(Fail::from)
    };
    match command {
        5 => nix_fcntl(handle, FcntlArg::F_GETLK(&mut flock)).map(|_| ())?,
        36 => nix_fcntl(handle, FcntlArg::F_OFD_GETLK(&mut flock)).map(|_| ())?,
        7 | 38 if !task.request.never_waits() => until_free(task, || set(&flock))?,
        _ => set(&flock)?,
    }
    let after = Flock {
        kind: flock.l_type,
        whence: flock.l_whence,
        start: flock.l_start,
        len: flock.l_len,
        pid: flock.l_pid,
    };
    Ok(Reply::done().with(task.checked.output(2, Part::Whole), after.to_bytes()))
}
