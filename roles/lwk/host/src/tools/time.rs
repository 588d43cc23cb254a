//! Dates and times, in UTC.

use keelson_ops::civil::{Timestamp, date};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339, with microseconds.
pub fn timestamp(time: SystemTime) -> String {
    Timestamp(since_1970(time)).to_string()
}

/// As in names of files: `%Y%m%d_%H%M%S` of strftime(3).
pub fn compact(time: SystemTime) -> String {
    let seconds = since_1970(time).as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}{month:02}{day:02}_{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
