//! When something is sent again, and when it is given up.

use core::time::Duration;
use keelson_hal::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(8);
/// Without progress.
const GIVE_UP: Duration = Duration::from_secs(30);

/// The time since the last progress.
pub struct Patience {
    since: Instant,
    due: Instant,
    wait: Duration,
    /// How often it was in vain.
    pub tries: u32,
}

impl Patience {
    /// Something is due at `now`, and every moment counts from then.
    pub fn new(now: Instant) -> Patience {
        Patience { since: now, due: now, wait: FIRST, tries: 0 }
    }

    /// Whether it is time to send (again).
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// It was sent, just now: an answer is waited for.
    pub fn sent(&mut self, now: Instant) {
        self.due = now + self.wait;
    }

    /// There was no answer: longer is waited for the next one.
    pub fn in_vain(&mut self) {
        self.wait = LONGEST.min(self.wait * 2);
        self.tries += 1;
    }

    /// Whether it was long enough.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_since(self.since) >= GIVE_UP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_8_s_and_end_after_30() {
        let (mut now, mut sent) = (Instant::ZERO, heapless::Vec::<u64, 16>::new());
        let mut patience = Patience::new(now);
        while !patience.is_over(now) {
            if patience.is_due(now) {
                if !sent.is_empty() {
                    patience.in_vain();
                }
                patience.sent(now);
                sent.push(now.as_millis() / 1000).unwrap();
            }
            now += Duration::from_millis(100);
        }
        assert_eq!(sent, [0, 1, 3, 7, 15, 23]);
        assert_eq!(now.as_millis(), 30_000);
    }
}
