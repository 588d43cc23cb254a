//! Dates and times, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// RFC 3339, with microseconds.
pub fn timestamp(time: SystemTime) -> String {
    let Parts { year, month, day, hour, minute, second, micros } = parts(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// As in names of files: `%Y%m%d_%H%M%S` of strftime(3).
pub fn compact(time: SystemTime) -> String {
    let Parts { year, month, day, hour, minute, second, .. } = parts(time);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

struct Parts {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u32,
}

fn parts(time: SystemTime) -> Parts {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    Parts {
        year,
        month,
        day,
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
        micros: since.subsec_micros(),
    }
}

/// The date so many days after 1 January 1970, in the Gregorian calendar. Years are counted from March, so that a leap day is the
/// last day of its year.
fn date(days: u64) -> (u64, u64, u64) {
    // From 1 March of the year 0; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (10_956, (1999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_784, (2026, 11, 27)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn names_of_files() {
        let time = UNIX_EPOCH + Duration::new(1_709_210_096, 7_000);
        assert_eq!(compact(time), "20240229_123456");
        assert_eq!(timestamp(time), "2024-02-29T12:34:56.000007Z");
    }
}
