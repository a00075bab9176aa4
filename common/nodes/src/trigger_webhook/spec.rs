//! What a `trigger-webhook` node's data holds.

use flowmill_engine::graph::Fields;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::list_or_empty;

const METHODS: [&str; 6] = ["get", "post", "head", "patch", "put", "delete"];

const CONTENT_TYPES: &[&str] = &[
    "application/json",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/octet-stream",
];

const PARAMETER_TYPES: &[&str] = &["string", "number", "boolean"];

const BODY_TYPES: &[&str] = &[
    "string",
    "number",
    "boolean",
    "object",
    "array[string]",
    "array[number]",
    "array[boolean]",
    "array[object]",
    "file",
];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("method", FieldKind::Text, "\"get\"", "get, post, head, patch, put or delete"),
    field(
        "content_type",
        FieldKind::Word(CONTENT_TYPES),
        "\"application/json\"",
        "what the request must be",
    ),
    field("headers", FieldKind::List, "[]", "headers to take"),
    field("headers[].name", FieldKind::Text, REQUIRED, "a header's name"),
    field("headers[].required", FieldKind::Flag, "false", "whether it must be there"),
    field("params", FieldKind::List, "[]", "query parameters to take"),
    field("params[].name", FieldKind::Text, REQUIRED, "a parameter's name"),
    field("params[].type", FieldKind::Word(PARAMETER_TYPES), "\"string\"", "its type"),
    field("params[].required", FieldKind::Flag, "false", "whether it must be there"),
    field("body", FieldKind::List, "[]", "body fields to take"),
    field("body[].name", FieldKind::Text, REQUIRED, "a field's name"),
    field("body[].type", FieldKind::Word(BODY_TYPES), "\"string\"", "its type"),
    field("body[].required", FieldKind::Flag, "false", "whether it must be there"),
    field("status_code", FieldKind::Integer, "200", "the answer's status"),
    field("response_body", FieldKind::Text, "\"\"", "the answer's body"),
    field("timeout", FieldKind::Integer, "30", "not used"),
];

pub(super) const EXAMPLE: &str = r#"{
    "method": "post", "content_type": "application/json",
    "headers": [{"name": "X-Id", "required": false}],
    "params": [{"name": "page", "type": "number", "required": false}],
    "body": [{"name": "text", "type": "string", "required": true}],
    "status_code": 200, "response_body": "", "timeout": 30
}"#;

pub(super) fn read(fields: &mut Fields<'_>) {
    let method = fields.text_or("method", "get").to_lowercase();
    let known = fields.get("method").is_none_or(|item| item.as_str().is_none());
    if !known && !METHODS.contains(&&*method) {
        fields.error("method", format!("must be one of {}", METHODS.join(", ")));
    }
    fields.one_of_or("content_type", CONTENT_TYPES, "application/json");
    list_or_empty(fields, "headers", |fields| read_field(fields, &["string"]));
    list_or_empty(fields, "params", |fields| read_field(fields, PARAMETER_TYPES));
    list_or_empty(fields, "body", |fields| read_field(fields, BODY_TYPES));
    fields.integer_or("status_code", 200);
    fields.text_or("response_body", "");
    fields.integer_or("timeout", 30);
}

fn read_field(fields: &mut Fields<'_>, types: &[&'static str]) {
    fields.text("name");
    fields.one_of_or("type", types, "string");
    fields.flag("required", false);
}
