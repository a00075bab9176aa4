//! What a tool takes, and how what a document or a model gives becomes that (spec/nodes.md §4.4).

use flowmill_engine::value::{
    Name, Value, float_error, int_error, loads, python_float, python_int,
};

/// One thing that a tool takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub kind: ParameterKind,
    /// Who fills it in.
    pub form: Form,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, for models and for people.
    pub about: Name,
    /// What it is when nobody fills it in.
    pub default: Option<Value>,
    /// The only values it takes, if there are any such.
    pub options: Vec<Name>,
    /// Its own JSON schema, where whoever answers has given one.
    pub schema: Option<Value>,
}

/// Who fills a parameter in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A model, or a node's `tool_parameters`.
    #[default]
    Llm,
    /// Whoever builds the workflow: a node's `tool_configurations`.
    Form,
}

/// What a parameter holds, by Dify's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParameterKind {
    /// Text.
    #[default]
    Text,
    /// Text that is a secret.
    Secret,
    /// One of several texts.
    Select,
    /// true or false.
    Boolean,
    /// A number.
    Number,
    /// A file.
    File,
    /// Files.
    Files,
    /// A model.
    Model,
    /// Another app.
    App,
    /// A list.
    Array,
    /// An object.
    Object,
    /// Whatever it is given.
    Any,
}

/// Why a value is none of a parameter's kind, in Dify's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CastError(pub String);

impl ParameterKind {
    /// The kind of a Dify word; text where there is no such word.
    pub fn of_word(word: &str) -> Self {
        match word {
            "secret-input" => Self::Secret,
            "select" | "dynamic-select" => Self::Select,
            "boolean" => Self::Boolean,
            "number" | "integer" | "float" => Self::Number,
            "file" => Self::File,
            "files" | "system-files" => Self::Files,
            "model-selector" => Self::Model,
            "app-selector" => Self::App,
            "array" => Self::Array,
            "object" => Self::Object,
            "any" => Self::Any,
            _ => Self::Text,
        }
    }

    /// The kind of what a JSON schema describes.
    pub fn of_schema(schema: &serde_json::Value) -> Self {
        let is_content = |schema: &serde_json::Value| {
            schema.get("format").and_then(serde_json::Value::as_str) == Some("binary")
        };
        match json_type(schema) {
            Some("string") if is_content(schema) => Self::File,
            Some("string") if schema.get("enum").is_some() => Self::Select,
            Some("string") => Self::Text,
            Some("boolean") => Self::Boolean,
            Some("number" | "integer") => Self::Number,
            Some("array") if schema.get("items").is_some_and(is_content) => Self::Files,
            Some("array") => Self::Array,
            Some("object") => Self::Object,
            _ if schema.get("properties").is_some() => Self::Object,
            _ => Self::Any,
        }
    }

    /// A value as this kind.
    ///
    /// # Errors
    /// [`CastError`] where Dify refuses it as well.
    pub fn cast(self, value: Value) -> Result<Value, CastError> {
        match self {
            Self::Text | Self::Secret | Self::Select => Ok(match value {
                Value::None => Value::from(""),
                Value::Str(_) => value,
                other => Value::text(other.to_python()),
            }),
            Self::Boolean => Ok(Value::Bool(is_true(&value))),
            Self::Number => number(value),
            Self::File => file(value),
            Self::Files => Ok(match value {
                Value::Array(_) => value,
                other => Value::array(vec![other]),
            }),
            Self::Model | Self::App => match value {
                Value::Object(_) => Ok(value),
                _ => Err(CastError("The selector must be a dictionary.".to_owned())),
            },
            Self::Array => Ok(array(value)),
            Self::Object => Ok(object(value)),
            Self::Any => Ok(value),
        }
    }

    fn json_type(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Secret | Self::Select | Self::File => Some("string"),
            Self::Boolean => Some("boolean"),
            Self::Number => Some("number"),
            Self::Files | Self::Array => Some("array"),
            Self::Model | Self::App | Self::Object => Some("object"),
            Self::Any => None,
        }
    }
}

impl Parameter {
    /// A JSON schema of it.
    pub fn schema(&self) -> Value {
        let mut members: Vec<(Name, Value)> = match &self.schema {
            Some(Value::Object(schema)) => {
                schema.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
            _ => self
                .kind
                .json_type()
                .map(|word| ("type".into(), Value::from(word)))
                .into_iter()
                .collect(),
        };
        let mut add = |name: &str, value: Value| {
            if !members.iter().any(|(held, _)| &**held == name) {
                members.push((name.into(), value));
            }
        };
        if !self.options.is_empty() {
            add("enum", Value::array(self.options.iter().cloned().map(Value::Str).collect()));
        }
        if !self.about.is_empty() {
            add("description", Value::Str(self.about.clone()));
        }
        Value::object(members)
    }
}

/// A schema's type; of several the first that is not null.
fn json_type(schema: &serde_json::Value) -> Option<&str> {
    match schema.get("type")? {
        serde_json::Value::String(word) => Some(word),
        serde_json::Value::Array(words) => {
            words.iter().filter_map(|word| word.as_str()).find(|word| *word != "null")
        }
        _ => None,
    }
}

/// What YAML calls true and false, and 1 and 0; otherwise what Python does.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Str(text) => match &*text.to_lowercase() {
            "true" | "yes" | "y" | "1" => true,
            "false" | "no" | "n" | "0" => false,
            other => !other.is_empty(),
        },
        other => !other.is_falsy(),
    }
}

fn number(value: Value) -> Result<Value, CastError> {
    match value {
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => Ok(value),
        Value::Str(text) if text.contains('.') => match python_float(&text) {
            Some(number) => Ok(Value::Float(number)),
            None => Err(CastError(float_error(&text))),
        },
        Value::Str(text) if !text.is_empty() => match python_int(&text) {
            Some(number) => Ok(Value::Int(number)),
            None => Err(CastError(int_error(&text))),
        },
        Value::None | Value::Str(_) | Value::Object(_) | Value::Array(_) | Value::File(_) => {
            Ok(Value::None)
        }
    }
}

fn file(value: Value) -> Result<Value, CastError> {
    match value {
        Value::Array(items) => match &items[..] {
            [only] => Ok(only.clone()),
            _ => Err(CastError(
                "This parameter only accepts one file but got multiple files while invoking."
                    .to_owned(),
            )),
        },
        other => Ok(other),
    }
}

fn array(value: Value) -> Value {
    let read = |text: &str| loads(text).ok().filter(|read| matches!(read, Value::Array(_)));
    match value {
        Value::Array(_) => value,
        Value::Str(text) => {
            read(&text).unwrap_or_else(|| Value::array(vec![Value::Str(text.clone())]))
        }
        other => Value::array(vec![other]),
    }
}

fn object(value: Value) -> Value {
    let read = |text: &str| loads(text).ok().filter(|read| matches!(read, Value::Object(_)));
    match value {
        Value::Object(_) => value,
        Value::Str(text) => read(&text).unwrap_or_else(|| Value::object([])),
        _ => Value::object([]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(kind: ParameterKind, json: &str) -> String {
        match kind.cast(loads(json).unwrap()) {
            Ok(value) => value.repr(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values_are_cast_as_in_dify() {
        use ParameterKind::{Array, Boolean, File, Files, Model, Number, Object, Text};
        let cases = [
            (Text, "null", "''"),
            (Text, "true", "'True'"),
            (Text, "[1, null]", "'[1, None]'"),
            (Boolean, "null", "False"),
            (Boolean, "\"No\"", "False"),
            (Boolean, "\"Y\"", "True"),
            (Boolean, "\"perhaps\"", "True"),
            (Boolean, "\"\"", "False"),
            (Boolean, "2", "True"),
            (Number, "\"1.50\"", "1.5"),
            (Number, "\" 7 \"", "7"),
            (Number, "\"\"", "None"),
            (Number, "1e3", "1000.0"),
            (Number, "\"x\"", "invalid literal for int() with base 10: 'x'"),
            (Number, "\"1.x\"", "could not convert string to float: '1.x'"),
            (File, "[1]", "1"),
            (
                File,
                "[1, 2]",
                "This parameter only accepts one file but got multiple files while invoking.",
            ),
            (Files, "1", "[1]"),
            (Model, "\"m\"", "The selector must be a dictionary."),
            (Array, "\"[1, 2]\"", "[1, 2]"),
            (Array, "\"{}\"", "['{}']"),
            (Array, "null", "[None]"),
            (Object, "\"{\\\"a\\\": 1}\"", "{'a': 1}"),
            (Object, "\"[]\"", "{}"),
        ];
        for (kind, json, wanted) in cases {
            assert_eq!(cast(kind, json), wanted, "{kind:?} {json}");
        }
    }

    #[test]
    fn schemas_have_kinds() {
        let cases = [
            (r#"{"type": "string"}"#, ParameterKind::Text),
            (r#"{"type": "string", "format": "binary"}"#, ParameterKind::File),
            (r#"{"type": ["null", "integer"]}"#, ParameterKind::Number),
            (
                r#"{"type": "array", "items": {"type": "string", "format": "binary"}}"#,
                ParameterKind::Files,
            ),
            (r#"{"properties": {}}"#, ParameterKind::Object),
            (r#"{"anyOf": [{"type": "string"}]}"#, ParameterKind::Any),
        ];
        for (schema, wanted) in cases {
            let schema = serde_json::from_str(schema).unwrap();
            assert_eq!(ParameterKind::of_schema(&schema), wanted, "{schema}");
        }
    }
}
