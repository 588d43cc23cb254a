//! futex(2), robust lists, and what the end of a thread does to futexes (section 3.6).

use super::{Caller, futex_pi, put_words, time};
use crate::Errno;
use crate::futex::{ANY, Futexes, Waiting, Word};
use crate::mm::Mm;
use crate::restart::RESTART;
use crate::run::Task;
use crate::thread::{Thread, Wait};
use core::sync::atomic::Ordering;
use keelson_exec::{Either, select};
use keelson_hal::Instant;

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const LOCK_PI2: u32 = 13;
const PRIVATE: u32 = 128;
const CLOCK_REALTIME: u32 = 256;

/// Bits of a robust futex word (`linux/futex.h`).
pub(super) const WAITERS: u32 = 0x8000_0000;
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
pub(super) const TID_MASK: u32 = 0x3fff_ffff;
/// Entries of a robust list that are looked at.
const ROBUST_MOST: usize = 2048;
/// Bytes of `struct robust_list_head`.
const ROBUST_HEAD: u64 = 24;

/// futex(word, op, value, timeout or value2, word2, value3).
pub async fn sys_futex(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [at, op, value, fourth, second, value3] = args;
    let (value, value3) = (value as u32, value3 as u32);
    let mm = caller.mm();
    let futexes = &caller.thread.process.node.futexes;
    let private = op as u32 & PRIVATE != 0;
    let key = |at| mm.futex_key(at, private);
    let word = |at| key(at).map(|key| Word { mm: &mm, at, key });
    let command = op as u32 & !(PRIVATE | CLOCK_REALTIME);
    let wall = op as u32 & CLOCK_REALTIME != 0;
    if wall && !matches!(command, WAIT | WAIT_BITSET | LOCK_PI2) {
        return Err(Errno::ENOSYS);
    }
    // Linux counts these as int: a negative number wakes one.
    let count = |value: u64| (value as i32).max(0) as usize;
    if !private {
        // The name of a word that others may share is that of its memory, which must be there.
        resident(&mm, at).await?;
        if matches!(command, REQUEUE | CMP_REQUEUE | WAKE_OP) {
            resident(&mm, second).await?;
        }
    }
    let most = (value as i32).max(1) as usize;
    match command {
        WAIT | WAIT_BITSET => {
            let bits = if command == WAIT { ANY } else { value3 };
            if bits == 0 {
                return Err(Errno::EINVAL);
            }
            let thread = caller.thread;
            let deadline = match (fourth, command) {
                (0, _) => None,
                (at, WAIT) => Some(time::after(thread, time::read_timespec(&mm, at)?)),
                (at, _) => Some(time::moment(thread, wall, time::read_timespec(&mm, at)?)),
            };
            resident(&mm, at).await?;
            let waiting = futexes.wait(word(at)?, value, bits)?;
            wait(thread, waiting, deadline).await
        }
        WAKE => Ok(futexes.wake(key(at)?, most, ANY) as u64),
        WAKE_BITSET if value3 == 0 => Err(Errno::EINVAL),
        WAKE_BITSET => Ok(futexes.wake(key(at)?, most, value3) as u64),
        REQUEUE | CMP_REQUEUE => {
            if (value as i32) < 0 || (fourth as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let expected = (command == CMP_REQUEUE).then_some(value3);
            if expected.is_some() {
                resident(&mm, at).await?;
            }
            let (woken, moved) =
                futexes.requeue(word(at)?, key(second)?, count(value.into()), count(fourth), expected)?;
            // FUTEX_REQUEUE tells only of the woken ones, its successor of both.
            Ok(if command == REQUEUE { woken } else { woken + moved } as u64)
        }
        WAKE_OP => {
            let change = Change::decode(value3)?;
            resident(&mm, second).await?;
            let second = word(second)?;
            let step = |old| (change.apply(old), change.holds(old));
            futexes.wake_op(key(at)?, second, most, (fourth as i32).max(1) as usize, step).map(|n| n as u64)
        }
        LOCK_PI | LOCK_PI2 => {
            // The older one counts real time without being told.
            let wall = wall || command == LOCK_PI;
            let deadline = match fourth {
                0 => None,
                at => Some(time::moment(caller.thread, wall, time::read_timespec(&mm, at)?)),
            };
            futex_pi::lock(caller, at, private, deadline).await
        }
        UNLOCK_PI => futex_pi::unlock(caller, at, private).await,
        TRYLOCK_PI => futex_pi::try_lock(caller, at).await,
        _ => Err(Errno::ENOSYS),
    }
}

/// Brings the page of a word when it is a page of a file.
pub(super) async fn resident(mm: &Mm, at: u64) -> Result<(), Errno> {
    if !at.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if mm.space().load_u32(at).is_none() {
        mm.read_wait(at, &mut [0; 4]).await?;
    }
    Ok(())
}

async fn wait(thread: &Thread, waiting: Waiting<'_>, deadline: Option<Instant>) -> Result<u64, Errno> {
    if spin(thread, &waiting) {
        return Ok(0);
    }
    let Some(deadline) = deadline else {
        return thread.wait_for(Wait::Heavy, waiting).await.map(|()| 0).map_err(|_| RESTART);
    };
    let timers = thread.process.system.timers.clone();
    match thread.wait_for(Wait::Heavy, select(waiting, timers.at(deadline))).await {
        Ok(Either::First(())) => Ok(0),
        Ok(Either::Second(())) => Err(Errno::ETIMEDOUT),
        // The rest of the time is not known to whoever would make the call again.
        Err(_) => Err(Errno::EINTR),
    }
}

/// Polls for a while before the thread gives way, when nobody else wants the core; true when it was woken.
fn spin(thread: &Thread, waiting: &Waiting<'_>) -> bool {
    let span = thread.process.node.settings.futex_spin;
    if span.is_zero() || !thread.is_alone() {
        return false;
    }
    let clock = &thread.process.system.clock;
    let end = clock.now() + span;
    while clock.now() < end && !thread.wanted() {
        if waiting.is_woken() {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// What FUTEX_WAKE_OP does to the second word (futex(2)).
#[derive(Clone, Copy)]
struct Change {
    operation: u32,
    comparison: u32,
    operand: u32,
    against: u32,
}

impl Change {
    fn decode(encoded: u32) -> Result<Change, Errno> {
        // Twelve bits each, with a sign.
        let signed = |value: u32| (((value & 0xfff) << 20) as i32 >> 20) as u32;
        let operation = encoded >> 28;
        let operand = signed(encoded >> 12);
        // FUTEX_OP_OPARG_SHIFT: the operand is a bit number.
        let operand = if operation & 8 != 0 { 1 << (operand & 31) } else { operand };
        let change = Change {
            operation: operation & 7,
            comparison: encoded >> 24 & 15,
            operand,
            against: signed(encoded),
        };
        if change.operation > 4 || change.comparison > 5 { Err(Errno::ENOSYS) } else { Ok(change) }
    }

    fn apply(self, old: u32) -> u32 {
        match self.operation {
            0 => self.operand,
            1 => old.wrapping_add(self.operand),
            2 => old | self.operand,
            3 => old & !self.operand,
            _ => old ^ self.operand,
        }
    }

    fn holds(self, old: u32) -> bool {
        let (old, against) = (old as i32, self.against as i32);
        match self.comparison {
            0 => old == against,
            1 => old != against,
            2 => old < against,
            3 => old <= against,
            4 => old > against,
            _ => old >= against,
        }
    }
}

/// set_robust_list(head, size).
pub fn sys_set_robust_list(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[1] != ROBUST_HEAD {
        return Err(Errno::EINVAL);
    }
    caller.thread.robust_list.store(args[0], Ordering::Relaxed);
    Ok(0)
}

/// get_robust_list(tid, head, size).
pub fn sys_get_robust_list(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let node = &caller.thread.process.node;
    let thread = match args[0] as u32 {
        0 => caller.thread.clone(),
        tid => node.thread(tid).ok_or(Errno::ESRCH)?,
    };
    let mm = caller.mm();
    put_words(&mm, args[2], &[ROBUST_HEAD])?;
    put_words(&mm, args[1], &[thread.robust_list.load(Ordering::Relaxed)])?;
    Ok(0)
}

impl Task {
    /// What a thread owes others when it ends or executes a program: robust futexes that it holds, and the word that says it is
    /// gone. Bad addresses are the program's own loss.
    pub(crate) async fn release_futexes(&mut self) {
        let thread = &self.thread;
        let futexes = &thread.process.node.futexes;
        let head = thread.robust_list.swap(0, Ordering::Relaxed);
        if head != 0 {
            let _ = release_robust(futexes, &self.mm, head, thread.tid);
        }
        let word = thread.clear_child_tid.swap(0, Ordering::Relaxed);
        // A core file shows the threads as they were: debuggers know them by the number that lies there.
        if word != 0
            && !thread.process.is_dumping()
            && self.mm.write_wait(word, &[0; 4]).await.is_ok()
            && let Ok(key) = self.mm.futex_key(word, false)
        {
            futexes.wake(key, 1, ANY);
        }
    }
}

fn release_robust(futexes: &Futexes, mm: &Mm, head: u64, tid: u32) -> Result<(), Errno> {
    let word = |at: u64| super::get_u64(mm, at);
    let first = word(head)?;
    let offset = word(head.wrapping_add(8))?;
    let pending = word(head.wrapping_add(16))?;
    let mut entry = first;
    for _ in 0..ROBUST_MOST {
        let at = entry & !1;
        if at == head {
            break;
        }
        // The successor first: the owner's death may let others take the entry apart.
        let next = word(at);
        if at != pending & !1 {
            owner_died(futexes, mm, at.wrapping_add(offset), tid, entry & 1 != 0, false)?;
        }
        entry = next?;
    }
    if pending & !1 != 0 {
        owner_died(futexes, mm, (pending & !1).wrapping_add(offset), tid, pending & 1 != 0, true)?;
    }
    Ok(())
}

/// Marks a futex whose owner died and wakes one waiter.
fn owner_died(futexes: &Futexes, mm: &Mm, at: u64, tid: u32, pi: bool, pending: bool) -> Result<(), Errno> {
    let wake = || -> Result<(), Errno> {
        futexes.wake(mm.futex_key(at, false)?, 1, ANY);
        Ok(())
    };
    loop {
        let value = mm.load_u32(at)?;
        if value & TID_MASK != tid {
            // Released already, but the owner died before it could wake.
            return if pending && !pi && value == 0 { wake() } else { Ok(()) };
        }
        let dead = value & WAITERS | OWNER_DIED;
        if mm.compare_exchange_u32(at, value, dead)? == value {
            return if value & WAITERS != 0 { wake() } else { Ok(()) };
        }
    }
}
