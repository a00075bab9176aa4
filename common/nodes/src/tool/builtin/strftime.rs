//! Python's `strftime` and the one form of `strptime` that tools use.

use std::fmt::Write as _;

use chrono::{
    DateTime, Datelike as _, NaiveDate, NaiveDateTime, Offset as _, TimeZone, Timelike as _,
};
use chrono_tz::{OffsetName as _, Tz};

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
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

/// The name of a date's day.
pub(super) fn weekday(date: NaiveDate) -> &'static str {
    WEEKDAYS.get(date.weekday().num_days_from_monday() as usize).copied().unwrap_or_default()
}

/// The name of a date's month.
pub(super) fn month(date: NaiveDate) -> &'static str {
    MONTHS.get(date.month0() as usize).copied().unwrap_or_default()
}

/// A time by a format. What is no directive stays as it is written.
pub(super) fn strftime(time: &DateTime<Tz>, format: &str) -> String {
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let Some(mut directive) = rest.next() else {
            out.push('%');
            break;
        };
        // glibc's: without the zeroes before it
        let is_bare = directive == '-';
        if is_bare {
            let Some(next) = rest.next() else {
                out.push_str("%-");
                break;
            };
            directive = next;
        }
        let mut written = String::new();
        if !write(&mut written, time, directive) {
            out.push('%');
            if is_bare {
                out.push('-');
            }
            out.push(directive);
            continue;
        }
        let bare = written.trim_start_matches('0');
        out.push_str(match bare {
            "" if is_bare => "0",
            bare if is_bare => bare,
            _ => &written,
        });
    }
    out
}

/// Writes one directive; false where there is no such.
fn write(out: &mut String, time: &DateTime<Tz>, directive: char) -> bool {
    let date = time.date_naive();
    let twelve = (time.hour() + 11) % 12 + 1;
    let offset = time.offset().fix().local_minus_utc();
    let name = |names: &'static str| names.get(..3).unwrap_or(names);
    // writing to text cannot fail
    let _ = match directive {
        'a' => write!(out, "{}", name(weekday(date))),
        'A' => write!(out, "{}", weekday(date)),
        'b' | 'h' => write!(out, "{}", name(month(date))),
        'B' => write!(out, "{}", month(date)),
        'c' => {
            let form = strftime(time, "%a %b %e %H:%M:%S %Y");
            write!(out, "{form}")
        }
        'C' => write!(out, "{:02}", time.year().div_euclid(100)),
        'd' => write!(out, "{:02}", time.day()),
        'D' | 'x' => write!(out, "{:02}/{:02}/{:02}", time.month(), time.day(), time.year() % 100),
        'e' => write!(out, "{:2}", time.day()),
        'f' => write!(out, "{:06}", time.nanosecond() / 1000 % 1_000_000),
        'F' => write!(out, "{}-{:02}-{:02}", time.year(), time.month(), time.day()),
        'g' => write!(out, "{:02}", time.iso_week().year() % 100),
        'G' => write!(out, "{}", time.iso_week().year()),
        'H' => write!(out, "{:02}", time.hour()),
        'I' => write!(out, "{twelve:02}"),
        'j' => write!(out, "{:03}", time.ordinal()),
        'm' => write!(out, "{:02}", time.month()),
        'M' => write!(out, "{:02}", time.minute()),
        'n' => writeln!(out),
        'p' => write!(out, "{}", if time.hour() < 12 { "AM" } else { "PM" }),
        'r' => write!(
            out,
            "{twelve:02}:{:02}:{:02} {}",
            time.minute(),
            time.second(),
            if time.hour() < 12 { "AM" } else { "PM" }
        ),
        'R' => write!(out, "{:02}:{:02}", time.hour(), time.minute()),
        's' => write!(out, "{}", time.timestamp()),
        'S' => write!(out, "{:02}", time.second()),
        't' => write!(out, "\t"),
        'T' | 'X' => write!(out, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
        'u' => write!(out, "{}", time.weekday().number_from_monday()),
        'U' => {
            write!(out, "{:02}", (time.ordinal0() + 7 - time.weekday().num_days_from_sunday()) / 7)
        }
        'V' => write!(out, "{:02}", time.iso_week().week()),
        'w' => write!(out, "{}", time.weekday().num_days_from_sunday()),
        'W' => {
            write!(out, "{:02}", (time.ordinal0() + 7 - time.weekday().num_days_from_monday()) / 7)
        }
        'y' => write!(out, "{:02}", time.year().rem_euclid(100)),
        'Y' => write!(out, "{}", time.year()),
        'z' => {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.abs() / 60;
            write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
        }
        'Z' => {
            let short = time.offset().abbreviation().map(str::to_owned);
            let short = short.unwrap_or_else(|| strftime(time, "%z"));
            write!(out, "{short}")
        }
        '%' => write!(out, "%"),
        _ => return false,
    };
    true
}

/// A time written as `%Y-%m-%d %H:%M:%S`, as Python reads it, or Python's words for why it is none.
pub(super) fn strptime(text: &str) -> Result<NaiveDateTime, String> {
    let no_match = || format!("time data {} does not match format '%Y-%m-%d %H:%M:%S'", repr(text));
    let mut rest = text;
    let mut numbers = [0_u32; 6];
    let fields: [(usize, usize, &str); 6] =
        [(4, 4, "-"), (1, 2, "-"), (1, 2, " "), (1, 2, ":"), (1, 2, ":"), (1, 2, "")];
    for (number, (least, most, after)) in numbers.iter_mut().zip(fields) {
        let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least {
            return Err(no_match());
        }
        let (digits, left) = rest.split_at(digits);
        *number = digits.parse().map_err(|_| no_match())?;
        rest = left;
        if after == " " {
            let trimmed = rest.trim_start();
            if trimmed.len() == rest.len() {
                return Err(no_match());
            }
            rest = trimmed;
        } else {
            rest = rest.strip_prefix(after).ok_or_else(no_match)?;
        }
    }
    if !rest.is_empty() {
        return Err(format!("unconverted data remains: {rest}"));
    }
    let [year, month, day, hour, minute, second] = numbers;
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 61
    {
        return Err(no_match());
    }
    let year = i32::try_from(year).map_err(|_| no_match())?;
    let date = NaiveDate::from_ymd_opt(year, month, day);
    let date = date.ok_or_else(|| "day is out of range for month".to_owned())?;
    date.and_hms_opt(hour, minute, second).ok_or_else(|| "second must be in 0..59".to_owned())
}

fn repr(text: &str) -> String {
    flowmill_engine::value::str_repr(text)
}

/// A local time in a zone. Of two the later, standard one; one that clocks skip is taken as
/// standard time.
pub(super) fn localized(local: NaiveDateTime, zone: Tz) -> DateTime<Tz> {
    match zone.from_local_datetime(&local) {
        chrono::LocalResult::Single(time) => time,
        chrono::LocalResult::Ambiguous(_, later) => later,
        chrono::LocalResult::None => {
            let before = local - chrono::TimeDelta::hours(3);
            let offset = zone.offset_from_utc_datetime(&before).fix();
            zone.from_utc_datetime(&(local - offset))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let zone: Tz = "America/New_York".parse().unwrap();
        let time = localized(strptime("2024-07-05 03:04:09").unwrap(), zone);
        let cases = [
            ("%Y-%m-%d %H:%M:%S %Z", "2024-07-05 03:04:09 EDT"),
            ("%A %a %B %b %-d %e", "Friday Fri July Jul 5  5"),
            ("%I:%M %p %z %j %U %W %w %u", "03:04 AM -0400 187 26 27 5 5"),
            ("%G-W%V %y %C %f %% %T %D", "2024-W27 24 20 000000 % 03:04:09 07/05/24"),
            ("%Q %", "%Q %"),
            ("\u{5e74}%-H", "\u{5e74}3"),
        ];
        for (format, wanted) in cases {
            assert_eq!(strftime(&time, format), wanted, "{format}");
        }
        let utc = chrono_tz::UTC.with_ymd_and_hms(2024, 1, 1, 0, 0, 0).unwrap();
        assert_eq!(strftime(&utc, "%Z %c"), "UTC Mon Jan  1 00:00:00 2024");
    }

    #[test]
    fn times_are_read_as_python_reads_them() {
        assert!(strptime("2024-1-5 3:4:5").is_ok() && strptime("2024-01-05   03:04:05").is_ok());
        let cases = [
            ("2024-01-05", "time data '2024-01-05' does not match format '%Y-%m-%d %H:%M:%S'"),
            ("2024-02-30 00:00:00", "day is out of range for month"),
            ("2024-02-20 00:00:00Z", "unconverted data remains: Z"),
        ];
        for (text, wanted) in cases {
            assert_eq!(strptime(text).unwrap_err(), wanted);
        }
        let zone: Tz = "America/New_York".parse().unwrap();
        let seconds = |text: &str| localized(strptime(text).unwrap(), zone).timestamp();
        // twice there, and not at all
        assert_eq!(seconds("2024-11-03 01:30:00"), 1_730_615_400);
        assert_eq!(seconds("2024-03-10 02:30:00"), 1_710_055_800);
    }
}
