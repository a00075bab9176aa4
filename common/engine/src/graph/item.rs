//! A piece of a document with the line it stands on.

use crate::value::{Integer, Name, Value};

/// A piece of a document, as `PyYAML` would have read it, and where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// The line it begins on, counted from 1; 0 when it was not written (an absent field).
    pub line: u32,
    /// What it is.
    pub content: Content,
}

/// What a piece of a document is, by YAML 1.1's rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Content {
    /// Nothing, `null`, `~`.
    #[default]
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// An integer.
    Int(Integer),
    /// A float.
    Float(f64),
    /// Text.
    Str(Name),
    /// A list.
    Seq(Vec<Item>),
    /// A mapping in the order written; of equal keys only the last is kept, at the first's place.
    Map(Vec<(Item, Item)>),
    /// What `PyYAML` makes an object of its own: a date, a timestamp, bytes. The name of the
    /// Python type and the text.
    Other(&'static str, Name),
}

impl Item {
    /// The member of a mapping under a text key. None when absent or when this is no mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(members) => {
                members.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, item)| item)
            }
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The text as a shared name, if it is text.
    pub fn as_name(&self) -> Option<&Name> {
        match &self.content {
            Content::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_seq(&self) -> Option<&[Self]> {
        match &self.content {
            Content::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if it is a mapping.
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        match &self.content {
            Content::Map(members) => Some(members),
            _ => None,
        }
    }

    /// Whether it is null or was not written.
    pub fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The name of the Python type that `PyYAML` would give it.
    pub fn type_name(&self) -> &'static str {
        match &self.content {
            Content::Null => "null",
            Content::Bool(_) => "a boolean",
            Content::Int(_) => "an integer",
            Content::Float(_) => "a float",
            Content::Str(_) => "text",
            Content::Seq(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Other(name, _) => name,
        }
    }

    /// The plain value; keys become text, dates and bytes their text.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::None,
            Content::Bool(value) => Value::Bool(*value),
            Content::Int(value) => Value::Int(value.clone()),
            Content::Float(value) => Value::Float(*value),
            Content::Str(text) | Content::Other(_, text) => Value::Str(text.clone()),
            Content::Seq(items) => Value::array(items.iter().map(Self::to_value).collect()),
            Content::Map(members) => {
                Value::object(members.iter().map(|(key, item)| (key.key_text(), item.to_value())))
            }
        }
    }

    fn key_text(&self) -> Name {
        match &self.content {
            Content::Str(text) => text.clone(),
            _ => self.to_value().to_python().into(),
        }
    }
}
