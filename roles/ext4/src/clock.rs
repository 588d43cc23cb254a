//! The time of the current operation, as the engine reads it.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use keelson_volume::Time;
use rsext4::{Ext4Result, Ext4Timestamp};

const NANOS: u64 = 1_000_000_000;

/// Nanoseconds since 1970, stepped by the volume before each operation and constant during it, so that the
/// volume knows every time stamp the engine writes. 64 bits last until 2554.
#[derive(Clone, Default)]
pub(crate) struct OperationClock(Arc<AtomicU64>);

impl OperationClock {
    /// Sets the time that the next operation stamps.
    pub fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }

    /// The time that the engine stamps now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl rsext4::Clock for OperationClock {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        let time = time_from_nanos(self.get());
        Ok(Ext4Timestamp::new(time.seconds, time.nanos))
    }
}

/// Nanoseconds since 1970 as a time.
pub(crate) fn time_from_nanos(nanos: u64) -> Time {
    Time { seconds: (nanos / NANOS) as i64, nanos: (nanos % NANOS) as u32 }
}

/// A time as nanoseconds since 1970; times before that count as 1970, times after 2554 as then.
pub(crate) fn nanos_from_time(time: Time) -> u64 {
    u64::try_from(time.seconds).unwrap_or(0).saturating_mul(NANOS).saturating_add(u64::from(time.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_round_trip() {
        let time = Time { seconds: 1_767_225_600, nanos: 999_999_999 };
        assert_eq!(time_from_nanos(nanos_from_time(time)), time);
        assert_eq!(nanos_from_time(Time { seconds: -5, nanos: 7 }), 7);
    }
}
