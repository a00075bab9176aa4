//! Points in time, as numbers that the outside hands in, and lengths of time.

use std::fmt;
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

/// How many days a date lies after 1970-01-01; the inverse of [`date`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let (month, year) =
        if month > 2 { (month - 3, year) } else { (month + 9, year.checked_sub(1)?) };
    let (era, year) = (year / 400, year % 400);
    let in_era = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
    (era * DAYS_OF_400_YEARS + in_era).checked_sub(719_468)
}

/// Reads a point in time as RFC 3339 has it: `2026-11-26T01:27:52Z`, also with a fraction of a second
/// or an offset. Those before 1970 are none here.
///
/// # Errors
/// What it looks like, a fragment.
pub fn parse_rfc3339(text: &str) -> Result<Time, String> {
    read_rfc3339(text.trim()).ok_or_else(|| "write it as 2026-11-26T01:27:52Z".to_owned())
}

fn read_rfc3339(text: &str) -> Option<Time> {
    let number = |text: &str, digits: usize| {
        let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| is_number)
    };
    let fields = |text: &str, sign: char| -> Option<Vec<u64>> {
        text.split(sign).map(|part| number(part, 2)).collect()
    };
    let (date_part, clock) = text.split_once(['T', 't', ' '])?;
    let (year, rest) = date_part.split_once('-')?;
    let &[month, day] = fields(rest, '-')?.as_slice() else { return None };
    let days = days(number(year, 4)?, month, day)?;
    // a day that a month lacks is another date
    let is_date = date(days) == (number(year, 4)?, month, day);
    let at = clock.find(['Z', 'z', '+', '-']).filter(|_| is_date)?;
    let (clock, offset) = clock.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let &[hour, minute, second] = fields(clock, ':')?.as_slice() else { return None };
    let is_clock = hour < 24 && minute < 60 && second < 60;
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let micros = format!("{fraction:0<6.6}").parse::<u64>().ok().filter(|_| is_fraction)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = match offset {
        "Z" | "z" if is_clock => seconds,
        _ => {
            let &[hours, minutes] = fields(offset.get(1..)?, ':')?.as_slice() else { return None };
            let ahead = (hours * 60 + minutes) * 60;
            let is_offset = is_clock && hours < 24 && minutes < 60;
            let utc = if offset.starts_with('+') {
                seconds.checked_sub(ahead)
            } else {
                seconds.checked_add(ahead)
            };
            utc.filter(|_| is_offset)?
        }
    };
    Some(Time(seconds * 1_000_000 + micros))
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
    fn points_in_time_are_read_as_they_are_written() {
        for seconds in [0, 951_782_399, 951_782_400, 4_107_542_400, 1_795_656_472, 253_402_300_799]
        {
            let time = Time(seconds * 1_000_000 + 7_000);
            assert_eq!(parse_rfc3339(&time.rfc3339()), Ok(time));
        }
        let read = |text: &str| parse_rfc3339(text).map(|time| time.0);
        assert_eq!(read("1970-01-02T00:00:00Z"), Ok(86_400_000_000));
        assert_eq!(read(" 1970-01-02t00:00:00.5z "), Ok(86_400_500_000));
        assert_eq!(read("1970-01-02T00:00:00.1234569Z"), Ok(86_400_123_456));
        assert_eq!(read("1970-01-02T02:30:00+02:30"), Ok(86_400_000_000));
        assert_eq!(read("1970-01-01T22:00:00-02:00"), Ok(86_400_000_000));
        for wrong in [
            "",
            "1970-01-02",
            "1970-01-02T00:00:00",
            "1970-01-02T00:00Z",
            "1970-13-02T00:00:00Z",
            "1970-00-02T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "1970-01-02T24:00:00Z",
            "1970-01-02T00:60:00Z",
            "1970-01-02T00:00:00.Z",
            "1970-01-02T00:00:00.\u{e9}Z",
            "1970-01-02T00:00:00+1",
            "1970-01-02T00:00:00+24:00",
            "1970-1-2T0:0:0Z",
            "+970-01-02T00:00:00Z",
        ] {
            assert!(parse_rfc3339(wrong).is_err(), "{wrong}");
        }
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
