//! Files of the host: a handle, and what is known of it here.

use super::file::{File, Operation};
use super::flags::{O_NONBLOCK, O_PATH};
use super::{Events, FileType, Source, Stat, Target, WaitQueue};
use crate::Errno;
use crate::delegate::{Call, Delegate, Handle, NOT_TOLD, Opened, Readiness};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::{Context, Poll, ready};

/// Bytes that one message moves; longer calls are made of several.
const PIECE: usize = 1 << 20;

/// x86-64 numbers of the calls that are made for files of the host.
mod number {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const PREAD64: u32 = 17;
    pub const PWRITE64: u32 = 18;
    pub const PREADV2: u32 = 327;
    pub const PWRITEV2: u32 = 328;
}

/// A file of the host.
pub struct HostFile {
    delegate: Arc<dyn Delegate>,
    handle: Handle,
    opened: Opened,
    /// The handle is no longer ours to release.
    released: AtomicBool,
    /// The process may have a record lock through it.
    locked: AtomicBool,
    readiness: Arc<Cache>,
    /// Events that the host was asked to report.
    subscribed: AtomicU32,
}

/// What the host said last about the readiness of a handle (section 5.8).
struct Cache {
    events: AtomicU32,
    queue: WaitQueue,
}

/// The host has not answered the last subscription yet. Not a bit of poll(2).
const UNKNOWN: u32 = 1 << 31;

/// The bits that poll(2) has: whatever else a host may say means something else here.
const POLLED: u32 = 0xffff;

/// What watchers are told besides the events: nothing happened, if these are the first that are known.
fn since(before: u32, events: u32) -> Events {
    if before & UNKNOWN != 0 {
        Events::STATE
    } else {
        Events::ROOM.when(events & !before & Events::OUT.0 != 0)
    }
}

impl Readiness for Cache {
    fn ready(&self, events: u32) {
        let events = events & POLLED;
        let before = self.events.swap(events, Ordering::AcqRel);
        self.queue.notify(Events(events) | since(before, events));
    }

    fn holds(&self, events: u32) {
        let events = events & POLLED;
        let before = self.events.swap(events, Ordering::AcqRel);
        let new = if before & UNKNOWN != 0 { events } else { events & !before };
        if new != 0 {
            self.queue.notify(Events(new) | since(before, events));
        }
    }
}

impl HostFile {
    /// The file that `handle` names at `delegate`.
    pub fn new(delegate: Arc<dyn Delegate>, handle: Handle, opened: Opened) -> HostFile {
        let cache = Cache { events: AtomicU32::new(UNKNOWN), queue: WaitQueue::new() };
        HostFile {
            delegate,
            handle,
            opened,
            released: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            readiness: Arc::new(cache),
            subscribed: AtomicU32::new(0),
        }
    }

    /// The host that has it.
    pub fn delegate(&self) -> &Arc<dyn Delegate> {
        &self.delegate
    }

    /// Its name there.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// What was known when it was opened.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Its type; `None` for what has no type on Linux either.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::of(self.opened.stat.mode)
    }

    /// The handle is released by other means: a close whose result matters.
    pub fn take_over(&self) -> bool {
        !self.released.swap(true, Ordering::AcqRel)
    }

    /// The process took a record lock (fcntl(2)).
    pub fn lock_taken(&self) {
        self.locked.store(true, Ordering::Release);
    }

    /// Whether it may have one; not any more afterwards.
    pub fn locks_end(&self) -> bool {
        self.locked.swap(false, Ordering::AcqRel)
    }

    /// Takes over what a reply says of the readiness of the handle.
    pub fn answered(&self, events: u32) {
        if self.subscribed.load(Ordering::Acquire) != 0 && events != NOT_TOLD {
            self.readiness.holds(events);
        }
    }

    /// Always ready, whatever happens.
    fn never_waits(&self) -> bool {
        matches!(self.file_type(), Some(FileType::Regular | FileType::Directory | FileType::Block))
    }

    /// The call that moves `count` bytes, of those without a position, with one, and with flags; and its arguments.
    fn transfer(
        &self,
        [plain, positioned, flagged]: [u32; 3],
        count: usize,
        at: Option<u64>,
        done: usize,
        how: u32,
    ) -> Result<(u32, [u64; 6]), Errno> {
        let (handle, count) = (self.handle.0, count as u64);
        let at = match at {
            None => None,
            Some(at) => Some(at.checked_add(done as u64).ok_or(Errno::EINVAL)?),
        };
        Ok(match at {
            // One piece; -1 is the file's own position.
            _ if how != 0 => (flagged, [handle, 0, 1, at.unwrap_or(u64::MAX), 0, how.into()]),
            Some(at) => (positioned, [handle, 0, count, at, 0, 0]),
            None => (plain, [handle, 0, count, 0, 0, 0]),
        })
    }

    /// A further message is worth sending after one that moved all it could: not for streams, where it might wait.
    fn goes_on(&self, operation: &Operation) -> bool {
        self.file_type() == Some(FileType::Regular) && !operation.leaving
    }
}

impl File for HostFile {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        loop {
            let (tid, done, how, left) = (operation.tid, operation.done, operation.how, into.left());
            let reply = ready!(operation.poll_call(cx, &self.delegate, || {
                // Not one byte is fetched that the program could not be given.
                let wanted = left.min(PIECE);
                let room = into.room(wanted);
                if room < wanted && (room == 0 || into.may_come()) {
                    return Err(Errno::EFAULT);
                }
                let numbers = [number::READ, number::PREAD64, number::PREADV2];
                let (number, arguments) = self.transfer(numbers, room, at, done, how)?;
                Ok(Call { tid, number, arguments, input: Vec::new(), output: vec![(1, room as u32)] })
            }));
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => return Poll::Ready(partial(done, error)),
            };
            self.answered(reply.events);
            let Ok(count) = usize::try_from(reply.result) else {
                return Poll::Ready(partial(done, errno(reply.result)));
            };
            let bytes = reply.output.first().map_or(&[][..], |(_, bytes)| bytes);
            let count = count.min(bytes.len()).min(left);
            let put = into.put(&bytes[..count]);
            operation.done += put;
            let full = put == count && count == left.min(PIECE) && into.left() > 0 && count > 0;
            if put == 0 && count > 0 {
                return Poll::Ready(partial(done, Errno::EFAULT));
            }
            if !full || !self.goes_on(operation) {
                return Poll::Ready(Ok(operation.done));
            }
        }
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        at: Option<u64>,
        from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        loop {
            let (tid, done, how) = (operation.tid, operation.done, operation.how);
            let reply = ready!(operation.poll_call(cx, &self.delegate, || {
                let mut bytes = Vec::new();
                let len = from.left().min(PIECE);
                bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
                bytes.resize(len, 0);
                let got = from.take(&mut bytes);
                if got < len && (got == 0 || from.may_come()) {
                    return Err(Errno::EFAULT);
                }
                bytes.truncate(got);
                let numbers = [number::WRITE, number::PWRITE64, number::PWRITEV2];
                let (number, arguments) = self.transfer(numbers, got, at, done, how)?;
                Ok(Call { tid, number, arguments, input: vec![(1, bytes)], output: Vec::new() })
            }));
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => return Poll::Ready(partial(done, error)),
            };
            self.answered(reply.events);
            let Ok(count) = usize::try_from(reply.result) else {
                return Poll::Ready(partial(done, errno(reply.result)));
            };
            operation.done += count.min(PIECE);
            // A short write, or all is written, or the thread is wanted elsewhere.
            if count < PIECE || from.left() == 0 || operation.leaving {
                return Poll::Ready(Ok(operation.done));
            }
        }
    }

    fn stat(&self) -> Stat {
        Stat::of_host(&self.opened.stat)
    }

    fn name(&self) -> String {
        let kind = match self.file_type() {
            Some(FileType::Fifo) => "pipe",
            Some(FileType::Socket) => "socket",
            _ => "host",
        };
        format!("{kind}:[{}]", self.opened.stat.ino)
    }

    fn events(&self) -> Events {
        if self.never_waits() {
            return Events::READY;
        }
        Events(self.readiness.events.load(Ordering::Acquire) & !UNKNOWN)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        (!self.never_waits()).then_some(&self.readiness.queue)
    }

    fn signals(&self) -> bool {
        !self.never_waits()
    }

    fn expect(&self, events: Events) {
        if self.never_waits() {
            return;
        }
        let events = (events | Events::ALWAYS).0;
        let before = self.subscribed.fetch_or(events, Ordering::AcqRel);
        if before & events == events {
            return;
        }
        let all = before | events;
        // The host answers with what holds now; what is known stays in use until then.
        self.readiness.events.fetch_or(UNKNOWN, Ordering::AcqRel);
        if self.delegate.subscribe(self.handle, all, self.readiness.clone()).is_err() {
            // Linux cannot wait for it, or the host is lost: then nobody shall wait.
            self.readiness.ready((Events::READY | Events::ERR.when(!self.delegate.is_alive())).0);
        }
    }

    fn settled(&self) -> bool {
        self.never_waits() || self.readiness.events.load(Ordering::Acquire) & UNKNOWN == 0
    }

    fn host(&self) -> Option<&HostFile> {
        Some(self)
    }

    fn forked(&self, parent: &Arc<dyn Delegate>, child: &Arc<dyn Delegate>) -> Option<Arc<dyn File>> {
        // What came from another process by a socket is not among the handles that the proxy inherits.
        Arc::ptr_eq(&self.delegate, parent)
            .then(|| Arc::new(HostFile::new(child.clone(), self.handle, self.opened)) as Arc<dyn File>)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        if self.subscribed.load(Ordering::Acquire) != 0 {
            // The handle is about to go; that it was unsubscribed matters to nobody else.
            let _ = self.delegate.subscribe(self.handle, 0, self.readiness.clone());
        }
        if self.take_over() {
            self.delegate.close(&[self.handle]);
        }
    }
}

/// After something was moved an error is not told: the next call meets it again.
fn partial(done: usize, error: Errno) -> Result<usize, Errno> {
    if done > 0 { Ok(done) } else { Err(error) }
}

/// The error of a negative result. What is no error number of a program's is EIO.
pub fn errno(result: i64) -> Errno {
    Errno::from_result(result).filter(|error| error.raw() < 512).unwrap_or(Errno::EIO)
}

/// Flags of an open description that are the node's own business.
pub fn status(flags: u32) -> u32 {
    flags & (super::flags::SETTABLE | O_NONBLOCK | O_PATH | super::flags::O_SYNC | super::flags::O_LARGEFILE)
}
