//! Memory of another process: process_vm_readv, process_vm_writev.

use super::{Caller, mm, wait_for};
use crate::Errno;
use crate::identity::Id;
use crate::mm::Mm;
use crate::room;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that are copied in one go.
const PART: u64 = 64 << 10;

/// process_vm_readv(pid, local, local count, remote, remote count, flags).
pub async fn sys_process_vm_readv(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    transfer(caller, args, Direction::FromRemote).await
}

/// process_vm_writev(pid, local, local count, remote, remote count, flags).
pub async fn sys_process_vm_writev(caller: &Caller<'_>, args: [u64; 6]) -> Result<u64, Errno> {
    transfer(caller, args, Direction::ToRemote).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromRemote,
    ToRemote,
}

async fn transfer(caller: &Caller<'_>, args: [u64; 6], direction: Direction) -> Result<u64, Errno> {
    let [pid, local, local_count, remote, remote_count, flags] = args;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let ours = mm(caller);
    let count = |count: u64| usize::try_from(count).map_err(|_| Errno::EINVAL);
    let local = ours.read_iovecs(local, count(local_count)?)?;
    let remote = ours.read_iovecs(remote, count(remote_count)?)?;
    let theirs = memory_of(caller, pid as u32)?;
    let (from, to) = match direction {
        Direction::FromRemote => (Side::new(&theirs, remote), Side::new(&ours, local)),
        Direction::ToRemote => (Side::new(&ours, local), Side::new(&theirs, remote)),
    };
    copy(from, to).await
}

/// The memory of a process that the caller may look into.
fn memory_of(caller: &Caller<'_>, pid: u32) -> Result<Arc<Mm>, Errno> {
    let process = &caller.thread.process;
    if pid == process.pid {
        return Ok(mm(caller));
    }
    let other = process.node.process(pid).filter(|other| other.end().is_none()).ok_or(Errno::ESRCH)?;
    // As ptrace(2) has it: all ids of the other are the caller's.
    let (mine, its) = (process.ids.lock().clone(), other.ids.lock().clone());
    let same = |mine: Id, its: Id| [its.real, its.effective, its.saved].iter().all(|id| *id == mine.real);
    let may = mine.user.effective == 0 || (same(mine.user, its.user) && same(mine.group, its.group));
    if may { Ok(other.mm()) } else { Err(Errno::EPERM) }
}

/// Pieces of one address space, from the front.
struct Side<'a> {
    mm: &'a Mm,
    pieces: Vec<(u64, u64)>,
    index: usize,
    done: u64,
}

impl Side<'_> {
    fn new(mm: &Mm, pieces: Vec<(u64, u64)>) -> Side<'_> {
        Side { mm, pieces, index: 0, done: 0 }
    }

    /// Address and length of what is left of the piece at the front.
    fn front(&mut self) -> Option<(u64, u64)> {
        loop {
            let (base, len) = *self.pieces.get(self.index)?;
            if self.done < len {
                return Some((base.wrapping_add(self.done), len - self.done));
            }
            (self.index, self.done) = (self.index + 1, 0);
        }
    }
}

/// Copies until one side ends or cannot go on; an error only when nothing was copied.
async fn copy(mut from: Side<'_>, mut to: Side<'_>) -> Result<u64, Errno> {
    let mut total = 0;
    let mut buffer = Vec::new();
    while let (Some((source, have)), Some((target, room))) = (from.front(), to.front()) {
        let len = have.min(room).min(PART) as usize;
        if buffer.len() < len {
            buffer = match room::zeros(len) {
                Ok(buffer) => buffer,
                Err(error) => return if total == 0 { Err(error) } else { Ok(total) },
            };
        }
        let moved = copy_part(&from, source, &to, target, &mut buffer[..len]).await;
        let (count, error) = match moved {
            Ok(()) => (len as u64, None),
            Err((count, error)) => (count as u64, Some(error)),
        };
        total += count;
        from.done += count;
        to.done += count;
        match error {
            Some(error) if total == 0 => return Err(error),
            Some(_) => return Ok(total),
            None => {}
        }
    }
    Ok(total)
}

/// Copies a part; on failure how many bytes arrived.
async fn copy_part(
    from: &Side<'_>,
    source: u64,
    to: &Side<'_>,
    target: u64,
    buffer: &mut [u8],
) -> Result<(), (usize, Errno)> {
    let mut readable = 0;
    let mut failed = None;
    while let Err((more, stop)) =
        from.mm.read_some(source.wrapping_add(readable as u64), &mut buffer[readable..])
    {
        readable += more;
        if let Err(error) = wait_for(stop).await {
            failed = Some(error);
            break;
        }
    }
    let len = if failed.is_some() { readable } else { buffer.len() };
    let mut written = 0;
    while let Err((more, stop)) = to.mm.write_some(target.wrapping_add(written as u64), &buffer[written..len])
    {
        written += more;
        if let Err(error) = wait_for(stop).await {
            return Err((written, error));
        }
    }
    match failed {
        Some(error) => Err((len, error)),
        None => Ok(()),
    }
}
