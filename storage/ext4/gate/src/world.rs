//! A machine for an engine: tasks, time that passes only while all of them wait, and a bound for everything.

use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, Handle};
use keelson_ext4::dev::Seed;
use keelson_hal::{Clock, Instant, Park};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Turns of the executor that one call may take: far more than any does.
const MOST_TURNS: u64 = 20_000_000;
/// Virtual time that one call may take.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The machine.
pub struct World {
    executor: Executor,
    clock: Rc<SimClock>,
    seed: Rc<Seed>,
    most_turns: Cell<u64>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// A machine whose chances come from `seed`.
    pub fn new(seed: u64) -> Rc<World> {
        let clock = SimClock::new();
        Rc::new(World {
            executor: Executor::new(clock.clone(), None),
            clock,
            seed: Seed::new(seed),
            most_turns: Cell::new(MOST_TURNS),
        })
    }

    /// For tasks.
    pub fn handle(&self) -> Handle {
        self.executor.handle()
    }

    /// Randomness for an engine.
    pub fn entropy(&self) -> Rc<Seed> {
        self.seed.clone()
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Bounds what one call may take.
    pub fn bound(&self, turns: u64) {
        self.most_turns.set(turns);
    }

    /// Runs a future to its end, along with all tasks.
    ///
    /// # Panics
    ///
    /// When it does not end within the bounds, or everything waits for what cannot happen.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let start = self.clock.now();
        let mut turns = 0;
        loop {
            if flag.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return value;
            }
            self.executor.turn();
            turns += 1;
            assert!(turns < self.most_turns.get(), "no progress: {turns} turns in one call");
            if !flag.0.load(Ordering::Relaxed) {
                self.clock.park(self.executor.rest_until());
                let passed = self.clock.now() - start;
                assert!(passed < LONGEST, "no progress: {passed:?} of virtual time in one call");
            }
        }
    }

    /// Lets this much time pass for the tasks.
    pub fn pass(&self, span: Duration) {
        let handle = self.handle();
        self.run(handle.sleep(span));
    }

    /// The power goes: every task ends where it stands.
    pub fn cut_power(&self) {
        self.executor.abort_all();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold the executor; without this nothing of it would ever be freed.
        self.executor.abort_all();
    }
}
