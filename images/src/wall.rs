//! The machine's wall clock, as it is set: those who keep a copy of how it goes hear of each change.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use keelson_hal::{Clock, Instant, WallClock};
use keelson_kernel::time::KernelClock;

/// The wall clock of a node.
#[derive(Default)]
pub struct Wall {
    clock: KernelClock,
    changed: RefCell<Vec<Box<dyn Fn()>>>,
}

impl Wall {
    /// Calls `act` after each change of the wall clock or of its rate.
    pub fn on_change(&self, act: impl Fn() + 'static) {
        self.changed.borrow_mut().push(Box::new(act));
    }

    /// Time is read from another clock from now on: who keeps a copy of how it goes hears of that, too.
    pub fn source_changed(&self) {
        self.tell();
    }

    fn tell(&self) {
        self.changed.borrow().iter().for_each(|act| act());
    }
}

impl Clock for Wall {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn wall(&self) -> Duration {
        self.clock.wall()
    }
    fn wall_is_known(&self) -> bool {
        self.clock.wall_is_known()
    }
    fn wall_rate(&self) -> i32 {
        self.clock.wall_rate()
    }
}

impl WallClock for Wall {
    fn step(&self, nanos: i64) {
        self.clock.step(nanos);
        self.tell();
    }
    fn set_rate(&self, rate: i32) {
        self.clock.set_rate(rate);
        self.tell();
    }
    fn set_known(&self, known: bool) {
        self.clock.set_known(known);
    }
}
