//! close(2) where its errors matter, and what concerns processes that are not on the node.

use keelson_lwk_wire::Errno;
use rustix::process::{
    Pid, Signal, getpgid, getsid, kill_process, kill_process_group, test_kill_process,
    test_kill_process_group,
};

use super::{Reply, Task, done};
use crate::fail::Fail;

/// close
pub(super) fn close(task: &Task<'_>) -> Result<Reply, Fail> {
    done(task.proxy.close(task.arg(0)).unwrap_or(Err(Fail(Errno::EBADF))))
}

/// kill
pub(super) fn kill(task: &Task<'_>) -> Result<Reply, Fail> {
    if task.nr() == 129 {
        // No safe interface passes a siginfo on.
        return Err(Fail(Errno::EPERM));
    }
    let pid = task.int(0) as i32;
    // Everybody: not for a program that is not even here. Its own group is the node's business too.
    if pid == -1 || pid == 0 {
        return Err(Fail(Errno::EPERM));
    }
    let target = Pid::from_raw(pid.checked_abs().ok_or(Fail(Errno::ESRCH))?).ok_or(Fail(Errno::ESRCH))?;
    let signal = match task.int(1) {
        0 => None,
        raw => Some(Signal::from_named_raw(raw as i32).ok_or(Fail(Errno::EINVAL))?),
    };
    done(match (signal, pid > 0) {
        (Some(signal), true) => kill_process(target, signal),
        (Some(signal), false) => kill_process_group(target, signal),
        (None, true) => test_kill_process(target),
        (None, false) => test_kill_process_group(target),
    })
}

/// getpgid, getsid
pub(super) fn group_or_session(task: &Task<'_>) -> Result<Reply, Fail> {
    // Whoever calls is on the node: 0 never comes here.
    let pid =
        Pid::from_raw(task.int(0) as i32).filter(|_| task.int(0) as i32 > 0).ok_or(Fail(Errno::ESRCH))?;
    let found = if task.nr() == 121 { getpgid(Some(pid)) } else { getsid(Some(pid)) };
    Ok(Reply::value(i64::from(found?.as_raw_nonzero().get())))
}
