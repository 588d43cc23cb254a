//! Reading and writing: between files and the memory of the caller, waiting as long as it takes.

use super::Caller;
use super::mapped::Mapped;
use crate::Errno;
use crate::files::flags::*;
use crate::files::{Description, Iovec, Operation, UserBuffer};
use crate::limits::{FSIZE, INFINITY};
use crate::mm::Mm;
use crate::restart::RESTART;
use crate::signals::{SIGPIPE, SIGXFSZ, SigInfo};
use core::future::poll_fn;
use core::task::{Context, Poll};
use keelson_hal::user::Access;

/// Repeats `step` until it is ready. A signal ends the wait: with what was moved so far, or with an error that restarts the
/// call; what the host is doing is broken off, and its answer counts.
pub async fn wait(
    caller: &Caller<'_>,
    flags: u32,
    mut step: impl FnMut(&mut Context<'_>, &mut Operation) -> Poll<Result<usize, Errno>>,
) -> Result<usize, Errno> {
    let mut operation = Operation::new(caller.thread.tid, flags);
    operation.file_limit = file_limit(caller);
    operation.short = caller.thread.process.system.machine.is_short();
    let waited = caller.thread.interruptible(poll_fn(|cx| step(cx, &mut operation))).await;
    let result = match waited {
        Ok(result) => result,
        Err(_) if operation.leave() => poll_fn(|cx| step(cx, &mut operation)).await,
        Err(_) if operation.done > 0 => Ok(operation.done),
        Err(_) => Err(RESTART),
    };
    if result == Err(Errno::EINTR) { Err(RESTART) } else { result }
}

/// EPIPE comes with SIGPIPE (pipe(7)).
pub fn broken_pipe(caller: &Caller<'_>, error: Errno) -> Errno {
    if error == Errno::EPIPE {
        // A signal that cannot be queued was sent before.
        let _ = caller.thread.signal(SigInfo::kernel(SIGPIPE));
    }
    error
}

/// EFBIG comes with SIGXFSZ where RLIMIT_FSIZE is why (setrlimit(2)). The host keeps that limit, for a proxy that blocks the signal.
pub fn too_large(caller: &Caller<'_>, error: Errno) -> Errno {
    if error == Errno::EFBIG && file_limit(caller) != INFINITY {
        let _ = caller.thread.signal(SigInfo::kernel(SIGXFSZ));
    }
    error
}

/// RLIMIT_FSIZE.
fn file_limit(caller: &Caller<'_>) -> u64 {
    caller.thread.process.limits.lock().soft(FSIZE)
}

/// EFBIG with its signal where a file of the node would become larger than RLIMIT_FSIZE allows; those of the host are limited
/// there.
pub fn may_grow(caller: &Caller<'_>, description: &Description, to: u64) -> Result<(), Errno> {
    if to > description.file().stat().size && to > file_limit(caller) {
        return Err(too_large(caller, Errno::EFBIG));
    }
    Ok(())
}

/// Bytes that are brought in at once where a buffer is not there: as many as a pipe holds, or a message to the host.
const AHEAD: u64 = 1 << 20;

/// Whether a call that has moved something goes on when more of its buffer is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// It would wait for what comes next, or take it apart.
    Leave,
    /// As if all had been there.
    Move,
}

/// A call whose buffer may reach into pages of files that must be fetched first: it is made again when they are there, with
/// what is left. Buffers that are there cost nothing more.
pub struct Transfer<'a> {
    mm: &'a Mm,
    pieces: &'a [Iovec],
    /// What the program does with its buffer in place of the file.
    access: Access,
    rest: Rest,
    done: usize,
    tried: Option<u64>,
}

impl<'a> Transfer<'a> {
    /// Nothing is moved yet.
    pub fn new(mm: &'a Mm, pieces: &'a [Iovec], access: Access, rest: Rest) -> Transfer<'a> {
        Transfer { mm, pieces, access, rest, done: 0, tried: None }
    }

    /// What is left of the buffer.
    pub fn buffer(&self) -> UserBuffer<'a> {
        UserBuffer::again(self.mm, self.pieces, self.done, self.tried)
    }

    /// Bytes that earlier tries have moved.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Takes over the result of a try; `None` when there is to be another one.
    pub async fn finish(
        &mut self,
        result: Result<usize, Errno>,
        buffer: &UserBuffer<'_>,
    ) -> Option<Result<usize, Errno>> {
        let goes_on = match result {
            Ok(done) => {
                self.done += done;
                self.rest == Rest::Move
            }
            Err(error) => error == Errno::EFAULT,
        };
        let missing = buffer.fault.filter(|at| goes_on && self.tried != Some(*at));
        if let Some(at) = missing {
            self.tried = Some(at);
            let first = self.mm.touch_wait(at, 1, self.access, 0).await;
            if first.is_ok() {
                self.look_ahead(at).await;
                return None;
            }
            // What lies before the hole can still be moved.
            if result.is_err() && self.buffer().next() != Some(at) {
                return None;
            }
        }
        Some(if self.done > 0 { Ok(self.done) } else { result })
    }

    /// Fetches what comes next in the buffer, so that it is moved in large parts. Only to be read: what is not written in the
    /// end stays clean.
    async fn look_ahead(&self, at: u64) {
        let mut left = AHEAD;
        let behind =
            self.pieces.iter().skip_while(|piece| !(piece.base..piece.base + piece.len).contains(&at));
        for (index, piece) in behind.enumerate() {
            let start = if index == 0 { at } else { piece.base };
            let len = (piece.base + piece.len - start).min(left);
            if self.mm.touch_wait(start, len, Access::Read, 0).await.is_err() {
                return;
            }
            left -= len;
        }
    }
}

/// The status flags under which a file is read or written with flags `how` of preadv2(2). What the host is asked for is its to
/// judge; files of the node are never polled, and on no disk: there is nothing to do for RWF_HIPRI, RWF_DSYNC and RWF_SYNC.
fn flags_with(description: &Description, how: u32) -> Result<u32, Errno> {
    let flags = description.flags();
    if how == 0 {
        return Ok(flags);
    }
    if how & !RWF_ALL != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if how & RWF_APPEND != 0 && how & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let file = description.file();
    if file.host().is_none() {
        const HERE: u32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
        // As on Linux, what has its bytes in memory does not say whether it would wait.
        if how & !HERE != 0 || how & RWF_NOWAIT != 0 && file.queue().is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
    }
    let set = |mask, flag| if how & mask != 0 { flag } else { 0 };
    let taken = set(RWF_NOAPPEND, O_APPEND);
    Ok(flags & !taken | set(RWF_APPEND, O_APPEND) | set(RWF_NOWAIT, O_NONBLOCK))
}

/// read(2) and its relatives, with flags of preadv2(2).
pub async fn read(
    caller: &Caller<'_>,
    mm: &Mm,
    description: &Description,
    at: Option<u64>,
    pieces: &[Iovec],
    how: u32,
) -> Result<u64, Errno> {
    let flags = flags_with(description, how)?;
    if let Some(mapped) = Mapped::of(caller, description) {
        mapped.push().await?;
    }
    let file = description.file();
    // The host keeps what comes in parts until there is room for all that was asked for.
    let rest = if file.positioned() || file.host().is_some() { Rest::Move } else { Rest::Leave };
    let mut transfer = Transfer::new(mm, pieces, Access::Write, rest);
    loop {
        let at = at.map(|at| at.saturating_add(transfer.done() as u64));
        let mut buffer = transfer.buffer();
        let result = wait(caller, flags, |cx, operation| {
            operation.how = how;
            description.poll_read(cx, operation, at, &mut buffer)
        })
        .await;
        if let Some(done) = transfer.finish(result, &buffer).await {
            return done.map(|done| done as u64);
        }
    }
}

/// write(2) and its relatives, with flags of pwritev2(2). EPIPE raises SIGPIPE, EFBIG SIGXFSZ.
pub async fn write(
    caller: &Caller<'_>,
    mm: &Mm,
    description: &Description,
    at: Option<u64>,
    pieces: &[Iovec],
    how: u32,
) -> Result<u64, Errno> {
    let flags = flags_with(description, how)?;
    let mapped = Mapped::of(caller, description);
    if let Some(mapped) = &mapped {
        mapped.push().await?;
    }
    let mut transfer = Transfer::new(mm, pieces, Access::Read, Rest::Move);
    let done = loop {
        let at = at.map(|at| at.saturating_add(transfer.done() as u64));
        let mut buffer = transfer.buffer();
        let result = wait(caller, flags, |cx, operation| {
            operation.how = how;
            description.poll_write(cx, operation, at, &mut buffer)
        })
        .await;
        if let Some(done) = transfer.finish(result, &buffer).await {
            break done;
        }
    };
    if let (Some(mapped), Ok(count)) = (&mapped, done) {
        // The bytes are in the file: nothing that fails now makes the call fail.
        let shown = mapped.written(caller, description, flags, at, pieces, count as u64).await;
        if let Err(error) = shown {
            log::warn!("lwk: a mapping does not show what was written to its file: {error}");
        }
    }
    done.map(|done| done as u64).map_err(|error| too_large(caller, broken_pipe(caller, error)))
}

#[cfg(test)]
mod tests;
