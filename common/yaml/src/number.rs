//! Numbers as `PyYAML`'s constructors read them.

use flowmill_engine::value::Integer;
use num_bigint::BigInt;

/// Python converts no longer decimal number. Here it bounds every base: reading is quadratic.
const MOST_DIGITS: usize = 4300;

/// An integer with or without a base's sign, underscores and sexagesimal parts. None if Python
/// would raise.
pub(super) fn parse_int(text: &str) -> Option<Integer> {
    let text = text.replace('_', "");
    if text.len() > MOST_DIGITS {
        return None;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let value = if digits == "0" {
        BigInt::ZERO
    } else if let Some(digits) = digits.strip_prefix("0b") {
        python_int(digits, 2)?
    } else if let Some(digits) = digits.strip_prefix("0x") {
        python_int(digits, 16)?
    } else if digits.starts_with('0') {
        python_int(digits.strip_prefix("0o").unwrap_or(digits), 8)?
    } else if digits.contains(':') {
        let mut total = BigInt::ZERO;
        for part in digits.split(':') {
            total = total * 60 + python_int(part, 10)?;
        }
        total
    } else {
        python_int(digits, 10)?
    };
    Some(Integer::from(if negative { -value } else { value }))
}

/// Python's `int(text, radix)`, but for digits outside ASCII.
fn python_int(text: &str, radix: u32) -> Option<BigInt> {
    BigInt::parse_bytes(text.trim().as_bytes(), radix)
}

/// A float. None if Python would raise.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    match digits {
        ".inf" => Some(sign * f64::INFINITY),
        ".nan" => Some(f64::NAN),
        digits if digits.contains(':') => {
            let mut total = 0.0;
            let mut base = 1.0_f64;
            for part in digits.rsplit(':') {
                // Python's base is an integer, which does not become a float beyond this
                if base.is_infinite() {
                    return None;
                }
                total += python_float(part)? * base;
                base *= 60.0;
            }
            Some(sign * total)
        }
        digits => Some(sign * python_float(digits)?),
    }
}

fn python_float(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// Whether Python's lenient base64 reader takes the text.
pub(super) fn is_base64(text: &str) -> bool {
    if !text.is_ascii() {
        return false;
    }
    let mut digits = 0_usize;
    let mut padding = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'=' => {
                padding += 1;
                // a group that is full ends the data
                if digits % 4 >= 2 && digits % 4 + padding >= 4 {
                    return true;
                }
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                digits += 1;
                padding = 0;
            }
            _ => {}
        }
    }
    digits.is_multiple_of(4)
}
