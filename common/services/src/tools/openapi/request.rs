//! From arguments to a request.

use flowmill_engine::value::{File, Style, Value, dumps, python_float, python_int};
use reqwest::Url;
use reqwest::header::{COOKIE, HeaderMap};
use serde_json::Value as Json;

use super::super::fill::{escaped, plain};
use super::super::http::{header, no_step};
use super::super::web::{Ask, Content, Part};
use super::super::{Call, ToolError, ToolErrorKind};
use super::operation::{Body, Encoding, Member, Operation, Place, Taken, WHOLE_BODY};

/// The largest file that is sent.
const MOST_FILE_BYTES: u64 = 32 << 20;

/// A request for an operation at a server.
pub(super) async fn build(
    operation: &Operation,
    server: &str,
    call: &Call<'_>,
) -> Result<Ask, ToolError> {
    let mut path = operation.path.clone();
    let mut query: Vec<(String, String)> = Vec::new();
    let mut headers = HeaderMap::new();
    let mut cookies: Vec<String> = Vec::new();
    for taken in &operation.taken {
        let value = call.arguments.get(&*taken.name).filter(|value| is_given(value));
        let Some(value) = value else {
            if taken.required {
                return Err(missing(&taken.name));
            }
            continue;
        };
        match taken.place {
            Place::Path => {
                no_step(&taken.name, call.arguments)?;
                path = path.replace(&format!("{{{}}}", taken.name), &escaped(&plain(value)));
            }
            Place::Query => query.extend(pairs(taken, value)),
            Place::Header => {
                let (name, value) = header(&taken.name, &plain(value))?;
                headers.insert(name, value);
            }
            Place::Cookie => cookies.push(format!("{}={}", taken.name, escaped(&plain(value)))),
        }
    }
    if !cookies.is_empty() {
        let (_, value) = header("Cookie", &cookies.join("; "))?;
        headers.insert(COOKIE, value);
    }
    let url = format!("{}{path}", server.trim_end_matches('/'));
    let mut url = Url::parse(&url).map_err(|error| {
        ToolError::new(
            ToolErrorKind::Misconfigured,
            format!("the server's address is none: {error}"),
        )
    })?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(&query);
    }
    let content = match &operation.body {
        Some(body) => content(operation, body, call).await?,
        None => Content::Nothing,
    };
    Ok(Ask { method: operation.method.clone(), url, headers, content })
}

/// Dify leaves out what is empty text.
fn is_given(value: &Value) -> bool {
    !matches!(value, Value::None) && value.as_str() != Some("")
}

fn missing(name: &str) -> ToolError {
    ToolError::new(ToolErrorKind::Argument, format!("Missing required parameter {name}"))
}

fn pairs(taken: &Taken, value: &Value) -> Vec<(String, String)> {
    let name = || taken.name.clone();
    match value {
        Value::Array(items) if taken.is_apart => {
            items.iter().map(|item| (name(), plain(item))).collect()
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            vec![(name(), items.join(","))]
        }
        one => vec![(name(), plain(one))],
    }
}

async fn content(
    operation: &Operation,
    body: &Body,
    call: &Call<'_>,
) -> Result<Content, ToolError> {
    let Some(members) = &body.members else {
        let Some(value) = call.arguments.get(WHOLE_BODY).filter(|value| is_given(value)) else {
            return Ok(Content::Nothing);
        };
        let text = match body.encoding {
            Encoding::Text | Encoding::Form | Encoding::Parts => plain(value),
            Encoding::Json => dumps(&conform(&body.schema, value.clone()), Style::Finite),
        };
        return Ok(Content::Bytes(text.into_bytes(), body.encoding.media_type()));
    };
    let mut given: Vec<(String, Value)> = Vec::new();
    for Member { name, required, schema } in members {
        match call.arguments.get(&**name) {
            Some(value) if !matches!(value, Value::None) => {
                given.push((name.clone(), conform(schema, value.clone())));
            }
            _ if *required => {
                let message =
                    format!("Missing required parameter {name} in operation {}", operation.id);
                return Err(ToolError::new(ToolErrorKind::Argument, message));
            }
            _ => {
                let default = schema.get("default").cloned().map(Value::from_json);
                given.extend(default.map(|default| (name.clone(), default)));
            }
        }
    }
    match body.encoding {
        Encoding::Json | Encoding::Text => {
            let members = given.into_iter().map(|(name, value)| (name.into(), value));
            let text = dumps(&Value::object(members), Style::Finite);
            Ok(Content::Bytes(text.into_bytes(), Encoding::Json.media_type()))
        }
        Encoding::Form => {
            let pair = |(name, value): &(String, Value)| {
                format!("{}={}", escaped(name), escaped(&plain(value)))
            };
            let text = given.iter().map(pair).collect::<Vec<_>>().join("&");
            Ok(Content::Bytes(text.into_bytes(), Encoding::Form.media_type()))
        }
        Encoding::Parts => parts(given, call).await,
    }
}

async fn parts(given: Vec<(String, Value)>, call: &Call<'_>) -> Result<Content, ToolError> {
    let mut fields = Vec::new();
    let mut files = Vec::new();
    for (name, value) in given {
        let held: Vec<&File> = match &value {
            Value::File(file) => vec![file],
            Value::Array(items) => {
                let file = |item: &'_ Value| matches!(item, Value::File(_));
                if items.iter().all(file) {
                    items
                        .iter()
                        .filter_map(|item| match item {
                            Value::File(file) => Some(&**file),
                            _ => None,
                        })
                        .collect()
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        };
        if held.is_empty() {
            fields.push((name, plain(&value)));
            continue;
        }
        for file in held {
            let bytes = call.outside.open(file, MOST_FILE_BYTES).await?;
            let text = |text: &Option<flowmill_engine::value::Name>, otherwise: &str| {
                text.as_deref().unwrap_or(otherwise).to_owned()
            };
            files.push(Part {
                name: name.clone(),
                filename: text(&file.filename, "file"),
                mime_type: text(&file.mime_type, "application/octet-stream"),
                bytes,
            });
        }
    }
    Ok(Content::Parts { fields, files })
}

impl Encoding {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Parts => "multipart/form-data",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// Text as what a schema wants, where it can be that; otherwise as it is.
fn conform(schema: &Json, value: Value) -> Value {
    let Value::Str(text) = &value else { return value };
    let options = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(key)?.as_array());
    if let Some(options) = options {
        let fits = options.iter().find_map(|option| read_as(option, text));
        return fits.unwrap_or(value);
    }
    read_as(schema, text).unwrap_or(value)
}

fn read_as(schema: &Json, text: &str) -> Option<Value> {
    match schema.get("type")?.as_str()? {
        "number" if text.contains('.') => python_float(text).map(Value::Float),
        "integer" | "number" => python_int(text).map(Value::Int),
        "boolean" => match &*text.to_lowercase() {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        "null" => text.is_empty().then_some(Value::None),
        "string" => Some(Value::from(text)),
        "object" | "array" => flowmill_engine::value::loads(text).ok(),
        _ => None,
    }
}
