//! What a Dify server finds, as passages.

use flowmill_engine::value::{File, Name, Value};
use serde_json::Value as Json;

use super::super::external;
use super::super::server::{number, some_text, text};
use super::super::{Child, Document, Passage, Segment};

/// A record as a passage; None where it has no text.
pub(super) fn passage(record: &Json) -> Option<Passage> {
    let Some(segment) = record.get("segment").filter(|segment| segment.is_object()) else {
        // of a knowledge base that only passes questions on
        return external::passage(record);
    };
    let content = some_text(segment, "sign_content").or_else(|| some_text(segment, "content"))?;
    let document = segment.get("document").unwrap_or(&Json::Null);
    let listed = |key: &str| record.get(key).and_then(Json::as_array).into_iter().flatten();
    let known = document.get("doc_metadata").filter(|known| !known.is_null());
    Some(Passage {
        content,
        answer: some_text(segment, "answer"),
        title: None,
        score: record.get("score").and_then(number),
        document: Document {
            id: some_text(document, "id").unwrap_or_else(|| text(segment, "document_id")),
            name: text(document, "name"),
            source: text(document, "data_source_type"),
            metadata: known.cloned().map(Value::from_json),
        },
        segment: Some(Segment {
            id: text(segment, "id"),
            position: integer(segment, "position"),
            words: integer(segment, "word_count"),
            hits: integer(segment, "hit_count"),
            hash: text(segment, "index_node_hash"),
        }),
        children: listed("child_chunks").map(child).collect(),
        summary: some_text(record, "summary"),
        files: listed("files").filter_map(file).collect(),
        ..Passage::default()
    })
}

fn child(json: &Json) -> Child {
    Child {
        id: text(json, "id"),
        content: text(json, "content"),
        position: integer(json, "position"),
        score: json.get("score").and_then(number).unwrap_or_default(),
    }
}

/// A file that lies in that server, by its address.
fn file(json: &Json) -> Option<File> {
    let url = some_text(json, "source_url")?;
    let mime_type = some_text(json, "mime_type");
    let kind = mime_type.as_deref().and_then(|kind| kind.split('/').next()).unwrap_or_default();
    let kind = if ["image", "audio", "video"].contains(&kind) { kind } else { "document" };
    let extension =
        some_text(json, "extension").map(|extension| match extension.strip_prefix('.') {
            Some(_) => extension,
            None => Name::from(format!(".{extension}")),
        });
    Some(File {
        kind: kind.into(),
        transfer_method: "remote_url".into(),
        id: some_text(json, "id"),
        remote_url: Some(url.clone()),
        related_id: some_text(json, "id"),
        filename: some_text(json, "name"),
        extension,
        mime_type,
        size_bytes: json.get("size").and_then(Json::as_i64).unwrap_or(-1),
        url: Some(url),
    })
}

fn integer(json: &Json, key: &str) -> i64 {
    json.get(key).and_then(Json::as_i64).unwrap_or_default()
}
