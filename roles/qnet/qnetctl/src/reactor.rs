//! Real time and rest: the host's clock, what ends the thread's sleep, and randomness.

use keelson_exec::sync::Notify;
use keelson_hal::{Clock, Entropy, Instant, Park};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// With tasks ready, descriptors are looked at this often, not on every turn.
const GLANCE: Duration = Duration::from_micros(100);

/// The host's clock.
pub struct HostClock(std::time::Instant);

impl Default for HostClock {
    fn default() -> HostClock {
        HostClock(std::time::Instant::now())
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
pub struct HostEntropy {
    key: RandomState,
    count: Cell<u64>,
}

impl Entropy for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.count.set(self.count.get() + 1);
            let number = self.key.hash_one(self.count.get()).to_le_bytes();
            chunk.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        }
    }
}

/// Ends the sleep of the node's thread from any other.
#[derive(Clone)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    fn new() -> io::Result<Wake> {
        Ok(Wake(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Whoever waits for [`Reactor::called`] is woken.
    pub fn wake(&self) {
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    fn acknowledge(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

/// A descriptor that the thread rests on.
pub struct Source {
    fd: OwnedFd,
    /// Notified when it may be read, or written again, or has failed.
    changed: Rc<Notify>,
    /// Whether it is to be watched until it can be written.
    clogged: Cell<bool>,
    /// Nothing will come any more: it is not watched.
    ended: Cell<bool>,
}

impl Source {
    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether it took nothing more when last written.
    pub fn is_clogged(&self) -> bool {
        self.clogged.get()
    }

    /// Says that it took nothing more, or that it did.
    pub fn set_clogged(&self, clogged: bool) {
        self.clogged.set(clogged);
    }

    /// Stops watching it.
    pub fn end(&self) {
        self.ended.set(true);
    }
}

/// Where the thread of a node rests.
pub struct Reactor {
    clock: Rc<HostClock>,
    wake: Wake,
    called: Rc<Notify>,
    sources: RefCell<Vec<Weak<Source>>>,
    glanced: Cell<Instant>,
}

impl Reactor {
    /// Without descriptors.
    pub fn new() -> io::Result<Rc<Reactor>> {
        Ok(Rc::new(Reactor {
            clock: Rc::default(),
            wake: Wake::new()?,
            called: Rc::default(),
            sources: RefCell::default(),
            glanced: Cell::new(Instant::ZERO),
        }))
    }

    /// The clock it rests by.
    pub fn clock(&self) -> Rc<HostClock> {
        self.clock.clone()
    }

    /// For other threads.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Notified when another thread has called [`Wake::wake`].
    pub fn called(&self) -> Rc<Notify> {
        self.called.clone()
    }

    /// Watches a descriptor for as long as the source exists; `changed` is notified.
    pub fn watch(&self, fd: OwnedFd, changed: &Rc<Notify>) -> Rc<Source> {
        let (clogged, ended) = Default::default();
        let source = Rc::new(Source { fd, changed: changed.clone(), clogged, ended });
        let mut sources = self.sources.borrow_mut();
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Rc::downgrade(&source));
        source
    }
}

impl Park for Reactor {
    fn park(&self, deadline: Instant) {
        let now = self.clock.now();
        let rest = deadline.saturating_since(now);
        if rest.is_zero() && now - self.glanced.get() < GLANCE {
            return;
        }
        self.glanced.set(now);
        let timeout = (deadline != Instant::FAR_FUTURE)
            .then(|| Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() });
        let mut sources: Vec<Rc<Source>> = self.sources.borrow().iter().filter_map(Weak::upgrade).collect();
        sources.retain(|source| !source.ended.get());
        let mut fds = vec![PollFd::new(&*self.wake.0, PollFlags::IN)];
        fds.extend(sources.iter().map(|source| {
            let out = if source.is_clogged() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(&source.fd, PollFlags::IN | out)
        }));
        // An error (EINTR) leaves no events, and is tried again.
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return;
        }
        for (source, polled) in sources.iter().zip(fds.get(1..).unwrap_or_default()) {
            let seen = polled.revents();
            if seen.contains(PollFlags::OUT) {
                source.set_clogged(false);
            }
            if !seen.is_empty() {
                source.changed.notify();
            }
        }
        if fds.first().is_some_and(|wake| !wake.revents().is_empty()) {
            self.wake.acknowledge();
            self.called.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_exec::Executor;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn rests_until_a_datagram_a_call_or_a_deadline() {
        let reactor = Reactor::new().unwrap();
        let executor = Executor::new(reactor.clock(), None);
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let changed = Rc::new(Notify::new());
        let source = reactor.watch(ours.into(), &changed);
        let wake = reactor.wake();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            theirs.send(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(20));
            wake.wake();
            theirs
        });
        let (called, handle) = (reactor.called(), executor.handle());
        let spans = executor.block_on(&*reactor, async move {
            let start = handle.now();
            let next_call = called.notified();
            changed.notified().await;
            let first = handle.now() - start;
            assert_eq!(rustix::io::read(source.fd(), &mut [0u8; 4]), Ok(1));
            next_call.await;
            let second = handle.now() - start;
            handle.sleep(Duration::from_millis(10)).await;
            [first, second, handle.now() - start].map(|span| span.as_millis())
        });
        thread.join().unwrap();
        assert!(spans[0] >= 19 && spans[1] >= 38 && spans[2] >= spans[1] + 10, "{spans:?}");
    }

    #[test]
    fn random_numbers_differ() {
        let entropy = HostEntropy::default();
        assert_ne!(entropy.next_u64(), entropy.next_u64());
    }
}
