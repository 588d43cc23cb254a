//! Virtual time: a clock that stands still while tasks run and jumps to the next deadline when none can. And a log in memory.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use keelson_hal::log::KernelLog;
use keelson_hal::{Clock, Instant, Park, WallClock, WallLine};

/// Clock and rest of a simulated machine. Clone the `Rc` into the executor and use it as its park.
pub struct SimClock {
    now: Cell<Instant>,
    wall: Cell<WallLine>,
    known: Cell<bool>,
}

impl SimClock {
    /// A clock at [`Instant::ZERO`] whose wall time there is 2026-01-01 00:00:00 UTC.
    pub fn new() -> Rc<SimClock> {
        Rc::new(SimClock {
            now: Cell::new(Instant::ZERO),
            wall: Cell::new(WallLine::new(Instant::ZERO, Duration::from_secs(1_767_225_600))),
            known: Cell::new(false),
        })
    }

    /// Moves time forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.now.set(self.now.get() + span);
    }

    /// Sets wall-clock time without touching monotonic time, as an operator or NTP would.
    pub fn set_wall(&self, wall: Duration) {
        self.wall.set(WallLine::new(self.now.get(), wall));
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall(&self) -> Duration {
        self.wall.get().at(self.now.get())
    }

    fn wall_is_known(&self) -> bool {
        self.known.get()
    }

    fn wall_rate(&self) -> i32 {
        self.wall.get().rate
    }
}

impl WallClock for SimClock {
    fn step(&self, nanos: i64) {
        self.wall.set(self.wall.get().stepped(self.now.get(), nanos));
    }

    fn set_rate(&self, rate: i32) {
        self.wall.set(self.wall.get().with_rate(self.now.get(), rate));
    }

    fn set_known(&self, known: bool) {
        self.known.set(known);
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

/// A kernel's log that keeps its last bytes.
pub struct SimLog {
    all: RefCell<Vec<u8>>,
    kept: usize,
}

impl SimLog {
    /// An empty log that keeps `kept` bytes.
    pub fn new(kept: usize) -> SimLog {
        SimLog { all: RefCell::default(), kept }
    }

    /// Appends.
    pub fn push(&self, bytes: &[u8]) {
        self.all.borrow_mut().extend_from_slice(bytes);
    }

    /// Bytes ever written.
    pub fn end(&self) -> u64 {
        self.all.borrow().len() as u64
    }

    fn place(&self, position: u64) -> usize {
        let len = self.all.borrow().len();
        usize::try_from(position).unwrap_or(len).clamp(len.saturating_sub(self.kept), len)
    }
}

impl KernelLog for SimLog {
    fn copy_from(&self, position: u64, into: &mut [u8]) -> (usize, u64) {
        let (start, all) = (self.place(position), self.all.borrow());
        let count = into.len().min(all.len() - start);
        into[..count].copy_from_slice(&all[start..start + count]);
        (count, (start + count) as u64)
    }

    fn capacity(&self) -> u64 {
        self.kept as u64
    }

    fn lines_before(&self, position: u64) -> u64 {
        self.all.borrow()[..self.place(position)].iter().filter(|byte| **byte == b'\n').count() as u64
    }
}
