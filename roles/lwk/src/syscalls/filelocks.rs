//! Locks of files: fcntl(2) for byte ranges, flock(2) for whole files. The host keeps those of its files, the node those of files
//! in memory; other files of the node have none.

use super::Caller;
use super::forward::forward;
use super::request::{Request, output_of, result_of, store};
use crate::Errno;
use crate::files::flags::*;
use crate::files::{Description, FileLocks, HostFile, LockKind, LockOwner, LockRange, LockTable, RecordWait};
use crate::restart::RESTART;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;
use keelson_lwk_wire::layout::Flock;

/// `l_type` of `struct flock` (asm-generic/fcntl.h).
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// Operations of flock(2).
const LOCK_SH: u32 = 1;
const LOCK_EX: u32 = 2;
const LOCK_NB: u32 = 4;
const LOCK_UN: u32 = 8;

/// F_GETLK, F_SETLK, F_SETLKW and those of open descriptions.
pub async fn record(caller: &Caller<'_>, file: &Arc<Description>, args: [u64; 6]) -> Result<u64, Errno> {
    if let Some(host) = file.file().host() {
        return host_record(caller, host, args).await;
    }
    let locks = file.file().locks().ok_or(Errno::EINVAL)?;
    let (command, at) = (args[1] as u32, args[2]);
    let mut bytes = [0; Flock::LEN];
    caller.mm().read_wait(at, &mut bytes).await?;
    let wanted = Flock::read(&bytes).ok_or(Errno::EINVAL)?;
    let asks = matches!(command, F_GETLK | F_OFD_GETLK);
    if asks && !matches!(wanted.kind, F_RDLCK | F_WRLCK) {
        return Err(Errno::EINVAL);
    }
    let range = range_of(file, &wanted)?;
    let kind = match wanted.kind {
        F_RDLCK => Some(LockKind::Read),
        F_WRLCK => Some(LockKind::Write),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let allowed = match kind {
        _ if asks => true,
        Some(LockKind::Read) => file.readable(),
        Some(LockKind::Write) => file.writable(),
        None => true,
    };
    if !allowed {
        return Err(Errno::EBADF);
    }
    let owner = match command {
        F_GETLK | F_SETLK | F_SETLKW => LockOwner::Process(caller.thread.process.pid),
        _ if wanted.pid != 0 => return Err(Errno::EINVAL),
        _ => LockOwner::Description(file.id()),
    };
    match kind {
        Some(kind) if asks => ask(caller, locks, (owner, range, kind), at),
        _ => {
            let waits = matches!(command, F_SETLKW | F_OFD_SETLKW);
            set(caller, locks, (owner, range, kind), waits).await?;
            if kind.is_some() { still_open(caller, file, args[0] as u32, owner) } else { Ok(0) }
        }
    }
}

/// F_GETLK. Without a lock in the way only the type is changed (fcntl(2)).
fn ask(
    caller: &Caller<'_>,
    locks: &FileLocks,
    (owner, range, kind): (LockOwner, LockRange, LockKind),
    at: u64,
) -> Result<u64, Errno> {
    let Some(held) = locks.records.conflict(owner, range, kind) else {
        return caller.mm().write(at, &F_UNLCK.to_le_bytes()).map(|()| 0);
    };
    let LockRange { first, last } = held.range;
    let found = Flock {
        kind: if held.kind == LockKind::Read { F_RDLCK } else { F_WRLCK },
        whence: SEEK_SET as i16,
        start: first as i64,
        len: if last == LockRange::ALL.last { 0 } else { (last - first) as i64 + 1 },
        pid: match held.owner {
            LockOwner::Process(pid) => pid as i32,
            LockOwner::Description(_) => -1,
        },
    };
    caller.mm().write(at, &found.to_bytes()).map(|()| 0)
}

/// F_SETLK and F_SETLKW: EAGAIN when there is another's lock and the call does not wait.
async fn set(
    caller: &Caller<'_>,
    locks: &Arc<FileLocks>,
    (owner, range, kind): (LockOwner, LockRange, Option<LockKind>),
    waits: bool,
) -> Result<(), Errno> {
    let thread = caller.thread;
    let system = &thread.process.system;
    let attempt = || locks.records.set(owner, range, kind, system.machine.is_short());
    match (attempt()?, kind) {
        (None, _) => Ok(()),
        (Some(_), Some(kind)) if waits => {
            let process = &thread.process;
            let waiting = Waiting { caller, table: &locks.records };
            let until = || match attempt()? {
                Some(held) if owner == LockOwner::Process(process.pid) => {
                    let locks = locks.clone();
                    let wait = RecordWait { tid: thread.tid, pid: process.pid, locks, range, kind };
                    process.node.record_waits.enter(wait, held.owner).map(|()| false)
                }
                held => Ok(held.is_none()),
            };
            waiting.wait(until).await
        }
        _ => Err(Errno::EAGAIN),
    }
}

/// A lock that came while another thread closed the number is one that nobody would give back.
fn still_open(caller: &Caller<'_>, file: &Arc<Description>, fd: u32, owner: LockOwner) -> Result<u64, Errno> {
    let LockOwner::Process(pid) = owner else { return Ok(0) };
    let now = caller.thread.process.files().get(fd);
    if now.is_ok_and(|now| Arc::ptr_eq(&now, file)) {
        return Ok(0);
    }
    file.closed_by(pid);
    Err(Errno::EBADF)
}

/// The bytes that a `struct flock` means.
///
/// # Errors
///
/// EINVAL in front of the file, EOVERFLOW behind all that a file can have.
fn range_of(file: &Description, wanted: &Flock) -> Result<LockRange, Errno> {
    let from = match wanted.whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => file.with_position(|position| *position),
        SEEK_END => file.file().stat().size,
        _ => return Err(Errno::EINVAL),
    };
    let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
    let start = from.checked_add(wanted.start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match wanted.len {
        _ if start < 0 => return Err(Errno::EINVAL),
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start + len, start - 1),
    };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    Ok(LockRange { first, last: last as u64 })
}

/// flock(fd, operation).
pub async fn sys_flock(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    let file = caller.thread.process.files().get_open(args[0] as u32)?;
    if file.file().host().is_some() {
        return forward(caller, 73, args).await;
    }
    let kind = match args[1] as u32 & !LOCK_NB {
        LOCK_SH => Some(LockKind::Read),
        LOCK_EX => Some(LockKind::Write),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    // There is no one here who keeps locks of other files.
    let table = &file.file().locks().ok_or(Errno::ENOLCK)?.whole;
    let (owner, machine) = (LockOwner::Description(file.id()), &caller.thread.process.system.machine);
    let attempt = || table.set_whole(owner, kind, machine.is_short()).map(|held| held.is_none());
    if !attempt()? {
        if args[1] as u32 & LOCK_NB != 0 {
            return Err(Errno::EAGAIN);
        }
        Waiting { caller, table }.wait(attempt).await?;
    }
    Ok(0)
}

/// A thread that waits for a lock.
struct Waiting<'a> {
    caller: &'a Caller<'a>,
    table: &'a LockTable,
}

impl Waiting<'_> {
    /// Waits until `attempt` says that the lock is taken, or a signal comes.
    async fn wait(self, attempt: impl Fn() -> Result<bool, Errno>) -> Result<(), Errno> {
        let taken = poll_fn(|cx| {
            self.table.register(cx);
            match attempt() {
                Ok(false) => Poll::Pending,
                result => Poll::Ready(result.map(|_| ())),
            }
        });
        let result = self.caller.thread.interruptible(taken).await.unwrap_or(Err(RESTART));
        if result.is_err() {
            self.table.leave();
        }
        result
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let thread = self.caller.thread;
        thread.process.node.record_waits.leave(thread.tid);
    }
}

/// A process closed one of its numbers for `closed`, and with any of them it loses its record locks there (fcntl(2)).
pub async fn closed(caller: &Caller<'_>, closed: &Arc<Description>) -> Result<(), Errno> {
    closed.closed_by(caller.thread.process.pid);
    // The host does it itself with its last number.
    if Arc::strong_count(closed) > 1
        && let Some(host) = closed.file().host()
        && host.locks_end()
    {
        let everything = Flock { kind: F_UNLCK, whence: 0, start: 0, len: 0, pid: 0 };
        let unlock = [0, u64::from(F_SETLK), 0, 0, 0, 0];
        let request =
            Request::new(caller, 72, unlock).handle(0, host).input(2, everything.to_bytes().to_vec());
        request.output(2, Flock::LEN as u64).send_through(host.delegate()).await?;
    }
    Ok(())
}

/// Locks of byte ranges are kept by the proxy: `struct flock` there and back.
async fn host_record(caller: &Caller<'_>, host: &HostFile, args: [u64; 6]) -> Result<u64, Errno> {
    const BYTES: u64 = Flock::LEN as u64;
    let mm = caller.mm();
    let request = Request::new(caller, 72, args).handle(0, host).user_input(&mm, 2, args[2], BYTES)?;
    let request = request.output(2, BYTES);
    let reply = match args[1] as u32 {
        F_SETLKW => request.send_for_lock(host).await?,
        _ => request.send_to(host).await?,
    };
    if matches!(args[1] as u32, F_SETLK | F_SETLKW) {
        host.lock_taken();
    }
    if matches!(args[1] as u32, F_GETLK | F_OFD_GETLK) {
        // Without a lock in the way only the type is changed (fcntl(2)).
        let free = output_of(&reply, 2).starts_with(&F_UNLCK.to_le_bytes());
        store(&mm, &reply, 2, args[2], if free { 2 } else { BYTES })?;
    }
    result_of(&reply)
}

#[cfg(test)]
mod tests;
