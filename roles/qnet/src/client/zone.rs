//! Local time, as POSIX's `TZ` describes it: `EST5EDT4,M3.2.0/2,M11.1.0/2`.

mod calendar;

use alloc::format;
use alloc::string::{String, ToString};
use calendar::{date_of, days_in, days_to, is_leap, weekday_of};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Names of days, Sunday first.
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Names of months.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A time zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    standard: Offset,
    summer: Option<Summer>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Offset {
    name: String,
    /// Seconds to add to UTC.
    seconds: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Summer {
    offset: Offset,
    starts: Change,
    ends: Change,
}

/// When clocks are changed: the day, and seconds after midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    day: Day,
    time: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Day {
    /// `Jn`: 1 to 365, without 29 February.
    Julian(i64),
    /// `n`: 0 to 365.
    OfYear(i64),
    /// `Mm.w.d`: weekday `d` of week `w` (5: the last) of month `m`.
    Weekday { month: i64, week: i64, weekday: i64 },
}

/// A time, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalTime {
    /// Year.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: i64,
    /// Day of the month, 1 to 31.
    pub day: i64,
    /// Hour, 0 to 23.
    pub hour: i64,
    /// Minute.
    pub minute: i64,
    /// Second.
    pub second: i64,
    /// Day of the week, 0 Sunday.
    pub weekday: i64,
    /// Day of the year, 0 to 365.
    pub year_day: i64,
    /// Seconds to add to UTC.
    pub offset: i64,
    /// Name of the zone.
    pub zone: String,
}

impl Default for Zone {
    fn default() -> Zone {
        Zone { standard: Offset { name: "UTC".to_string(), seconds: 0 }, summer: None }
    }
}

impl Zone {
    /// Understands a `TZ`; `None` when it is none.
    pub fn parse(text: &str) -> Option<Zone> {
        let mut rest = text.trim();
        let name = take_name(&mut rest)?;
        let standard = Offset { name, seconds: -take_time(&mut rest)? };
        if rest.is_empty() {
            return Some(Zone { standard, summer: None });
        }
        let name = take_name(&mut rest)?;
        let seconds = match rest.starts_with(',') || rest.is_empty() {
            true => standard.seconds + 3600,
            false => -take_time(&mut rest)?,
        };
        let rules = if rest.is_empty() { ",M3.2.0,M11.1.0" } else { rest };
        let (starts, ends) = rules.strip_prefix(',')?.split_once(',')?;
        let summer = Summer {
            offset: Offset { name, seconds },
            starts: Change::parse(starts)?,
            ends: Change::parse(ends)?,
        };
        Some(Zone { standard, summer: Some(summer) })
    }

    /// A time in seconds since 1970 UTC, here.
    pub fn local(&self, seconds: i64) -> LocalTime {
        let offset = self.offset_at(seconds);
        let local = seconds.saturating_add(offset.seconds);
        let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        LocalTime {
            year,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: weekday_of(days),
            year_day: days - days_to(year, 1, 1),
            offset: offset.seconds,
            zone: offset.name.clone(),
        }
    }

    fn offset_at(&self, seconds: i64) -> &Offset {
        let Some(summer) = &self.summer else { return &self.standard };
        let (year, ..) = date_of(seconds.saturating_add(self.standard.seconds).div_euclid(DAY));
        let starts = summer.starts.seconds_in(year) - self.standard.seconds;
        let ends = summer.ends.seconds_in(year) - summer.offset.seconds;
        let is_summer = match starts <= ends {
            true => (starts..ends).contains(&seconds),
            // In the south summer is at the turn of the year.
            false => !(ends..starts).contains(&seconds),
        };
        if is_summer { &summer.offset } else { &self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<Change> {
        let (day, time) = text.split_once('/').unwrap_or((text, "2"));
        let number = |text: &str, from: i64, to: i64| text.parse().ok().filter(|n| (from..=to).contains(n));
        let day = if let Some(day) = day.strip_prefix('J') {
            Day::Julian(number(day, 1, 365)?)
        } else if let Some(day) = day.strip_prefix('M') {
            let mut parts = day.split('.');
            let (month, week, weekday) = (parts.next()?, parts.next()?, parts.next()?);
            Day::Weekday {
                month: number(month, 1, 12)?,
                week: number(week, 1, 5)?,
                weekday: number(weekday, 0, 6)?,
            }
        } else {
            Day::OfYear(number(day, 0, 365)?)
        };
        let mut rest = time;
        let time = take_time(&mut rest)?;
        rest.is_empty().then_some(Change { day, time })
    }

    /// Seconds since 1970 on the clock that is changed.
    fn seconds_in(self, year: i64) -> i64 {
        let first = days_to(year, 1, 1);
        let days = match self.day {
            Day::OfYear(day) => first + day,
            Day::Julian(day) => first + day - 1 + i64::from(is_leap(year) && day >= 60),
            Day::Weekday { month, week, weekday } => {
                let first = days_to(year, month, 1);
                let to_weekday = (weekday - weekday_of(first)).rem_euclid(7);
                let day = to_weekday + 7 * (week - 1);
                let days = days_in(year, month);
                first + if day < days { day } else { day - 7 }
            }
        };
        days * DAY + self.time
    }
}

impl LocalTime {
    /// The time as `strftime` writes it, with the conversions that are of use: `%a %A %b %B %d %D %e %F %H %I %j %m %M
    /// %n %p %S %T %u %w %y %Y %z %Z %%`. Others stay as they are.
    pub fn format(&self, format: &str) -> String {
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            match char {
                '%' => match chars.next() {
                    Some(conversion) => text.push_str(&self.convert(conversion)),
                    None => text.push('%'),
                },
                _ => text.push(char),
            }
        }
        text
    }

    fn convert(&self, conversion: char) -> String {
        let name = |list: &[&'static str], at: i64| {
            usize::try_from(at).ok().and_then(|at| list.get(at)).copied().unwrap_or("?")
        };
        let short = |name: &'static str| name.get(..3).unwrap_or(name).to_string();
        let twelve = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        match conversion {
            'a' => short(name(&DAYS, self.weekday)),
            'A' => name(&DAYS, self.weekday).to_string(),
            'b' | 'h' => short(name(&MONTHS, self.month - 1)),
            'B' => name(&MONTHS, self.month - 1).to_string(),
            'd' => format!("{:02}", self.day),
            'D' => self.format("%m/%d/%y"),
            'e' => format!("{:2}", self.day),
            'F' => self.format("%Y-%m-%d"),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{twelve:02}"),
            'j' => format!("{:03}", self.year_day + 1),
            'm' => format!("{:02}", self.month),
            'M' => format!("{:02}", self.minute),
            'n' => "\n".to_string(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'S' => format!("{:02}", self.second),
            'T' => self.format("%H:%M:%S"),
            'u' => format!("{}", (self.weekday + 6) % 7 + 1),
            'w' => format!("{}", self.weekday),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'Y' => format!("{}", self.year),
            'z' => {
                let minutes = self.offset.abs() / 60;
                let sign = if self.offset < 0 { '-' } else { '+' };
                format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            'Z' => self.zone.clone(),
            '%' => "%".to_string(),
            other => format!("%{other}"),
        }
    }
}

/// A name: letters, or anything in angle brackets.
fn take_name(rest: &mut &str) -> Option<String> {
    if let Some(quoted) = rest.strip_prefix('<') {
        let (name, behind) = quoted.split_once('>')?;
        *rest = behind;
        return Some(name.to_string()).filter(|name| !name.is_empty());
    }
    let end = rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(end)?;
    *rest = behind;
    Some(name.to_string()).filter(|name| name.len() >= 3)
}

/// `[+-]hh[:mm[:ss]]` in seconds.
fn take_time(rest: &mut &str) -> Option<i64> {
    let sign = match rest.as_bytes().first()? {
        b'-' => -1,
        _ => 1,
    };
    let text = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let end = text.find(|char: char| !char.is_ascii_digit() && char != ':').unwrap_or(text.len());
    let (time, behind) = text.split_at_checked(end)?;
    *rest = behind;
    let (mut seconds, mut unit) = (0, 3600);
    for part in time.split(':') {
        let number: i64 = part.parse().ok().filter(|number| *number <= 167)?;
        seconds += number * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, seconds: i64) -> String {
        Zone::parse(zone).unwrap().local(seconds).format("%a %b %d %T %Z %Y")
    }

    #[test]
    fn known_times() {
        assert_eq!(at("UTC0", 0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(at("UTC0", 951_782_399), "Mon Feb 28 23:59:59 UTC 2000");
        assert_eq!(at("UTC0", 951_782_400), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(at("UTC0", 4_102_444_800), "Fri Jan 01 00:00:00 UTC 2100");
        assert_eq!(at("UTC0", -1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(at("JST-9", 0), "Thu Jan 01 09:00:00 JST 1970");
        assert_eq!(at("<-03>3", 0), "Wed Dec 31 21:00:00 -03 1969");
    }

    /// 2026: in New York from 8 March, 7:00 UTC to 1 November, 6:00 UTC.
    #[test]
    fn summer() {
        let zone = "EST5EDT4,M3.2.0/2,M11.1.0/2";
        assert_eq!(at(zone, 1_772_953_199), "Sun Mar 08 01:59:59 EST 2026");
        assert_eq!(at(zone, 1_772_953_200), "Sun Mar 08 03:00:00 EDT 2026");
        assert_eq!(at(zone, 1_793_512_799), "Sun Nov 01 01:59:59 EDT 2026");
        assert_eq!(at(zone, 1_793_512_800), "Sun Nov 01 01:00:00 EST 2026");
        // Without rules they are the same.
        assert_eq!(at("EST5EDT", 1_772_953_200), "Sun Mar 08 03:00:00 EDT 2026");
        // The south: Sydney, until 5 April 2026, 3:00 summer time.
        let south = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        assert_eq!(at(south, 1_767_225_600), "Thu Jan 01 11:00:00 AEDT 2026");
        assert_eq!(at(south, 1_775_318_400), "Sun Apr 05 02:00:00 AEST 2026");
    }

    #[test]
    fn dates_go_there_and_back() {
        let mut days = -800_000;
        while days < 800_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day), "{days}");
            days += 97;
        }
    }

    #[test]
    fn days_without_leap_day() {
        assert_eq!(Change::parse("J60").unwrap().seconds_in(2024), days_to(2024, 3, 1) * DAY + 7200);
        assert_eq!(Change::parse("59/0").unwrap().seconds_in(2024), days_to(2024, 2, 29) * DAY);
        assert_eq!(Change::parse("M5.5.1/-1").unwrap().seconds_in(2026), days_to(2026, 5, 25) * DAY - 3600);
    }

    #[test]
    fn what_is_no_zone() {
        for text in
            ["", "A", "UTC", "UTC0:xx", "EST5EDT,", "EST5EDT,M13.1.0,M1.1.0", "EST5EDT,M1.1.0", "UTC999"]
        {
            assert_eq!(Zone::parse(text), None, "{text}");
        }
        assert_eq!(Zone::parse("UTC0\n"), Some(Zone::default()));
    }
}
