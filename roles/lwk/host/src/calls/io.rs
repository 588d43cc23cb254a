//! Reading and writing.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::MAX_INLINE;
use keelson_lwk_wire::messages::{FdKind, Part};
use rustix::event::PollFlags;
use rustix::io::ReadWriteFlags;
use rustix::net::{RecvFlags, SendFlags};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use super::{Held, Reply, Task, done};
use crate::fail::Fail;
use crate::proxy::cancel::ready_now;
use crate::proxy::handles::Handle;
use crate::proxy::lock;
use crate::proxy::streams::piece;

/// Bytes that a pipe takes without waiting when it says it takes any (PIPE_BUF).
const PIPE_PIECE: usize = 4096;
/// The same for a terminal, which may be stopped.
const TERMINAL_PIECE: usize = 256;

/// Where to read or write, and how.
#[derive(Clone, Copy)]
struct How {
    /// `None`: at the file's own offset.
    offset: Option<u64>,
    flags: ReadWriteFlags,
}

impl How {
    fn of(task: &Task<'_>) -> Result<How, Fail> {
        let offset = match task.nr() {
            17 | 18 | 295 | 296 => Some(task.arg(3)),
            // -1 is the file's own offset here.
            327 | 328 => Some(task.arg(3)).filter(|offset| *offset != u64::MAX),
            _ => None,
        };
        if offset.is_some_and(|offset| i64::try_from(offset).is_err()) {
            return Err(Fail(Errno::EINVAL));
        }
        let flags = if matches!(task.nr(), 327 | 328) { task.int(5) } else { 0 };
        Ok(How { offset, flags: ReadWriteFlags::from_bits_retain(flags) })
    }

    /// Not with RWF_NOWAIT.
    fn may_wait(self) -> bool {
        !self.flags.contains(ReadWriteFlags::NOWAIT)
    }

    fn after(self, bytes: u64) -> How {
        How { offset: self.offset.map(|offset| offset.saturating_add(bytes)), ..self }
    }

    fn read(self, fd: impl AsFd, into: &mut [u8]) -> Result<usize, Fail> {
        Ok(match self.offset {
            _ if !self.flags.is_empty() => {
                let offset = self.offset.unwrap_or(u64::MAX);
                rustix::io::preadv2(fd, &mut [IoSliceMut::new(into)], offset, self.flags)?
            }
            Some(offset) => rustix::io::pread(fd, into, offset)?,
            None => rustix::io::read(fd, into)?,
        })
    }

    fn write(self, fd: impl AsFd, from: &[u8]) -> Result<usize, Fail> {
        Ok(match self.offset {
            _ if !self.flags.is_empty() => {
                rustix::io::pwritev2(fd, &[IoSlice::new(from)], self.offset.unwrap_or(u64::MAX), self.flags)?
            }
            Some(offset) => rustix::io::pwrite(fd, from, offset)?,
            None => rustix::io::write(fd, from)?,
        })
    }
}

/// read, pread64, readv, preadv, preadv2
pub(super) fn read(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let how = How::of(task)?;
    stream_out(task, &handle, |into, done| read_some(task, &handle, how.after(done), into))
}

/// Reads with `some` until the program has what it wants, or there is no more: in the answer, or in DATA.
pub(super) fn stream_out(
    task: &Task<'_>,
    handle: &Handle,
    mut some: impl FnMut(&mut [u8], u64) -> Result<usize, Fail>,
) -> Result<Reply, Fail> {
    let output = task.checked.data_out();
    let wanted = output.map_or(0, |output| output.len) as u64;
    if wanted <= MAX_INLINE as u64 {
        let mut bytes = vec![0; wanted as usize];
        let got = some(&mut bytes, 0)?;
        bytes.truncate(got);
        return Ok(Reply::value(got as i64).with(output, bytes));
    }
    let (proxy, request) = (task.proxy, task.request);
    let mut done = 0;
    loop {
        let size = piece(wanted, done);
        if size == 0 {
            break;
        }
        let mut bytes = vec![0; size];
        // First the permission to send: what is read from a pipe cannot be put back.
        let got = proxy.reserve_data(request, size).and_then(|offset| {
            let got = some(&mut bytes, done).inspect_err(|_| proxy.unreserve_data(request, size))?;
            bytes.truncate(got);
            let ends = got < size || handle.kind != FdKind::Regular;
            if done == 0 && ends && got <= MAX_INLINE {
                proxy.unreserve_data(request, size);
            } else {
                proxy.send_data(request, offset, size, &bytes);
            }
            Ok((got, ends))
        });
        match got {
            Ok((got, true)) if done == 0 && got <= MAX_INLINE => {
                return Ok(Reply::value(got as i64).with(output, bytes));
            }
            Ok((got, ends)) => {
                done += got as u64;
                if ends {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(fail) => return Err(fail),
        }
    }
    Ok(Reply::value(done as i64))
}

fn read_some(task: &Task<'_>, handle: &Held, how: How, into: &mut [u8]) -> Result<usize, Fail> {
    let waits = handle.kind.may_block() && how.may_wait();
    if !waits || how.offset.is_some() || handle.is_nonblocking() || reads_at_once(handle) {
        return how.read(&**handle, into);
    }
    if handle.kind == FdKind::Socket && how.flags.is_empty() {
        return when_ready(task, handle, PollFlags::IN, || {
            Ok(rustix::net::recv(&**handle, &mut *into, RecvFlags::DONTWAIT).map(|(_, got)| got)?)
        });
    }
    loop {
        if task.request.never_waits() {
            if ready_now(&**handle, PollFlags::IN).is_empty() {
                return Err(Fail(Errno::EAGAIN));
            }
        } else {
            task.request.wait_ready(&**handle, PollFlags::IN)?;
        }
        let _turn = lock(&handle.reading);
        if !ready_now(&**handle, PollFlags::IN).is_empty() {
            return how.read(&**handle, into);
        }
    }
}

/// A terminal that gives what it has, be it nothing, after a while (VMIN 0): it may never call itself ready.
fn reads_at_once(handle: &Handle) -> bool {
    handle.kind == FdKind::Terminal
        && tcgetattr(handle).is_ok_and(|termios| {
            let codes = &termios.special_codes;
            !termios.local_modes.contains(LocalModes::ICANON) && codes[SpecialCodeIndex::VMIN] == 0
        })
}

/// Repeats `attempt`, which does not wait, until it does not say EAGAIN.
pub(super) fn when_ready<T>(
    task: &Task<'_>,
    handle: &Handle,
    events: PollFlags,
    mut attempt: impl FnMut() -> Result<T, Fail>,
) -> Result<T, Fail> {
    loop {
        match attempt() {
            Err(Fail(Errno::EAGAIN)) if !task.request.never_waits() && !handle.is_nonblocking() => {
                task.request.wait_ready(handle, events)?;
            }
            other => return other,
        }
    }
}

/// write, pwrite64, writev, pwritev, pwritev2
pub(super) fn write(task: &Task<'_>) -> Result<Reply, Fail> {
    let handle = task.handle(0)?;
    let how = How::of(task)?;
    stream_in(task, |bytes, done| write_some(task, &handle, how.after(done), bytes))
}

/// Writes with `some` what came with the request, or comes in DATA.
pub(super) fn stream_in(
    task: &Task<'_>,
    mut some: impl FnMut(&[u8], u64) -> Result<usize, Fail>,
) -> Result<Reply, Fail> {
    let Some(input) = task.checked.data_in() else { return Ok(Reply::value(some(&[], 0)? as i64)) };
    if let Some(bytes) = input.bytes {
        return Ok(Reply::value(some(bytes, 0)? as i64));
    }
    let (mut done, wanted) = (0u64, u64::from(input.len));
    while done < wanted {
        let next = task.proxy.next_data(task.request).and_then(|bytes| match bytes {
            Some(bytes) => Ok(Some((bytes.len(), some(&bytes, done)?))),
            None => Ok(None),
        });
        match next {
            Ok(Some((len, written))) => {
                done += written as u64;
                if written < len {
                    break;
                }
            }
            Ok(None) => break,
            Err(_) if done > 0 => break,
            Err(fail) => return Err(fail),
        }
    }
    Ok(Reply::value(done as i64))
}

/// Writes all, unless it fails or is given up after a part of it.
fn write_some(task: &Task<'_>, handle: &Held, how: How, bytes: &[u8]) -> Result<usize, Fail> {
    let waits = handle.kind.may_block() && how.may_wait();
    if !waits || how.offset.is_some() || handle.is_nonblocking() || bytes.is_empty() {
        return how.write(&**handle, bytes);
    }
    let step = match handle.kind {
        FdKind::Socket => usize::MAX,
        FdKind::Terminal => TERMINAL_PIECE,
        _ => PIPE_PIECE,
    };
    let mut written = 0;
    for part in bytes.chunks(step) {
        match write_part(task, handle, how, part) {
            Ok(len) => {
                written += len;
                if len < part.len() {
                    break;
                }
            }
            Err(_) if written > 0 => break,
            Err(fail) => return Err(fail),
        }
    }
    Ok(written)
}

fn write_part(task: &Task<'_>, handle: &Held, how: How, part: &[u8]) -> Result<usize, Fail> {
    if handle.kind == FdKind::Socket && how.flags.is_empty() {
        return send_all(task, handle, part, |part| {
            Ok(rustix::net::send(&**handle, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
        });
    }
    loop {
        if task.request.never_waits() {
            if ready_now(&**handle, PollFlags::OUT).is_empty() {
                return Err(Fail(Errno::EAGAIN));
            }
        } else {
            task.request.wait_ready(&**handle, PollFlags::OUT)?;
        }
        let _turn = lock(&handle.writing);
        if !ready_now(&**handle, PollFlags::OUT).is_empty() {
            return how.write(&**handle, part);
        }
    }
}

/// Sends all on a socket, with calls that do not wait; a datagram goes at once or not at all.
pub(super) fn send_all(
    task: &Task<'_>,
    handle: &Handle,
    bytes: &[u8],
    mut some: impl FnMut(&[u8]) -> Result<usize, Fail>,
) -> Result<usize, Fail> {
    let mut sent = 0;
    loop {
        let rest = bytes.get(sent..).unwrap_or_default();
        match when_ready(task, handle, PollFlags::OUT, || some(rest)) {
            Ok(len) => sent += len,
            Err(_) if sent > 0 => return Ok(sent),
            Err(fail) => return Err(fail),
        }
        if sent >= bytes.len() || task.request.never_waits() || handle.is_nonblocking() {
            return Ok(sent);
        }
    }
}

/// lseek
pub(super) fn seek(task: &Task<'_>) -> Result<Reply, Fail> {
    use rustix::fs::SeekFrom;
    let offset = task.arg(1);
    let from = match task.int(2) {
        0 => SeekFrom::Start(offset),
        1 => SeekFrom::Current(offset as i64),
        2 => SeekFrom::End(offset as i64),
        3 => SeekFrom::Data(offset),
        4 => SeekFrom::Hole(offset),
        _ => return Err(Fail(Errno::EINVAL)),
    };
    if matches!(task.int(2), 0 | 3 | 4) && i64::try_from(offset).is_err() {
        return Err(Fail(if task.int(2) == 0 { Errno::EINVAL } else { Errno::ENXIO }));
    }
    Ok(Reply::value(rustix::fs::seek(&*task.handle(0)?, from)? as i64))
}

/// fsync, fdatasync, sync, syncfs, sync_file_range
pub(super) fn sync(task: &Task<'_>) -> Result<Reply, Fail> {
    match task.nr() {
        74 => done(rustix::fs::fsync(&*task.handle(0)?)),
        75 | 277 => done(rustix::fs::fdatasync(&*task.handle(0)?)),
        306 => done(rustix::fs::syncfs(&*task.handle(0)?)),
        _ => {
            rustix::fs::sync();
            Ok(Reply::done())
        }
    }
}

/// An offset that a call reads and writes, if its pointer is not NULL.
fn offset(task: &Task<'_>, index: u8) -> Option<u64> {
    let bytes = task.checked.input(index, Part::Whole)?;
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// sendfile
pub(super) fn send_file(task: &Task<'_>) -> Result<Reply, Fail> {
    let (to, from) = (task.handle(0)?, task.handle(1)?);
    let (mut at, wanted) = (offset(task, 2), task.arg(3).min(keelson_lwk_wire::calls::MAX_RW_COUNT));
    let waits = to.kind.may_block() && !to.is_nonblocking();
    let mut moved = 0u64;
    while moved < wanted {
        // In steps that a pipe takes, and between which it can be given up.
        let step = (wanted - moved).min(if waits { PIPE_PIECE as u64 } else { 1 << 20 });
        let waited = if waits {
            task.request.wait_ready(&*to, PollFlags::OUT).map(|_| ())
        } else {
            task.request.check()
        };
        let result =
            waited.and_then(|()| Ok(rustix::fs::sendfile(&*to, &*from, at.as_mut(), step as usize)?));
        match result {
            Ok(0) => break,
            Ok(len) => moved += len as u64,
            Err(_) if moved > 0 => break,
            Err(fail) => return Err(fail),
        }
    }
    Ok(Reply::value(moved as i64).with(task.checked.output(2, Part::Whole), at.unwrap_or(0).to_le_bytes()))
}

/// copy_file_range
pub(super) fn copy_range(task: &Task<'_>) -> Result<Reply, Fail> {
    let (from, to) = (task.handle(0)?, task.handle(2)?);
    let (mut at, mut into) = (offset(task, 1), offset(task, 3));
    if task.int(5) != 0 {
        return Err(Fail(Errno::EINVAL));
    }
    let len = task.arg(4).min(keelson_lwk_wire::calls::MAX_RW_COUNT) as usize;
    let moved = rustix::fs::copy_file_range(&*from, at.as_mut(), &*to, into.as_mut(), len)?;
    let reply =
        Reply::value(moved as i64).with(task.checked.output(1, Part::Whole), at.unwrap_or(0).to_le_bytes());
    Ok(reply.with(task.checked.output(3, Part::Whole), into.unwrap_or(0).to_le_bytes()))
}

/// Bytes of a mapped file.
pub fn read_page(handle: &Handle, offset: u64, len: usize) -> Result<Vec<u8>, Fail> {
    if !matches!(handle.kind, FdKind::Regular | FdKind::Block) {
        return Err(Fail(Errno::ENODEV));
    }
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(handle, rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Bytes of a shared mapping, for its file.
pub fn write_page(handle: &Handle, offset: u64, bytes: &[u8], sync: bool) -> Result<(), Fail> {
    let mut rest = bytes;
    let mut at = offset;
    while !rest.is_empty() {
        let written = rustix::io::pwrite(handle, rest, at)?;
        rest = rest.get(written..).unwrap_or_default();
        at = at.saturating_add(written as u64);
    }
    if sync {
        rustix::fs::fdatasync(handle)?;
    }
    Ok(())
}
