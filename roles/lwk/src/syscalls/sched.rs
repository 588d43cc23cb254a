//! Scheduling calls (sections 3.7 and 4.4): placement is real, priorities are only remembered.

use super::Caller;
use super::priority::{self, NICE};
use crate::Errno;
use crate::limits;
use crate::mm::Mm;
use crate::sched::{CpuSet, Policy, Scheduling};
use crate::thread::{Attention, Thread};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use core::time::Duration;
use keelson_exec::select;

/// `SCHED_RESET_ON_FORK` beside the policy.
const RESET_ON_FORK: u32 = 0x4000_0000;
/// How long sched_setaffinity waits for another thread to leave its core, which may be frozen, and how often it looks.
const MOVE_PATIENCE: Duration = Duration::from_millis(100);
const MOVE_LOOK: Duration = Duration::from_millis(1);
/// Bytes of the first version of `struct sched_attr`.
const ATTR_FIRST: usize = 48;

/// sched_yield(), when others want the core.
pub async fn sys_sched_yield(caller: &Caller<'_>) -> Result<u64, Errno> {
    if !caller.thread.is_alone() && !caller.thread.process.slice.keeps() {
        keelson_exec::yield_now().await;
    }
    Ok(0)
}

/// The calls that only look and remember.
pub fn serve(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    match number {
        142 => set_param(caller, args),
        143 => get_param(caller, args),
        144 => set_scheduler(caller, args),
        145 => get_scheduler(caller, args),
        146 | 147 => priority_limit(number, args[0] as u32),
        148 => interval(caller, args),
        204 => get_affinity(caller, args),
        309 => get_cpu(caller, args),
        314 => set_attr(caller, args),
        _ => get_attr(caller, args),
    }
}

/// The thread that a call names; 0 is the caller.
pub(super) fn target(caller: &Caller<'_>, tid: u64) -> Result<Arc<Thread>, Errno> {
    match tid as i32 {
        ..0 => Err(Errno::EINVAL),
        0 => Ok(caller.thread.clone()),
        tid => caller.thread.process.node.thread(tid as u32).ok_or(Errno::ESRCH),
    }
}

/// What may be asked of the thread that a call names.
fn seen(caller: &Caller<'_>, tid: u64) -> Result<Scheduling, Errno> {
    match tid as i32 {
        ..0 => Err(Errno::EINVAL),
        0 => Ok(caller.thread.scheduling()),
        tid => caller.thread.process.node.scheduling(tid as u32).ok_or(Errno::ESRCH),
    }
}

pub(super) fn permitted(caller: &Caller<'_>, target: &Thread) -> Result<(), Errno> {
    let me = &caller.thread.process;
    if me.pid == target.process.pid {
        return Ok(());
    }
    let mine = me.ids.lock().clone();
    if mine.may_schedule(&target.process.ids.lock()) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Real-time priorities are the superuser's, and of whoever has RLIMIT_RTPRIO for them; all may keep or lower what they have.
fn may_have(caller: &Caller<'_>, thread: &Thread, now: Policy, wanted: Policy) -> Result<(), Errno> {
    if caller.thread.process.is_root() || !wanted.is_real_time() {
        return Ok(());
    }
    let most = thread.process.limits.lock().soft(limits::RTPRIO);
    let keeps = now.policy == wanted.policy && wanted.priority <= now.priority;
    if keeps || u64::from(wanted.priority) <= most { Ok(()) } else { Err(Errno::EPERM) }
}

fn checked(policy: u32, priority: u32) -> Result<Policy, Errno> {
    let kind = policy & !RESET_ON_FORK;
    let priorities = match kind {
        // OTHER, BATCH, IDLE.
        0 | 3 | 5 => 0..=0,
        kind if Policy::REAL_TIME.contains(&kind) => 1..=99,
        _ => return Err(Errno::EINVAL),
    };
    if !priorities.contains(&priority) {
        return Err(Errno::EINVAL);
    }
    Ok(Policy { policy: kind, priority, reset_on_fork: policy & RESET_ON_FORK != 0, nice: 0 })
}

fn read_u32(mm: &Mm, at: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    mm.read(at, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn set_param(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let priority = parameter(caller, args[0], args[1])?;
    let thread = target(caller, args[0])?;
    permitted(caller, &thread)?;
    let mut policy = thread.policy.lock();
    let wanted = Policy { priority: checked(policy.policy, priority)?.priority, ..*policy };
    may_have(caller, &thread, *policy, wanted)?;
    *policy = wanted;
    Ok(0)
}

fn get_param(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[1] == 0 {
        return Err(Errno::EINVAL);
    }
    let priority = seen(caller, args[0])?.policy.priority;
    caller.mm().write(args[1], &priority.to_le_bytes())?;
    Ok(0)
}

fn set_scheduler(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if (args[1] as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = parameter(caller, args[0], args[2])?;
    let thread = target(caller, args[0])?;
    let wanted = checked(args[1] as u32, priority)?;
    permitted(caller, &thread)?;
    let mut policy = thread.policy.lock();
    may_have(caller, &thread, *policy, wanted)?;
    *policy = Policy { nice: policy.nice, ..wanted };
    Ok(0)
}

/// `struct sched_param`: looked at before the thread is looked for.
fn parameter(caller: &Caller<'_>, tid: u64, at: u64) -> Result<u32, Errno> {
    if at == 0 || (tid as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    read_u32(&caller.mm(), at)
}

fn get_scheduler(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let policy = seen(caller, args[0])?.policy;
    Ok(u64::from(policy.policy | if policy.reset_on_fork { RESET_ON_FORK } else { 0 }))
}

fn priority_limit(number: u32, policy: u32) -> Result<u64, Errno> {
    match policy {
        policy if Policy::REAL_TIME.contains(&policy) => Ok(if number == 146 { 99 } else { 1 }),
        // OTHER, BATCH, IDLE, DEADLINE.
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// sched_rr_get_interval: nothing ends a thread's turn.
fn interval(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    seen(caller, args[0])?;
    super::put_words(&caller.mm(), args[1], &[0, 0])?;
    Ok(0)
}

/// sched_setaffinity(tid, length, mask). A thread that runs where it may not any more has left that core when the call returns.
pub async fn sys_sched_setaffinity(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let Some(thread) = set_affinity(caller, args)? else { return Ok(0) };
    let timers = &thread.process.system.timers;
    let end = timers.now() + MOVE_PATIENCE;
    loop {
        let moved = thread.moved.changed();
        let seat = thread.placement.lock().seat.as_ref().map(|seat| seat.core().number);
        let there = seat.is_none_or(|core| core == thread.core.load(Ordering::Acquire));
        // One that waits goes to its new core when it goes on, as on Linux.
        if there || thread.is_waiting() || timers.now() >= end {
            return Ok(0);
        }
        if caller.thread.killable(select(moved, timers.at(timers.now() + MOVE_LOOK))).await.is_err() {
            return Ok(0);
        }
    }
}

/// Sets the mask; returns another thread that has to move for it.
fn set_affinity(caller: &Caller<'_>, args: [u64; 6]) -> Result<Option<Arc<Thread>>, Errno> {
    let [tid, len, at, ..] = args;
    let mut bytes = alloc::vec![0; len.min(CpuSet::CAPACITY as u64 / 8) as usize];
    caller.mm().read(at, &mut bytes)?;
    let thread = match target(caller, tid) {
        Err(Errno::ESRCH) => return affinity_of_zombie(caller, tid, &bytes).map(|()| None),
        thread => thread?,
    };
    permitted(caller, &thread)?;
    let allowed = CpuSet::from_bytes(&bytes).and(thread.process.slice.cpus);
    if allowed.is_empty() {
        return Err(Errno::EINVAL);
    }
    let node = &thread.process.node;
    let mut placement = thread.placement.lock();
    placement.affinity = allowed;
    let Some(seat) = &placement.seat else { return Ok(None) };
    // A helper has its place among the service cores, whatever the mask says; a guest has its parent's.
    let stays = seat.is_helper() || seat.is_guest() || allowed.has(node.cpu_of_core(seat.core().number));
    if stays {
        return Ok(None);
    }
    let Some(new) = node.move_seat(seat, allowed) else { return Ok(None) };
    let old = placement.seat.replace(new);
    drop(placement);
    drop(old);
    let sleeps = thread.is_waiting();
    thread.demand(Attention::MOVE);
    Ok(Some(thread).filter(|thread| !sleeps && thread.tid != caller.thread.tid))
}

/// One that has ended may be told where to run, and will not.
fn affinity_of_zombie(caller: &Caller<'_>, tid: u64, mask: &[u8]) -> Result<(), Errno> {
    let me = &caller.thread.process;
    let uid = me.node.zombie(tid as u32, |member, _| member.uid).ok_or(Errno::ESRCH)?;
    if !me.is_root() && me.ids.lock().user.effective != uid {
        return Err(Errno::EPERM);
    }
    if CpuSet::from_bytes(mask).and(me.slice.cpus).is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
}

fn get_affinity(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [tid, len, at, ..] = args;
    let seen = seen(caller, tid)?;
    let cpus = caller.thread.process.node.settings.compute.len();
    let words = cpus.div_ceil(64);
    // Linux wants room for all CPUs, in whole words.
    if len < words as u64 * 8 || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let bytes = seen.cpus.to_bytes();
    let bytes = bytes.get(..words * 8).ok_or(Errno::EINVAL)?;
    caller.mm().write(at, bytes)?;
    Ok(bytes.len() as u64)
}

/// getcpu(cpu, node, cache).
fn get_cpu(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (thread, mm) = (caller.thread, caller.mm());
    let core = thread.core.load(Ordering::Relaxed);
    let process = &thread.process;
    if args[0] != 0 {
        mm.write(args[0], &(process.node.cpu_of_core(core) as u32).to_le_bytes())?;
    }
    if args[1] != 0 {
        mm.write(args[1], &(process.system.machine.node_of(core) as u32).to_le_bytes())?;
    }
    Ok(0)
}

fn set_attr(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [tid, at, flags, ..] = args;
    if flags != 0 || at == 0 || (tid as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let thread = target(caller, tid)?;
    let mm = caller.mm();
    let size = read_u32(&mm, at)? as usize;
    if size != 0 && !(ATTR_FIRST..=4096).contains(&size) {
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0; ATTR_FIRST];
    mm.read(at, &mut bytes)?;
    let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|index| bytes[at + index]));
    permitted(caller, &thread)?;
    let mut wanted = checked(word(4), word(20))?;
    wanted.reset_on_fork = word(8) & 1 != 0;
    wanted.nice = (word(16) as i32).clamp(NICE.0, NICE.1) as i8;
    let mut policy = thread.policy.lock();
    may_have(caller, &thread, *policy, wanted)?;
    priority::may_be_nice(caller, &thread, wanted.nice, policy.nice)?;
    *policy = wanted;
    Ok(0)
}

fn get_attr(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [tid, at, size, flags, ..] = args;
    if flags != 0 || at == 0 || !(ATTR_FIRST as u64..=4096).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let policy = seen(caller, tid)?.policy;
    let mut bytes = [0; ATTR_FIRST];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, ATTR_FIRST as u32);
    put(4, policy.policy);
    put(8, u32::from(policy.reset_on_fork));
    put(16, i32::from(policy.nice) as u32);
    put(20, policy.priority);
    caller.mm().write(at, &bytes)?;
    Ok(0)
}

/// membarrier(command, flags, cpu): a core that comes back from ring 3 has seen everything.
pub fn sys_membarrier(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const GLOBAL: u32 = 1;
    const PRIVATE_EXPEDITED: u32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    if args[1] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let facts = &caller.thread.process.facts;
    match args[0] as u32 {
        0 => Ok(u64::from(GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED)),
        PRIVATE_EXPEDITED if !facts.barriers.load(Ordering::Relaxed) => Err(Errno::EPERM),
        GLOBAL | PRIVATE_EXPEDITED => {
            let process = &caller.thread.process;
            // Flushing translations waits until every core that runs the process has obeyed: an interrupt, which is a barrier.
            process.mm().space().flush(keelson_hal::user::Flush::Now);
            Ok(0)
        }
        REGISTER_PRIVATE_EXPEDITED => {
            facts.barriers.store(true, Ordering::Relaxed);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}
