//! What a `start` node's data holds: the run's form.

use flowmill_engine::graph::{Content, Fields, Item};
use flowmill_engine::value::{Name, Value, loads};

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::json_schema::Schema;
use crate::shared::{list_or_empty, texts};

const TYPES: &[&str] = &[
    "text-input",
    "select",
    "paragraph",
    "number",
    "external_data_tool",
    "file",
    "file-list",
    "checkbox",
    "json_object",
];
const FILE_TYPES: [&str; 5] = ["image", "document", "audio", "video", "custom"];
const METHODS: [&str; 4] = ["remote_url", "local_file", "tool_file", "datasource_file"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("variables", FieldKind::List, "[]", "the inputs, in the form's order"),
    field("variables[].variable", FieldKind::Text, REQUIRED, "an input's name"),
    field("variables[].label", FieldKind::Text, REQUIRED, "its name, for people"),
    field("variables[].type", FieldKind::Word(TYPES), REQUIRED, "what it takes"),
    field("variables[].description", FieldKind::Text, "\"\"", "what it is"),
    field("variables[].required", FieldKind::Flag, "false", "whether it must be given"),
    field("variables[].hide", FieldKind::Flag, "false", "whether the form leaves it out"),
    field("variables[].default", FieldKind::Any, "null", "its value when not given"),
    field(
        "variables[].max_length",
        FieldKind::Integer,
        "null",
        "the most characters; for file-list the most files",
    ),
    field("variables[].options", FieldKind::Selector, "[]", "what a select offers"),
    field("variables[].allowed_file_types", FieldKind::Selector, "[]", "kinds of files"),
    field("variables[].allowed_file_extensions", FieldKind::Selector, "[]", "with `custom`"),
    field("variables[].allowed_file_upload_methods", FieldKind::Selector, "[]", "where from"),
    field(
        "variables[].json_schema",
        FieldKind::Mapping,
        "null",
        "what a json_object must be: a draft 7 schema, or its JSON text",
    ),
];

pub(super) const EXAMPLE: &str = r#"{
    "variables": [{"variable": "question", "label": "Question", "type": "paragraph",
        "description": "", "required": true, "hide": false, "default": null, "max_length": 48,
        "options": [], "allowed_file_types": ["image"], "allowed_file_extensions": [],
        "allowed_file_upload_methods": ["remote_url"], "json_schema": {}}]
}"#;

/// An input that must be an object.
#[derive(Debug)]
pub(super) struct JsonInput {
    pub(super) name: Name,
    pub(super) required: bool,
    pub(super) schema: Option<Schema>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Vec<JsonInput> {
    let inputs = list_or_empty(fields, "variables", read_variable);
    inputs.into_iter().flatten().collect()
}

fn read_variable(fields: &mut Fields<'_>) -> Option<JsonInput> {
    let name = fields.text("variable");
    fields.text("label");
    let kind = fields.one_of("type", TYPES);
    if is_truthy(fields.get("description")) {
        fields.text("description");
    }
    let required = fields.flag("required", false);
    fields.flag("hide", false);
    fields.integer_opt("max_length");
    if is_truthy(fields.get("options")) {
        texts(fields, "options");
    }
    words(fields, "allowed_file_types", &FILE_TYPES);
    texts(fields, "allowed_file_extensions");
    words(fields, "allowed_file_upload_methods", &METHODS);
    let schema = read_schema(fields);
    (kind == "json_object").then_some(JsonInput { name, required, schema })
}

/// What Python calls false stands for nothing in some fields.
fn is_truthy(item: Option<&Item>) -> bool {
    item.is_some_and(|item| !item.to_value().is_falsy())
}

fn words(fields: &mut Fields<'_>, key: &str, allowed: &[&str]) {
    for word in texts(fields, key).unwrap_or_default() {
        if !allowed.contains(&&*word) {
            let allowed = allowed.join(", ");
            fields.error(key, format!("must be of {allowed}, not {word:?}"));
        }
    }
}

/// A mapping, its JSON text, or nothing: null or blank text.
fn read_schema(fields: &mut Fields<'_>) -> Option<Schema> {
    const KEY: &str = "json_schema";
    let item = fields.given(KEY)?;
    let value = match &item.content {
        Content::Str(text) if text.trim().is_empty() => return None,
        Content::Str(text) => match loads(text.trim()) {
            Ok(value) => value,
            Err(error) => {
                fields.error(KEY, format!("is no JSON: {error}"));
                return None;
            }
        },
        _ => item.to_value(),
    };
    if !matches!(value, Value::Object(_)) {
        fields.error(KEY, "must be a mapping or the JSON text of an object");
        return None;
    }
    match Schema::new(value) {
        // an empty schema demands nothing
        Ok(schema) => Some(schema),
        Err(message) => {
            fields.error(KEY, format!("is no JSON schema: {message}"));
            None
        }
    }
}
