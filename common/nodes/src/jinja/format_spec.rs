//! The format specifications of Python's `format()`.

use flowmill_engine::value::{Integer, float_repr};
use num_bigint::BigInt;
use num_traits::Signed;

use super::fail::{R, raise, refuse};
use super::format::{MAX_WIDTH, float_of, format_float, read_number};
use super::text::char_count;
use super::value::Val;

/// `[[fill]align][sign][0][width][,][.precision][type]`
pub(super) struct Format {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    group: Option<char>,
    pub(super) width: usize,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Format {
    pub(super) fn read(text: &str) -> R<Self> {
        let is_align = |c: &char| matches!(c, '<' | '>' | '^' | '=');
        let mut format = Self {
            fill: ' ',
            align: None,
            sign: None,
            group: None,
            width: 0,
            precision: None,
            kind: None,
        };
        let mut chars = text.chars();
        let (first, second) = (chars.next(), chars.next());
        let mut rest = text;
        if let (Some(fill), Some(align)) = (first, second.filter(is_align)) {
            format.fill = fill;
            format.align = Some(align);
            rest = &rest[fill.len_utf8() + 1..];
        } else if let Some(align) = first.filter(is_align) {
            format.align = Some(align);
            rest = &rest[1..];
        }
        if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-' | ' ')) {
            format.sign = Some(sign);
            rest = &rest[1..];
        }
        if rest.starts_with('0') {
            if format.align.is_some() {
                return refuse("an unusual `format` field");
            }
            format.fill = '0';
            format.align = Some('=');
            rest = &rest[1..];
        }
        let (width, after) = read_number(rest)?;
        format.width = width.unwrap_or(0);
        rest = after;
        if let Some(group) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
            format.group = Some(group);
            rest = &rest[1..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = read_number(after)?;
            if precision.is_none() {
                return refuse("an unusual `format` field");
            }
            format.precision = precision;
            rest = after;
        }
        let mut chars = rest.chars();
        format.kind = chars.next();
        let grouped_zeros = format.group.is_some() && format.fill == '0';
        if chars.next().is_some() || format.width > MAX_WIDTH || grouped_zeros {
            return refuse("an unusual `format` field");
        }
        Ok(format)
    }

    pub(super) fn text(&self, text: &str) -> R<String> {
        match self.kind {
            None | Some('s') => {}
            Some(kind) if kind.is_ascii_alphabetic() => return self.unknown(kind, "str"),
            Some(_) => return refuse("an unusual `format` field"),
        }
        if self.sign.is_some() || self.group.is_some() || self.align == Some('=') {
            return refuse("an unusual `format` field");
        }
        let body = match self.precision {
            Some(count) => text.chars().take(count).collect(),
            None => text.to_owned(),
        };
        Ok(self.pad("", &body, '<'))
    }

    pub(super) fn integer(&self, value: &BigInt) -> R<String> {
        let sign = self.sign_of(value.is_negative());
        let digits = match self.kind {
            None | Some('d') => value.abs().to_string(),
            Some('x') => value.abs().to_str_radix(16),
            Some('X') => value.abs().to_str_radix(16).to_uppercase(),
            Some('o') => value.abs().to_str_radix(8),
            Some('b') => value.abs().to_str_radix(2),
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => {
                return self.float(float_of(&Val::Int(Integer::from(value.clone())))?);
            }
            Some('c' | 'n') => return refuse("an unusual `format` field"),
            Some(kind) if kind.is_ascii_alphabetic() => return self.unknown(kind, "int"),
            Some(_) => return refuse("an unusual `format` field"),
        };
        if self.precision.is_some() {
            return raise("ValueError", "Precision not allowed in integer format specifier");
        }
        if self.group.is_some() && !matches!(self.kind, None | Some('d')) {
            return refuse("an unusual `format` field");
        }
        Ok(self.pad(sign, &self.grouped(&digits), '>'))
    }

    pub(super) fn float(&self, value: f64) -> R<String> {
        let sign = self.sign_of(value.is_sign_negative());
        let value = value.abs();
        let precision = self.precision.unwrap_or(6);
        let body = match self.kind {
            None if self.precision.is_none() => float_repr(value),
            Some('%') => format_float(value * 100.0, 'f', precision)? + "%",
            Some(kind @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G')) => {
                format_float(value, kind, precision)?
            }
            None | Some('n') => return refuse("an unusual `format` field"),
            Some(kind) if kind.is_ascii_alphabetic() => return self.unknown(kind, "float"),
            Some(_) => return refuse("an unusual `format` field"),
        };
        Ok(self.pad(sign, &self.grouped(&body), '>'))
    }

    fn unknown<T>(&self, kind: char, of: &str) -> R<T> {
        if self.group.is_some() || self.precision.is_some() || self.sign.is_some() {
            return refuse("an unusual `format` field");
        }
        let message = format!("Unknown format code '{kind}' for object of type '{of}'");
        raise("ValueError", message)
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            (false, _) => "",
        }
    }

    fn grouped(&self, text: &str) -> String {
        let Some(group) = self.group else { return text.to_owned() };
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut out = String::new();
        for (at, digit) in text[..end].chars().enumerate() {
            if at > 0 && (end - at) % 3 == 0 {
                out.push(group);
            }
            out.push(digit);
        }
        out + &text[end..]
    }

    fn pad(&self, sign: &str, body: &str, default: char) -> String {
        let missing = self.width.saturating_sub(char_count(body) + sign.len());
        let fill = |count: usize| String::from(self.fill).repeat(count);
        match self.align.unwrap_or(default) {
            '<' => [sign, body, &fill(missing)].concat(),
            '^' => [&fill(missing / 2), sign, body, &fill(missing - missing / 2)].concat(),
            '=' => [sign, &fill(missing), body].concat(),
            _ => [&fill(missing), sign, body].concat(),
        }
    }
}
