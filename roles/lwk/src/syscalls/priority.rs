//! getpriority(2) and setpriority(2): nice values are remembered, and seen in /proc; whoever has a core keeps it whatever they are.

use super::Caller;
use super::sched::{permitted, target};
use crate::Errno;
use crate::limits;
use crate::process::Process;
use crate::thread::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The lowest and the highest nice value.
pub const NICE: (i32, i32) = (-20, 19);

/// Whose: PRIO_PROCESS, PRIO_PGRP, PRIO_USER.
const PROCESS: u32 = 0;
const GROUP: u32 = 1;
const USER: u32 = 2;

/// getpriority(which, who): 20 less the best nice value of those that are meant.
pub fn sys_getpriority(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let nice = |thread: &Arc<Thread>| thread.policy.lock().nice;
    let mut best = meant(caller, args[0] as u32, args[1])?.iter().map(nice).min();
    if best.is_none() && args[0] as u32 == PROCESS {
        // One that has ended has it until it is waited for.
        best = caller.thread.process.node.scheduling(args[1] as u32).map(|left| left.policy.nice);
    }
    Ok((20 - i64::from(best.ok_or(Errno::ESRCH)?)) as u64)
}

/// setpriority(which, who, nice): of all that are meant, as far as it is allowed.
pub fn sys_setpriority(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let nice = (args[2] as i32).clamp(NICE.0, NICE.1) as i8;
    let threads = meant(caller, args[0] as u32, args[1])?;
    let mut refused = if threads.is_empty() { Some(Errno::ESRCH) } else { None };
    for thread in threads {
        let mut policy = thread.policy.lock();
        let allowed =
            permitted(caller, &thread).and_then(|()| may_be_nice(caller, &thread, nice, policy.nice));
        match allowed {
            Ok(()) => policy.nice = nice,
            Err(errno) => refused = Some(errno),
        }
    }
    refused.map_or(Ok(0), Err)
}

/// A thread becomes nicer as it likes; the other way is the superuser's, and of whoever has RLIMIT_NICE for it (20 less the value).
pub fn may_be_nice(caller: &Caller<'_>, thread: &Thread, nice: i8, now: i8) -> Result<(), Errno> {
    let most = thread.process.limits.lock().soft(limits::NICE);
    let allowed = caller.thread.process.is_root() || nice >= now || (20 - i64::from(nice)) as u64 <= most;
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

/// The threads of a thread id, a process group or a user; `who` is 0 for the caller's.
fn meant(caller: &Caller<'_>, which: u32, who: u64) -> Result<Vec<Arc<Thread>>, Errno> {
    let process = &caller.thread.process;
    let group = |process: &Process| process.node.group_and_session(process.pid).map(|(group, _)| group);
    let user = |process: &Process| Some(process.ids.lock().user.real);
    let number: &dyn Fn(&Process) -> Option<u32> = match which {
        // A number that names nobody is no error here.
        PROCESS => return Ok(target(caller, who).into_iter().collect()),
        GROUP => &group,
        USER => &user,
        _ => return Err(Errno::EINVAL),
    };
    let wanted = if who as u32 == 0 { number(process) } else { Some(who as u32) };
    let processes = process.node.processes();
    Ok(processes.iter().filter(|other| number(other) == wanted).flat_map(|other| other.threads()).collect())
}
