//! What programs may not do while the kernel runs out of memory ([`keelson_hal::user::UserMachine::is_short`]): make anything that is
//! still there when the call is over. What gives back, ends, or only passes through goes on, and so does what the host keeps.
//! Calls that may or may not leave something, such as what is written to a pipe, or areas and locks that may be joined, look for
//! themselves ([`crate::files::Operation::short`], `Mm::has_room`, [`crate::files::LockTable::set`], signals with a value, semaphores
//! that are given back).
//!
//! Linux would kill somebody here. A node has few programs, which mostly hold pages, and pages cannot bring it here: they leave the
//! reserve alone. Who does is whoever makes pipes, sockets or mappings by the thousand; telling it so is enough.

use super::Caller;
use crate::Errno;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use keelson_hal::Instant;

/// How often it is said.
const PAUSE: Duration = Duration::from_secs(10);

/// Calls that were refused, and when that was said.
#[derive(Debug, Default)]
pub struct Refusals {
    calls: AtomicU64,
    said: AtomicU64,
}

impl Refusals {
    /// Calls that were refused since boot.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts one; true when it is worth a word again.
    fn count(&self, now: Instant) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (now, said) = (now.as_nanos().max(1), self.said.load(Ordering::Relaxed));
        (said == 0 || now.saturating_sub(said) >= PAUSE.as_nanos() as u64)
            && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Refuses a call that would make something that stays, when there is no memory for that.
///
/// # Errors
///
/// ENOMEM; EAGAIN for timers.
#[inline]
pub fn check(caller: &Caller<'_>, number: u32, args: &[u64; 6]) -> Result<(), Errno> {
    if caller.thread.process.system.machine.is_short() { refuse(caller, number, args) } else { Ok(()) }
}

#[cold]
fn refuse(caller: &Caller<'_>, number: u32, args: &[u64; 6]) -> Result<(), Errno> {
    if !stays(number, args) {
        return Ok(());
    }
    note(caller);
    // timer_create(2) has another word for it.
    Err(if number == 222 { Errno::EAGAIN } else { Errno::ENOMEM })
}

/// A call has failed. Those that look for themselves whether there is memory are counted here, as far as their error tells.
#[inline]
pub fn failed(caller: &Caller<'_>, errno: Errno) {
    if matches!(errno, Errno::ENOMEM | Errno::ENOBUFS | Errno::ENOLCK)
        && caller.thread.process.system.machine.is_short()
    {
        note(caller);
    }
}

/// Counts a call that there was no memory for, and says so now and then.
#[cold]
fn note(caller: &Caller<'_>) {
    let process = &caller.thread.process;
    if process.node.refusals.count(process.system.clock.now()) {
        log::warn!(
            "lwk: the kernel runs out of memory: process {} and others get no files, pipes, sockets, mappings or processes until \
             programs give some back or end",
            process.pid
        );
    }
}

/// Whether a call leaves more behind in the kernel than there was.
fn stays(number: u32, args: &[u64; 6]) -> bool {
    match number {
        // open, creat, openat, openat2, memfd_create.
        2 | 85 | 257 | 319 | 437
        // pipe, socket, accept, bind, socketpair.
        | 22 | 41 | 43 | 49 | 53 | 288 | 293
        // signalfd, timerfd, eventfd, epoll, inotify.
        | 213 | 253 | 282 | 283 | 284 | 289 | 290 | 291 | 294
        // clone, fork, vfork, clone3, execve, execveat.
        | 56 | 57 | 58 | 59 | 322 | 435
        // shmget, semget, msgget, msgsnd.
        | 29 | 64 | 68 | 69
        // Timers.
        | 222
        // mkdir, link, symlink, mknod.
        | 83 | 86 | 88 | 133 | 258 | 259 | 265 | 266 => true,
        // Larger pipes.
        72 => args[1] as u32 == crate::files::flags::F_SETPIPE_SZ,
        // EPOLL_CTL_ADD.
        233 => args[1] as u32 == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
