//! Filters over numbers.

use flowmill_engine::value::{Integer, float_error, python_float, python_int};
use num_bigint::BigInt;
use num_traits::Signed;

use super::super::ast::Binary;
use super::super::call::CallArgs;
use super::super::fail::{R, raise, refuse, type_error};
use super::super::format::truncate;
use super::super::interp::Interp;
use super::super::ops::{big, float as finite};
use super::super::value::Val;

pub(super) fn abs(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    match value {
        Val::Int(value) => big(value.to_big().abs()),
        Val::Bool(value) => Ok(Val::int(i64::from(value))),
        Val::Float(value) => Ok(Val::Float(value.abs())),
        Val::Undef(undef) => {
            let _ = undef;
            refuse("`abs` of something undefined")
        }
        Val::None | Val::Str(_) | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => {
            type_error(format!("bad operand type for abs(): '{}'", value.type_name()))
        }
        _ => refuse("`abs` of an unusual object"),
    }
}

/// `int(float(value))` of text; None where Python raises what the filter catches.
fn int_of_float(text: &str) -> R<Option<Val>> {
    match python_float(text) {
        Some(value) if value.is_finite() => truncate(value).map(|value| Some(Val::Int(value))),
        Some(_) | None => Ok(None),
    }
}

pub(super) fn int(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [default, base] = args.bind(["default", "base"])?;
    let default = default.unwrap_or_else(|| Val::int(0));
    let base = match base {
        None => 10,
        Some(Val::Int(base)) => match base.to_i64() {
            Some(base @ (2 | 8 | 10 | 16)) => u32::try_from(base).unwrap_or(10),
            _ => return refuse("`int` with an unusual base"),
        },
        Some(_) => return refuse("`int` with an unusual base"),
    };
    match &value {
        Val::Int(_) => Ok(value),
        Val::Bool(value) => Ok(Val::int(i64::from(*value))),
        Val::Float(value) => truncate(*value).map(Val::Int),
        Val::Str(text) | Val::Safe(text) => {
            if text.len() > 1000 {
                return refuse("a number with more than 1000 digits");
            }
            let whole = if base == 10 { python_int(text) } else { based(text, base)? };
            match whole {
                Some(whole) => Ok(Val::Int(whole)),
                None => Ok(int_of_float(text)?.unwrap_or(default)),
            }
        }
        Val::Undef(undef) => raise("UndefinedError", undef.message()),
        Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => Ok(default),
        _ => refuse("`int` of an unusual object"),
    }
}

/// `int(text, base)` of plain digits with an optional prefix.
fn based(text: &str, base: u32) -> R<Option<Integer>> {
    if text.contains('_') || !text.is_ascii() {
        return refuse("`int` of unusual digits");
    }
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        _ => "0x",
    };
    let lower = digits.to_ascii_lowercase();
    let digits = lower.strip_prefix(prefix).unwrap_or(&lower);
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    let value = BigInt::parse_bytes(digits.as_bytes(), base);
    Ok(value.map(|value| Integer::from(if sign == "-" { -value } else { value })))
}

pub(super) fn float(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [default] = args.bind(["default"])?;
    let default = default.unwrap_or(Val::Float(0.0));
    match &value {
        Val::Float(_) => Ok(value),
        Val::Bool(value) => Ok(Val::Float(f64::from(u8::from(*value)))),
        #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
        Val::Int(value) => match value.to_i64() {
            Some(value) => Ok(Val::Float(value as f64)),
            None => refuse("a huge integer as a float"),
        },
        Val::Str(text) | Val::Safe(text) => match python_float(text) {
            Some(value) => finite(value),
            None => Ok(default),
        },
        Val::Undef(undef) => raise("UndefinedError", undef.message()),
        Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => Ok(default),
        _ => refuse("`float` of an unusual object"),
    }
}

pub(super) fn round(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [precision, method] = args.bind(["precision", "method"])?;
    let precision = interp.int_arg(precision, 0)?;
    let method = match &method {
        None => "common",
        Some(Val::Str(method)) => method,
        Some(_) => return refuse("`round` with an unusual method"),
    };
    if !matches!(method, "common" | "ceil" | "floor") {
        return raise("FilterArgumentError", "method must be common, ceil or floor");
    }
    if !(0..=15).contains(&precision) {
        return refuse("`round` with an unusual precision");
    }
    let value = match value {
        Val::Bool(value) => Val::int(i64::from(value)),
        Val::Int(_) | Val::Float(_) => value,
        Val::Str(_) | Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) | Val::Undef(_)
            if method == "common" =>
        {
            let name = value.type_name();
            return type_error(format!("type {name} doesn't define __round__ method"));
        }
        _ => return refuse("`round` of something that is no number"),
    };
    if method == "common" {
        return match value {
            Val::Float(value) => round_float(value, precision),
            other => Ok(other),
        };
    }
    let power = Val::int(10_i64.pow(u32::try_from(precision).unwrap_or(0)));
    let scaled = interp.binary(Binary::Mul, &value, &power)?;
    let whole = match scaled {
        Val::Float(scaled) if method == "ceil" => Val::Int(truncate(scaled.ceil())?),
        Val::Float(scaled) => Val::Int(truncate(scaled.floor())?),
        other => other,
    };
    interp.binary(Binary::Div, &whole, &power)
}

/// `round(value, precision)`: the decimal nearest to the exact value, the even one of two.
fn round_float(value: f64, precision: i64) -> R<Val> {
    let places = usize::try_from(precision).unwrap_or(0);
    match format!("{value:.places$}").parse::<f64>() {
        Ok(rounded) => finite(rounded),
        Err(_) => refuse("`round` of an unusual number"),
    }
}

pub(super) fn filesizeformat(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [binary] = args.bind(["binary"])?;
    let binary = binary.is_some_and(|binary| binary.truthy());
    #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
    let bytes = match &value {
        Val::Float(value) => *value,
        Val::Bool(value) => f64::from(u8::from(*value)),
        Val::Int(value) => match value.to_i64() {
            Some(value) => value as f64,
            None => return refuse("a huge integer as a float"),
        },
        Val::Str(text) => match python_float(text).filter(|value| value.is_finite()) {
            Some(value) => value,
            None if python_float(text).is_some() => return refuse("an infinite float"),
            None => return raise("ValueError", float_error(text)),
        },
        Val::Undef(undef) => return raise("UndefinedError", undef.message()),
        Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => {
            let name = value.type_name();
            return type_error(format!(
                "float() argument must be a string or a real number, not '{name}'"
            ));
        }
        _ => return refuse("`filesizeformat` of something that is no number"),
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    #[expect(clippy::float_cmp, reason = "as Jinja2 compares")]
    if bytes == 1.0 {
        return Ok(Val::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Val::str(format!("{} Bytes", truncate(bytes)?)));
    }
    let letters = if binary { "KMGTPEZY" } else { "kMGTPEZY" };
    let mut shown = String::new();
    let mut unit = base;
    for letter in letters.chars() {
        unit *= base;
        let suffix = if binary { "iB" } else { "B" };
        shown = format!("{:.1} {letter}{suffix}", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Ok(Val::str(shown))
}

pub(super) fn sum(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [attribute, start] = args.bind(["attribute", "start"])?;
    let path = match &attribute {
        None | Some(Val::None) => None,
        Some(attribute) => Some(attribute.clone()),
    };
    let mut items = interp.collect(&value)?;
    if let Some(attribute) = path {
        let by = CallArgs { positional: Vec::new(), named: vec![("attribute".into(), attribute)] };
        let mapped = super::sequences::map(interp, Val::list(items), &by)?;
        items = interp.collect(&mapped)?;
    }
    let start = start.unwrap_or_else(|| Val::int(0));
    if matches!(start, Val::Str(_) | Val::Safe(_)) {
        return type_error("sum() can't sum strings [use ''.join(seq) instead]");
    }
    add_up(interp, start, items)
}

/// `CPython` adds floats with compensation as long as it meets only floats and small integers.
fn add_up(interp: &mut Interp<'_>, start: Val, items: Vec<Val>) -> R<Val> {
    let mut total = start;
    let mut items = items.into_iter().peekable();
    // integers first: exact in any case
    while matches!(total, Val::Int(_)) {
        let Some(item) = items.next() else { return Ok(total) };
        total = interp.binary(Binary::Add, &total, &item)?;
    }
    if let Val::Float(start) = total {
        let (mut sum, mut rest) = (start, 0.0_f64);
        loop {
            match items.peek() {
                Some(Val::Float(item)) => {
                    let next = sum + item;
                    rest += if sum.abs() >= item.abs() {
                        (sum - next) + item
                    } else {
                        (item - next) + sum
                    };
                    sum = next;
                }
                Some(Val::Bool(item)) => sum += f64::from(u8::from(*item)),
                #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
                Some(Val::Int(item)) => match item.to_i64() {
                    Some(item) => sum += item as f64,
                    None => return refuse("a sum with huge integers"),
                },
                _ => break,
            }
            items.next();
        }
        total = finite(sum + rest)?;
    }
    for item in items {
        total = interp.binary(Binary::Add, &total, &item)?;
    }
    Ok(total)
}
