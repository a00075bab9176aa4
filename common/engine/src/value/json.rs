//! Values written as JSON text, and exchanged with `serde_json`.
//!
//! A file is written as an object. In the Python styles it has the ten fields that the reference
//! engine holds; everywhere else it is [`File::to_dict`](super::File::to_dict), which adds
//! `related_id` and `url`.

use std::fmt::Write;

use serde_json::Number;
use thiserror::Error;

use super::float::write_float;
use super::python::write_int;
use super::{Integer, Object, Value};

/// How JSON text is laid out. Floats are written as Python prints them in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One line, `, ` and `: ` between things, characters beyond ASCII kept:
    /// `json.dumps(value, ensure_ascii=False)`.
    Line,
    /// One line, everything beyond printable ASCII escaped: `json.dumps(value)`.
    Ascii,
    /// Indented by two, characters beyond ASCII kept:
    /// `json.dumps(value, ensure_ascii=False, indent=2)`.
    Indented,
    /// No white space at all, characters beyond ASCII kept.
    Compact,
    /// As [`Style::Compact`], with NaN and infinities as the strings `"NaN"`, `"Infinity"` and
    /// `"-Infinity"`, so that any reader takes it.
    Finite,
}

/// Why a value cannot be given to a program or a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StrictError {
    /// An integer below -2^63 or above 2^64 - 1.
    #[error("Integer exceeds 64-bit range")]
    Integer,
    /// A file.
    #[error("Type is not JSON serializable: File")]
    File,
    /// Nested more than 254 levels deep.
    #[error("Recursion limit reached")]
    Depth,
}

/// Writes a value as JSON. NaN and infinities become `NaN`, `Infinity` and `-Infinity`, as in
/// Python.
pub fn dumps(value: &Value, style: Style) -> String {
    let mut out = String::new();
    write_json(&mut out, value, style);
    out
}

/// Appends a value as JSON.
pub fn write_json(out: &mut String, value: &Value, style: Style) {
    Writer { out, style, depth: 0, overlong: false }.value(value);
}

/// As [`write_json`]; true if there was an integer that Python refuses to print.
pub(super) fn write_json_checked(out: &mut String, value: &Value, style: Style) -> bool {
    let mut writer = Writer { out, style, depth: 0, overlong: false };
    writer.value(value);
    writer.overlong
}

/// Writes the inputs of a program or a template (spec/nodes.md §3.8, §4.1): compact, NaN and
/// infinities as null.
pub fn dumps_strict(value: &Value) -> Result<String, StrictError> {
    let mut out = String::new();
    write_strict(&mut out, value, 0)?;
    Ok(out)
}

fn write_strict(out: &mut String, value: &Value, depth: usize) -> Result<(), StrictError> {
    const DEEPEST: usize = 254;
    let container = matches!(value, Value::Array(_) | Value::Object(_));
    if container && depth >= DEEPEST {
        return Err(StrictError::Depth);
    }
    match value {
        Value::Int(value) if !fits_64_bits(value) => return Err(StrictError::Integer),
        Value::Float(value) if !value.is_finite() => out.push_str("null"),
        Value::File(_) => return Err(StrictError::File),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_strict(out, item, depth + 1)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(out, key, false);
                out.push(':');
                write_strict(out, value, depth + 1)?;
            }
            out.push('}');
        }
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => {
            write_json(out, value, Style::Compact);
        }
    }
    Ok(())
}

fn fits_64_bits(value: &Integer) -> bool {
    value.to_i64().is_some() || u64::try_from(value.to_big()).is_ok()
}

struct Writer<'a> {
    out: &'a mut String,
    style: Style,
    depth: usize,
    overlong: bool,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Int(value) => self.overlong |= write_int(self.out, value),
            Value::Float(value) if value.is_finite() => write_float(self.out, *value),
            Value::Float(value) if self.style == Style::Finite => {
                self.string(not_finite(*value));
            }
            Value::Float(value) => self.out.push_str(not_finite(*value)),
            Value::Str(text) => self.string(text),
            Value::Array(items) if items.is_empty() => self.out.push_str("[]"),
            Value::Array(items) => {
                self.open('[');
                for (at, item) in items.iter().enumerate() {
                    self.separate(at);
                    self.value(item);
                }
                self.close(']');
            }
            Value::Object(members) if members.is_empty() => self.out.push_str("{}"),
            Value::Object(members) => {
                self.open('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    self.member(at, key, value);
                }
                self.close('}');
            }
            Value::File(file) => match self.style {
                Style::Compact | Style::Finite => self.value(&file.to_dict()),
                Style::Line | Style::Ascii | Style::Indented => {
                    self.open('{');
                    for (at, (key, value)) in file.fields().into_iter().enumerate() {
                        self.member(at, key, &value);
                    }
                    self.close('}');
                }
            },
        }
    }

    fn member(&mut self, at: usize, key: &str, value: &Value) {
        self.separate(at);
        self.string(key);
        let compact = matches!(self.style, Style::Compact | Style::Finite);
        self.out.push_str(if compact { ":" } else { ": " });
        self.value(value);
    }

    fn string(&mut self, text: &str) {
        write_string(self.out, text, self.style == Style::Ascii);
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.depth += 1;
        self.new_line();
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        self.new_line();
        self.out.push(bracket);
    }

    fn separate(&mut self, at: usize) {
        if at == 0 {
            return;
        }
        match self.style {
            Style::Line | Style::Ascii => self.out.push_str(", "),
            Style::Compact | Style::Finite => self.out.push(','),
            Style::Indented => {
                self.out.push(',');
                self.new_line();
            }
        }
    }

    fn new_line(&mut self) {
        if self.style == Style::Indented {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth));
        }
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.reserve(text.len() + 2);
    out.push('"');
    let special = |byte: &u8| match byte {
        b'"' | b'\\' | 0..=0x1f => true,
        b' '..=b'~' => false,
        _ => ascii,
    };
    let mut rest = text;
    while let Some(at) = rest.as_bytes().iter().position(special) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = from.chars();
        characters.next().into_iter().for_each(|character| write_escaped(out, character));
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn write_escaped(out: &mut String, character: char) {
    let short = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
            return;
        }
    };
    out.push_str(short);
}

impl Value {
    /// The value for an API's answer. What JSON lacks becomes text: `NaN`, `Infinity`,
    /// `-Infinity`, and the digits of integers beyond 64 bits.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::None => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => match value.to_i64() {
                Some(small) => Json::from(small),
                None => u64::try_from(value.to_big())
                    .map_or_else(|_| Json::String(value.to_string()), Json::from),
            },
            Self::Float(value) => Number::from_f64(*value)
                .map_or_else(|| Json::String(not_finite(*value).to_owned()), Json::Number),
            Self::Str(text) => Json::String((**text).to_owned()),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                members.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()
            }
            Self::File(file) => file.to_dict().to_json(),
        }
    }

    /// A value from parsed JSON. Text that is at hand is better read by [`loads`](super::loads),
    /// which keeps integers of any size.
    pub fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => from_number(&number),
            Json::String(text) => Self::from(text),
            Json::Array(items) => Self::array(items.into_iter().map(Self::from_json).collect()),
            Json::Object(members) => {
                let members = members.into_iter();
                let members: Object =
                    members.map(|(key, value)| (key.into(), Self::from_json(value))).collect();
                Self::Object(members.into())
            }
        }
    }
}

fn from_number(number: &Number) -> Value {
    if let Some(small) = number.as_i64() {
        Value::int(small)
    } else if let Some(large) = number.as_u64() {
        Value::Int(Integer::from(num_bigint::BigInt::from(large)))
    } else {
        Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::value::{File, MAX_DEPTH, loads};

    fn big() -> Value {
        loads("18446744073709551616").unwrap()
    }

    #[test]
    fn inputs_of_programs_are_strict() {
        let value = loads("[NaN, -Infinity, 18446744073709551615, -1.0, \"é\"]").unwrap();
        assert_eq!(dumps_strict(&value).unwrap(), "[null,null,18446744073709551615,-1.0,\"é\"]");
        assert_eq!(dumps_strict(&big()), Err(StrictError::Integer));
        let file = Value::File(Arc::new(File::default()));
        assert_eq!(dumps_strict(&Value::array(vec![file])), Err(StrictError::File));
    }

    #[test]
    fn inputs_of_programs_are_as_deep_as_the_reference_takes_them() {
        let nested = |depth: usize| loads(&("[".repeat(depth) + &"]".repeat(depth))).unwrap();
        assert!(dumps_strict(&nested(254)).is_ok());
        assert_eq!(dumps_strict(&nested(255)), Err(StrictError::Depth));
        assert_eq!(dumps(&nested(MAX_DEPTH), Style::Compact).len(), 2 * MAX_DEPTH);
    }

    #[test]
    fn answers_have_no_numbers_that_json_lacks() {
        let value = loads("[NaN, Infinity, -Infinity, 1e5, 18446744073709551616]").unwrap();
        let finite = r#"["NaN","Infinity","-Infinity",100000.0,18446744073709551616]"#;
        assert_eq!(dumps(&value, Style::Finite), finite);
        let json = serde_json::json!(["NaN", "Infinity", "-Infinity", 1e5, "18446744073709551616"]);
        assert_eq!(value.to_json(), json);
    }

    #[test]
    fn parsed_json_keeps_its_numbers_and_order() {
        let json = serde_json::json!({"b": [1, 2.0, u64::MAX], "a": null});
        let value = Value::from_json(json.clone());
        assert_eq!(value.repr(), "{'b': [1, 2.0, 18446744073709551615], 'a': None}");
        assert_eq!(value.to_json(), json);
    }

    #[test]
    fn a_file_is_its_dictionary() {
        let file = File {
            kind: "image".into(),
            transfer_method: "remote_url".into(),
            remote_url: Some("http://example.org/b".into()),
            related_id: Some("r".into()),
            size_bytes: -1,
            ..File::default()
        };
        let value = Value::File(Arc::new(file));
        let held = concat!(
            r#"{"dify_model_identity": "__dify__file__", "id": null, "type": "image", "#,
            r#""transfer_method": "remote_url", "remote_url": "http://example.org/b", "#,
            r#""reference": "r", "filename": null, "extension": null, "mime_type": null, "#,
            r#""size": -1"#,
        );
        assert_eq!(dumps(&value, Style::Line), format!("{held}}}"));
        let dictionary = format!(r#"{held}, "related_id": "r", "url": "http://example.org/b"}}"#);
        assert_eq!(loads(&dictionary).unwrap().to_json(), value.to_json());
        assert_eq!(
            dumps(&value, Style::Compact),
            dumps(&loads(&dictionary).unwrap(), Style::Compact)
        );
    }
}
