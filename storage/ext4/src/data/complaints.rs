//! Lines of log about a failing disk: clients try again and again, and a console is slow.

use core::cell::Cell;
use core::time::Duration;
use keelson_hal::Instant;

/// Lines in [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines; the default has written none.
#[derive(Default)]
pub struct Complaints {
    since: Cell<Option<Instant>>,
    written: Cell<u32>,
    withheld: Cell<u64>,
}

impl Complaints {
    /// Whether a line may be written now, and how many were not before it.
    pub fn allow(&self, now: Instant) -> Option<u64> {
        if self.since.get().is_none_or(|since| now - since >= WINDOW) {
            self.since.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= LINES {
            self.withheld.set(self.withheld.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.withheld.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let complaints = Complaints::default();
        let start = Instant::from_nanos(5);
        let allowed = (0..100).filter(|_| complaints.allow(start) == Some(0)).count();
        assert_eq!(allowed, LINES as usize);
        let later = start + WINDOW;
        assert_eq!(complaints.allow(later), Some(100 - u64::from(LINES)));
        assert_eq!(complaints.allow(later), Some(0));
    }
}
