//! What a model is asked.

use std::sync::Arc;

use flowmill_engine::value::{Name, Value};

use super::reply::ToolCall;

/// A question to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The conversation so far; of a completion one message.
    pub messages: Vec<Message>,
    /// The tools it may call.
    pub tools: Vec<ToolSpec>,
    /// The form of its answer, for models that take one ([`super::Known::schema`]).
    pub schema: Option<Schema>,
    /// `temperature` and the like, by their names in the document.
    pub params: Vec<(Name, Value)>,
    /// Texts that end the answer.
    pub stop: Vec<Name>,
    /// Whether pieces of the answer are wanted as they come.
    pub streams: bool,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The instructions.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What.
    pub parts: Vec<Part>,
    /// The calls in it, of an assistant.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this answers, of a tool.
    pub answers: Option<Name>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<Name>) -> Self {
        let parts = vec![Part::Text(text.into())];
        Self { role, parts, tool_calls: Vec::new(), answers: None }
    }

    /// Its texts, joined.
    pub fn joined(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.to_string()),
            Part::Media(_) => None,
        };
        self.parts.iter().filter_map(text).collect()
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(Name),
    /// Something else.
    Media(Media),
}

/// A picture, a recording, a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Its media type: `image/png`.
    pub mime_type: Name,
    /// Its name, where it has one.
    pub name: Option<Name>,
    /// Its content.
    pub source: Source,
    /// How closely an image is looked at.
    pub detail: Detail,
}

/// What a file is to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A recording.
    Audio,
    /// A film.
    Video,
    /// A document.
    Document,
}

/// Where content lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Bytes(Arc<[u8]>),
    /// At an address that the provider can reach.
    Url(Name),
}

/// How closely a model looks at an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// From afar: cheap.
    Low,
    /// Closely.
    #[default]
    High,
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: Name,
    /// What it does, for the model.
    pub description: Name,
    /// A JSON schema of its arguments, an object's.
    pub parameters: Value,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Its name.
    pub name: Name,
    /// A JSON schema.
    pub schema: Value,
}
