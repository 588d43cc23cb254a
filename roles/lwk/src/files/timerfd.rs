//! Timers that are read (timerfd_create(2)).

use super::{Events, File, Operation, Stat, Target, WaitQueue};
use crate::Errno;
use crate::timers::{Deadline, Timers, until_next};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::any::Any;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_hal::Instant;
use spin::Mutex;

/// A timer.
pub struct TimerFd {
    shared: Arc<Shared>,
    /// Counts with the wall clock: what is absolute is a time of day.
    pub realtime: bool,
    inode: u64,
}

struct Shared {
    timers: Timers,
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    /// When it expires next.
    next: Option<Instant>,
    interval: Duration,
    /// Expirations before `next` that nobody has read.
    expired: u64,
    /// Wakes at `next`.
    alarm: Option<Pin<Box<Deadline>>>,
}

// A deadline is polled with the timer's lock held, by whoever sets the timer or by the task that serves deadlines.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.arm();
        self.queue.notify(Events::READABLE);
    }
}

impl Shared {
    /// Counts what has expired and waits for what comes next.
    fn arm(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let now = self.timers.now();
        state.count(now);
        let before = state.alarm.take();
        let wait = |next| until_next(next - now, state.interval);
        let alarm = state.next.map(|next| Box::pin(self.timers.at(now + wait(next))));
        drop(state);
        drop(before);
        let Some(mut alarm) = alarm else { return };
        let waker = Waker::from(self.clone());
        if alarm.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.state.lock().alarm = Some(alarm);
        } else {
            waker.wake();
        }
    }
}

impl State {
    fn count(&mut self, now: Instant) {
        let Some(next) = self.next.filter(|next| *next <= now) else { return };
        if self.interval.is_zero() {
            self.expired = self.expired.saturating_add(1);
            self.next = None;
            return;
        }
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let more = (now - next).as_nanos() as u64 / interval + 1;
        self.expired = self.expired.saturating_add(more);
        self.next = Some(next + Duration::from_nanos(interval.saturating_mul(more)));
    }
}

impl TimerFd {
    /// A timer that is not set.
    pub fn new(timers: Timers, realtime: bool) -> TimerFd {
        let shared = Shared { timers, state: Mutex::default(), queue: WaitQueue::new() };
        TimerFd { shared: Arc::new(shared), realtime, inode: super::next_inode() }
    }

    /// Sets it to expire at `first`, then every `interval` unless that is zero; or not at all. What it was before.
    pub fn set(&self, first: Option<Instant>, interval: Duration) -> (Duration, Duration) {
        let before = self.left();
        let mut state = self.shared.state.lock();
        (state.next, state.interval, state.expired) = (first, interval, 0);
        drop(state);
        self.shared.arm();
        before
    }

    /// Time until it expires, zero when it does not, and its interval.
    pub fn left(&self) -> (Duration, Duration) {
        let now = self.shared.timers.now();
        let mut state = self.shared.state.lock();
        state.count(now);
        // A timer that is set is never reported as one that is not.
        let left = state.next.map_or(Duration::ZERO, |next| (next - now).max(Duration::from_nanos(1)));
        (left, state.interval)
    }
}

impl File for TimerFd {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        operation: &mut Operation,
        _at: Option<u64>,
        into: &mut dyn Target,
    ) -> Poll<Result<usize, Errno>> {
        if into.left() < 8 {
            return Poll::Ready(Err(Errno::EINVAL));
        }
        self.shared.queue.register(cx);
        let mut state = self.shared.state.lock();
        state.count(self.shared.timers.now());
        let expired = core::mem::take(&mut state.expired);
        drop(state);
        if expired == 0 {
            return operation.wait();
        }
        let stored = into.put(&expired.to_le_bytes()) == 8;
        Poll::Ready(if stored { Ok(8) } else { Err(Errno::EFAULT) })
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, links: 1, ..super::anonymous(self.inode) }
    }

    fn name(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }

    fn events(&self) -> Events {
        let mut state = self.shared.state.lock();
        state.count(self.shared.timers.now());
        Events::READABLE.when(state.expired > 0)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.next = None;
        // The deadline holds the timer by its waker.
        let alarm = state.alarm.take();
        drop(state);
        drop(alarm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::BytesTarget;
    use crate::testing::system;

    fn read(file: &TimerFd) -> Poll<Result<u64, Errno>> {
        let (mut into, cx) = ([0; 8], &mut Context::from_waker(Waker::noop()));
        let done = file.poll_read(cx, &mut Operation::new(1, 0), None, &mut BytesTarget::new(&mut into));
        done.map_ok(|_| u64::from_le_bytes(into))
    }

    #[test]
    fn expires_once_or_again_and_again() {
        let (system, _, clock) = system();
        let file = TimerFd::new(system.timers.clone(), false);
        let ms = Duration::from_millis;
        assert_eq!(read(&file), Poll::Pending);
        file.set(Some(system.timers.now() + ms(10)), Duration::ZERO);
        clock.advance(ms(4));
        assert_eq!(read(&file), Poll::Pending);
        assert_eq!(file.left(), (ms(6), Duration::ZERO));
        clock.advance(ms(6));
        assert_eq!(file.events(), Events::READABLE);
        assert_eq!(read(&file), Poll::Ready(Ok(1)));
        assert_eq!(read(&file), Poll::Pending);
        file.set(Some(system.timers.now() + ms(1)), ms(3));
        clock.advance(ms(8));
        assert_eq!(read(&file), Poll::Ready(Ok(3)), "at 1, 4 and 7 ms");
        assert_eq!(file.left(), (ms(2), ms(3)));
        assert_eq!(file.set(None, Duration::ZERO), (ms(2), ms(3)));
        clock.advance(ms(80));
        assert_eq!(read(&file), Poll::Pending);
    }
}
