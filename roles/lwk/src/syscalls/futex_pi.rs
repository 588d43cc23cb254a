//! Futexes whose word names their owner: FUTEX_LOCK_PI and its relatives (futex(2)).
//!
//! What a C library makes of them are mutexes with priority inheritance. Threads have no priorities here, so there is nothing to
//! inherit; the word is kept as the calls are documented: thread id of the owner, [`WAITERS`] when unlocking must come here,
//! [`OWNER_DIED`]. An owner that leaves lets one waiter try, which finds the word free or waits again.

use super::Caller;
use super::futex::{OWNER_DIED, TID_MASK, WAITERS, resident};
use crate::Errno;
use crate::futex::{ANY, Word};
use crate::mm::Mm;
use crate::restart;
use crate::thread::Wait;
use keelson_exec::{Either, select};
use keelson_hal::Instant;

/// What became of an attempt to take a word.
enum Attempt {
    Taken,
    /// It is another thread's; the word as it was seen.
    Owned(u32),
}

/// Takes a free word. EDEADLK when it is the caller's own, ESRCH when its owner does not exist.
fn attempt(caller: &Caller<'_>, mm: &Mm, at: u64) -> Result<Attempt, Errno> {
    let tid = caller.thread.tid;
    loop {
        let value = mm.load_u32(at)?;
        match value & TID_MASK {
            0 => {
                let mine = tid | value & (WAITERS | OWNER_DIED);
                if mm.compare_exchange_u32(at, value, mine)? == value {
                    return Ok(Attempt::Taken);
                }
            }
            owner if owner == tid => return Err(Errno::EDEADLK),
            owner if caller.thread.process.node.thread(owner).is_none() => return Err(Errno::ESRCH),
            _ => return Ok(Attempt::Owned(value)),
        }
    }
}

/// FUTEX_LOCK_PI and FUTEX_LOCK_PI2: waits until the word is the caller's. A signal only interrupts: the call goes on after its
/// handler.
pub async fn lock(
    caller: &Caller<'_>,
    at: u64,
    private: bool,
    deadline: Option<Instant>,
) -> Result<u64, Errno> {
    let (mm, thread) = (caller.mm(), caller.thread);
    resident(&mm, at).await?;
    loop {
        let Attempt::Owned(value) = attempt(caller, &mm, at)? else { return Ok(0) };
        let marked = value | WAITERS;
        if mm.compare_exchange_u32(at, value, marked)? != value {
            continue;
        }
        let word = Word { mm: &mm, at, key: mm.futex_key(at, private)? };
        let waiting = match thread.process.node.futexes.wait(word, marked, ANY) {
            // Its owner was faster.
            Err(Errno::EAGAIN) => continue,
            waiting => waiting?,
        };
        let woken = match deadline {
            None => thread.wait_for(Wait::Heavy, waiting).await.map(|()| true),
            Some(deadline) => {
                let timers = thread.process.system.timers.clone();
                let either = thread.wait_for(Wait::Heavy, select(waiting, timers.at(deadline))).await;
                either.map(|either| matches!(either, Either::First(())))
            }
        };
        if !woken.map_err(|_| restart::ALWAYS)? {
            return Err(Errno::ETIMEDOUT);
        }
    }
}

/// FUTEX_TRYLOCK_PI.
pub async fn try_lock(caller: &Caller<'_>, at: u64) -> Result<u64, Errno> {
    let mm = caller.mm();
    resident(&mm, at).await?;
    match attempt(caller, &mm, at)? {
        Attempt::Taken => Ok(0),
        Attempt::Owned(_) => Err(Errno::EAGAIN),
    }
}

/// FUTEX_UNLOCK_PI: EPERM for others than the owner.
pub async fn unlock(caller: &Caller<'_>, at: u64, private: bool) -> Result<u64, Errno> {
    let mm = caller.mm();
    resident(&mm, at).await?;
    loop {
        let value = mm.load_u32(at)?;
        if value & TID_MASK != caller.thread.tid {
            return Err(Errno::EPERM);
        }
        // As long as somebody waits the word is not zero: then nobody takes it without coming here.
        let left = value & WAITERS;
        if mm.compare_exchange_u32(at, value, left)? != value {
            continue;
        }
        if left != 0 && caller.thread.process.node.futexes.wake(mm.futex_key(at, private)?, 1, ANY) == 0 {
            // Nobody waits any more. If somebody has taken it meanwhile, they find out themselves.
            mm.compare_exchange_u32(at, left, 0)?;
        }
        return Ok(0);
    }
}
