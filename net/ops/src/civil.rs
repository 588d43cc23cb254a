//! Moments as people and RFC 3339 write them.

use core::fmt;
use core::time::Duration;

const DAY: u64 = 86_400;

/// A moment since 1970-01-01 00:00:00 UTC, leap seconds not counted; shown as `2026-11-28T19:04:05.000123Z` (RFC 3339, with the
/// microseconds that RFC 5424 section 6.2.3 allows). Behind the year 9999 it stays there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamp(pub Duration);

/// The last second that four digits of a year can show.
const LAST: u64 = 253_402_300_799;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs().min(LAST);
        let (days, second) = (seconds / DAY, seconds % DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = self.0.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years begin in March here, so that the
/// leap day is the last one.
pub fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01; an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March or August on have 153 days.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_are_known() {
        for (seconds, micros, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
            (1_709_210_096, 7, "2024-02-29T12:34:56.000007Z"),
            (2_085_978_496, 0, "2036-02-07T06:28:16.000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
            (LAST, 0, "9999-12-31T23:59:59.000000Z"),
            (u64::MAX, 0, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(Timestamp(Duration::new(seconds, micros * 1000)).to_string(), text);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = date(0);
        for day in 1..200_000 {
            let (year, month, day) = date(day);
            let next = if day > 1 {
                (year, month, day - 1)
            } else if month > 1 {
                (year, month - 1, before.2)
            } else {
                (year - 1, 12, 31)
            };
            assert_eq!(before, next);
            before = (year, month, day);
        }
    }
}
