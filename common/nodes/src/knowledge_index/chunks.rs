//! What a chunker gives, as passages and as a preview, in Dify's three structures.

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Object, Value};
use flowmill_services::knowledge::Cut;

use super::spec::Structure;
use crate::model::failed;

/// Passages of a structure.
#[derive(Debug, PartialEq)]
pub(super) struct Chunks {
    pub(super) cuts: Vec<Cut>,
    /// `paragraph` or `full-doc`, where there are smaller pieces.
    parent_mode: Option<Value>,
}

impl Chunks {
    /// Reads what a chunker gave.
    pub(super) fn read(structure: &Structure, chunks: &Value) -> Result<Self, NodeError> {
        let plain = |cuts: Vec<Cut>| Self { cuts, parent_mode: None };
        match structure {
            Structure::Text => texts(chunks).map(plain),
            Structure::Hierarchical => {
                let members = object(chunks, "chunks")?;
                let mode = members.get("parent_mode").cloned();
                let mode = mode.unwrap_or_else(|| "paragraph".into());
                let cuts = list(members, "parent_child_chunks")?.iter().map(parent);
                Ok(Self { cuts: cuts.collect::<Result<_, _>>()?, parent_mode: Some(mode) })
            }
            Structure::Pairs => {
                let pairs = list(object(chunks, "chunks")?, "qa_chunks")?.iter().map(pair);
                pairs.collect::<Result<_, _>>().map(plain)
            }
            Structure::Other(name) => {
                let message = format!(
                    "Index type {name} is not supported: chunk_structure is text_model, \
                     hierarchical_model or qa_model"
                );
                Err(failed("ValueError", message))
            }
        }
    }

    /// The outputs of a preview.
    pub(super) fn preview(&self, structure: &Structure) -> Vec<(Name, Value)> {
        let text = |name: &str, text: &Name| (Name::from(name), Value::Str(text.clone()));
        let shown = |cut: &Cut| match (structure, &cut.answer) {
            (Structure::Pairs, Some(answer)) => {
                Value::object([text("question", &cut.content), text("answer", answer)])
            }
            (Structure::Hierarchical, _) => {
                let pieces = cut.children.iter().cloned().map(Value::Str).collect();
                let pieces = ("child_chunks".into(), Value::array(pieces));
                Value::object([text("content", &cut.content), pieces])
            }
            _ => Value::object([text("content", &cut.content)]),
        };
        let shown = Value::array(self.cuts.iter().map(shown).collect());
        let name = if *structure == Structure::Pairs { "qa_preview" } else { "preview" };
        let count = Value::int(i64::try_from(self.cuts.len()).unwrap_or(i64::MAX));
        let mut outputs = vec![("chunk_structure".into(), structure.name().into())];
        outputs.extend(self.parent_mode.clone().map(|mode| ("parent_mode".into(), mode)));
        outputs.extend([(name.into(), shown), ("total_segments".into(), count)]);
        outputs
    }
}

/// Texts, or objects with a text and files; newer chunkers put them into an object.
fn texts(chunks: &Value) -> Result<Vec<Cut>, NodeError> {
    let listed = match chunks {
        Value::Object(members) => members.get("general_chunks"),
        other => Some(other),
    };
    let Some(Value::Array(items)) = listed else {
        return Err(failed("ValueError", "Chunks is not a list"));
    };
    let cut = |item: &Value| {
        let content = match item {
            Value::Object(members) => text(members, "content")?,
            Value::Str(text) => text.clone(),
            _ => return Err(wrong("each chunk must be a text")),
        };
        Ok(Cut { content, ..Cut::default() })
    };
    items.iter().map(cut).collect()
}

fn parent(item: &Value) -> Result<Cut, NodeError> {
    let members = object(item, "each of parent_child_chunks")?;
    let children = list(members, "child_contents")?.iter().map(|piece| match piece {
        Value::Str(piece) => Ok(piece.clone()),
        _ => Err(wrong("child_contents must be a list of texts")),
    });
    let children = children.collect::<Result<_, _>>()?;
    Ok(Cut { content: text(members, "parent_content")?, answer: None, children })
}

fn pair(item: &Value) -> Result<Cut, NodeError> {
    let members = object(item, "each of qa_chunks")?;
    let answer = Some(text(members, "answer")?);
    Ok(Cut { content: text(members, "question")?, answer, children: Vec::new() })
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Object, NodeError> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(wrong(&format!("{what} must be an object"))),
    }
}

fn list<'a>(members: &'a Object, name: &str) -> Result<&'a [Value], NodeError> {
    match members.get(name) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(wrong(&format!("{name} must be a list"))),
    }
}

fn text(members: &Object, name: &str) -> Result<Name, NodeError> {
    match members.get(name) {
        Some(Value::Str(text)) => Ok(text.clone()),
        _ => Err(wrong(&format!("{name} must be a text"))),
    }
}

fn wrong(why: &str) -> NodeError {
    failed("ValidationError", why)
}
