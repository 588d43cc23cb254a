//! A host without a machine: executor, virtual time, and randomness from a seed.

use super::Seed;
use crate::{Ext4Volume, MountError, Options};
use keelson_exec::sim::SimClock;
use keelson_exec::{Executor, Handle};
use keelson_hal::{BlockDevice, Park};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Runs filesystems and what uses them. Time stands still while tasks run and jumps to the next deadline when none can,
/// so that a run depends on nothing but the seeds.
pub struct Host {
    executor: Executor,
    clock: Rc<SimClock>,
    seed: Rc<Seed>,
}

/// Notes that the future should be polled again.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Host {
    /// A host whose randomness comes from `seed`.
    pub fn new(seed: u64) -> Host {
        let clock = SimClock::new();
        Host { executor: Executor::new(clock.clone(), None), clock, seed: Seed::new(seed) }
    }

    /// To spawn tasks and to sleep.
    pub fn handle(&self) -> Handle {
        self.executor.handle()
    }

    /// The host's randomness.
    pub fn entropy(&self) -> Rc<Seed> {
        self.seed.clone()
    }

    /// Runs a future to its end along with all tasks.
    ///
    /// # Panics
    ///
    /// When the future waits for something that cannot happen.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            if flag.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(value) = future.as_mut().poll(&mut cx)
            {
                return value;
            }
            if !self.executor.turn() && !flag.0.load(Ordering::Relaxed) {
                self.clock.park(self.executor.rest_until());
            }
        }
    }

    /// Mounts the filesystem on a device.
    pub fn mount(&self, device: Rc<dyn BlockDevice>, options: Options) -> Result<Ext4Volume, MountError> {
        self.run(Ext4Volume::mount(device, self.handle(), self.entropy(), options))
    }

    /// The clock.
    pub fn clock(&self) -> Rc<SimClock> {
        self.clock.clone()
    }

    /// Lets tasks run for so much virtual time.
    pub fn pass(&self, span: Duration) {
        let handle = self.handle();
        self.run(async move { handle.sleep(span).await });
    }

    /// Ends all tasks where they stand, as a loss of power does.
    pub fn power_off(&self) {
        self.executor.abort_all();
    }
}
