//! Dify's values: what a variable can hold, and how it is written as text.
//!
//! A [`Value`] is cheap to clone: everything that can be large is shared.
//! Text forms follow Python's, because Dify's own are Python's (`docs/conformance.md`).

mod arithmetic;
mod compare;
mod encode;
mod float;
mod json;
mod kind;
mod loads;
mod number;
mod parse;
mod python;
mod text;
mod unicode;

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use arithmetic::{ArithmeticError, Operator};
pub use encode::decode;
pub use float::float_repr;
pub use json::{StrictError, Style, dumps, dumps_strict, write_json};
pub use kind::Kind;
pub use loads::{JsonError, MAX_DEPTH, loads};
pub use number::Integer;
pub use parse::{float_error, int_error, python_float, python_int};
pub use python::{MAX_INT_DIGITS, str_repr};
pub use text::{Form, RenderError};
pub use unicode::decimal_digit;

/// A shared, immutable piece of text: node ids, variable names, string values.
pub type Name = Arc<str>;

/// An object's members in the order in which they were written.
pub type Object = IndexMap<Name, Value>;

/// Anything a variable can hold.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Python's `None`, JSON's `null`.
    #[default]
    None,
    /// A boolean.
    Bool(bool),
    /// An integer of any size.
    Int(Integer),
    /// A float; NaN and infinities are possible, as in Python.
    Float(f64),
    /// Text.
    Str(Name),
    /// A mapping with text keys.
    Object(Arc<Object>),
    /// A list.
    Array(Arc<Vec<Value>>),
    /// A file's description; never its content.
    File(Arc<File>),
}

/// A file as a variable: where it is and what is known about it (spec/engine.md §9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct File {
    /// `image`, `document`, `audio`, `video` or `custom`.
    pub kind: Name,
    /// `remote_url`, `local_file`, `tool_file` or `datasource_file`.
    pub transfer_method: Name,
    /// The file's own id, if it has one.
    pub id: Option<Name>,
    /// Where to fetch it, for `remote_url`.
    pub remote_url: Option<Name>,
    /// The upload or tool file behind it (`related_id`, also called `reference`).
    pub related_id: Option<Name>,
    /// Its name.
    pub filename: Option<Name>,
    /// Its extension with the leading dot.
    pub extension: Option<Name>,
    /// Its media type.
    pub mime_type: Option<Name>,
    /// Its size in bytes; -1 when unknown, as in Dify.
    pub size_bytes: i64,
    /// The address under which a reader finds it.
    pub url: Option<Name>,
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<Name>) -> Self {
        Self::Str(text.into())
    }

    /// An integer value.
    pub fn int(value: i64) -> Self {
        Self::Int(Integer::from(value))
    }

    /// A list.
    pub fn array(items: Vec<Self>) -> Self {
        Self::Array(Arc::new(items))
    }

    /// An object with the given members.
    pub fn object(members: impl IntoIterator<Item = (Name, Self)>) -> Self {
        Self::Object(Arc::new(members.into_iter().collect()))
    }

    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// About how much memory it takes, in bytes, with all that lies in it. What it shares with
    /// others counts in full, but for the keys of objects.
    pub fn memory_bytes(&self) -> usize {
        // the counters of what is shared, and what an allocator adds
        const SHARED: usize = 32;
        // the hash, the key, and its place in the table
        const MEMBER: usize = size_of::<Name>() + 2 * size_of::<u64>();
        let within = match self {
            Self::Str(text) => SHARED + text.len(),
            Self::Array(items) => {
                SHARED
                    + size_of::<Vec<Self>>()
                    + items.iter().map(Self::memory_bytes).sum::<usize>()
            }
            Self::Object(members) => {
                let each = members.values().map(|value| MEMBER + value.memory_bytes());
                SHARED + size_of::<Object>() + each.sum::<usize>()
            }
            Self::File(_) => SHARED + size_of::<File>(),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
        };
        size_of::<Self>() + within
    }

    /// Whether Python would call it false: none, false, zero, and anything empty.
    pub fn is_falsy(&self) -> bool {
        match self {
            Self::None => true,
            Self::Bool(value) => !value,
            Self::Int(value) => value.is_zero(),
            Self::Float(value) => *value == 0.0,
            Self::Str(text) => text.is_empty(),
            Self::Object(members) => members.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::File(_) => false,
        }
    }
}

/// Identity of content, for tests and replay: NaN equals NaN, `1`, `1.0` and `true` differ.
/// Python's `==` is `Value::py_eq`.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => {
                // the sign and payload of a NaN mean nothing, and differ between processors
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Array(a), Self::Array(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::File(a), Self::File(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
