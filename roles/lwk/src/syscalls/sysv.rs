//! System V semaphores and messages: semget, semop, semctl, msgget, msgsnd, msgrcv, msgctl.

use super::{Caller, time};
use crate::Errno;
use crate::mm::Mm;
use crate::room;
use crate::sysv::*;
use crate::thread::Wait;
use alloc::vec::Vec;
use keelson_exec::{Either, select};
use keelson_hal::Instant;

/// Commands that both kinds have.
mod command {
    pub const RMID: u32 = 0;
    pub const SET: u32 = 1;
    pub const STAT: u32 = 2;
    pub const INFO: u32 = 3;
}

/// Set in commands by some C libraries: the 64-bit layout, which is the only one here.
pub(super) const IPC_64: u32 = 0x100;
const IPC_NOWAIT: u32 = 0o4000;

/// The calling process.
pub(super) fn user(caller: &Caller<'_>) -> User {
    let process = &caller.thread.process;
    let ids = process.ids.lock();
    let (uid, gid) = (ids.user.effective, ids.group.effective);
    User { pid: process.pid, uid, gid, now: process.system.clock.wall().as_secs() as i64 }
}

fn sysv<'a>(caller: &Caller<'a>) -> &'a Sysv {
    &caller.thread.process.node.sysv
}

/// `struct` of 64-bit words behind the permissions.
pub(super) fn put(mm: &Mm, at: u64, permission: &Permission, words: &[u64]) -> Result<u64, Errno> {
    let mut bytes = permission.to_bytes().to_vec();
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    mm.write(at, &bytes).map(|()| 0)
}

fn put_ints(mm: &Mm, at: u64, ints: &[u32]) -> Result<(), Errno> {
    let bytes: Vec<u8> = ints.iter().flat_map(|int| int.to_le_bytes()).collect();
    mm.write(at, &bytes)
}

/// The permissions at the beginning of such a structure.
pub(super) fn get_permission(mm: &Mm, at: u64) -> Result<[u8; Permission::BYTES], Errno> {
    let mut bytes = [0; Permission::BYTES];
    mm.read(at, &mut bytes)?;
    Ok(bytes)
}

/// semget(key, semaphores, flags).
pub fn sys_semget(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let id = sysv(caller).semget(args[0] as u32, args[1], u64::from(args[2] as u32), &user(caller));
    id.map(u64::from)
}

/// semop(id, operations, count).
pub async fn sys_semop(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    operate(caller, args, None).await
}

/// semtimedop(id, operations, count, timeout).
pub async fn sys_semtimedop(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let deadline = match args[3] {
        0 => None,
        at => Some(time::after(caller.thread, time::read_timespec(&caller.mm(), at)?)),
    };
    operate(caller, args, deadline).await
}

async fn operate(caller: &Caller<'_>, args: [u64; 6], deadline: Option<Instant>) -> Result<u64, Errno> {
    const SEM_UNDO: u32 = 0x1000;
    const SEMBUF: usize = 6;
    let [id, at, count, ..] = args;
    // The count is unsigned, the identifier an int.
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    if count > OPERATIONS_MOST as u64 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = alloc::vec![0; count as usize * SEMBUF];
    caller.mm().read_wait(at, &mut bytes).await?;
    let half = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let flags: Vec<u32> = bytes.chunks_exact(SEMBUF).map(|part| u32::from(half(part, 4))).collect();
    let change = |part: &[u8]| Change {
        number: half(part, 0),
        by: half(part, 2) as i16,
        undo: u32::from(half(part, 4)) & SEM_UNDO != 0,
    };
    let changes: Vec<Change> = bytes.chunks_exact(SEMBUF).map(change).collect();
    let set = sysv(caller).semaphores.get(id as u32)?;
    if changes.iter().any(|change| usize::from(change.number) >= set.count()) {
        return Err(Errno::EFBIG);
    }
    if changes.iter().any(|change| change.undo) && caller.thread.process.system.machine.is_short() {
        // What is to be given back stays until the process ends.
        return Err(Errno::ENOMEM);
    }
    let access = if changes.iter().any(|change| change.by != 0) { 2 } else { 4 };
    set.permission().lock().check(&user(caller), access)?;
    loop {
        let changed = set.changed();
        let index = match set.attempt(&changes, &user(caller))? {
            Step::Done => return Ok(0),
            Step::Blocked(index) => index,
        };
        if flags[index] & IPC_NOWAIT != 0 {
            return Err(Errno::EAGAIN);
        }
        let waits = if changes[index].by == 0 { Waits::Zero } else { Waits::More };
        set.count_waiter(changes[index].number, waits, true);
        let waited = wait(caller, changed, deadline).await;
        set.count_waiter(changes[index].number, waits, false);
        waited?;
    }
}

/// EINTR for a signal: these calls are never restarted (signal(7)). EAGAIN when the time is up.
async fn wait(
    caller: &Caller<'_>,
    changed: crate::event::Changed<'_>,
    deadline: Option<Instant>,
) -> Result<(), Errno> {
    let thread = caller.thread;
    let Some(deadline) = deadline else {
        return thread.wait_for(Wait::Heavy, changed).await.map_err(|_| Errno::EINTR);
    };
    let timers = thread.process.system.timers.clone();
    match thread.wait_for(Wait::Heavy, select(changed, timers.at(deadline))).await {
        Ok(Either::First(())) => Ok(()),
        Ok(Either::Second(())) => Err(Errno::EAGAIN),
        Err(_) => Err(Errno::EINTR),
    }
}

/// semctl(id, number, command, value or buffer).
pub fn sys_semctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const GETPID: u32 = 11;
    const GETVAL: u32 = 12;
    const GETALL: u32 = 13;
    const GETNCNT: u32 = 14;
    const GETZCNT: u32 = 15;
    const SETVAL: u32 = 16;
    const SETALL: u32 = 17;
    const SEM_STAT: u32 = 18;
    const SEM_INFO: u32 = 19;
    const SEM_STAT_ANY: u32 = 20;
    let (id, number, command, argument) = (args[0] as u32, args[1] as u32, args[2] as u32 & !IPC_64, args[3]);
    let (sysv, mm, user) = (sysv(caller), caller.mm(), user(caller));
    let number = i32::try_from(number).map_or(usize::MAX, |number| number as usize);
    match command {
        command::INFO | SEM_INFO => {
            let (sets, all) = match command {
                SEM_INFO => (sysv.semaphores.count() as u32, sysv.semaphores_in_use() as u32),
                _ => (20, u32::from(VALUE_MOST)),
            };
            // struct seminfo: semmap, semmni, semmns, semmnu, semmsl, semopm, semume, semusz, semvmx, semaem.
            let most = (SETS_MOST * SEMAPHORES_MOST) as u32;
            let (opm, per_set) = (OPERATIONS_MOST as u32, SEMAPHORES_MOST as u32);
            let ints =
                [most, SETS_MOST as u32, most, most, per_set, opm, opm, sets, u32::from(VALUE_MOST), all];
            put_ints(&mm, argument, &ints)?;
            return Ok(u64::from(sysv.semaphores.highest()));
        }
        SEM_STAT | SEM_STAT_ANY => {
            let (id, set) = sysv.semaphores.at(id, (command == SEM_STAT).then_some(&user))?;
            return put_set(&mm, argument, &set).map(|_| u64::from(id));
        }
        command::RMID => return sysv.remove_set(id, &user).map(|()| 0),
        _ => {}
    }
    let set = sysv.semaphores.get(id)?;
    let check = |access| set.permission().lock().check(&user, access);
    match command {
        command::SET => {
            let bytes = get_permission(&mm, argument)?;
            let mut permission = set.permission().lock();
            permission.check_owner(&user)?;
            permission.set(&bytes);
            drop(permission);
            set.touch(user.now);
            Ok(0)
        }
        command::STAT => {
            check(4)?;
            put_set(&mm, argument, &set)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => {
            check(4)?;
            let (value, pid) = set.value(number)?;
            Ok(match command {
                GETVAL => value.into(),
                GETPID => pid.into(),
                GETNCNT => set.waiters(number, Waits::More)?.into(),
                _ => set.waiters(number, Waits::Zero)?.into(),
            })
        }
        GETALL => {
            check(4)?;
            let mut bytes = room::with_room(set.count() * 2)?;
            bytes.extend(set.values()?.iter().flat_map(|value| value.to_le_bytes()));
            mm.write(argument, &bytes).map(|()| 0)
        }
        SETVAL => {
            check(2)?;
            let value = u16::try_from(argument as i32).map_err(|_| Errno::ERANGE)?;
            set.set_values(number, &[value], &user).map(|()| 0)
        }
        SETALL => {
            check(2)?;
            let mut bytes = room::zeros(set.count() * 2)?;
            mm.read(argument, &mut bytes)?;
            let mut values = room::with_room(set.count())?;
            values.extend(bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])));
            set.set_values(0, &values, &user).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `struct semid64_ds` (asm/sembuf.h).
fn put_set(mm: &Mm, at: u64, set: &Set) -> Result<u64, Errno> {
    let (operated, changed) = set.times();
    let words = [operated as u64, 0, changed as u64, 0, set.count() as u64, 0, 0];
    let permission = *set.permission().lock();
    put(mm, at, &permission, &words)
}

/// msgget(key, flags).
pub fn sys_msgget(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    sysv(caller).msgget(args[0] as u32, u64::from(args[1] as u32), &user(caller)).map(u64::from)
}

/// msgsnd(id, message, size, flags).
pub async fn sys_msgsnd(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let [id, at, size, flags, ..] = args;
    let (mm, sysv) = (caller.mm(), sysv(caller));
    let mut kind = [0; 8];
    mm.read_wait(at, &mut kind).await?;
    let kind = i64::from_le_bytes(kind);
    if size > MESSAGE_MOST as u64 || (id as i32) < 0 || kind < 1 {
        return Err(Errno::EINVAL);
    }
    let mut text = room::zeros(size as usize)?;
    mm.read_wait(at.wrapping_add(8), &mut text).await?;
    let queue = sysv.messages.get(id as u32)?;
    queue.permission().lock().check(&user(caller), 2)?;
    let message = Message { kind, text };
    loop {
        let changed = queue.changed();
        if sysv.send(&queue, &message, &user(caller))?.is_some() {
            return Ok(0);
        }
        if flags as u32 & IPC_NOWAIT != 0 {
            return Err(Errno::EAGAIN);
        }
        wait(caller, changed, None).await?;
    }
}

/// msgrcv(id, message, size, type, flags).
pub async fn sys_msgrcv(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const MSG_NOERROR: u32 = 0o10000;
    const MSG_EXCEPT: u32 = 0o20000;
    const MSG_COPY: u32 = 0o40000;
    let [id, at, size, kind, flags, _] = args;
    let (mm, sysv, flags, kind) = (caller.mm(), sysv(caller), flags as u32, kind as i64);
    if size > i64::MAX as u64 || (id as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MSG_COPY != 0 {
        // For checkpoints of processes, which nobody makes here.
        return Err(Errno::ENOSYS);
    }
    let wanted = match kind {
        0 => Wanted::Any,
        1.. if flags & MSG_EXCEPT != 0 => Wanted::Except(kind),
        1.. => Wanted::Kind(kind),
        _ => Wanted::Lowest(kind.checked_neg().unwrap_or(i64::MAX)),
    };
    let queue = sysv.messages.get(id as u32)?;
    queue.permission().lock().check(&user(caller), 4)?;
    let message = loop {
        let changed = queue.changed();
        let cut = flags & MSG_NOERROR != 0;
        if let Some(message) = sysv.receive(&queue, wanted, size, cut, &user(caller))? {
            break message;
        }
        if flags & IPC_NOWAIT != 0 {
            return Err(Errno::ENOMSG);
        }
        wait(caller, changed, None).await?;
    };
    mm.write_wait(at, &message.kind.to_le_bytes()).await?;
    mm.write_wait(at.wrapping_add(8), &message.text).await?;
    Ok(message.text.len() as u64)
}

/// msgctl(id, command, buffer).
pub fn sys_msgctl(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    const MSG_STAT: u32 = 11;
    const MSG_INFO: u32 = 12;
    const MSG_STAT_ANY: u32 = 13;
    /// `msg_qbytes` in `struct msqid64_ds`.
    const MOST_AT: u64 = 88;
    let (id, command, buffer) = (args[0] as u32, args[1] as u32 & !IPC_64, args[2]);
    let (sysv, mm, user) = (sysv(caller), caller.mm(), user(caller));
    match command {
        command::INFO | MSG_INFO => {
            let (bytes, most) = (QUEUE_BYTES as u32, QUEUES_MOST as u32);
            let (pool, map, total) = if command == MSG_INFO {
                let held: u64 = sysv.messages.all().map(|queue| queue.stat().bytes).sum();
                (sysv.messages.count() as u32, sysv.messages_in_use() as u32, held as u32)
            } else {
                (most * (bytes / 1024), bytes, bytes)
            };
            // struct msginfo: msgpool, msgmap, msgmax, msgmnb, msgmni, msgssz, msgtql, msgseg (16 bits).
            put_ints(&mm, buffer, &[pool, map, MESSAGE_MOST as u32, bytes, most, 16, total, 0xffff])?;
            return Ok(u64::from(sysv.messages.highest()));
        }
        MSG_STAT | MSG_STAT_ANY => {
            let (id, queue) = sysv.messages.at(id, (command == MSG_STAT).then_some(&user))?;
            return put_queue(&mm, buffer, &queue).map(|_| u64::from(id));
        }
        command::RMID => return sysv.remove_queue(id, &user).map(|()| 0),
        _ => {}
    }
    let queue = sysv.messages.get(id)?;
    match command {
        command::STAT => {
            queue.permission().lock().check(&user, 4)?;
            put_queue(&mm, buffer, &queue)
        }
        command::SET => {
            let bytes = get_permission(&mm, buffer)?;
            let most = mm.read_u64(buffer.wrapping_add(MOST_AT))?;
            queue.permission().lock().check_owner(&user)?;
            queue.set_most(most, &user)?;
            queue.permission().lock().set(&bytes);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `struct msqid64_ds` (asm-generic/msgbuf.h).
fn put_queue(mm: &Mm, at: u64, queue: &Queue) -> Result<u64, Errno> {
    let stat = queue.stat();
    let pids = u64::from(stat.sender) | u64::from(stat.receiver) << 32;
    let times = [stat.sent_at, stat.received_at, stat.changed_at].map(|time| time as u64);
    let words = [times[0], times[1], times[2], stat.bytes, stat.messages, stat.most, pids, 0, 0];
    let permission = *queue.permission().lock();
    put(mm, at, &permission, &words)
}
