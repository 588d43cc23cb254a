//! wait4 and waitid.

use super::limits::rusage;
use super::{Caller, put_words};
use crate::Errno;
use crate::signals::SIGCHLD;
use crate::wait::{Whom, option::*};

/// wait4(pid, status, options, usage).
pub async fn sys_wait4(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [pid, status, options, usage, ..] = args;
    let options = options as u32;
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL);
    }
    let whom = match pid as i32 {
        -1 => Whom::Any,
        0 => Whom::Group(own_group(caller)),
        i32::MIN => return Err(Errno::ESRCH),
        pid @ ..0 => Whom::Group(pid.unsigned_abs()),
        pid => Whom::Child(pid as u32),
    };
    let Some(waited) = caller.thread.wait_child(whom, options | WEXITED).await? else { return Ok(0) };
    let mm = caller.mm();
    if status != 0 {
        mm.write(status, &waited.status.to_le_bytes())?;
    }
    if usage != 0 {
        put_words(&mm, usage, &rusage(&waited.usage))?;
    }
    Ok(u64::from(waited.pid))
}

/// waitid(type, id, info, options, usage).
pub async fn sys_waitid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [kind, id, info, options, usage, _] = args;
    let options = options as u32;
    let known = WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let whom = match (kind as u32, id as i32) {
        (0, _) => Whom::Any,
        (1, id @ 1..) => Whom::Child(id as u32),
        (2, 0) => Whom::Group(own_group(caller)),
        (2, id @ 1..) => Whom::Group(id as u32),
        // P_PIDFD: there are none.
        (3, _) => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    };
    let waited = caller.thread.wait_child(whom, options).await?;
    let mm = caller.mm();
    if info != 0 {
        let mut bytes = [0; 28];
        if let Some(waited) = &waited {
            let (code, status) = waited.cause();
            let words = [SIGCHLD as i32, 0, code, 0, waited.pid as i32, waited.uid as i32, status];
            for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        mm.write(info, &bytes)?;
    }
    if usage != 0
        && let Some(waited) = &waited
    {
        put_words(&mm, usage, &rusage(&waited.usage))?;
    }
    Ok(0)
}

fn own_group(caller: &Caller<'_>) -> u32 {
    let process = &caller.thread.process;
    process.node.group_and_session(process.pid).map_or(0, |(group, _)| group)
}
