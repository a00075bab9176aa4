//! What a tool said, as a node's outputs (spec/nodes.md §4.4, "Messages").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Name, Value};
use flowmill_engine::variables::Variable;
use flowmill_services::tools::{Message, ToolError, ToolErrorKind};

use crate::context::NodeContext;
use crate::http_request::client::Request;
use crate::http_request::mime::{guess_extension, guess_type};
use crate::shared::Named;

/// How the files of tools lie, in Dify's word for it.
const TOOL_FILE: &str = "tool_file";

/// What a tool has said so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    text: String,
    json: Vec<Value>,
    variables: Variables,
    files: Vec<Message>,
}

/// Outputs by name, in the order in which they were first named.
#[derive(Debug, Default)]
struct Variables {
    places: BTreeMap<Name, usize>,
    held: Vec<(Name, Value)>,
}

/// What a tool said, its files kept.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Its text.
    pub(crate) text: String,
    /// Its files.
    pub(crate) files: Vec<Value>,
    /// Its objects.
    pub(crate) json: Vec<Value>,
    /// Its own outputs.
    pub(crate) variables: Vec<(Name, Value)>,
}

impl Collected {
    /// Takes a message; whoever follows the node is told of its text.
    pub(super) fn take(&mut self, message: Message, follower: Option<&NodeContext>) {
        let mut say = |text: &str| {
            self.text.push_str(text);
            if let Some(context) = follower {
                context.chunk("text", text);
            }
        };
        match message {
            Message::Text(text) => say(&text),
            Message::Link(link) => say(&format!("Link: {link}\n")),
            Message::Json(value @ Value::Object(_)) if !value.is_falsy() => self.json.push(value),
            Message::Json(_) => {}
            Message::Variable { name, value, streams } => {
                if let (true, Some(text), Some(context)) = (streams, value.as_str(), follower) {
                    context.chunk(&name, text);
                }
                self.variables.put(name, value, streams);
            }
            file @ (Message::Blob { .. } | Message::At { .. } | Message::File(_)) => {
                self.files.push(file);
            }
        }
    }

    /// Keeps the files.
    pub(super) async fn finish(self, context: &NodeContext) -> Result<Results, ToolError> {
        let Self { text, json, variables, files } = self;
        let mut kept = Vec::with_capacity(files.len());
        for file in files {
            kept.extend(keep(file, context).await?);
        }
        Ok(Results { text, files: kept, json, variables: variables.held })
    }
}

impl Variables {
    fn put(&mut self, name: Name, value: Value, streams: bool) {
        let Some(place) = self.places.get(&name) else {
            self.places.insert(name.clone(), self.held.len());
            self.held.push((name, value));
            return;
        };
        let held = &mut self.held[*place].1;
        *held = match (&*held, &value) {
            (Value::Str(before), Value::Str(more)) if streams => {
                Value::from(format!("{before}{more}"))
            }
            _ => value,
        };
    }
}

impl Results {
    /// The outputs of a node.
    pub(crate) fn success(self) -> Success {
        let Self { text, files, json, variables } = self;
        let nothing = || Value::object([("data".into(), Value::array(Vec::new()))]);
        let json = if json.is_empty() { vec![nothing()] } else { json };
        let mut named = Named::default();
        named.put(&"text".into(), Variable::infer(Value::from(text)));
        named.put(&"files".into(), Variable::typed(Kind::ArrayFile, Value::array(files)));
        named.put(&"json".into(), Variable::infer(Value::array(json)));
        for (name, value) in variables {
            named.put(&name, Variable::infer(value));
        }
        named.success()
    }
}

/// A message's file, kept.
async fn keep(message: Message, context: &NodeContext) -> Result<Option<Value>, ToolError> {
    let (bytes, mime_type, name) = match message {
        Message::File(file) => return Ok(Some(Value::File(file))),
        Message::Blob { bytes, mime_type, name } => (bytes.to_vec(), mime_type, name),
        Message::At { url, is_image } => fetch(url, is_image, context).await?,
        Message::Text(_) | Message::Link(_) | Message::Json(_) | Message::Variable { .. } => {
            return Ok(None);
        }
    };
    let about = about(&bytes, mime_type, name);
    let kept = context.files.put(bytes, about).await;
    let kept = kept.map_err(|error| ToolError::new(ToolErrorKind::File, error.to_string()))?;
    Ok(Some(Value::File(Arc::new(kept))))
}

type Content = (Vec<u8>, Option<Name>, Option<Name>);

/// What lies at an address that a tool gave: where it leads is checked.
async fn fetch(url: Name, is_image: bool, context: &NodeContext) -> Result<Content, ToolError> {
    let failed = |why: String| {
        ToolError::new(ToolErrorKind::File, format!("the tool's file cannot be had: {why}"))
    };
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().filter(|name| name.contains('.')).map(Name::from);
    let response = context.http.send(Request::get(url.clone())).await;
    let response = response.map_err(|error| failed(error.message))?;
    if !(200..300).contains(&response.status) {
        return Err(failed(format!("its address answered with status {}", response.status)));
    }
    if response.cut_off {
        return Err(failed("it is larger than a file may be".to_owned()));
    }
    let said = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let said = said.and_then(|(_, value)| value.split(';').next());
    let said = said.map(|said| said.trim().to_lowercase()).filter(|said| !said.is_empty());
    let said = said.or_else(|| is_image.then(|| "image/png".to_owned()));
    Ok((response.body, said.map(Into::into), name))
}

/// What is known of a file that a tool made.
fn about(bytes: &[u8], mime_type: Option<Name>, name: Option<Name>) -> File {
    let guessed = name.as_deref().and_then(guess_type).map(Name::from);
    let mime_type = mime_type.or(guessed).unwrap_or_else(|| looks_like(bytes).into());
    let extension = name.as_deref().and_then(|name| Some(format!(".{}", name.rsplit_once('.')?.1)));
    let extension: Name = match extension {
        Some(extension) => extension.into(),
        None => guess_extension(&mime_type).unwrap_or(".bin").into(),
    };
    let filename = name.unwrap_or_else(|| named_by_content(bytes, &extension));
    let kind = mime_type.split('/').next();
    let kind = kind.filter(|kind| matches!(*kind, "image" | "audio" | "video"));
    let kind = kind.unwrap_or("document");
    File {
        kind: kind.into(),
        transfer_method: TOOL_FILE.into(),
        filename: Some(filename),
        extension: Some(extension),
        mime_type: Some(mime_type),
        ..File::default()
    }
}

/// A name that is the same whenever the content is.
fn named_by_content(bytes: &[u8], extension: &str) -> Name {
    use sha2::Digest as _;
    let mut name = String::new();
    for byte in sha2::Sha256::digest(bytes).iter().take(8) {
        // writing to text cannot fail
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(extension);
    name.into()
}

/// The media type of content that nothing else is known of.
fn looks_like(bytes: &[u8]) -> &'static str {
    const SIGNS: [(&[u8], &str); 5] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
    ];
    let sign = SIGNS.iter().find(|(sign, _)| bytes.starts_with(sign));
    sign.map_or("application/octet-stream", |(_, media_type)| media_type)
}
