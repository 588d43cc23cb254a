//! Users, groups, process groups, sessions, capabilities (section 4.4).
//!
//! What changes them is done by the proxy first, whose answer counts, and then remembered here.

use super::Caller;
use crate::Errno;
use crate::delegate::{Call, Reply};
use crate::identity::{Id, Ids};
use crate::process::Process;
use crate::room;
use alloc::sync::Arc;

/// `NGROUPS_MAX`.
const GROUPS_MOST: u64 = 65536;

/// "Leave it": -1.
const KEEP: u32 = u32::MAX;

/// The result of a call that the host made.
pub(crate) fn result(reply: Reply) -> Result<u64, Errno> {
    reply.failure().map(|()| reply.result as u64)
}

async fn ask(caller: &Caller<'_>, number: u32, arguments: [u64; 6]) -> Result<u64, Errno> {
    ask_of(&caller.thread.process, caller.thread.tid, number, arguments).await
}

/// The same of the proxy of another process, for a thread of that.
async fn ask_of(process: &Process, tid: u32, number: u32, arguments: [u64; 6]) -> Result<u64, Errno> {
    let call = Call { tid, number, arguments, ..Call::default() };
    result(process.delegate.call(call).await)
}

/// setuid, setgid, setreuid, setregid, setgroups, setresuid, setresgid, setfsuid, setfsgid.
pub async fn change(caller: &Caller<'_>, number: u32, args: [u64; 6]) -> Result<u64, Errno> {
    if number == 116 {
        return set_groups(caller, args).await;
    }
    let done = ask(caller, number, args).await?;
    let [first, second, third] = [args[0] as u32, args[1] as u32, args[2] as u32];
    let process = &caller.thread.process;
    let mut ids = process.ids.lock();
    let root = ids.user.effective == 0;
    match number {
        105 => ids.user.set(first, root),
        106 => ids.group.set(first, root),
        113 => ids.user.set_real_effective(first, second),
        114 => ids.group.set_real_effective(first, second),
        117 => ids.user.set_three(first, second, third),
        119 => ids.group.set_three(first, second, third),
        // setfsuid and setfsgid return what was and is: they cannot fail, and a host does its calls with the effective ids.
        _ => {}
    }
    let changed = root != (ids.user.effective == 0);
    drop(ids);
    if changed {
        // What only root may (lock all memory) comes and goes with being it.
        process.mm().set_limits(process.memory_limits());
    }
    Ok(done)
}

async fn set_groups(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    if args[0] > GROUPS_MOST {
        return Err(Errno::EINVAL);
    }
    let mut bytes = room::zeros(args[0] as usize * 4)?;
    caller.mm().read(args[1], &mut bytes)?;
    let mut groups = room::with_room(args[0] as usize)?;
    groups.extend(bytes.as_chunks().0.iter().map(|group| u32::from_le_bytes(*group)));
    let input = alloc::vec![(1, bytes)];
    let call = Call { tid: caller.thread.tid, number: 116, arguments: args, input, ..Call::default() };
    let done = result(caller.thread.process.delegate.call(call).await)?;
    caller.thread.process.ids.lock().groups = Arc::new(groups);
    Ok(done)
}

impl Id {
    /// setuid(2): all three for root, else the effective one.
    fn set(&mut self, id: u32, root: bool) {
        if root { *self = Id::all(id) } else { (self.effective, self.file) = (id, id) }
    }

    fn set_real_effective(&mut self, real: u32, effective: u32) {
        let before = *self;
        if real != KEEP {
            self.real = real;
        }
        if effective != KEEP {
            self.effective = effective;
        }
        if real != KEEP || effective != KEEP && effective != before.real {
            self.saved = self.effective;
        }
        self.file = self.effective;
    }

    fn set_three(&mut self, real: u32, effective: u32, saved: u32) {
        for (place, id) in
            [(&mut self.real, real), (&mut self.effective, effective), (&mut self.saved, saved)]
        {
            if id != KEEP {
                *place = id;
            }
        }
        self.file = self.effective;
    }
}

/// getresuid(real, effective, saved).
pub fn sys_getresuid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    put_three(caller, args, |ids| ids.user)
}

/// getresgid(real, effective, saved).
pub fn sys_getresgid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    put_three(caller, args, |ids| ids.group)
}

fn put_three(caller: &Caller<'_>, args: [u64; 6], which: impl Fn(&Ids) -> Id) -> Result<u64, Errno> {
    let id = which(&caller.thread.process.ids.lock());
    let mm = caller.mm();
    for (at, id) in args.into_iter().zip([id.real, id.effective, id.saved]) {
        mm.write(at, &id.to_le_bytes())?;
    }
    Ok(0)
}

/// getgroups(count, list).
pub fn sys_getgroups(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let groups = caller.thread.process.ids.lock().groups.clone();
    let room = args[0] as i32;
    if room < 0 || room != 0 && (room as usize) < groups.len() {
        return Err(Errno::EINVAL);
    }
    if room != 0 {
        let mut bytes = room::with_room(groups.len() * 4)?;
        bytes.extend(groups.iter().flat_map(|group| group.to_le_bytes()));
        caller.mm().write(args[1], &bytes)?;
    }
    Ok(groups.len() as u64)
}

/// getpgrp().
pub fn sys_getpgrp(caller: &Caller<'_>) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    Ok(process.node.group_and_session(process.pid).map_or(0, |(group, _)| u64::from(group)))
}

/// getpgid(pid).
pub async fn sys_getpgid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    match look(caller, args[0])? {
        Some((group, _)) => Ok(u64::from(group)),
        None => ask(caller, 121, args).await,
    }
}

/// getsid(pid).
pub async fn sys_getsid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    match look(caller, args[0])? {
        Some((_, session)) => Ok(u64::from(session)),
        None => ask(caller, 124, args).await,
    }
}

/// Group and session of a process of this node; 0 is the caller. `None` for processes of the host.
fn look(caller: &Caller<'_>, pid: u64) -> Result<Option<(u32, u32)>, Errno> {
    let process = &caller.thread.process;
    match pid as i32 {
        ..0 => Err(Errno::ESRCH),
        0 => Ok(process.node.group_and_session(process.pid)),
        pid => Ok(process.node.group_and_session(pid as u32)),
    }
}

/// setpgid(pid, group). ESRCH unless it is the caller or its child, EACCES for a child that executed a program already.
pub async fn sys_setpgid(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    let node = &process.node;
    let (pid, group) = (args[0] as i32, args[1] as i32);
    if pid < 0 || group < 0 {
        return Err(Errno::EINVAL);
    }
    let pid = if pid == 0 { process.pid } else { pid as u32 };
    let group = if group == 0 { pid } else { group as u32 };
    let parent = node.table.lock().member(pid).map(|member| member.parent);
    let mut whose = process.clone();
    if pid != process.pid {
        if parent != Some(process.pid) {
            return Err(Errno::ESRCH);
        }
        let child = node.process(pid).ok_or(Errno::ESRCH)?;
        if child.facts.executed.load(core::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
        // By its own proxy: that has called exec, so that Linux lets nobody else do it.
        whose = child;
    }
    ask_of(&whose, whose.pid, 109, [u64::from(pid), u64::from(group), 0, 0, 0, 0]).await?;
    if let Some(member) = node.table.lock().member_mut(pid) {
        member.group = group;
    }
    Ok(0)
}

/// setsid().
pub async fn sys_setsid(caller: &Caller<'_>) -> Result<u64, Errno> {
    let process = &caller.thread.process;
    ask(caller, 112, [0; 6]).await?;
    if let Some(member) = process.node.table.lock().member_mut(process.pid) {
        member.group = process.pid;
        member.session = process.pid;
    }
    Ok(u64::from(process.pid))
}

/// `_LINUX_CAPABILITY_VERSION_3`, and the versions before it with one block of words.
const VERSION_3: u32 = 0x2008_0522;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_1: u32 = 0x1998_0330;

/// Words of the data of a version; the kernel's own version is stored when it is unknown.
fn capability_words(caller: &Caller<'_>, header: u64) -> Result<Option<usize>, Errno> {
    let mm = caller.mm();
    let mut version = [0; 4];
    mm.read(header, &mut version)?;
    match u32::from_le_bytes(version) {
        VERSION_1 => Ok(Some(3)),
        VERSION_2 | VERSION_3 => Ok(Some(6)),
        _ => {
            mm.write(header, &VERSION_3.to_le_bytes())?;
            Ok(None)
        }
    }
}

/// capget(header, data): nobody has capabilities.
pub fn sys_capget(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    match capability_words(caller, args[0])? {
        // Asking for the version is the use of a null pointer.
        None if args[1] == 0 => Ok(0),
        None => Err(Errno::EINVAL),
        Some(words) => {
            let tid = caller.mm().read_u32(args[0].wrapping_add(4))?;
            super::sched::target(caller, tid.into())?;
            if args[1] == 0 {
                return Ok(0);
            }
            caller.mm().write(args[1], &[0; 24][..words * 4]).map(|()| 0)
        }
    }
}

/// capset(header, data): EPERM for more than nothing, and for others than the caller.
pub fn sys_capset(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let words = capability_words(caller, args[0])?.ok_or(Errno::EINVAL)?;
    let tid = caller.mm().read_u32(args[0].wrapping_add(4))?;
    if tid != 0 && tid != caller.thread.tid {
        return Err(Errno::EPERM);
    }
    let mut bytes = [0; 24];
    caller.mm().read(args[1], &mut bytes[..words * 4])?;
    if bytes == [0; 24] { Ok(0) } else { Err(Errno::EPERM) }
}
