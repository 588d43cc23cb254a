//! Signal calls (section 3.9).

use super::{Caller, get_u64, time};
use crate::Errno;
use crate::delegate::Call;
use crate::mm::Mm;
use crate::process::Process;
use crate::restart::NO_HANDLER;
use crate::signals::*;
use crate::thread::{Thread, Wait};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{pending, poll_fn};
use core::task::Poll;
use keelson_exec::{Either, select};

/// Bytes of the kernel's `sigset_t`.
const SET_SIZE: u64 = 8;

fn check_size(size: u64) -> Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

/// rt_sigaction(signal, action, old, size).
pub fn sys_rt_sigaction(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [signal, new, old, size, ..] = args;
    check_size(size)?;
    let signal = signal as u32;
    if !is_signal(signal) || new != 0 && SigSet::UNSTOPPABLE.has(signal) {
        return Err(Errno::EINVAL);
    }
    let mm = caller.mm();
    let action = if new != 0 {
        let mut bytes = [0; Action::SIZE];
        mm.read(new, &mut bytes)?;
        Some(Action::decode(&bytes))
    } else {
        None
    };
    let before = caller.thread.process.set_action(signal, action);
    if old != 0 {
        mm.write(old, &before.encode())?;
    }
    Ok(0)
}

/// rt_sigprocmask(how, set, old, size).
pub fn sys_rt_sigprocmask(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [how, set, old, size, ..] = args;
    check_size(size)?;
    let mm = caller.mm();
    let before = caller.thread.signals.mask();
    let after = if set != 0 {
        let set = SigSet(get_u64(&mm, set)?);
        Some(match how as u32 {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        })
    } else {
        None
    };
    if old != 0 {
        mm.write(old, &before.0.to_le_bytes())?;
    }
    if let Some(after) = after {
        caller.thread.set_mask(after);
    }
    Ok(0)
}

/// rt_sigpending(set, size).
pub fn sys_rt_sigpending(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[1] > SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let thread = caller.thread;
    let pending = thread.waiting_signals() & thread.signals.mask();
    caller.mm().write(args[0], &pending.0.to_le_bytes()[..args[1] as usize])?;
    Ok(0)
}

/// rt_sigtimedwait(set, info, timeout, size).
pub async fn sys_rt_sigtimedwait(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [set, info, timeout, size, ..] = args;
    check_size(size)?;
    let mm = caller.mm();
    let set = SigSet(get_u64(&mm, set)?) & !SigSet::UNSTOPPABLE;
    let thread = caller.thread;
    let deadline = match timeout {
        0 => None,
        at => Some(time::after(thread, time::read_timespec(&mm, at)?)),
    };
    let taken = await_signal(thread, set, deadline).await?;
    if info != 0 {
        mm.write(info, &taken.encode())?;
    }
    Ok(u64::from(taken.signal))
}

async fn await_signal(
    thread: &Thread,
    set: SigSet,
    deadline: Option<keelson_hal::Instant>,
) -> Result<SigInfo, Errno> {
    thread.await_signals(set);
    let signal = poll_fn(|_| thread.take_signal(set).map_or(Poll::Pending, Poll::Ready));
    let timers = thread.process.system.timers.clone();
    let limit = timers.at(deadline.unwrap_or(keelson_hal::Instant::FAR_FUTURE));
    let result = thread.wait_for(Wait::Heavy, select(signal, limit)).await;
    thread.await_signals(SigSet::EMPTY);
    match result {
        Ok(Either::First(info)) => Ok(info),
        Ok(Either::Second(())) => Err(Errno::EAGAIN),
        Err(_) => Err(Errno::EINTR),
    }
}

/// rt_sigsuspend(mask, size).
pub async fn sys_rt_sigsuspend(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    check_size(args[1])?;
    let mask = SigSet(get_u64(&caller.mm(), args[0])?);
    caller.thread.replace_mask(mask);
    sys_pause(caller).await
}

/// pause().
pub async fn sys_pause(caller: &Caller<'_>) -> Result<u64, Errno> {
    // Ends by an interruption only.
    match caller.thread.wait_for(Wait::Heavy, pending::<()>()).await {
        Ok(()) => Ok(0),
        Err(_) => Err(NO_HANDLER),
    }
}

/// sigaltstack(new, old), for a thread with this stack pointer.
pub(crate) fn sys_sigaltstack(thread: &Thread, mm: &Mm, args: [u64; 6], pointer: u64) -> Result<u64, Errno> {
    let [new, old, ..] = args;
    let before = *thread.signals.stack.lock();
    let mut bytes = [0; 24];
    if new != 0 {
        mm.read(new, &mut bytes)?;
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|index| bytes[at + index]));
        thread.set_stack(AltStack { base: word(0), flags: word(8) as u32, size: word(16) }, pointer)?;
    }
    if old != 0 {
        bytes = [0; 24];
        bytes[..8].copy_from_slice(&before.base.to_le_bytes());
        bytes[8..12].copy_from_slice(&before.flags_at(pointer).to_le_bytes());
        bytes[16..].copy_from_slice(&before.size.to_le_bytes());
        mm.write(old, &bytes)?;
    }
    Ok(0)
}

/// kill(pid, signal). Processes of this node are told here, any other is the host's to find.
pub async fn sys_kill(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (pid, signal) = (args[0] as i32, args[1] as u32);
    check_signal(signal)?;
    let me = &caller.thread.process;
    let info = SigInfo::sent(signal, SI_USER, me.pid, me.ids.lock().user.real);
    let targets = match pid {
        1.. => named(me, pid as u32).into_iter().collect(),
        0 => group(me, me.node.group_and_session(me.pid).map_or(0, |(group, _)| group)),
        -1 => me.node.processes().into_iter().filter(|other| other.pid != me.pid).collect(),
        _ => group(me, pid.unsigned_abs()),
    };
    if targets.is_empty() {
        // A zombie of this node can be told anything.
        if pid > 0 && me.node.table.lock().member(pid as u32).is_some() {
            return Ok(0);
        }
        return if pid == -1 { Err(Errno::ESRCH) } else { ask_host(caller, 62, args).await };
    }
    let mut result = Err(Errno::EPERM);
    for target in targets {
        match send(me, &target, info) {
            Ok(()) => result = Ok(0),
            Err(errno) if result.is_err() => result = Err(errno),
            Err(_) => {}
        }
    }
    result
}

/// The process of a number, which may also be that of one of its threads.
fn named(me: &Process, number: u32) -> Option<Arc<Process>> {
    me.node.process(number).or_else(|| Some(me.node.thread(number)?.process.clone()))
}

fn group(me: &Process, group: u32) -> Vec<Arc<Process>> {
    me.node.table.lock().group(group)
}

fn check_signal(signal: u32) -> Result<(), Errno> {
    if signal <= 64 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn send(me: &Process, target: &Process, info: SigInfo) -> Result<(), Errno> {
    permit(me, target, info.signal)?;
    target.signal(info)
}

/// EPERM unless kill(2) allows it. SIGCONT is allowed within a session.
fn permit(me: &Process, target: &Process, signal: u32) -> Result<(), Errno> {
    if me.pid == target.pid {
        return Ok(());
    }
    let session = |pid| me.node.group_and_session(pid).map(|(_, session)| session);
    let mine = me.ids.lock().clone();
    let allowed =
        mine.may_signal(&target.ids.lock()) || signal == SIGCONT && session(me.pid) == session(target.pid);
    if allowed { Ok(()) } else { Err(Errno::EPERM) }
}

async fn ask_host(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    let call = Call { tid: caller.thread.tid, number, arguments: args, ..Call::default() };
    super::identity::result(caller.thread.process.delegate.call(call).await)
}

/// tkill(tid, signal).
pub fn sys_tkill(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    to_thread(caller, None, args[0] as i32, args[1] as u32, None)
}

/// tgkill(pid, tid, signal).
pub fn sys_tgkill(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if (args[0] as i32) <= 0 {
        return Err(Errno::EINVAL);
    }
    to_thread(caller, Some(args[0] as u32), args[1] as i32, args[2] as u32, None)
}

fn to_thread(
    caller: &Caller<'_>,
    pid: Option<u32>,
    tid: i32,
    signal: u32,
    info: Option<SigInfo>,
) -> Result<u64, Errno> {
    check_signal(signal)?;
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let me = &caller.thread.process;
    let thread = me.node.thread(tid as u32).ok_or(Errno::ESRCH)?;
    if pid.is_some_and(|pid| thread.process.pid != pid) {
        return Err(Errno::ESRCH);
    }
    permit(me, &thread.process, signal)?;
    let uid = me.ids.lock().user.real;
    thread.signal(info.unwrap_or(SigInfo::sent(signal, SI_TKILL, me.pid, uid)))?;
    Ok(0)
}

/// rt_sigqueueinfo(pid, signal, info).
pub async fn sys_rt_sigqueueinfo(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let (pid, signal) = (args[0] as i32, args[1] as u32);
    check_signal(signal)?;
    let (info, bytes) = read_info(caller, args[2], signal)?;
    let me = &caller.thread.process;
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    match named(me, pid as u32) {
        Some(target) => {
            forgeable(me, &target, &info)?;
            send(me, &target, info).map(|()| 0)
        }
        None if me.node.table.lock().member(pid as u32).is_some() => Ok(0),
        None => {
            let input = alloc::vec![(2, bytes.to_vec())];
            let call =
                Call { tid: caller.thread.tid, number: 129, arguments: args, input, ..Call::default() };
            super::identity::result(me.delegate.call(call).await)
        }
    }
}

/// rt_tgsigqueueinfo(pid, tid, signal, info).
pub fn sys_rt_tgsigqueueinfo(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if (args[0] as i32) <= 0 {
        return Err(Errno::EINVAL);
    }
    let (info, _) = read_info(caller, args[3], args[2] as u32)?;
    if let Some(thread) = caller.thread.process.node.thread(args[1] as u32) {
        forgeable(&caller.thread.process, &thread.process, &info)?;
    }
    to_thread(caller, Some(args[0] as u32), args[1] as i32, args[2] as u32, Some(info))
}

fn read_info(caller: &Caller<'_>, at: u64, signal: u32) -> Result<(SigInfo, [u8; SIGINFO_SIZE]), Errno> {
    let mut bytes = [0; SIGINFO_SIZE];
    caller.mm().read(at, &mut bytes)?;
    Ok((SigInfo::decode(signal, &bytes), bytes))
}

/// Only to itself may a process pretend that the kernel or kill(2) sent a signal.
fn forgeable(me: &Process, target: &Process, info: &SigInfo) -> Result<(), Errno> {
    let pretends = info.code >= 0 || info.code == SI_TKILL;
    if pretends && me.pid != target.pid { Err(Errno::EPERM) } else { Ok(()) }
}
