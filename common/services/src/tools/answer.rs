//! From what came back to what a tool says.

use base64::Engine as _;
use flowmill_engine::value::{Style, Value, dumps, loads};

use super::config::ResultEntry;
use super::{Message, ToolError, ToolErrorKind};

/// What an answer is taken for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) result: ResultEntry,
    /// The names and numbers that lead to the part of a JSON answer that counts.
    pub(super) path: Vec<String>,
}

impl Shape {
    pub(super) fn new(result: ResultEntry, path: Option<&str>) -> Self {
        let path = path.map(|path| path.split('.').map(str::to_owned).collect());
        Self { result, path: path.unwrap_or_default() }
    }
}

/// Content with what is known of it.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) bytes: &'a [u8],
    /// Empty where nothing is known.
    pub(super) media_type: &'a str,
    pub(super) filename: Option<&'a str>,
}

/// What a tool says with an answer of this shape.
pub(super) fn messages(content: &Content<'_>, shape: &Shape) -> Result<Vec<Message>, ToolError> {
    let json = || -> Result<Value, ToolError> {
        let text = String::from_utf8_lossy(content.bytes);
        let whole = loads(&text).map_err(|error| broken(format!("is no JSON: {error}")))?;
        part(whole, &shape.path)
    };
    match shape.result {
        ResultEntry::Text if shape.path.is_empty() => Ok(vec![text_of(content.bytes)]),
        ResultEntry::Text => Ok(vec![Message::text(shown(&json()?))]),
        ResultEntry::Json => Ok(of_json(json()?)),
        ResultEntry::File if shape.path.is_empty() => Ok(vec![blob(content)]),
        ResultEntry::File => file_in(&json()?),
        ResultEntry::Auto if !shape.path.is_empty() => Ok(of_json(json()?)),
        ResultEntry::Auto => Ok(by_kind(content)),
    }
}

/// By its media type, or by what it looks like where that says nothing.
fn by_kind(content: &Content<'_>) -> Vec<Message> {
    let media_type = content.media_type;
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    let is_unknown = media_type.is_empty();
    let text = std::str::from_utf8(content.bytes);
    let begins = text.ok().and_then(|text| text.trim_start().chars().next());
    if is_json || (is_unknown && matches!(begins, Some('{' | '['))) {
        let text = String::from_utf8_lossy(content.bytes);
        if let Ok(value) = loads(&text) {
            let mut said = objects(&value);
            said.push(Message::text(&*text));
            return said;
        }
    }
    let is_text = media_type.starts_with("text/")
        || ["application/xml", "application/javascript", "application/yaml"].contains(&media_type)
        || media_type.ends_with("+xml") && !media_type.starts_with("image/")
        || is_json
        || is_unknown && text.is_ok();
    vec![if is_text { text_of(content.bytes) } else { blob(content) }]
}

/// A JSON value as a tool says it: its objects, and all of it as text.
pub(super) fn of_json(value: Value) -> Vec<Message> {
    let mut said = objects(&value);
    said.push(Message::text(shown(&value)));
    said
}

/// The objects that a value is: itself, or all of a list's elements.
pub(super) fn objects(value: &Value) -> Vec<Message> {
    match value {
        Value::Object(_) => vec![Message::Json(value.clone())],
        Value::Array(items) if items.iter().all(|item| matches!(item, Value::Object(_))) => {
            items.iter().cloned().map(Message::Json).collect()
        }
        _ => Vec::new(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        other => dumps(other, Style::Line),
    }
}

fn text_of(bytes: &[u8]) -> Message {
    Message::text(&*String::from_utf8_lossy(bytes))
}

fn blob(content: &Content<'_>) -> Message {
    let known = |text: &str| (!text.is_empty()).then(|| text.into());
    Message::Blob {
        bytes: content.bytes.into(),
        mime_type: known(content.media_type),
        name: content.filename.map(Into::into),
    }
}

/// The part of a value that a path leads to.
fn part(mut value: Value, path: &[String]) -> Result<Value, ToolError> {
    for (at, step) in path.iter().enumerate() {
        let found = match &value {
            Value::Object(members) => members.get(&**step).cloned(),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|at| items.get(at).cloned()),
            _ => None,
        };
        value = found.ok_or_else(|| broken(format!("has no {}", path[..=at].join("."))))?;
    }
    Ok(value)
}

/// Files that stand in JSON: addresses, data addresses, or base64.
fn file_in(value: &Value) -> Result<Vec<Message>, ToolError> {
    let of = |value: &Value| -> Result<Message, ToolError> {
        let text =
            value.as_str().ok_or_else(|| broken("has no text where a file is".to_owned()))?;
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Message::At { url: text.into(), is_image: false });
        }
        let (mime_type, encoded) = match text.strip_prefix("data:") {
            Some(data) => {
                let (about, encoded) = data.split_once(',').unwrap_or_default();
                (about.split(';').next().filter(|about| !about.is_empty()), encoded)
            }
            None => (None, text),
        };
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
        let bytes = decoded
            .map_err(|_| broken("has neither an address nor base64 where a file is".to_owned()))?;
        Ok(Message::Blob { bytes: bytes.into(), mime_type: mime_type.map(Into::into), name: None })
    };
    match value {
        Value::Array(items) => items.iter().map(of).collect(),
        one => Ok(vec![of(one)?]),
    }
}

fn broken(why: String) -> ToolError {
    ToolError::new(ToolErrorKind::Failed, format!("the tool's answer {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8], media_type: &str, result: ResultEntry, path: Option<&str>) -> String {
        let content = Content { bytes, media_type, filename: None };
        match messages(&content, &Shape::new(result, path)) {
            Err(error) => error.to_string(),
            Ok(messages) => {
                let shown = messages.iter().map(|message| match message {
                    Message::Text(text) => format!("text {text}"),
                    Message::Json(value) => format!("json {}", value.repr()),
                    Message::At { url, .. } => format!("at {url}"),
                    Message::Blob { bytes, mime_type, .. } => {
                        format!("blob {} {mime_type:?}", bytes.len())
                    }
                    other => format!("{other:?}"),
                });
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// What is answered, as what, and what it is taken for; what the tool says then.
    type Case = (&'static [u8], &'static str, ResultEntry, Option<&'static str>, &'static str);

    #[test]
    fn answers_become_messages() {
        use ResultEntry::{Auto, File, Json, Text};
        let cases: [Case; 14] = [
            (b"{\"a\": 1}", "application/json", Auto, None, "json {'a': 1}, text {\"a\": 1}"),
            (b"[{\"a\": 1}]", "application/x+json", Auto, None, "json {'a': 1}, text [{\"a\": 1}]"),
            (b"[1]", "application/json", Auto, None, "text [1]"),
            (b"{x", "application/json", Auto, None, "text {x"),
            (b"{\"a\": 1}", "text/plain", Auto, None, "text {\"a\": 1}"),
            (b"{\"a\": 1}", "", Auto, None, "json {'a': 1}, text {\"a\": 1}"),
            (b"\xff\xfe", "", Auto, None, "blob 2 None"),
            (b"ab", "image/png", Auto, None, "blob 2 Some(\"image/png\")"),
            (b"{\"a\": [\"x\"]}", "", Text, Some("a.0"), "text x"),
            (b"{\"a\": [\"x\"]}", "", Text, Some("a.1"), "the tool's answer has no a.1"),
            (b"<x>", "text/html", Json, None, "the tool's answer is no JSON"),
            (b"{\"u\": \"https://x/y\"}", "", File, Some("u"), "at https://x/y"),
            (
                b"{\"u\": \"data:image/png;base64,YWI=\"}",
                "",
                File,
                Some("u"),
                "blob 2 Some(\"image/png\")",
            ),
            (b"ab", "", File, None, "blob 2 None"),
        ];
        for (bytes, media_type, result, path, wanted) in cases {
            let found = said(bytes, media_type, result, path);
            assert!(found.starts_with(wanted), "{found}, not {wanted}");
        }
    }
}
