//! The time of day, where nobody tells it but the hosts.
//!
//! What a node has at boot is a clock with a battery that shows seconds. A program would find that a file it has just written on its
//! host is from the future.

use alloc::rc::Rc;
use keelson_hal::WallClock;

/// By how much the node may differ, in nanoseconds: it is told by a message that took its time, and is not set back because one took
/// longer than another.
const BEHIND: i64 = 1_000_000;
const AHEAD: i64 = 100_000_000;
/// What a person would like to know.
const MUCH: u64 = 10_000_000_000;

/// The node's wall clock, as hosts set it.
pub(crate) struct HostTime(pub Rc<dyn WallClock>);

impl HostTime {
    /// A host says what time it is there: nanoseconds since 1970. That counts where no server of NTP says it, and as long as no
    /// program sees the clock jump.
    pub fn told(&self, host: u64, a_program_runs: bool) {
        let own = self.0.wall().as_nanos();
        let late = i64::try_from(i128::from(host) - i128::try_from(own).unwrap_or(i128::MAX)).unwrap_or(0);
        if host == 0 || a_program_runs || self.0.wall_is_known() || (-AHEAD..=BEHIND).contains(&late) {
            return;
        }
        self.0.step(late);
        if late.unsigned_abs() >= MUCH {
            log::info!(target: "time", "set by {} s to what a host says", late / 1_000_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use keelson_exec::sim::SimClock;
    use keelson_hal::Clock;

    #[test]
    fn a_host_sets_the_clock_while_nobody_sees_it() {
        let clock = SimClock::new();
        let time = HostTime(clock.clone());
        let now = || u64::try_from(clock.wall().as_nanos()).unwrap();
        clock.set_wall(Duration::from_secs(1_700_000_000));
        let start = now();
        time.told(start + 1_030_000_000, true);
        assert_eq!(now(), start, "a program runs");
        time.told(start + 1_030_000_000, false);
        assert_eq!(now(), start + 1_030_000_000);
        // The next message takes longer, or less long.
        for late in [-3_000_000, 900_000] {
            time.told(now().wrapping_add_signed(late), false);
            assert_eq!(now(), start + 1_030_000_000);
        }
        time.told(now() + 2_000_000, false);
        assert_eq!(now(), start + 1_032_000_000);
        time.told(start - 3_600_000_000_000, false);
        assert_eq!(now(), start - 3_600_000_000_000);
        for nonsense in [0, u64::MAX] {
            time.told(nonsense, false);
            assert_eq!(now(), start - 3_600_000_000_000);
        }
        clock.set_known(true);
        time.told(start, false);
        assert_eq!(now(), start - 3_600_000_000_000, "a server said what time it is");
    }
}
