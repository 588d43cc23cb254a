//! A token bucket for answers that strangers can provoke.

use core::time::Duration;
use keelson_hal::Instant;

/// Allows `per_second` events a second, in bursts of as many.
pub(crate) struct RateLimit {
    per_second: u32,
    left: u32,
    window: Instant,
}

impl RateLimit {
    pub fn new(per_second: u32) -> RateLimit {
        RateLimit { per_second, left: per_second, window: Instant::ZERO }
    }

    /// True when one more event is within the limit.
    pub fn allow(&mut self, now: Instant) -> bool {
        if now - self.window >= Duration::from_secs(1) {
            self.window = now;
            self.left = self.per_second;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}
