//! What is done to the clock, and when it is looked at again: without input, output or time.

use core::time::Duration;

/// An offset from which on the clock is set at the start, in nanoseconds (RFC 5905 section 7.2: STEPT).
const STEP: i64 = 128_000_000;
/// Rate at which the clock is slewed at most, in parts of 10^9 (RFC 5905 section 11.3: 500 PPM).
const MAX_RATE: i32 = 500_000;
/// An offset that is no error of a clock that was right before: somebody else is wrong (RFC 5905 section 7.2: PANICT).
const ABSURD: i64 = 1_000_000_000_000;
/// Shortest and longest time between two looks.
pub const SHORTEST: Duration = Duration::from_secs(64);
/// See there.
pub const LONGEST: Duration = Duration::from_secs(1024);
/// Offsets below this, in nanoseconds, let the time between looks grow; greater ones than ten times this let it shrink.
const CALM: i64 = 5_000_000;
/// Calm looks after which the time between them doubles.
const CALM_LOOKS: u32 = 4;

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What the clock has to be moved by to be right, in nanoseconds.
    pub offset: i64,
    /// Round trip without the server's own time.
    pub delay: Duration,
    /// The server's stratum.
    pub stratum: u8,
}

/// What to do to the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Correction {
    /// Move it at once by so many nanoseconds.
    Step(i64),
    /// Let it run faster by so many parts in 10^9, for so long.
    Slew {
        /// The rate.
        rate: i32,
        /// How long.
        span: Duration,
    },
    /// Nothing: what was measured cannot be.
    Absurd,
}

/// The state between looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discipline {
    interval: Duration,
    calm: u32,
    is_set: bool,
}

impl Default for Discipline {
    fn default() -> Discipline {
        Discipline { interval: SHORTEST, calm: 0, is_set: false }
    }
}

impl Discipline {
    /// Time until the next look.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// What to do about a sample.
    pub fn take(&mut self, sample: &Sample) -> Correction {
        let distance = sample.offset.saturating_abs();
        if !self.is_set {
            self.is_set = true;
            if distance > STEP {
                return Correction::Step(sample.offset);
            }
        } else if distance > ABSURD {
            return Correction::Absurd;
        } else if distance < CALM {
            self.calm += 1;
            if self.calm >= CALM_LOOKS {
                self.slow_down();
            }
        } else {
            self.calm = 0;
            if distance > 10 * CALM {
                self.interval = (self.interval / 2).max(SHORTEST);
            }
        }
        self.slew(sample.offset)
    }

    /// Looks rarely from now on: a server asked for it, or does not answer.
    pub fn slow_down(&mut self) {
        self.calm = 0;
        self.interval = (self.interval * 2).min(LONGEST);
    }

    /// Over a quarter of the time until the next look, or longer when that would be too fast.
    fn slew(&self, offset: i64) -> Correction {
        let quarter = i64::try_from(self.interval.as_secs() / 4).unwrap_or(1).max(1);
        // Nanoseconds in a second are parts of 10^9.
        let rate = (offset / quarter).clamp(-i64::from(MAX_RATE), MAX_RATE.into());
        if rate == 0 {
            return Correction::Slew { rate: 0, span: Duration::ZERO };
        }
        let span = i128::from(offset) * 1_000_000_000 / i128::from(rate);
        let span = Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX));
        Correction::Slew { rate: i32::try_from(rate).unwrap_or(0), span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(offset: i64) -> Sample {
        Sample { offset, delay: Duration::from_millis(1), stratum: 2 }
    }

    #[test]
    fn the_clock_is_set_at_the_start_only() {
        for offset in [STEP + 1, -STEP - 1, i64::MAX, i64::MIN] {
            let mut discipline = Discipline::default();
            assert_eq!(discipline.take(&sample(offset)), Correction::Step(offset));
        }
        let mut discipline = Discipline::default();
        let slow = |seconds, rate| Correction::Slew { rate, span: Duration::from_secs(seconds) };
        assert_eq!(discipline.take(&sample(STEP)), slow(256, MAX_RATE));
        assert_eq!(discipline.take(&sample(-10 * STEP)), slow(2560, -MAX_RATE));
        assert_eq!(discipline.take(&sample(ABSURD + 1)), Correction::Absurd);
        assert_eq!(discipline.take(&sample(i64::MIN)), Correction::Absurd);
        // 1.6 ms within 16 s.
        assert_eq!(discipline.take(&sample(1_600_000)), slow(16, 100_000));
        assert_eq!(discipline.take(&sample(-3)), slow(0, 0));
    }

    #[test]
    fn calm_is_looked_at_rarely() {
        let mut discipline = Discipline::default();
        let mut looks = 0;
        while discipline.interval() < LONGEST {
            discipline.take(&sample(10_000));
            looks += 1;
        }
        assert_eq!(looks, 1 + 4 * CALM_LOOKS);
        (0..10).for_each(|_| assert_ne!(discipline.take(&sample(0)), Correction::Absurd));
        assert_eq!(discipline.interval(), LONGEST);
        discipline.take(&sample(10 * CALM + 1));
        assert_eq!(discipline.interval(), LONGEST / 2);
        (0..9).for_each(|_| assert_ne!(discipline.take(&sample(-STEP)), Correction::Absurd));
        assert_eq!(discipline.interval(), SHORTEST);
        (0..9).for_each(|_| discipline.slow_down());
        assert_eq!(discipline.interval(), LONGEST);
    }

    proptest! {
        #[test]
        fn a_slew_corrects_what_was_measured_and_not_too_fast(offset in -ABSURD..ABSURD, doublings in 0..5) {
            let mut discipline = Discipline::default();
            discipline.take(&sample(0));
            (0..doublings).for_each(|_| discipline.slow_down());
            let Correction::Slew { rate, span } = discipline.take(&sample(offset)) else { panic!("no slew") };
            prop_assert!(rate.abs() <= MAX_RATE);
            let corrected = span.as_nanos() as i128 * i128::from(rate) / 1_000_000_000;
            prop_assert!((corrected - i128::from(offset)).abs() <= i128::from(rate.abs().max(256)), "{corrected}");
        }
    }
}
