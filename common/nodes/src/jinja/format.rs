//! `'%s' % x` and `'{}'.format(x)`.

use flowmill_engine::value::{Integer, Name};
use num_bigint::BigInt;
use num_traits::FromPrimitive;

use super::call::CallArgs;
use super::fail::{R, raise, refuse, type_error};
use super::format_spec::Format;
use super::interp::Interp;
use super::text::char_count;
use super::value::{Key, Val};

/// The widest field and the most digits that are formatted here.
pub(super) const MAX_WIDTH: usize = 10_000;
const MAX_PRECISION: usize = 100;

/// What `%` takes its values from.
struct Source<'a> {
    args: &'a [Val],
    /// Whether all of them have to be used.
    strict: bool,
    mapping: Option<&'a Val>,
    next: usize,
}

/// One `%…` of a format.
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    /// What stands before a number that is not negative.
    sign: &'static str,
    width: usize,
    precision: Option<usize>,
}

impl Interp<'_> {
    /// `text % value`
    pub(super) fn percent(&mut self, format: &str, value: &Val) -> R<String> {
        let single = std::slice::from_ref(value);
        let mut source = match value {
            Val::Tuple(tuple) => {
                Source { args: &tuple.items, strict: true, mapping: None, next: 0 }
            }
            Val::Dict(_) => Source { args: single, strict: false, mapping: Some(value), next: 0 },
            Val::List(_) | Val::Undef(_) => {
                Source { args: single, strict: false, mapping: None, next: 0 }
            }
            Val::Safe(_) => return refuse("`%` with escaped text"),
            Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) => {
                Source { args: single, strict: true, mapping: None, next: 0 }
            }
            _ => return refuse("`%` with an unusual value"),
        };
        let mut out = String::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            rest = self.percent_field(format, rest, &mut source, &mut out)?;
        }
        out.push_str(rest);
        self.allocate(out.len())?;
        if source.strict && source.next < source.args.len() {
            return type_error("not all arguments converted during string formatting");
        }
        Ok(out)
    }

    fn percent_field<'a>(
        &mut self,
        format: &str,
        rest: &'a str,
        source: &mut Source<'_>,
        out: &mut String,
    ) -> R<&'a str> {
        let mut rest = rest;
        let mut chosen = None;
        if let Some(key) = rest.strip_prefix('(') {
            let Some(end) = key.find(')') else {
                return raise("ValueError", "incomplete format key");
            };
            if key[..end].contains('(') {
                return refuse("a format key with parentheses");
            }
            chosen = Some(self.format_key(source, &key[..end])?);
            rest = &key[end + 1..];
        }
        let (spec, after) = read_spec(rest)?;
        rest = after;
        let Some(kind) = rest.chars().next() else {
            return raise("ValueError", "incomplete format");
        };
        let at = char_count(format) - char_count(rest);
        rest = &rest[kind.len_utf8()..];
        if kind == '%' {
            if chosen.is_some() {
                return refuse("an unusual `%` format");
            }
            out.push('%');
            return Ok(rest);
        }
        if !matches!(
            kind,
            's' | 'r' | 'd' | 'i' | 'u' | 'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'x' | 'X' | 'o'
        ) {
            if matches!(kind, 'a' | 'c' | 'h' | 'l' | 'L') || chosen.is_some() {
                return refuse("an unusual `%` format");
            }
            // Python takes the value first
            self.next_value(source)?;
            let code = u32::from(kind);
            let shown = if kind.is_ascii_graphic() || kind == ' ' { kind } else { '?' };
            return raise(
                "ValueError",
                format!("unsupported format character '{shown}' (0x{code:x}) at index {at}"),
            );
        }
        let value = match chosen {
            Some(value) => value,
            None => self.next_value(source)?,
        };
        self.allocate(spec.width)?;
        let body = self.percent_value(&value, kind, &spec)?;
        push_padded(out, &body, kind, &spec);
        Ok(rest)
    }

    fn format_key(&mut self, source: &Source<'_>, key: &str) -> R<Val> {
        match source.mapping {
            Some(Val::Dict(dict)) => match dict.get(&Key::Str(key.into())) {
                Some(value) => Ok(value),
                None => raise("KeyError", flowmill_engine::value::str_repr(key)),
            },
            _ if source.strict => type_error("format requires a mapping"),
            _ => refuse("an unusual `%` format"),
        }
    }

    fn next_value(&mut self, source: &mut Source<'_>) -> R<Val> {
        let Some(value) = source.args.get(source.next) else {
            return type_error("not enough arguments for format string");
        };
        source.next += 1;
        Ok(value.clone())
    }

    fn percent_value(&mut self, value: &Val, kind: char, spec: &Spec) -> R<String> {
        match kind {
            's' | 'r' => {
                if matches!(value, Val::Safe(_)) {
                    return refuse("`%` with escaped text");
                }
                let text =
                    if kind == 's' { self.text_of(value)?.to_string() } else { self.repr(value)? };
                Ok(match spec.precision {
                    Some(count) => text.chars().take(count).collect(),
                    None => text,
                })
            }
            'd' | 'i' | 'u' => {
                if spec.precision.is_some() {
                    return refuse("an integer format with a precision");
                }
                Ok(percent_integer(value, kind)?.to_string())
            }
            'x' | 'X' | 'o' => {
                let value = match value {
                    Val::Int(value) => value.to_big(),
                    Val::Bool(value) => BigInt::from(i64::from(*value)),
                    Val::Undef(_) => return refuse("an undefined value in a `%` format"),
                    other => {
                        let name = other.type_name();
                        return type_error(format!(
                            "%{kind} format: an integer is required, not {name}"
                        ));
                    }
                };
                if spec.precision.is_some() {
                    return refuse("an integer format with a precision");
                }
                let text = value.to_str_radix(if kind == 'o' { 8 } else { 16 });
                Ok(if kind == 'X' { text.to_uppercase() } else { text })
            }
            _ => {
                let value = match value {
                    Val::Str(_) => return type_error("must be real number, not str"),
                    Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => {
                        let name = value.type_name();
                        return type_error(format!("must be real number, not {name}"));
                    }
                    Val::Undef(undef) => return raise("UndefinedError", undef.message()),
                    other => float_of(other)?,
                };
                format_float(value, kind, spec.precision.unwrap_or(6))
            }
        }
    }

    /// `text.format(…)`
    pub(super) fn format_method(&mut self, format: &str, args: &CallArgs) -> R<String> {
        let mut out = String::new();
        let mut rest = format;
        let mut auto = 0;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return raise("ValueError", "Single '}' encountered in format string");
            }
            if rest.is_empty() {
                return raise("ValueError", "Single '{' encountered in format string");
            }
            let Some(end) = rest.find('}') else {
                return refuse("an unfinished `format` field");
            };
            let field = &rest[..end];
            rest = &rest[end + 1..];
            if field.contains(['{', '[', '!', '.']) && !is_plain_spec(field) {
                return refuse("an unusual `format` field");
            }
            let (name, spec) = field.split_once(':').unwrap_or((field, ""));
            let value = format_arg(name, args, &mut auto)?;
            let text = self.format_value(&value, spec)?;
            out.push_str(&text);
        }
        out.push_str(rest);
        self.allocate(out.len())?;
        Ok(out)
    }

    /// `format(value, spec)`
    fn format_value(&mut self, value: &Val, spec: &str) -> R<Name> {
        if matches!(value, Val::Safe(_)) {
            return refuse("`format` with escaped text");
        }
        if spec.is_empty() {
            return self.text_of(value);
        }
        let spec = Format::read(spec)?;
        self.allocate(spec.width)?;
        match value {
            Val::Str(text) => spec.text(text).map(Name::from),
            Val::Bool(value) => spec.integer(&BigInt::from(i64::from(*value))).map(Name::from),
            Val::Int(value) => spec.integer(&value.to_big()).map(Name::from),
            Val::Float(value) => spec.float(*value).map(Name::from),
            Val::Undef(_) | Val::None | Val::List(_) | Val::Dict(_) | Val::Tuple(_) => {
                let name = value.type_name();
                type_error(format!("unsupported format string passed to {name}.__format__"))
            }
            _ => refuse("`format` with an unusual value"),
        }
    }
}

/// Whether what follows the colon is the only part with a point.
fn is_plain_spec(field: &str) -> bool {
    let (name, spec) = field.split_once(':').unwrap_or((field, ""));
    !name.contains(['{', '[', '!', '.']) && !spec.contains(['{', '[', '!'])
}

fn format_arg(name: &str, args: &CallArgs, auto: &mut i64) -> R<Val> {
    let index = if name.is_empty() {
        if *auto < 0 {
            return refuse("a `format` with mixed numbering");
        }
        *auto += 1;
        usize::try_from(*auto - 1).unwrap_or(0)
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        if *auto > 0 {
            return refuse("a `format` with mixed numbering");
        }
        *auto = -1;
        name.parse().unwrap_or(usize::MAX)
    } else {
        let found = args.named.iter().find(|(known, _)| &**known == name);
        return match found {
            Some((_, value)) => Ok(value.clone()),
            None => raise("KeyError", flowmill_engine::value::str_repr(name)),
        };
    };
    match args.positional.get(index) {
        Some(value) => Ok(value.clone()),
        None => raise(
            "IndexError",
            format!("Replacement index {index} out of range for positional args tuple"),
        ),
    }
}

fn read_spec(text: &str) -> R<(Spec, &str)> {
    let mut spec = Spec::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => spec.left = true,
            '0' => spec.zero = true,
            '+' => spec.sign = "+",
            ' ' if spec.sign == "+" => {}
            ' ' => spec.sign = " ",
            '#' => return refuse("an unusual `%` format"),
            _ => break,
        }
        rest = &rest[1..];
    }
    let (width, after) = read_number(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = read_number(after)?;
        spec.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    if rest.starts_with('*') || spec.width > MAX_WIDTH {
        return refuse("an unusual `%` format");
    }
    if spec.precision.is_some_and(|precision| precision > MAX_PRECISION) {
        return refuse("an unusual `%` format");
    }
    Ok((spec, rest))
}

pub(super) fn read_number(text: &str) -> R<(Option<usize>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    match text[..end].parse() {
        Ok(number) => Ok((Some(number), &text[end..])),
        Err(_) => refuse("a huge number in a format"),
    }
}

fn push_padded(out: &mut String, body: &str, kind: char, spec: &Spec) {
    let text = matches!(kind, 's' | 'r');
    let (sign, digits) = match body.strip_prefix('-') {
        Some(digits) if !text => ("-", digits),
        _ if text => ("", body),
        _ => (spec.sign, body),
    };
    let missing = spec.width.saturating_sub(char_count(digits) + sign.len());
    if spec.left {
        out.push_str(sign);
        out.push_str(digits);
        out.push_str(&" ".repeat(missing));
    } else if spec.zero && !text {
        out.push_str(sign);
        out.push_str(&"0".repeat(missing));
        out.push_str(digits);
    } else {
        out.push_str(&" ".repeat(missing));
        out.push_str(sign);
        out.push_str(digits);
    }
}

fn percent_integer(value: &Val, kind: char) -> R<Integer> {
    match value {
        Val::Int(value) => Ok(value.clone()),
        Val::Bool(value) => Ok(Integer::from(i64::from(*value))),
        Val::Float(value) => truncate(*value),
        Val::Undef(undef) => raise("UndefinedError", undef.message()),
        other => {
            let name = other.type_name();
            type_error(format!("%{kind} format: a real number is required, not {name}"))
        }
    }
}

/// `int(value)` of a finite float.
pub(super) fn truncate(value: f64) -> R<Integer> {
    match BigInt::from_f64(value.trunc()) {
        Some(value) => Ok(Integer::from(value)),
        None => refuse("an infinite float"),
    }
}

pub(super) fn float_of(value: &Val) -> R<f64> {
    match value {
        Val::Float(value) => Ok(*value),
        Val::Bool(value) => Ok(f64::from(u8::from(*value))),
        #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
        Val::Int(value) => match value.to_i64() {
            Some(value) => Ok(value as f64),
            None => refuse("a huge integer as a float"),
        },
        _ => refuse("an unusual value as a float"),
    }
}

/// A float in one of C's formats.
pub(super) fn format_float(value: f64, kind: char, precision: usize) -> R<String> {
    if precision > MAX_PRECISION {
        return refuse("a format with a huge precision");
    }
    let text = match kind.to_ascii_lowercase() {
        'f' => format!("{value:.precision$}"),
        'e' => exponent(value, precision),
        _ => general(value, precision.max(1)),
    };
    Ok(if kind.is_ascii_uppercase() { text.to_uppercase() } else { text })
}

fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn general(value: f64, precision: usize) -> String {
    let scientific = exponent(value, precision - 1);
    let power: i64 =
        scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let digits = i64::try_from(precision).unwrap_or(i64::MAX);
    if power < -4 || power >= digits {
        let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{power}", without_zeros(digits));
    }
    let places = usize::try_from(digits - 1 - power).unwrap_or(0);
    without_zeros(&format!("{value:.places$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
