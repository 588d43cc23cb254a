//! The battery-backed clock of a PC (Motorola MC146818 and everything compatible with it), read once at boot.

#![forbid(unsafe_code)]

use core::fmt;

use keelson_hal::PortIo;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;

/// Status A: the clock is changing its registers.
const UPDATE_IN_PROGRESS: u8 = 0x80;
/// Status B: hours count to 24.
const HOURS_24: u8 = 0x02;
/// Status B: plain binary instead of BCD.
const BINARY: u8 = 0x04;
/// Hours, when they count to 12.
const PM: u8 = 0x80;

/// An update takes 2 ms; a port read on hardware about 1 µs. A clock that is busy for ten times as long is
/// not there.
const BUSY_READS: usize = 20_000;
/// Two readings differ when the second changed between them; that cannot happen often.
const ATTEMPTS: usize = 5;

/// A date and time in the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CivilTime {
    /// Year, 1970 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

/// Why there is no time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcError {
    /// No clock answers, or it never stops changing.
    Absent,
    /// It shows no date that exists: the battery is empty, or the clock was never set.
    Nonsense,
}

impl fmt::Display for RtcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RtcError::Absent => "no real-time clock answers at port 70h",
            RtcError::Nonsense => "the real-time clock shows no valid date; set it in the firmware",
        })
    }
}

/// Reads the clock, which is taken to run in UTC. `century_register` is what the FADT says (0 for none);
/// without one, years are 2000 to 2099.
///
/// Index port bit 7 is written as 0, which on a PC lets NMIs through.
pub fn read(ports: &impl PortIo, century_register: u8) -> Result<CivilTime, RtcError> {
    let mut before = None;
    for _ in 0..ATTEMPTS {
        let now = Raw::read(ports, century_register)?;
        if before == Some(now) {
            return now.decode().ok_or(RtcError::Nonsense);
        }
        before = Some(now);
    }
    Err(RtcError::Absent)
}

/// The registers as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Raw {
    second: u8,
    minute: u8,
    hour: u8,
    day: u8,
    month: u8,
    year: u8,
    century: Option<u8>,
    status: u8,
}

impl Raw {
    fn read(ports: &impl PortIo, century_register: u8) -> Result<Raw, RtcError> {
        let register = |index: u8| {
            ports.write8(INDEX, index & 0x7f);
            ports.read8(DATA)
        };
        if !(0..BUSY_READS).any(|_| register(STATUS_A) & UPDATE_IN_PROGRESS == 0) {
            return Err(RtcError::Absent);
        }
        Ok(Raw {
            second: register(SECONDS),
            minute: register(MINUTES),
            hour: register(HOURS),
            day: register(DAY),
            month: register(MONTH),
            year: register(YEAR),
            century: (century_register != 0).then(|| register(century_register)),
            status: register(STATUS_B),
        })
    }

    fn decode(self) -> Option<CivilTime> {
        let number = |value: u8| match self.status & BINARY != 0 {
            true => Some(value),
            false => (value & 0xf <= 9 && value >> 4 <= 9).then(|| (value >> 4) * 10 + (value & 0xf)),
        };
        let hour = if self.status & HOURS_24 != 0 {
            number(self.hour)?
        } else {
            // 12 AM is midnight, 12 PM is noon.
            let hour = number(self.hour & !PM).filter(|hour| (1..=12).contains(hour))?;
            hour % 12 + if self.hour & PM != 0 { 12 } else { 0 }
        };
        // Not every machine that names a century register keeps it.
        let century =
            self.century.and_then(number).filter(|century| (19..=99).contains(century)).unwrap_or(20);
        let year = number(self.year).filter(|year| *year <= 99)?;
        CivilTime {
            year: u16::from(century) * 100 + u16::from(year),
            month: number(self.month)?,
            day: number(self.day)?,
            hour,
            minute: number(self.minute)?,
            second: number(self.second)?,
        }
        .checked()
    }
}

impl CivilTime {
    /// Itself, if that moment exists.
    fn checked(self) -> Option<CivilTime> {
        let CivilTime { year, month, day, hour, minute, second } = self;
        let days = match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let exists = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        exists.then_some(self)
    }

    /// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
    pub fn unix_seconds(self) -> u64 {
        let days = days_since_1970(self.year.into(), self.month.into(), self.day.into());
        ((days * 24 + u64::from(self.hour)) * 60 + u64::from(self.minute)) * 60 + u64::from(self.second)
    }
}

/// Counts years from March, so that the leap day is the last day of a year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 153 days are five months from March or from August on; 719468 days separate 0000-03-01 from 1970-01-01.
    (year * 365 + leap_days + (153 * month + 2) / 5 + day - 1) - 719_468
}

impl fmt::Display for CivilTime {
    /// RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CivilTime { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests;
