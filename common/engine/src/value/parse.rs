//! Text read as numbers: Python's `int()` and `float()`.

use super::python::MAX_INT_DIGITS;
use super::unicode::{decimal_digit, is_number_space};
use super::{Integer, str_repr};

/// How much of a text Python shows in the error of `int()`, quotes counted.
const SHOWN: usize = 200;

/// Python's `int(text)`: white space around, a sign, digits of any script, single underscores
/// between digits. None where Python raises; [`int_error`] says what it says then.
pub fn python_int(text: &str) -> Option<Integer> {
    match read_int(text) {
        Read::Digits(digits) => Integer::parse(&digits),
        Read::TooLong(_) | Read::Invalid => None,
    }
}

/// What Python says when `int(text)` fails.
pub fn int_error(text: &str) -> String {
    match read_int(text) {
        Read::TooLong(count) => too_long(count),
        Read::Digits(_) | Read::Invalid => {
            let mut shown = str_repr(text);
            if let Some((cut, _)) = shown.char_indices().nth(SHOWN) {
                shown.truncate(cut);
            }
            format!("invalid literal for int() with base 10: {shown}")
        }
    }
}

/// Python's `float(text)`: white space around, digits of any script, single underscores between
/// digits, `inf`, `infinity` and `nan` in any case. None where Python raises.
pub fn python_float(text: &str) -> Option<f64> {
    let plain = to_ascii(text)?;
    if !plain.contains('_') {
        return plain.parse().ok();
    }
    without_underscores(&plain)?.parse().ok()
}

/// What Python says when `float(text)` fails.
pub fn float_error(text: &str) -> String {
    format!("could not convert string to float: {}", str_repr(text))
}

/// What Python says of an integer with too many digits.
pub(super) fn too_long(digits: usize) -> String {
    format!(
        "Exceeds the limit ({MAX_INT_DIGITS} digits) for integer string conversion: value has \
         {digits} digits; use sys.set_int_max_str_digits() to increase the limit"
    )
}

enum Read {
    Digits(String),
    TooLong(usize),
    Invalid,
}

fn read_int(text: &str) -> Read {
    let Some(plain) = to_ascii(text).and_then(|plain| without_underscores(&plain)) else {
        return Read::Invalid;
    };
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Read::Invalid;
    }
    if digits.len() > MAX_INT_DIGITS { Read::TooLong(digits.len()) } else { Read::Digits(plain) }
}

/// The text without the white space around it and with ASCII digits; none if it has other
/// characters beyond ASCII.
fn to_ascii(text: &str) -> Option<String> {
    let ascii = |character: char| match decimal_digit(character) {
        Some(digit) => Some(char::from(b'0' + digit)),
        None => character.is_ascii().then_some(character),
    };
    text.trim_matches(is_number_space).chars().map(ascii).collect()
}

/// The text without its underscores; none if one of them is not between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let stray = |(at, byte): (usize, u8)| {
        byte == b'_' && !(digit(at.checked_sub(1)) && digit(at.checked_add(1)))
    };
    if text.bytes().enumerate().any(stray) {
        return None;
    }
    Some(text.replace('_', ""))
}
