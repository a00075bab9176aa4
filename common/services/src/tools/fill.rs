//! Texts of a services file with places for arguments: `{name}`, `{{` for a brace.

use flowmill_engine::value::{Name, Object, Style, Value, dumps};

use super::secret::Secret;

/// The place for all arguments as one object.
const ALL: &str = "*";

/// A text with places for arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Secret),
    Place(Name),
}

/// Why a text cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FillError {
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    #[error("Missing required parameter {0}")]
    Missing(Name),
}

impl Fill {
    /// Reads a text; the environment fills in what it names.
    pub(super) fn parse(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut held = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            // `${NAME}` is the environment's
            let is_named = rest[..at].ends_with('$') && rest[at..].starts_with('{');
            if is_named && let Some(end) = rest[at..].find('}') {
                held.push_str(&rest[..=at + end]);
                rest = &rest[at + end + 1..];
                continue;
            }
            held.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                held.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let place = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = place.filter(|(name, _)| !name.is_empty()) else {
                return Err(format!(
                    "{text:?} has a brace without its other half; write {{{{ or }}}} for a brace"
                ));
            };
            if !held.is_empty() {
                pieces.push(Piece::Text(Secret::fill(&held, environment)));
                held.clear();
            }
            pieces.push(Piece::Place(name.into()));
            rest = after;
        }
        held.push_str(rest);
        if !held.is_empty() {
            pieces.push(Piece::Text(Secret::fill(&held, environment)));
        }
        Ok(Self { pieces })
    }

    /// The names of its places.
    pub(super) fn places(&self) -> impl Iterator<Item = &Name> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Place(name) => Some(name),
            Piece::Text(_) => None,
        })
    }

    /// The values in it that came from the environment.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let texts = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(secret) => Some(secret),
            Piece::Place(_) => None,
        });
        texts.flat_map(Secret::values)
    }

    /// What stands before the first place.
    pub(super) fn head(&self) -> Result<&str, FillError> {
        match self.pieces.first() {
            Some(Piece::Text(secret)) => exposed(secret),
            _ => Ok(""),
        }
    }

    /// The text with its places filled, each argument written by `write`. None when it is one
    /// place and nothing for it.
    pub(super) fn text(
        &self,
        arguments: &Object,
        write: impl Fn(&str) -> String,
    ) -> Result<Option<String>, FillError> {
        if let [Piece::Place(name)] = &self.pieces[..] {
            return Ok(given(arguments, name).map(|value| write(&plain(&value))));
        }
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(secret) => filled.push_str(exposed(secret)?),
                Piece::Place(name) => {
                    if let Some(value) = given(arguments, name) {
                        filled.push_str(&write(&plain(&value)));
                    }
                }
            }
        }
        Ok(Some(filled))
    }

    /// The same where nothing may be missing.
    pub(super) fn whole_text(
        &self,
        arguments: &Object,
        write: impl Fn(&str) -> String,
    ) -> Result<String, FillError> {
        if let Some(name) = self.places().find(|name| given(arguments, name).is_none()) {
            return Err(FillError::Missing(name.clone()));
        }
        Ok(self.text(arguments, write)?.unwrap_or_default())
    }

    /// The value: of one place the argument itself, otherwise text.
    pub(super) fn value(&self, arguments: &Object) -> Result<Option<Value>, FillError> {
        if let [Piece::Place(name)] = &self.pieces[..] {
            return Ok(given(arguments, name));
        }
        Ok(self.text(arguments, str::to_owned)?.map(Value::from))
    }
}

fn exposed(secret: &Secret) -> Result<&str, FillError> {
    secret.expose().map_err(|name| FillError::NotSet(name.to_owned()))
}

/// An argument that is there.
fn given(arguments: &Object, name: &str) -> Option<Value> {
    if name == ALL {
        let there = arguments.iter().filter(|(_, value)| !matches!(value, Value::None));
        return Some(Value::object(there.map(|(name, value)| (name.clone(), value.clone()))));
    }
    arguments.get(name).filter(|value| !matches!(value, Value::None)).cloned()
}

/// An argument as text, as addresses and forms have it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::None => String::new(),
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        Value::Int(_) | Value::Float(_) | Value::Str(_) => value.to_python(),
        Value::Object(_) | Value::Array(_) => dumps(value, Style::Compact),
        Value::File(file) => file.address().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A text that is safe anywhere in an address.
pub(super) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                // writing to text cannot fail
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;

    fn arguments(json: &str) -> Object {
        match loads(json).unwrap() {
            Value::Object(members) => (*members).clone(),
            other => panic!("{other:?} is no object"),
        }
    }

    fn fill(text: &str) -> Fill {
        Fill::parse(text, &|name| (name == "KEY").then(|| "k{y".to_owned())).unwrap()
    }

    #[test]
    fn places_take_arguments() {
        let given = arguments(r#"{"a": "x/y", "n": 2, "b": true, "o": {"p": [1]}, "none": null}"#);
        let cases = [
            ("/v/{a}/{n}", Some("/v/x%2Fy/2")),
            ("{b}{none}.", Some("true.")),
            ("{none}", None),
            ("{{{n}}}", Some("{2}")),
            ("$KEY ${KEY} {n}", Some("k{y k{y 2")),
            ("{o}", Some("%7B%22p%22%3A%5B1%5D%7D")),
            ("", Some("")),
        ];
        for (text, wanted) in cases {
            let filled = fill(text).text(&given, escaped).unwrap();
            assert_eq!(filled.as_deref(), wanted, "{text}");
        }
        assert_eq!(fill("{o}").value(&given).unwrap().unwrap().repr(), "{'p': [1]}");
        let all = fill("{*}").value(&arguments(r#"{"a": 1, "b": null}"#)).unwrap();
        assert_eq!(all.unwrap().repr(), "{'a': 1}");
        assert_eq!(
            fill("/{a}/{none}").whole_text(&given, escaped),
            Err(FillError::Missing("none".into()))
        );
        assert_eq!(fill("$NO/{a}").text(&given, escaped), Err(FillError::NotSet("NO".to_owned())));
    }

    #[test]
    fn a_brace_alone_is_refused() {
        for text in ["{a", "a}", "{}", "{{a}"] {
            assert!(Fill::parse(text, &|_| None).is_err(), "{text}");
        }
    }
}
