//! What a descriptor can refer to.

use super::{Events, FileLocks, HostFile, Source, Stat, Target, WaitQueue};
use crate::Errno;
use crate::delegate::{Call, Delegate, Pending, Reply};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::task::{Context, Poll};

/// An open file or something that can be used like one. May be used by several threads at once.
///
/// Calls that may have to wait are polls: the call lies in an [`Operation`] that its thread keeps, and they are repeated until
/// they are ready. A file that makes somebody wait registers the task in its queue first.
pub trait File: Send + Sync + Any {
    /// Reads, at a position or, for files that have none, what comes next. `Ok(0)` is the end.
    fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        _into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        Poll::Ready(Err(Errno::EINVAL))
    }

    /// Writes, at a position or to the end of what is there. [`Operation::done`] counts what earlier polls have written.
    fn poll_write(
        &self,
        _cx: &mut Context<'_>,
        _operation: &mut Operation,
        _at: Option<u64>,
        _from: &mut dyn Source,
    ) -> Poll<Result<usize, Errno>> {
        Poll::Ready(Err(Errno::EINVAL))
    }

    /// What stat(2) tells. For a host file only what was known when it was opened.
    fn stat(&self) -> Stat;

    /// What /proc/self/fd shows for a file without a path, such as `pipe:[4711]`.
    fn name(&self) -> String;

    /// What holds now.
    fn events(&self) -> Events {
        Events::READY
    }

    /// The same as a thread sees it, where that makes a difference.
    fn events_for(&self, _tid: u32) -> Events {
        self.events()
    }

    /// Where waiting tasks register; `None` for files that never change what [`File::events`] says.
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// O_ASYNC has an effect: terminals, sockets, pipes (fcntl(2)).
    fn signals(&self) -> bool {
        false
    }

    /// Somebody is going to look at these events: a host file subscribes to them.
    fn expect(&self, _events: Events) {}

    /// False while nothing is known of the events of a host file: its first answer is on the way.
    fn settled(&self) -> bool {
        true
    }

    /// The file is read and written at positions that its description keeps.
    fn positioned(&self) -> bool {
        false
    }

    /// Where a position counted from the end, from data or from a hole lies: `whence` of lseek(2) from SEEK_END up.
    fn seek(&self, offset: i64, whence: u32) -> Result<u64, Errno> {
        match whence {
            super::flags::SEEK_END => self.stat().size.checked_add_signed(offset).ok_or(Errno::EINVAL),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Bytes that can be read at once (FIONREAD).
    fn readable(&self) -> Option<usize> {
        None
    }

    /// ftruncate(2).
    fn truncate(&self, _len: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2).
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// fcntl(2) commands that belong to a kind of file: sizes of pipes, seals.
    fn control(&self, _command: u32, _argument: u64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }

    /// Its locks, for files of the node that have any.
    fn locks(&self) -> Option<&Arc<FileLocks>> {
        None
    }

    /// What the file is on the host, for those that are there.
    fn host(&self) -> Option<&HostFile> {
        None
    }

    /// The same file for a child whose proxy has inherited the parent's handles; `None` when parent and child share the file
    /// itself.
    fn forked(&self, _parent: &Arc<dyn Delegate>, _child: &Arc<dyn Delegate>) -> Option<Arc<dyn File>> {
        None
    }

    /// For those who need to know what it is.
    fn as_any(&self) -> &dyn Any;
}

/// A read or write in progress. Lies with the thread that waits for it.
pub struct Operation {
    /// The thread.
    pub tid: u32,
    /// Status flags of the description: O_NONBLOCK, O_APPEND, O_DIRECT.
    pub flags: u32,
    /// Flags of preadv2(2) for the host; 0 for everything else.
    pub how: u32,
    /// Where the thread's files must end (RLIMIT_FSIZE), for those that the node keeps.
    pub file_limit: u64,
    /// The kernel is short of memory: nothing is kept that there is no room for yet.
    pub short: bool,
    /// Bytes that earlier polls have moved.
    pub done: usize,
    /// The thread wants to leave: no further piece is begun.
    pub leaving: bool,
    call: Option<(Arc<dyn Delegate>, Pending)>,
}

impl Operation {
    /// Nothing is done yet.
    pub fn new(tid: u32, flags: u32) -> Operation {
        let file_limit = u64::MAX;
        Operation { tid, flags, how: 0, file_limit, short: false, done: 0, leaving: false, call: None }
    }

    /// True when the call must not wait.
    pub fn nonblocking(&self) -> bool {
        self.flags & super::flags::O_NONBLOCK != 0
    }

    /// What a call that found nothing to do has come to: EAGAIN when it must not wait.
    pub fn wait<T>(&self) -> Poll<Result<T, Errno>> {
        if self.nonblocking() { Poll::Ready(Err(Errno::EAGAIN)) } else { Poll::Pending }
    }

    /// Waits for the call at the host, which `start` makes when there is none.
    pub fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        delegate: &Arc<dyn Delegate>,
        start: impl FnOnce() -> Result<Call, Errno>,
    ) -> Poll<Result<Reply, Errno>> {
        if self.call.is_none() {
            let call = match start() {
                Ok(call) => call,
                Err(error) => return Poll::Ready(Err(error)),
            };
            self.call = Some((delegate.clone(), delegate.call(call)));
        }
        let Some((_, pending)) = &mut self.call else { return Poll::Ready(Err(Errno::EIO)) };
        pending.as_mut().poll(cx).map(|reply| {
            self.call = None;
            Ok(reply)
        })
    }

    /// The thread wants to leave. Asks the host to break off what it does; true when its answer must be waited for.
    pub fn leave(&mut self) -> bool {
        self.leaving = true;
        if let Some((delegate, _)) = &self.call {
            delegate.cancel(self.tid);
        }
        self.call.is_some()
    }
}
