//! CPU time of threads, from the clock at the ways in and out of the kernel (section 3.10).

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use core::time::Duration;

/// What a thread is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// It waits, for something or for its turn.
    Waiting = 0,
    /// It is in ring 3.
    User = 1,
    /// The kernel works for it.
    System = 2,
}

/// The CPU time of one thread. Written by the core it runs on, read by all.
#[derive(Default)]
pub struct Times {
    user: AtomicU64,
    system: AtomicU64,
    since: AtomicU64,
    phase: AtomicU8,
    /// Faults that needed nothing from outside.
    pub minor_faults: AtomicU64,
    /// Faults that waited for a page of a file.
    pub major_faults: AtomicU64,
    /// Times it waited.
    pub voluntary: AtomicU64,
    /// Times it gave way.
    pub involuntary: AtomicU64,
}

/// What was used; of one thread, of many, of a process with its children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Time in ring 3.
    pub user: Duration,
    /// Time in the kernel.
    pub system: Duration,
    /// Faults that needed nothing from outside.
    pub minor_faults: u64,
    /// Faults that waited for a page of a file.
    pub major_faults: u64,
    /// Times of waiting.
    pub voluntary: u64,
    /// Times of giving way.
    pub involuntary: u64,
    /// Most memory that was resident at once, in bytes.
    pub peak: u64,
}

impl Usage {
    /// Adds the use of another.
    pub fn add(&mut self, other: &Usage) {
        self.user += other.user;
        self.system += other.system;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.peak = self.peak.max(other.peak);
    }
}

impl Times {
    /// From `now` (nanoseconds) on the thread does something else.
    pub fn enter(&self, phase: Phase, now: u64) {
        let spent = now.saturating_sub(self.since.swap(now, Ordering::Relaxed));
        let sum = match self.phase.swap(phase as u8, Ordering::Relaxed) {
            1 => &self.user,
            2 => &self.system,
            _ => return,
        };
        // One writer: no read-modify-write needed.
        sum.store(sum.load(Ordering::Relaxed) + spent, Ordering::Relaxed);
    }

    /// What it is doing, and since when (nanoseconds).
    pub fn phase(&self) -> (Phase, u64) {
        let phase = match self.phase.load(Ordering::Relaxed) {
            1 => Phase::User,
            2 => Phase::System,
            _ => Phase::Waiting,
        };
        (phase, self.since.load(Ordering::Relaxed))
    }

    /// True while it runs.
    pub fn is_running(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != Phase::Waiting as u8
    }

    /// What was used up to `now` (nanoseconds).
    pub fn usage(&self, now: u64) -> Usage {
        let running = now.saturating_sub(self.since.load(Ordering::Relaxed));
        let (mut user, mut system) = (self.user.load(Ordering::Relaxed), self.system.load(Ordering::Relaxed));
        match self.phase.load(Ordering::Relaxed) {
            1 => user += running,
            2 => system += running,
            _ => {}
        }
        Usage {
            user: Duration::from_nanos(user),
            system: Duration::from_nanos(system),
            minor_faults: self.minor_faults.load(Ordering::Relaxed),
            major_faults: self.major_faults.load(Ordering::Relaxed),
            voluntary: self.voluntary.load(Ordering::Relaxed),
            involuntary: self.involuntary.load(Ordering::Relaxed),
            peak: 0,
        }
    }
}
