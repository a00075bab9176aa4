//! Points in time, as numbers that the outside hands in, and lengths of time.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since the Unix epoch. The core never asks for it; every input
/// brings its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The point this much later; saturates.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// As RFC 3339 writes it, in UTC to the millisecond: `2026-11-26T01:27:52.123Z`.
    pub fn rfc3339(self) -> String {
        let (seconds, millis) = (self.0 / 1_000_000, self.0 / 1000 % 1000);
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// Reads what RFC 3339 writes, in UTC or with an offset; below microseconds it is cut.
    ///
    /// # Errors
    /// What is wrong with it, a fragment.
    pub fn of_rfc3339(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no time: write it as 2026-11-26T15:04:05Z, or with an offset +01:00"
            )
        };
        let local = Local::read(text).ok_or_else(wrong)?;
        let micros = local.micros().and_then(|micros| u64::try_from(micros).ok());
        micros.map(Self).ok_or_else(|| format!("{text:?} lies before 1970"))
    }
}

/// A time as it is written somewhere on Earth.
#[derive(Debug)]
struct Local {
    days: u64,
    second_of_day: u64,
    micros: u64,
    /// How far east of Greenwich, in seconds.
    east: i64,
}

impl Local {
    fn read(text: &str) -> Option<Self> {
        let (day, rest) = text.split_once(['T', 't', ' '])?;
        let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
        let days = days((year, month, day))?;
        let at = rest.find(|c: char| !c.is_ascii_digit() && c != ':')?;
        let (time, rest) = rest.split_at(at);
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        // a leap second is the first of the next minute
        let is_time = hour < 24 && minute < 60 && second <= 60;
        let (micros, offset) = match rest.strip_prefix('.') {
            None => (0, rest),
            Some(rest) => {
                let at = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
                let (digits, offset) = rest.split_at(at);
                let digits = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
                (digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), offset)
            }
        };
        let east = match offset.split_at_checked(1)? {
            ("Z" | "z", "") => 0,
            ("+", east) => seconds_of(east)?,
            ("-", west) => -seconds_of(west)?,
            _ => return None,
        };
        let second_of_day = hour * 3600 + minute * 60 + second;
        is_time.then_some(Self { days, second_of_day, micros, east })
    }

    fn micros(&self) -> Option<i64> {
        let seconds = i64::try_from(self.days * 86_400 + self.second_of_day).ok()? - self.east;
        Some(seconds * 1_000_000 + i64::try_from(self.micros).ok()?)
    }
}

/// An offset of hours and minutes.
fn seconds_of(offset: &str) -> Option<i64> {
    let [hours, minutes] = numbers(offset, ':', [2, 2])?;
    let seconds = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
    i64::try_from(seconds).ok()
}

/// Numbers of so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(between);
    let mut found = [0; N];
    for (found, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *found = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(found)
}

/// How many days a date is after 1970-01-01; None for what is no date, or before.
fn days((year, month, day): (u64, u64, u64)) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // as in `date`, years begin in March
    let (of_year, of_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = of_year * 365 + of_year / 4 - of_year / 100 + of_year / 400;
    let days = (before + (153 * of_month + 2) / 5 + day - 1).checked_sub(719_468)?;
    (date(days) == (year, month, day)).then_some(days)
}

/// The date so many days after 1970-01-01. Years begin in March here, so that the day which some
/// of them lack is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a length of time as people write it: `500ms`, `30s`, `5m`, `1h30m`.
///
/// # Errors
/// What is wrong with it, a fragment.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 500ms, 30s, 5m or 1h30m".to_owned();
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.checked_mul(*milliseconds).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if total == 0 {
        Err("it must be longer than nothing".to_owned())
    } else {
        Ok(Duration::from_millis(total))
    }
}

/// Writes a length of time as [`parse_duration`] reads it, in whole milliseconds: `1h30m`.
pub fn duration_text(time: Duration) -> String {
    let mut rest = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for unit in ["d", "h", "m", "s", "ms"] {
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let milliseconds = known.map_or(1, |(_, milliseconds)| *milliseconds);
        let number = rest / milliseconds;
        rest %= milliseconds;
        if number > 0 {
            // writing to a text cannot fail
            let _ = write!(text, "{number}{unit}");
        }
    }
    text
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let shown = |seconds: u64| Time(seconds * 1_000_000 + 7_999).rfc3339();
        assert_eq!(shown(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(shown(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00.007Z");
        assert_eq!(shown(1_795_656_472), "2026-11-26T01:27:52.007Z");
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        let read = |text| Time::of_rfc3339(text).map(|time| time.0);
        assert_eq!(read("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(read("2026-11-26T01:27:52.123Z"), Ok(1_795_656_472_123_000));
        assert_eq!(read("2026-11-26t02:27:52.1234567+01:00"), Ok(1_795_656_472_123_456));
        assert_eq!(read("2026-11-25 20:57:52-04:30"), Ok(1_795_656_472_000_000));
        assert_eq!(read("2000-02-29T23:59:60Z"), read("2000-03-01T00:00:00Z"));
        for seconds in [0, 951_782_400, 1_795_656_472, 4_107_542_400, 253_402_300_799] {
            let time = Time(seconds * 1_000_000);
            assert_eq!(Time::of_rfc3339(&time.rfc3339()), Ok(time));
        }
        for wrong in [
            "",
            "2h",
            "1795656472",
            "2026-11-26",
            "2026-11-26T01:27",
            "2026-11-26T01:27:52",
            "2026-11-26T01:27:52 01:00",
            "2026-11-26T01:27:52.Z",
            "2026-11-26T01:27:52+1:00",
            "2026-11-26T01:27:52Zulu",
            "2026-11-26T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "99999-01-01T00:00:00Z",
            "2026-11-26T01:27:52\u{fc}",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_of_a_length_of_time_is_read_as_the_same() {
        for written in ["1ms", "10s", "2m", "1h30m", "1d1h1m1s1ms"] {
            assert_eq!(duration_text(parse_duration(written).unwrap()), written);
        }
        assert_eq!(duration_text(Duration::from_mins(2)), "2m");
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        let millis = |text| parse_duration(text).map(|time| time.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("2d"), Ok(172_800_000));
        for wrong in [
            "",
            "5",
            "m",
            "5 m",
            "-5s",
            "5x",
            "0s",
            "1.5s",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
