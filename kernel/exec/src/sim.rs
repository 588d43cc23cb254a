//! Virtual time: a clock that stands still while tasks run and jumps to the next deadline when none can.

use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;
use keelson_hal::{Clock, Instant, Park};

/// Clock and rest of a simulated machine. Clone the `Rc` into the executor and use it as its park.
pub struct SimClock {
    now: Cell<Instant>,
    wall_at_zero: Cell<Duration>,
}

impl SimClock {
    /// A clock at [`Instant::ZERO`] whose wall time there is 2026-01-01 00:00:00 UTC.
    pub fn new() -> Rc<SimClock> {
        Rc::new(SimClock {
            now: Cell::new(Instant::ZERO),
            wall_at_zero: Cell::new(Duration::from_secs(1_767_225_600)),
        })
    }

    /// Moves time forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.now.set(self.now.get() + span);
    }

    /// Sets wall-clock time without touching monotonic time, as an operator or NTP would.
    pub fn set_wall(&self, wall: Duration) {
        self.wall_at_zero.set(wall.saturating_sub(self.now.get() - Instant::ZERO));
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall(&self) -> Duration {
        self.wall_at_zero.get() + (self.now.get() - Instant::ZERO)
    }
}

impl Park for SimClock {
    /// # Panics
    ///
    /// When there is no deadline: every task waits for something that cannot happen any more.
    fn park(&self, deadline: Instant) {
        assert!(deadline != Instant::FAR_FUTURE, "simulation is stuck: no task is ready and no timer is set");
        if deadline > self.now.get() {
            self.now.set(deadline);
        }
    }
}
