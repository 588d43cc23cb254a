//! Monotonic time as roles, net and drivers see it.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A moment on the machine's monotonic clock: nanoseconds since boot (64 bits last 584 years).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment of boot.
    pub const ZERO: Instant = Instant(0);
    /// Later than every moment that can occur: "no deadline".
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The moment `nanos` nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since boot.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since boot.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time from `earlier` to `self`; zero when `earlier` is in fact later.
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    /// The same as [`Instant::saturating_since`].
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// The two clocks of a machine.
pub trait Clock {
    /// Monotonic time; never goes back, and is the same on every core.
    fn now(&self) -> Instant;

    /// Wall-clock time since 1970-01-01 00:00:00 UTC; may jump when the time is set.
    fn wall(&self) -> Duration;

    /// Whether somebody who should know has said what time it is. A clock with a battery, as the machine has it at boot, may show
    /// anything.
    fn wall_is_known(&self) -> bool {
        false
    }

    /// By how many parts in 10^9 the wall clock runs faster than monotonic time now; negative when it is slower.
    fn wall_rate(&self) -> i32 {
        0
    }
}

/// The wall clock, for who knows what time it is. Monotonic time goes on as it did, whatever happens here.
pub trait WallClock: Clock {
    /// Moves the wall clock by so many nanoseconds at once.
    fn step(&self, nanos: i64);

    /// Lets the wall clock run faster than monotonic time by so many parts in 10^9 from now on; 0 is as fast.
    fn set_rate(&self, rate: i32);

    /// Says that the wall clock is right, or that it is not.
    fn set_known(&self, known: bool);
}

/// How the wall clock goes: a line over monotonic time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WallLine {
    /// A moment.
    pub since: Instant,
    /// What the wall clock showed then: nanoseconds since 1970.
    pub nanos: u64,
    /// See [`Clock::wall_rate`].
    pub rate: i32,
}

impl WallLine {
    /// A clock that shows `wall` at `now` and runs as monotonic time does.
    pub fn new(now: Instant, wall: Duration) -> WallLine {
        WallLine { since: now, nanos: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), rate: 0 }
    }

    /// What it shows at `now`, which may be before the line begins.
    pub fn at(&self, now: Instant) -> Duration {
        let passed = i128::from(now.0) - i128::from(self.since.0);
        let nanos = i128::from(self.nanos) + passed + passed * i128::from(self.rate) / 1_000_000_000;
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// The same, moved by so many nanoseconds.
    pub fn stepped(&self, now: Instant, nanos: i64) -> WallLine {
        let shown = u64::try_from(self.at(now).as_nanos()).unwrap_or(u64::MAX);
        WallLine { since: now, nanos: shown.saturating_add_signed(nanos), rate: self.rate }
    }

    /// The same up to now, and then at another rate.
    pub fn with_rate(&self, now: Instant, rate: i32) -> WallLine {
        WallLine { rate, ..self.stepped(now, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_goes_on_where_its_rate_changes() {
        let second = |n: u64| Instant::from_nanos(n * 1_000_000_000);
        let line = WallLine::new(second(10), Duration::from_secs(1_000));
        assert_eq!(line.at(second(0)), Duration::from_secs(990));
        let faster = line.with_rate(second(20), 500_000);
        assert_eq!(faster.at(second(20)), line.at(second(20)));
        assert_eq!(faster.at(second(120)), Duration::from_micros(1_110_050_000));
        let slower = faster.with_rate(second(120), -500_000).with_rate(second(220), 0);
        assert_eq!(slower.at(second(221)), Duration::from_secs(1_211));
        assert_eq!(slower.stepped(second(221), -2_000_000_000).at(second(222)), Duration::from_secs(1_210));
        assert_eq!(line.stepped(second(10), i64::MIN).at(second(10)), Duration::ZERO);
    }

    #[test]
    fn arithmetic_saturates() {
        let t = Instant::from_nanos(5);
        assert_eq!(t - Instant::from_nanos(9), Duration::ZERO);
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!((t + Duration::from_micros(2)).as_nanos(), 2_005);
    }
}
