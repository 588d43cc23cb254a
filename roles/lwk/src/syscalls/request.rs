//! Calls that are done by the host.

use super::Caller;
use crate::Errno;
use crate::delegate::{Call, Delegate, Reply};
use crate::files::{HostFile, UserBuffer};
use crate::files::{Iovec, Target};
use crate::locks::{FIRST_LOOK, LATER_LOOKS};
use crate::mm::Mm;
use crate::restart::RESTART;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_exec::{Either, select};

/// Longest path, with the zero at its end (PATH_MAX).
const PATH_MAX: usize = 4096;

/// Most bytes that a program may hand over in one argument: what one message holds.
pub const MAX_ARGUMENT: u64 = 1 << 20;

/// A call that is being put together.
pub struct Request<'a> {
    caller: &'a Caller<'a>,
    call: Call,
}

impl<'a> Request<'a> {
    /// Number `number` with these arguments. What is an address or a descriptor is replaced by the calls below.
    pub fn new(caller: &'a Caller<'a>, number: u32, arguments: [u64; 6]) -> Request<'a> {
        let call = Call { tid: caller.thread.tid, number, arguments, ..Call::default() };
        Request { caller, call }
    }

    /// Argument `index` is this file.
    pub fn handle(mut self, index: usize, file: &HostFile) -> Request<'a> {
        self.call.arguments[index] = file.handle().0;
        self
    }

    /// Argument `index` has this value.
    pub fn value(mut self, index: usize, value: u64) -> Request<'a> {
        self.call.arguments[index] = value;
        self
    }

    /// Argument `index` points to bytes that the host reads.
    pub fn input(mut self, index: u8, bytes: Vec<u8>) -> Request<'a> {
        self.call.arguments[index as usize] = 0;
        self.call.input.push((index, bytes));
        self
    }

    /// Argument `index` points to a path.
    pub fn path(self, index: u8, path: &[u8]) -> Request<'a> {
        let mut bytes = Vec::with_capacity(path.len() + 1);
        bytes.extend_from_slice(path);
        bytes.push(0);
        self.input(index, bytes)
    }

    /// Argument `index` points to `len` bytes of the program that the host reads.
    pub fn user_input(self, mm: &Mm, index: u8, at: u64, len: u64) -> Result<Request<'a>, Errno> {
        let bytes = read_bytes(mm, at, len)?;
        Ok(self.input(index, bytes))
    }

    /// Argument `index` points to memory where the host stores at most `len` bytes.
    pub fn output(mut self, index: u8, len: u64) -> Request<'a> {
        self.call.arguments[index as usize] = 0;
        self.call.output.push((index, len.min(MAX_ARGUMENT) as u32));
        self
    }

    /// Has it done by `delegate`. A signal makes the host break it off; whatever comes back is the result.
    pub async fn send(self, delegate: &Arc<dyn Delegate>) -> Result<Reply, Errno> {
        let thread = self.caller.thread;
        let mut pending = delegate.call(self.call);
        let reply = match thread.interruptible(&mut pending).await {
            Ok(reply) => reply,
            Err(_) => {
                delegate.cancel(thread.tid);
                pending.await
            }
        };
        match result_of(&reply) {
            Err(Errno::EINTR) => Err(RESTART),
            result => result.map(|_| reply),
        }
    }

    /// The same for F_SETLKW, whose argument 2 is the lock: EDEADLK when it would wait for itself.
    pub async fn send_for_lock(self, file: &HostFile) -> Result<Reply, Errno> {
        let (thread, delegate) = (self.caller.thread, file.delegate());
        let wanted = self.call.input.first().map_or_else(Vec::new, |(_, bytes)| bytes.clone());
        let (timers, waits) = (&thread.process.system.timers, &thread.process.node.lock_waits);
        let mut pending = delegate.call(self.call);
        let (mut waiting, mut pause, mut deadlock) = (None, FIRST_LOOK, false);
        let reply = loop {
            let look = timers.at(timers.now() + pause);
            match thread.interruptible(select(&mut pending, look)).await {
                Ok(Either::First(reply)) => break reply,
                Ok(Either::Second(())) => {
                    let enter = || waits.enter(thread.process.pid, delegate, file.handle(), &wanted);
                    deadlock = waiting.get_or_insert_with(enter).closes_circle().await;
                    pause = LATER_LOOKS;
                    if !deadlock {
                        continue;
                    }
                }
                Err(_) => {}
            }
            delegate.cancel(thread.tid);
            break (&mut pending).await;
        };
        file.answered(reply.events);
        match result_of(&reply) {
            Err(Errno::EINTR) => Err(if deadlock { Errno::EDEADLK } else { RESTART }),
            result => result.map(|_| reply),
        }
    }

    /// The same for a call that signals must not break off.
    pub async fn send_through(self, delegate: &Arc<dyn Delegate>) -> Result<Reply, Errno> {
        let reply = delegate.call(self.call).await;
        result_of(&reply).map(|_| reply)
    }

    /// The same for a call on a file, whose readiness the reply tells.
    pub async fn send_to(self, file: &HostFile) -> Result<Reply, Errno> {
        let reply = self.send(file.delegate()).await?;
        file.answered(reply.events);
        Ok(reply)
    }
}

/// The result of a reply.
pub fn result_of(reply: &Reply) -> Result<u64, Errno> {
    u64::try_from(reply.result).map_err(|_| crate::files::errno_of(reply.result))
}

/// The bytes that the host stored for an argument.
pub fn output_of(reply: &Reply, argument: u8) -> &[u8] {
    reply.output.iter().find(|(index, _)| *index == argument).map_or(&[], |(_, bytes)| bytes)
}

/// Stores what came for `argument` at `at`, at most `most` bytes.
pub fn store(mm: &Mm, reply: &Reply, argument: u8, at: u64, most: u64) -> Result<(), Errno> {
    let bytes = output_of(reply, argument);
    let len = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    mm.write(at, &bytes[..len])
}

/// Copies bytes of the program; E2BIG-like lengths are EINVAL.
pub fn read_bytes(mm: &Mm, at: u64, len: u64) -> Result<Vec<u8>, Errno> {
    if len > MAX_ARGUMENT {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len as usize).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len as usize, 0);
    mm.read(at, &mut bytes)?;
    Ok(bytes)
}

/// Reads a path, which may lie in a page of a file; ENAMETOOLONG.
pub async fn read_path(caller: &Caller<'_>, at: u64) -> Result<Vec<u8>, Errno> {
    read_name(caller, at, PATH_MAX).await
}

/// Reads a string of fewer than `most` bytes; ENAMETOOLONG.
pub async fn read_name(caller: &Caller<'_>, at: u64, most: usize) -> Result<Vec<u8>, Errno> {
    caller.thread.process.mm().read_string_wait(at, most).await
}

/// EFAULT, before anything has happened, unless `len` bytes at `at` can be written.
pub fn check_writable(mm: &Mm, at: u64, len: u64) -> Result<(), Errno> {
    let pieces = [Iovec::new(at, len)?];
    let wanted = pieces[0].len as usize;
    if UserBuffer::new(mm, &pieces).room(wanted) == wanted { Ok(()) } else { Err(Errno::EFAULT) }
}
