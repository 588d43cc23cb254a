//! How long attempts to reach a peer are held back after one has failed (lnet specification section 3.11).

use core::time::Duration;
use keelson_hal::Instant;

/// Doubling pauses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// The last pause; zero while nothing has failed.
    pause: Duration,
    until: Instant,
}

impl Backoff {
    /// Notes a failure: the next pause is twice the last, within the bounds.
    pub fn failed(&mut self, now: Instant, min: Duration, max: Duration) {
        self.pause = self.pause.saturating_mul(2).clamp(min, max.max(min));
        self.until = now + self.pause;
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    /// True while no attempt is to be made.
    pub fn holds(&self, now: Instant) -> bool {
        now < self.until
    }

    /// True when it says nothing any more: no failure, or the last is so long ago that the next pause may be
    /// the shortest again.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until + self.pause
    }

    /// The pause that began with the last failure.
    pub fn pause(&self) -> Duration {
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_a_success_forgets_them() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::default();
        let mut now = Instant::ZERO;
        assert!(!backoff.holds(now) && backoff.is_over(now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            backoff.failed(now, min, max);
            pauses.push(backoff.pause().as_secs());
            assert!(backoff.holds(now) && backoff.holds(now + (backoff.pause() - Duration::from_nanos(1))));
            now += backoff.pause();
            assert!(!backoff.holds(now) && !backoff.is_over(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(backoff.is_over(now + max));
        backoff.succeeded();
        backoff.failed(now, min, max);
        assert_eq!(backoff.pause(), min);
    }
}
