//! Values as Python prints them: `str()`, `repr()`, and the words of its errors.

use std::fmt::Write;

use super::float::write_float;
use super::unicode::is_printable;
use super::{File, Integer, Name, Value};

/// Python refuses to print or read integers of more decimal digits than this.
pub const MAX_INT_DIGITS: usize = 4300;

/// What Python says when an integer is too long to print.
pub(super) const TOO_LONG_TO_PRINT: &str = "Exceeds the limit (4300 digits) for integer string \
     conversion; use sys.set_int_max_str_digits() to increase the limit";

impl Value {
    /// Python's `str()`: text as it is, everything else as `repr()` (spec/engine.md §10).
    pub fn to_python(&self) -> String {
        let mut out = String::new();
        self.write_python(&mut out);
        out
    }

    /// Appends Python's `str()`.
    pub fn write_python(&self, out: &mut String) {
        Printer::new(out).str(self);
    }

    /// Python's `repr()`: text in quotes, lists and mappings in Python notation.
    pub fn repr(&self) -> String {
        let mut out = String::new();
        Printer::new(&mut out).repr(self);
        out
    }

    /// The name of the Python type that such a value has.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Object(_) => "dict",
            Self::Array(_) => "list",
            Self::File(_) => "File",
        }
    }
}

/// Python's `repr()` of text.
pub fn str_repr(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_str_repr(&mut out, text);
    out
}

/// Writes values in Python notation into one text.
pub(super) struct Printer<'a> {
    out: &'a mut String,
    /// Whether an integer was met that Python refuses to print.
    pub(super) overlong: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out, overlong: false }
    }

    pub(super) fn str(&mut self, value: &Value) {
        match value {
            Value::Str(text) => self.out.push_str(text),
            Value::File(file) => self.file_fields(file, " "),
            other => self.repr(other),
        }
    }

    pub(super) fn repr(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push_str("None"),
            Value::Bool(true) => self.out.push_str("True"),
            Value::Bool(false) => self.out.push_str("False"),
            Value::Int(value) => self.overlong |= write_int(self.out, value),
            Value::Float(value) => write_float(self.out, *value),
            Value::Str(text) => write_str_repr(self.out, text),
            Value::Array(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.repr(item);
                }
                self.out.push(']');
            }
            Value::Object(members) => {
                self.out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    write_str_repr(self.out, key);
                    self.out.push_str(": ");
                    self.repr(value);
                }
                self.out.push('}');
            }
            Value::File(file) => {
                self.out.push_str("File(");
                self.file_fields(file, ", ");
                self.out.push(')');
            }
        }
    }

    fn file_fields(&mut self, file: &File, separator: &str) {
        for (at, (name, value)) in file.fields().into_iter().enumerate() {
            if at > 0 {
                self.out.push_str(separator);
            }
            self.out.push_str(name);
            self.out.push('=');
            self.file_field(name, &value);
        }
    }

    /// A field with its name, as iterating over a file gives them.
    pub(super) fn file_pair(&mut self, name: &str, value: &Value) {
        self.out.push('(');
        write_str_repr(self.out, name);
        self.out.push_str(", ");
        self.file_field(name, value);
        self.out.push(')');
    }

    /// A file's field as Python shows it; two of them are enumerations.
    fn file_field(&mut self, name: &str, value: &Value) {
        let class = match name {
            "type" => "FileType",
            "transfer_method" => "FileTransferMethod",
            _ => return self.repr(value),
        };
        let word = value.as_str().unwrap_or_default();
        let member = word.to_ascii_uppercase();
        let _ = write!(self.out, "<{class}.{member}: '{word}'>");
    }
}

/// Appends an integer; true if Python would refuse to print it.
pub(super) fn write_int(out: &mut String, value: &Integer) -> bool {
    let before = out.len();
    let _ = write!(out, "{value}");
    let digits = &out[before..];
    digits.strip_prefix('-').unwrap_or(digits).len() > MAX_INT_DIGITS
}

pub(super) fn write_str_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.reserve(text.len() + 2);
    out.push(quote);
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        let special = character == quote || character == '\\' || !is_printable(character);
        if !special {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + character.len_utf8();
        write_escaped(out, character);
    }
    out.push_str(&text[plain_from..]);
    out.push(quote);
}

fn write_escaped(out: &mut String, character: char) {
    let code = u32::from(character);
    let _ = match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\\' | '\'' | '"' => write!(out, "\\{character}"),
        _ if code <= 0xff => write!(out, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

impl File {
    /// An attribute that a selector may name (spec/engine.md §9).
    pub fn attribute(&self, name: &str) -> Option<Value> {
        match name {
            "type" => Some(Value::Str(self.kind.clone())),
            "size" => Some(Value::int(self.size_bytes)),
            "name" => Some(optional(self.filename.as_ref())),
            "mime_type" => Some(optional(self.mime_type.as_ref())),
            "transfer_method" => Some(Value::Str(self.transfer_method.clone())),
            "url" => Some(optional(self.address())),
            "extension" => Some(optional(self.extension.as_ref())),
            "related_id" => Some(optional(self.related_id.as_ref())),
            _ => None,
        }
    }

    /// The address under which a reader finds it, if any is known.
    pub fn address(&self) -> Option<&Name> {
        self.url.as_ref().or(self.remote_url.as_ref())
    }

    /// Its fields as the reference engine holds and prints them, in order.
    pub(super) fn fields(&self) -> [(&'static str, Value); 10] {
        [
            ("dify_model_identity", Value::from("__dify__file__")),
            ("id", optional(self.id.as_ref())),
            ("type", Value::Str(self.kind.clone())),
            ("transfer_method", Value::Str(self.transfer_method.clone())),
            ("remote_url", optional(self.remote_url.as_ref())),
            ("reference", optional(self.related_id.as_ref())),
            ("filename", optional(self.filename.as_ref())),
            ("extension", optional(self.extension.as_ref())),
            ("mime_type", optional(self.mime_type.as_ref())),
            ("size", Value::int(self.size_bytes)),
        ]
    }

    /// Its dictionary form, as programs and the API see it (spec/nodes.md §4.1).
    pub fn to_dict(&self) -> Value {
        let computed =
            [("related_id", optional(self.related_id.as_ref())), ("url", optional(self.address()))];
        let members = self.fields().into_iter().chain(computed);
        Value::object(members.map(|(name, value)| (name.into(), value)))
    }
}

fn optional(text: Option<&Name>) -> Value {
    text.cloned().map_or(Value::None, Value::Str)
}
