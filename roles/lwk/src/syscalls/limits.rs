//! Resource limits and use (section 4.4).

use super::{Caller, get_u64, put_words};
use crate::Errno;
use crate::account::Usage;
use crate::delegate::Call;
use crate::limits::{CPU, FSIZE, Limit, NOFILE};
use crate::process::Process;
use alloc::sync::Arc;
use core::time::Duration;

/// Most files that RLIMIT_NOFILE may allow (`/proc/sys/fs/nr_open`).
const NOFILE_MOST: u64 = 1 << 20;

/// getrlimit(resource, limit).
pub fn sys_getrlimit(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let limit = caller.thread.process.limits.lock().get(args[0] as usize).ok_or(Errno::EINVAL)?;
    put_words(&caller.mm(), args[1], &[limit.soft, limit.hard])?;
    Ok(0)
}

/// setrlimit(resource, limit).
pub async fn sys_setrlimit(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let new = read_limit(caller, args[1])?;
    set(caller, &caller.thread.process, args[0] as usize, new).await?;
    Ok(0)
}

/// prlimit64(pid, resource, new, old).
pub async fn sys_prlimit64(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [pid, resource, new, old, ..] = args;
    let me = &caller.thread.process;
    let target = match pid as u32 {
        0 => me.clone(),
        pid => match me.node.process(pid) {
            Some(process) => process,
            None => return of_zombie(caller, args),
        },
    };
    if target.pid != me.pid && !me.ids.lock().clone().may_signal(&target.ids.lock()) {
        return Err(Errno::EPERM);
    }
    let before = target.limits.lock().get(resource as usize).ok_or(Errno::EINVAL)?;
    let new = if new == 0 { None } else { Some(read_limit(caller, new)?) };
    if let Some(new) = new {
        set(caller, &target, resource as usize, new).await?;
    }
    if old != 0 {
        put_words(&caller.mm(), old, &[before.soft, before.hard])?;
    }
    Ok(0)
}

/// The same for a process that has ended: it has limits until it is waited for, and no use of others.
fn of_zombie(caller: &Caller<'_>, [pid, resource, new, old, ..]: [u64; 6]) -> Result<u64, Errno> {
    let me = &caller.thread.process;
    let told = me.node.zombie(pid as u32, |member, ended| (member.uid, ended.limits));
    let (uid, limits) = told.ok_or(Errno::ESRCH)?;
    if !me.is_root() && me.ids.lock().user.real != uid {
        return Err(Errno::EPERM);
    }
    let before = limits.get(resource as usize).ok_or(Errno::EINVAL)?;
    if new != 0 {
        permitted(me.is_root(), resource as usize, before, read_limit(caller, new)?)?;
    }
    if old != 0 {
        put_words(&caller.mm(), old, &[before.soft, before.hard])?;
    }
    Ok(0)
}

/// Whether a limit may become another one.
fn permitted(root: bool, resource: usize, before: Limit, new: Limit) -> Result<(), Errno> {
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    if new.hard > before.hard && !root || resource == NOFILE && new.hard > NOFILE_MOST {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn read_limit(caller: &Caller<'_>, at: u64) -> Result<Limit, Errno> {
    let mm = caller.mm();
    Ok(Limit { soft: get_u64(&mm, at)?, hard: get_u64(&mm, at.wrapping_add(8))? })
}

async fn set(caller: &Caller<'_>, target: &Arc<Process>, resource: usize, new: Limit) -> Result<(), Errno> {
    let before = target.limits.lock().get(resource).ok_or(Errno::EINVAL)?;
    permitted(caller.thread.process.is_root(), resource, before, new)?;
    if resource == FSIZE {
        // It is the proxy whose files grow, so the host keeps this one.
        let arguments = [resource as u64, new.soft, new.hard, 0, 0, 0];
        let call = Call { tid: caller.thread.tid, number: 160, arguments, ..Call::default() };
        target.delegate.call(call).await.failure()?;
    }
    let copy = {
        let mut limits = target.limits.lock();
        *limits.0.get_mut(resource).ok_or(Errno::EINVAL)? = new;
        *limits
    };
    target.limits_changed(&copy);
    if resource == CPU {
        target.watch_cpu();
    }
    Ok(())
}

/// getrusage(who, usage).
pub fn sys_getrusage(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (thread, process) = (caller.thread, &caller.thread.process);
    let mut usage = match args[0] as i32 {
        0 => process.usage(),
        -1 => process.children_usage(),
        1 => thread.times.usage(process.system.clock.now().as_nanos()),
        _ => return Err(Errno::EINVAL),
    };
    if args[0] as i32 >= 0 {
        usage.peak = process.peak_memory();
    }
    put_words(&caller.mm(), args[1], &rusage(&usage))?;
    Ok(0)
}

/// `struct rusage` (getrusage(2)); sizes are in KiB.
pub(crate) fn rusage(usage: &Usage) -> [u64; 18] {
    let time = |time: Duration| [time.as_secs(), u64::from(time.subsec_micros())];
    let mut words = [0; 18];
    words[..2].copy_from_slice(&time(usage.user));
    words[2..4].copy_from_slice(&time(usage.system));
    words[4] = usage.peak >> 10;
    words[8] = usage.minor_faults;
    words[9] = usage.major_faults;
    words[16] = usage.voluntary;
    words[17] = usage.involuntary;
    words
}
