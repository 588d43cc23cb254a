//! Real time and rest: where the host's thread sleeps, and what ends its sleep.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant as Time, SystemTime};

use keelson_exec::sync::Notify;
use keelson_hal::{Clock, Entropy, Instant, Park};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::device::Cable;
use crate::error::{Error, Result};

/// With tasks ready, the stream and the wake-up are looked at this often, not on every turn: the interface's
/// task reads the stream itself.
const GLANCE: Duration = Duration::from_micros(100);

/// The host's clock.
pub struct HostClock(Time);

impl Default for HostClock {
    fn default() -> HostClock {
        HostClock(Time::now())
    }
}

impl Clock for HostClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// Numbers nobody can guess, from the keys the standard library draws for its tables.
#[derive(Default)]
pub struct SystemEntropy {
    key: RandomState,
    count: Cell<u64>,
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.count.set(self.count.get() + 1);
            chunk.copy_from_slice(&self.key.hash_one(self.count.get()).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Ends the sleep of the host's thread from any other.
pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> Result<Wake> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        event.map(Wake).map_err(Error::errno("create the wake-up of a host"))
    }

    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn acknowledge(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

/// Rests in `poll` on the cable and the wake-up.
pub struct StreamPark {
    clock: Rc<HostClock>,
    cable: Rc<Cable>,
    wake: Arc<Wake>,
    /// Notified when another thread has called.
    pub called: Rc<Notify>,
    glanced: Cell<Instant>,
}

impl StreamPark {
    pub fn new(clock: Rc<HostClock>, cable: Rc<Cable>, wake: Arc<Wake>) -> StreamPark {
        StreamPark { clock, cable, wake, called: Rc::default(), glanced: Cell::new(Instant::ZERO) }
    }
}

impl Park for StreamPark {
    fn park(&self, deadline: Instant) {
        let now = self.clock.now();
        let rest = deadline.saturating_since(now);
        if rest.is_zero() && now - self.glanced.get() < GLANCE {
            return;
        }
        self.glanced.set(now);
        let timeout = (deadline != Instant::FAR_FUTURE)
            .then(|| Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() });
        let mut called = false;
        self.cable.watch(|stream| {
            let mut fds = vec![PollFd::new(&self.wake.0, PollFlags::IN)];
            fds.extend(stream.map(|(stream, events)| PollFd::new(stream, events)));
            // An error (EINTR) leaves the events empty and is tried again.
            let _ = poll(&mut fds, timeout.as_ref());
            called = !fds[0].revents().is_empty();
            fds.get(1).map_or(PollFlags::empty(), |fd| fd.revents())
        });
        if called {
            self.wake.acknowledge();
            self.called.notify();
        }
    }
}
