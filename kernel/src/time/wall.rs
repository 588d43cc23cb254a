//! The wall clock's line, for readers on all cores without locks.
//!
//! Two places take turns: a reader takes the one that the count names, and looks whether the count is still the same. A writer fills
//! the other one first, so that readers find a whole line even while a core that writes is stopped for good.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering, fence};
use keelson_hal::{Instant, WallLine};

/// A line that one core changes and all read.
pub(super) struct Latch {
    /// Changes so far; its lowest bit says which place counts.
    count: AtomicU64,
    places: [Place; 2],
}

struct Place {
    since: AtomicU64,
    nanos: AtomicU64,
    rate: AtomicI32,
}

impl Place {
    const fn new() -> Place {
        Place { since: AtomicU64::new(0), nanos: AtomicU64::new(0), rate: AtomicI32::new(0) }
    }
}

impl Latch {
    /// A clock that shows the time since boot.
    pub const fn new() -> Latch {
        Latch { count: AtomicU64::new(0), places: [Place::new(), Place::new()] }
    }

    /// The line.
    pub fn get(&self) -> WallLine {
        loop {
            let count = self.count.load(Ordering::Acquire);
            let place = &self.places[(count & 1) as usize];
            let line = WallLine {
                since: Instant::from_nanos(place.since.load(Ordering::Relaxed)),
                nanos: place.nanos.load(Ordering::Relaxed),
                rate: place.rate.load(Ordering::Relaxed),
            };
            // What was read is not of a later line, unless the count is a later one, too.
            fence(Ordering::Acquire);
            if self.count.load(Ordering::Relaxed) == count {
                return line;
            }
        }
    }

    /// Replaces it. One core does this.
    pub fn set(&self, line: WallLine) {
        let count = self.count.load(Ordering::Relaxed);
        let place = &self.places[(count & 1 ^ 1) as usize];
        // The place was the one that counted two changes ago: who sees it change sees the change in between.
        fence(Ordering::Release);
        place.since.store(line.since.as_nanos(), Ordering::Relaxed);
        place.nanos.store(line.nanos, Ordering::Relaxed);
        place.rate.store(line.rate, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn readers_see_whole_lines_only() {
        static LATCH: Latch = Latch::new();
        static DONE: AtomicBool = AtomicBool::new(false);
        let reader = || {
            let mut seen = 0;
            while !DONE.load(Ordering::Relaxed) {
                let line = LATCH.get();
                assert_eq!((line.since.as_nanos(), line.rate as u64), (line.nanos, line.nanos & 0xffff));
                assert!(line.nanos >= seen, "an older line after a newer one");
                seen = line.nanos;
            }
        };
        let readers = [std::thread::spawn(reader), std::thread::spawn(reader)];
        for n in 0..200_000 {
            LATCH.set(WallLine { since: Instant::from_nanos(n), nanos: n, rate: (n & 0xffff) as i32 });
        }
        DONE.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}
