//! An answer while it is being put together.

use flowmill_engine::value::Name;
use serde_json::Value as Json;

use crate::models::{ErrorKind, Media, OnPiece, Piece, Reply, ToolCall, Usage};

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::models::clients) enum Unusable {
    /// It has not the form that the protocol says.
    Form(String),
    /// It is a refusal in place of an answer.
    Refusal {
        /// What kind of refusal.
        kind: ErrorKind,
        /// In the provider's words.
        message: String,
    },
}

/// Reads what comes back.
pub(in crate::models::clients) trait Reader: Send {
    /// A whole answer, or an event of a stream.
    fn read(&mut self, json: &Json, on_piece: OnPiece<'_>) -> Result<(), Unusable>;

    /// The provider says that nothing follows.
    fn ended(&mut self) {}

    /// Whether the answer is whole.
    fn is_whole(&self) -> bool;

    /// The answer.
    fn into_draft(self: Box<Self>) -> Draft;
}

/// An answer that is being put together.
#[derive(Clone, Debug, Default)]
pub(in crate::models::clients) struct Draft {
    pub(super) text: String,
    pub(super) thoughts: String,
    pub(super) calls: Vec<DraftCall>,
    pub(super) media: Vec<Media>,
    pub(super) finish_reason: Option<Name>,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// A tool call that is being put together.
#[derive(Clone, Debug, Default)]
pub(super) struct DraftCall {
    /// Its place in the stream.
    pub(super) index: u64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Draft {
    /// More of the text.
    pub(super) fn say(&mut self, text: &str, on_piece: OnPiece<'_>) {
        if !text.is_empty() {
            self.text.push_str(text);
            on_piece(Piece::Text(text));
        }
    }

    /// More of the thoughts.
    pub(super) fn think(&mut self, text: &str, on_piece: OnPiece<'_>) {
        if !text.is_empty() {
            self.thoughts.push_str(text);
            on_piece(Piece::Thought(text));
        }
    }

    /// The call at a place of the stream, begun if need be.
    pub(super) fn call(&mut self, index: u64) -> &mut DraftCall {
        let found = self.calls.iter().position(|call| call.index == index);
        let at = found.unwrap_or_else(|| {
            self.calls.push(DraftCall { index, ..DraftCall::default() });
            self.calls.len() - 1
        });
        &mut self.calls[at]
    }

    /// The answer, without what it took of time and money.
    pub(in crate::models::clients) fn into_reply(self) -> Reply {
        let call = |(place, call): (usize, DraftCall)| {
            let DraftCall { id, name, arguments, .. } = call;
            let id = if id.is_empty() { format!("call_{place}") } else { id };
            let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
            ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
        };
        Reply {
            text: self.text,
            thoughts: self.thoughts,
            tool_calls: self.calls.into_iter().enumerate().map(call).collect(),
            media: self.media,
            finish_reason: self.finish_reason,
            usage: Usage {
                prompt_tokens: self.prompt_tokens,
                completion_tokens: self.completion_tokens,
                ..Usage::default()
            },
        }
    }
}

/// A number of tokens.
pub(super) fn tokens(json: &Json, key: &str) -> Option<u64> {
    json.get(key).and_then(Json::as_u64)
}
