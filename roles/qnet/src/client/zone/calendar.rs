//! Days since 1970 and dates, in the Gregorian calendar.

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && year % 100 != 0 || year % 400 == 0
}

pub(super) fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date, by counting years from March on, so that leap days come last.
pub(super) fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

pub(super) fn date_of(days: i64) -> (i64, i64, i64) {
    // A first guess that is not too late.
    let mut year = 1970 + days.div_euclid(if days < 0 { 365 } else { 366 });
    while days_to(year + 1, 1, 1) <= days {
        year += 1 + (days - days_to(year + 1, 1, 1)) / 366;
    }
    let mut month = 1;
    while month < 12 && days_to(year, month + 1, 1) <= days {
        month += 1;
    }
    (year, month, days - days_to(year, month, 1) + 1)
}

/// 0 is Sunday; 1970-01-01 was a Thursday.
pub(super) fn weekday_of(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}
