//! Which type plain text has: `PyYAML`'s expressions of YAML 1.1, written out.

use super::node::Tag;

/// The tag of plain text without a tag.
pub(super) fn resolve(text: &str) -> Tag {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Tag::Null,
        "<<" => Tag::Merge,
        "=" => Tag::Value,
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false"
        | "False" | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Tag::Bool,
        text if !text.starts_with(|c: char| matches!(c, '-' | '+' | '.' | '0'..='9')) => Tag::Str,
        text if is_float(text) => Tag::Float,
        text if is_int(text) => Tag::Int,
        text if is_timestamp(text) => Tag::Timestamp,
        _ => Tag::Str,
    }
}

fn is_float(text: &str) -> bool {
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let Some((whole, rest)) = unsigned.split_once('.') else { return false };
    if whole.is_empty() {
        // without a sign, and with a digit right behind the point
        return unsigned.len() == text.len() && starts_with_digit(rest) && is_fraction(rest);
    }
    match whole.split_once(':') {
        None => is_digits(whole) && is_fraction(rest),
        Some((first, sixties)) => {
            is_digits(first)
                && is_sexagesimal(sixties)
                && rest.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        }
    }
}

/// What follows the point: digits and perhaps an exponent, whose sign is required.
fn is_fraction(text: &str) -> bool {
    let exponent = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
    let Some(exponent) = exponent.strip_prefix(['e', 'E']) else { return exponent.is_empty() };
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_int(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |digits: &str, allowed: fn(u8) -> bool| {
        !digits.is_empty() && digits.bytes().all(|b| allowed(b) || b == b'_')
    };
    if let Some(digits) = text.strip_prefix("0b") {
        return all(digits, |b| matches!(b, b'0' | b'1'));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, |b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix('0') {
        return digits.is_empty() || all(digits, |b| matches!(b, b'0'..=b'7'));
    }
    match text.split_once(':') {
        None => is_digits(text),
        Some((first, sixties)) => is_digits(first) && is_sexagesimal(sixties),
    }
}

/// A digit, then digits and underscores.
fn is_digits(text: &str) -> bool {
    starts_with_digit(text) && text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// Numbers below sixty parted by colons.
fn is_sexagesimal(text: &str) -> bool {
    text.split(':').all(|part| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    })
}

/// A day of ten characters, or a day and a time of day.
fn is_timestamp(text: &str) -> bool {
    Timestamp::parse(text).is_some_and(|stamp| stamp.time.is_some() || text.len() == 10)
}

/// A date, perhaps with a time of day, not yet checked to exist.
pub(super) struct Timestamp {
    year: u32,
    month: u32,
    day: u32,
    time: Option<Time>,
}

struct Time {
    hour: u32,
    minute: u32,
    second: u32,
    /// Of the offset, without its sign.
    offset_minutes: u32,
}

impl Timestamp {
    /// Reads what `PyYAML`'s constructor reads.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let year = digits(&mut rest, 4, 4)?;
        let month = digits_after(&mut rest, "-", 1)?;
        let day = digits_after(&mut rest, "-", 1)?;
        if rest.is_empty() {
            return Some(Self { year, month, day, time: None });
        }
        let blank = rest.trim_start_matches([' ', '\t']);
        rest = if blank.len() < rest.len() { blank } else { rest.strip_prefix(['T', 't'])? };
        let hour = digits(&mut rest, 1, 2)?;
        let minute = digits_after(&mut rest, ":", 2)?;
        let second = digits_after(&mut rest, ":", 2)?;
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let offset_minutes = parse_zone(rest)?;
        let time = Some(Time { hour, minute, second, offset_minutes });
        Some(Self { year, month, day, time })
    }

    /// Whether it is a date alone.
    pub(super) fn is_date(&self) -> bool {
        self.time.is_none()
    }

    /// Whether Python's `datetime` would take it.
    pub(super) fn exists(&self) -> bool {
        let year = self.year;
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 31,
        };
        let time = self.time.as_ref().is_none_or(|time| {
            time.hour < 24 && time.minute < 60 && time.second < 60 && time.offset_minutes < 24 * 60
        });
        self.year > 0 && (1..=12).contains(&self.month) && (1..=days).contains(&self.day) && time
    }
}

fn parse_zone(text: &str) -> Option<u32> {
    if text.is_empty() {
        return Some(0);
    }
    let zone = text.trim_start_matches([' ', '\t']);
    if zone == "Z" {
        return Some(0);
    }
    let mut rest = zone.strip_prefix(['-', '+'])?;
    let hours = digits(&mut rest, 1, 2)?;
    let minutes = if rest.is_empty() { 0 } else { digits_after(&mut rest, ":", 2)? };
    rest.is_empty().then_some(hours * 60 + minutes)
}

fn digits_after(rest: &mut &str, sign: &str, least: usize) -> Option<u32> {
    *rest = rest.strip_prefix(sign)?;
    digits(rest, least, 2)
}

/// Takes as many digits as there are, `least` to `most`.
fn digits(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    if count < least { None } else { taken.parse().ok() }
}
