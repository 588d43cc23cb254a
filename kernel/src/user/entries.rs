//! How often a core was entered, by cause.

use core::sync::atomic::{AtomicU64, Ordering};
use keelson_hal::user::CoreEntries;

/// One core's counters. Only that core writes; the interrupt handlers know the offsets.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Counters {
    pub timer: AtomicU64,
    pub device: AtomicU64,
    pub doorbell: AtomicU64,
    pub kick: AtomicU64,
    pub shootdown: AtomicU64,
    pub nmi: AtomicU64,
    pub spurious: AtomicU64,
    pub page_faults: AtomicU64,
    pub exceptions: AtomicU64,
    pub syscalls: AtomicU64,
}

/// One more; without the cost of an atomic operation, because nobody else writes.
pub fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Counters {
    /// All zero.
    pub const fn new() -> Counters {
        Counters {
            timer: AtomicU64::new(0),
            device: AtomicU64::new(0),
            doorbell: AtomicU64::new(0),
            kick: AtomicU64::new(0),
            shootdown: AtomicU64::new(0),
            nmi: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            page_faults: AtomicU64::new(0),
            exceptions: AtomicU64::new(0),
            syscalls: AtomicU64::new(0),
        }
    }

    /// As they are now.
    pub fn read(&self) -> CoreEntries {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CoreEntries {
            timer: get(&self.timer),
            device: get(&self.device),
            doorbell: get(&self.doorbell),
            kick: get(&self.kick),
            shootdown: get(&self.shootdown),
            nmi: get(&self.nmi),
            spurious: get(&self.spurious),
            page_faults: get(&self.page_faults),
            exceptions: get(&self.exceptions),
            syscalls: get(&self.syscalls),
        }
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new()
    }
}
