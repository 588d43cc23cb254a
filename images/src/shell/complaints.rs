//! Refusals in the log, but no flood of them.

use core::net::SocketAddr;
use core::time::Duration;
use keelson_hal::Instant;

/// This many refusals are logged in this time; more are counted, and named as a number when the next is logged.
const COMPLAINTS: u32 = 10;
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);

/// Logs refusals.
pub(super) struct Complaints {
    target: &'static str,
    period_ends: Instant,
    said: u32,
    unsaid: u64,
}

impl Complaints {
    /// Of this part of the node.
    pub fn of(target: &'static str) -> Complaints {
        Complaints { target, period_ends: Instant::ZERO, said: 0, unsaid: 0 }
    }

    pub fn refused(&mut self, now: Instant, peer: SocketAddr, remedy: &str) {
        if now >= self.period_ends {
            self.period_ends = now + COMPLAINT_PERIOD;
            self.said = 0;
        }
        if self.said >= COMPLAINTS {
            self.unsaid += 1;
            return;
        }
        self.said += 1;
        match core::mem::take(&mut self.unsaid) {
            0 => log::warn!(target: self.target, "refused {peer}: {remedy}"),
            more => {
                log::warn!(target: self.target, "refused {peer}: {remedy} ({more} more since the last refusal)")
            }
        }
    }
}
