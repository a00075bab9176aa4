//! Floats as Python prints them.

use std::fmt::Write;

/// Python's `repr()` of a float: the shortest digits that read back as the same float, the even
/// one of two equally near; with an exponent when it is below -4 or at least 16.
pub fn float_repr(value: f64) -> String {
    let mut out = String::new();
    write_float(&mut out, value);
    out
}

pub(super) fn write_float(out: &mut String, value: f64) {
    if !value.is_finite() {
        out.push_str(match value {
            f64::INFINITY => "inf",
            f64::NEG_INFINITY => "-inf",
            _ => "nan",
        });
        return;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    // The standard library takes the upper of two equally near digits, Python the even one.
    let mut buffer = zmij::Buffer::new();
    let decimal = Decimal::read(buffer.format_finite(value.abs()));
    decimal.write(out);
}

/// `0.d₁d₂d₃… × 10^point`.
struct Decimal {
    digits: [u8; 32],
    len: usize,
    point: i32,
}

impl Decimal {
    /// Takes a number apart: digits, perhaps a point, perhaps an exponent.
    fn read(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let mut decimal = Self { digits: [b'0'; 32], len: 0, point: exponent };
        let mut leading = true;
        for (at, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            leading &= digit == b'0';
            decimal.point += i32::from(at < whole.len()) - i32::from(leading);
            if !leading && decimal.len < decimal.digits.len() {
                decimal.digits[decimal.len] = digit;
                decimal.len += 1;
            }
        }
        while decimal.len > 1 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        if leading {
            // Zero is written as a digit before the point.
            (decimal.len, decimal.point) = (1, 1);
        }
        decimal
    }

    fn write(&self, out: &mut String) {
        let digits = std::str::from_utf8(&self.digits[..self.len]).unwrap_or_default();
        let zeros = |count: usize| std::iter::repeat_n('0', count);
        let places = self.point.unsigned_abs() as usize;
        match self.point {
            -3..=0 => {
                out.push_str("0.");
                out.extend(zeros(places));
                out.push_str(digits);
            }
            1..=16 if places < digits.len() => {
                out.push_str(&digits[..places]);
                out.push('.');
                out.push_str(&digits[places..]);
            }
            1..=16 => {
                out.push_str(digits);
                out.extend(zeros(places - digits.len()));
                out.push_str(".0");
            }
            _ => self.write_scientific(out, digits),
        }
    }

    fn write_scientific(&self, out: &mut String, digits: &str) {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "e{:+03}", self.point - 1);
    }
}
