//! What a tool says (spec/nodes.md §4.4).

use std::sync::Arc;

use flowmill_engine::value::{File, Name, Value};

/// A piece of a tool's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Text.
    Text(Name),
    /// An address for people.
    Link(Name),
    /// An object, or whatever else a tool calls JSON.
    Json(Value),
    /// An output of its own.
    Variable {
        /// Its name.
        name: Name,
        /// Its value, or the next piece of its text.
        value: Value,
        /// Whether this is a piece of text that goes on what was said of it before.
        streams: bool,
    },
    /// Content.
    Blob {
        /// The content itself.
        bytes: Arc<[u8]>,
        /// Its media type, where the tool knows it.
        mime_type: Option<Name>,
        /// Its name, where it has one.
        name: Option<Name>,
    },
    /// Content that lies at an address which the tool gave.
    At {
        /// The address.
        url: Name,
        /// Whether it is an image.
        is_image: bool,
    },
    /// A file that is kept already.
    File(Arc<File>),
}

impl Message {
    /// Text.
    pub fn text(text: impl Into<Name>) -> Self {
        Self::Text(text.into())
    }
}
