//! The type tags of variables.

use serde::{Deserialize, Serialize};

use super::Value;

/// A variable's type. It is the variable's own tag, not always that of the value it holds
/// (spec/engine.md §10): an integer variable may come to hold 2.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `none`
    #[serde(rename = "none")]
    None,
    /// `string`
    #[serde(rename = "string")]
    String,
    /// `integer`
    #[serde(rename = "integer")]
    Integer,
    /// `float`
    #[serde(rename = "float")]
    Float,
    /// `boolean`
    #[serde(rename = "boolean")]
    Boolean,
    /// `object`
    #[serde(rename = "object")]
    Object,
    /// `file`
    #[serde(rename = "file")]
    File,
    /// `secret`
    #[serde(rename = "secret")]
    Secret,
    /// `array[any]`
    #[serde(rename = "array[any]")]
    ArrayAny,
    /// `array[string]`
    #[serde(rename = "array[string]")]
    ArrayString,
    /// `array[number]`
    #[serde(rename = "array[number]")]
    ArrayNumber,
    /// `array[object]`
    #[serde(rename = "array[object]")]
    ArrayObject,
    /// `array[file]`
    #[serde(rename = "array[file]")]
    ArrayFile,
    /// `array[boolean]`
    #[serde(rename = "array[boolean]")]
    ArrayBoolean,
}

impl Kind {
    /// The type that Dify infers from a value (spec/engine.md §9).
    pub fn of(value: &Value) -> Self {
        match value {
            Value::None => Self::None,
            Value::Bool(_) => Self::Boolean,
            Value::Int(_) => Self::Integer,
            Value::Float(_) => Self::Float,
            Value::Str(_) => Self::String,
            Value::Object(_) => Self::Object,
            Value::File(_) => Self::File,
            Value::Array(items) => Self::of_array(items),
        }
    }

    fn of_array(items: &[Value]) -> Self {
        let mut kinds = items.iter().map(|item| match item {
            Value::Str(_) => Self::ArrayString,
            Value::Int(_) | Value::Float(_) => Self::ArrayNumber,
            Value::Bool(_) => Self::ArrayBoolean,
            Value::Object(_) => Self::ArrayObject,
            Value::File(_) => Self::ArrayFile,
            Value::None | Value::Array(_) => Self::ArrayAny,
        });
        let Some(first) = kinds.next() else { return Self::ArrayAny };
        if kinds.all(|kind| kind == first) { first } else { Self::ArrayAny }
    }

    /// The name Dify uses for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::File => "file",
            Self::Secret => "secret",
            Self::ArrayAny => "array[any]",
            Self::ArrayString => "array[string]",
            Self::ArrayNumber => "array[number]",
            Self::ArrayObject => "array[object]",
            Self::ArrayFile => "array[file]",
            Self::ArrayBoolean => "array[boolean]",
        }
    }

    /// Whether variables of this type hold lists.
    pub fn is_array(self) -> bool {
        matches!(
            self,
            Self::ArrayAny
                | Self::ArrayString
                | Self::ArrayNumber
                | Self::ArrayObject
                | Self::ArrayFile
                | Self::ArrayBoolean
        )
    }
}
