//! The passages as the node gives them, member by member in Dify's order.

use flowmill_engine::value::{Name, Object, Value};
use flowmill_services::knowledge::{About, Child, Passage, Segment};
use std::sync::Arc;

use super::ranking::Found;

/// The list of a node's passages.
pub(super) fn result(found: Vec<Found>, bases: &[&About]) -> Value {
    let item = |(at, Found { base, passage }): (usize, Found)| item(at + 1, passage, bases[base]);
    Value::array(found.into_iter().enumerate().map(item).collect())
}

fn item(position: usize, passage: Passage, base: &About) -> Value {
    let title = passage.title.clone().unwrap_or_else(|| passage.document.name.clone());
    let content = match &passage.answer {
        Some(answer) => format!("question:{} \nanswer:{answer}", passage.content).into(),
        None => passage.content.clone(),
    };
    let files = passage.files.iter().map(|file| Value::File(Arc::new(file.clone()))).collect();
    let files = if passage.files.is_empty() { Value::None } else { Value::array(files) };
    let summary = passage.summary.clone().map_or(Value::None, Value::Str);
    Value::object([
        ("metadata".into(), metadata(position, passage, (base, &title))),
        ("title".into(), Value::Str(title)),
        ("files".into(), files),
        ("content".into(), Value::Str(content)),
        ("summary".into(), summary),
    ])
}

fn metadata(position: usize, passage: Passage, (base, title): (&About, &Name)) -> Value {
    let score = passage.score.unwrap_or(0.0);
    let is_elsewhere = passage.segment.is_none();
    let source = if is_elsewhere { "external".into() } else { passage.document.source.clone() };
    let name = if is_elsewhere { title } else { &passage.document.name };
    let mut members = Object::new();
    let mut add = |name: &str, value: Value| {
        members.insert(name.into(), value);
    };
    add("_source", "knowledge".into());
    add("dataset_id", Value::Str(base.id.clone()));
    add("dataset_name", Value::Str(base.name.clone()));
    add("document_id", Value::Str(passage.document.id.clone()));
    add("document_name", Value::Str(name.clone()));
    add("data_source_type", Value::Str(source));
    if let Some(segment) = &passage.segment {
        add("segment_id", Value::Str(segment.id.clone()));
    }
    add("retriever_from", "workflow".into());
    add("score", Value::Float(score));
    if let Some(Segment { position, words, hits, hash, .. }) = &passage.segment {
        add("child_chunks", Value::array(passage.children.iter().map(child).collect()));
        add("segment_hit_count", Value::int(*hits));
        add("segment_word_count", Value::int(*words));
        add("segment_position", Value::int(*position));
        add("segment_index_node_hash", Value::Str(hash.clone()));
    }
    let known = match (is_elsewhere, passage.document.metadata) {
        (true, _) => elsewhere(passage.metadata, score, (base, title)),
        (false, known) => known.unwrap_or_default(),
    };
    add("doc_metadata", known);
    add("position", Value::int(i64::try_from(position).unwrap_or(i64::MAX)));
    Value::Object(Arc::new(members))
}

/// What is known of a passage from elsewhere, with what Dify adds to it.
fn elsewhere(mut known: Object, score: f64, (base, title): (&About, &Name)) -> Value {
    known.insert("score".into(), Value::Float(score));
    known.insert("title".into(), Value::Str(title.clone()));
    known.insert("dataset_id".into(), Value::Str(base.id.clone()));
    known.insert("dataset_name".into(), Value::Str(base.name.clone()));
    Value::Object(Arc::new(known))
}

fn child(Child { id, content, position, score }: &Child) -> Value {
    Value::object([
        ("id".into(), Value::Str(id.clone())),
        ("content".into(), Value::Str(content.clone())),
        ("position".into(), Value::int(*position)),
        ("score".into(), Value::Float(*score)),
    ])
}
