//! Requests under way, and how they are given up (section 5.6).
//!
//! The specification interrupts a worker by a signal. Without `unsafe` there is no signal to a thread, and there is a way
//! without its race: a call that can wait waits in poll(2), for its descriptor and for an eventfd of its worker, and calls only
//! when it will not wait. CANCEL writes to the eventfd. What has happened by then is the result; what has not is EINTR.

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use keelson_lwk_wire::Errno;
use keelson_lwk_wire::frame::{Flags, Header};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::lock;
use super::streams::Streams;
use crate::fail::Fail;
use crate::link::Lane;

/// A SYSCALL that has not been answered.
pub struct Request {
    /// Its id.
    pub id: u64,
    header: Header,
    cancelled: AtomicBool,
    /// The eventfd of the worker that waits for it.
    sleeper: Mutex<Option<Arc<OwnedFd>>>,
    /// DATA in both directions.
    pub(super) streams: Mutex<Streams>,
    /// Set when its answer begins to stream, and the same until its end: the second connection, or `hi` where there is none.
    pub(super) way: OnceLock<Option<Arc<Lane>>>,
    /// Something about `streams` or `cancelled` changed.
    pub(super) changed: Condvar,
}

thread_local! {
    /// One for each worker, for as long as it lives.
    static SLEEPER: OnceCell<Arc<OwnedFd>> = const { OnceCell::new() };
}

fn sleeper() -> Result<Arc<OwnedFd>, Fail> {
    SLEEPER.with(|cell| match cell.get() {
        Some(fd) => Ok(fd.clone()),
        None => {
            let fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            Ok(cell.get_or_init(|| fd).clone())
        }
    })
}

impl Request {
    /// For this SYSCALL.
    pub fn new(header: &Header) -> Request {
        Request {
            id: header.id,
            header: *header,
            cancelled: AtomicBool::new(false),
            sleeper: Mutex::new(None),
            streams: Mutex::new(Streams::new()),
            way: OnceLock::new(),
            changed: Condvar::new(),
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The node would rather have EAGAIN than wait.
    pub fn never_waits(&self) -> bool {
        self.header.flags.contains(Flags::NONBLOCK)
    }

    /// Gives it up.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(sleeper) = &*lock(&self.sleeper) {
            // It can only be full, and then the worker wakes too.
            let _ = rustix::io::write(sleeper, &1u64.to_ne_bytes());
        }
        // Whoever looks at the flag under the lock now sees it, or is not waiting yet.
        drop(lock(&self.streams));
        self.changed.notify_all();
    }

    /// It was given up.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// EINTR when it was given up.
    pub fn check(&self) -> Result<(), Fail> {
        if self.is_cancelled() { Err(Fail(Errno::EINTR)) } else { Ok(()) }
    }

    /// Waits until `fd` is ready, or fails, for `events`. EINTR when the request is given up meanwhile.
    pub fn wait_ready(&self, fd: impl AsFd, events: PollFlags) -> Result<PollFlags, Fail> {
        let own = sleeper()?;
        *lock(&self.sleeper) = Some(own.clone());
        let result = self.wait_with(&own, fd, events);
        *lock(&self.sleeper) = None;
        // For the next request: nobody writes to it any more.
        let mut drain = [0; 8];
        let _ = rustix::io::read(&own, &mut drain);
        result
    }

    fn wait_with(&self, own: &OwnedFd, fd: impl AsFd, events: PollFlags) -> Result<PollFlags, Fail> {
        loop {
            self.check()?;
            let mut fds = [PollFd::new(&fd, events), PollFd::new(own, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [fd, _] = &fds;
            if !fd.revents().is_empty() {
                return Ok(fd.revents());
            }
        }
    }

    /// Waits a while, for what gives no readiness. EINTR when the request is given up.
    pub fn pause(&self, time: Duration) -> Result<(), Fail> {
        let streams = lock(&self.streams);
        self.check()?;
        drop(self.changed.wait_timeout(streams, time));
        self.check()
    }
}

/// What `fd` is ready for now.
pub fn ready_now(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, events)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => fds.first().map_or(PollFlags::empty(), PollFd::revents),
        Err(_) => PollFlags::empty(),
    }
}
