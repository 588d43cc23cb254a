//! Deadlines of threads on compute cores, which have no timers of their own (section 3.10).
//!
//! They lie in one heap. A task of the service core sleeps until the first of them and wakes whom it belongs to; whoever adds an
//! earlier one wakes that task.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use keelson_exec::Handle;
use keelson_hal::{Clock, Instant};
use spin::Mutex;

/// How often a timer that repeats is looked at, at most: programs may ask for a nanosecond.
const SHORTEST: Duration = Duration::from_micros(100);

/// How long to wait for the next expiration, `wait` away, of a timer that repeats every `interval` (zero: not at all). Shorter
/// intervals than can be served are counted together.
pub fn until_next(wait: Duration, interval: Duration) -> Duration {
    if interval.is_zero() || interval >= SHORTEST { wait } else { wait.max(SHORTEST) }
}

/// The deadlines of the node. Cheap to clone.
#[derive(Clone)]
pub struct Timers(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By time, then by number.
    pending: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    /// The task of the service core, when it sleeps.
    server: Option<Waker>,
}

impl Timers {
    /// No deadlines yet.
    pub fn new(clock: Arc<dyn Clock + Send + Sync>) -> Timers {
        Timers(Arc::new(Shared { clock, state: Mutex::default() }))
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        self.0.clock.now()
    }

    /// Ready at `deadline`. [`Instant::FAR_FUTURE`] never is.
    pub fn at(&self, deadline: Instant) -> Deadline {
        Deadline { timers: self.clone(), deadline, number: None }
    }

    /// Serves the deadlines, for ever: a task of the service core.
    pub async fn serve(self, handle: Handle) {
        loop {
            let next = self.wake_due();
            if next <= self.now() {
                // Others on this core have their turn, however many deadlines there are.
                keelson_exec::yield_now().await;
                continue;
            }
            let changed = Changed { timers: &self, before: next, armed: false };
            keelson_exec::select(changed, handle.sleep_until(next)).await;
        }
    }

    /// Wakes everybody whose time has come by now; when the next one comes.
    fn wake_due(&self) -> Instant {
        let now = self.now();
        loop {
            let mut state = self.0.state.lock();
            let Some((&(deadline, number), _)) = state.pending.first_key_value() else {
                return Instant::FAR_FUTURE;
            };
            if deadline > now {
                return deadline;
            }
            let waker = state.pending.remove(&(deadline, number));
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Ready when a deadline before `before` was added.
struct Changed<'a> {
    timers: &'a Timers,
    before: Instant,
    armed: bool,
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.timers.0.state.lock();
        let first = state.pending.first_key_value().map_or(Instant::FAR_FUTURE, |(&(at, _), _)| at);
        if first < self.before {
            return Poll::Ready(());
        }
        state.server = Some(cx.waker().clone());
        drop(state);
        self.armed = true;
        Poll::Pending
    }
}

/// Waits for a moment; see [`Timers::at`].
pub struct Deadline {
    timers: Timers,
    deadline: Instant,
    number: Option<u64>,
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timers.now() >= self.deadline {
            return Poll::Ready(());
        }
        if self.deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        let shared = self.timers.0.clone();
        let mut state = shared.state.lock();
        let number = *self.number.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let first = state.pending.first_key_value().is_none_or(|(&(at, _), _)| self.deadline < at);
        state.pending.insert((self.deadline, number), cx.waker().clone());
        let server = if first { state.server.take() } else { None };
        drop(state);
        if let Some(server) = server {
            server.wake();
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.timers.0.state.lock().pending.remove(&(self.deadline, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestClock, system};
    use core::time::Duration;
    use keelson_exec::Executor;
    use keelson_hal::Park;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Rest that lets time pass until the deadline of the executor.
    struct Passing(Arc<TestClock>);

    impl Park for Passing {
        fn park(&self, deadline: Instant) {
            let now = self.0.now();
            if deadline > now && deadline != Instant::FAR_FUTURE {
                self.0.advance(deadline - now);
            }
        }
    }

    struct Same(Arc<TestClock>);

    impl Clock for Same {
        fn now(&self) -> Instant {
            self.0.now()
        }
        fn wall(&self) -> Duration {
            self.0.wall()
        }
    }

    #[test]
    fn deadlines_come_in_their_order_whoever_asked_first() {
        let (system, _, clock) = system();
        let executor = Executor::new(Rc::new(Same(clock.clone())), None);
        let handle = executor.handle();
        handle.spawn("timers", system.timers.clone().serve(handle.clone()));
        let order = Rc::new(RefCell::new(Vec::new()));
        for span in [30, 10, 20, 10] {
            let (timers, order) = (system.timers.clone(), order.clone());
            handle.spawn("sleeper", async move {
                let deadline = timers.now() + Duration::from_millis(span);
                timers.at(deadline).await;
                assert_eq!(timers.now(), deadline, "to the nanosecond in virtual time");
                order.borrow_mut().push(span);
            });
        }
        executor.run_until(&Passing(clock), || order.borrow().len() == 4);
        assert_eq!(*order.borrow(), [10, 10, 20, 30]);
        assert!(system.timers.0.state.lock().pending.is_empty());
    }

    #[test]
    fn a_deadline_that_nobody_waits_for_any_more_is_forgotten() {
        let (system, _, clock) = system();
        let executor = Executor::new(Rc::new(Same(clock.clone())), None);
        let (timers, handle) = (system.timers.clone(), executor.handle());
        handle.spawn("timers", timers.clone().serve(handle.clone()));
        executor.block_on(&Passing(clock), async move {
            let far = timers.at(timers.now() + Duration::from_secs(60));
            let near = timers.at(timers.now() + Duration::from_millis(1));
            assert_eq!(keelson_exec::select(far, near).await, keelson_exec::Either::Second(()));
            assert!(timers.0.state.lock().pending.is_empty());
            assert!(timers.now() < Instant::from_nanos(1_000_000_000));
        });
    }
}
