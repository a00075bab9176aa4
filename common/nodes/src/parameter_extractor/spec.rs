//! What a `parameter-extractor` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Model};
use crate::shared::{required_flag, texts};

/// `bool` and `select` are old names.
const TYPES: &[&str] = &[
    "string",
    "number",
    "boolean",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
    "bool",
    "select",
];

const REASONING: &[&str] = &["function_call", "prompt"];

/// Outputs of the node itself.
const RESERVED: [&str; 2] = ["__reason", "__is_success"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("query", FieldKind::Selector, REQUIRED, "the text to read"),
    model::MODEL,
    model::PROVIDER,
    model::NAME,
    model::MODE,
    model::PARAMS,
    field("parameters", FieldKind::List, REQUIRED, "what to look for"),
    field("parameters[].name", FieldKind::Any, REQUIRED, "a parameter's name"),
    field("parameters[].type", FieldKind::Word(TYPES), REQUIRED, "its type"),
    field("parameters[].description", FieldKind::Text, REQUIRED, "what it is, for the model"),
    field("parameters[].required", FieldKind::Flag, REQUIRED, "whether it must be found"),
    field("parameters[].options", FieldKind::Selector, "null", "the texts it may be"),
    field("instruction", FieldKind::Template, "null", "further advice for the model"),
    field("reasoning_mode", FieldKind::Word(REASONING), REQUIRED, "by function call or by prompt"),
    model::MEMORY,
    model::VISION,
];

pub(super) const EXAMPLE: &str = r#"{
    "query": ["sys", "query"],
    "model": {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat",
        "completion_params": {}},
    "parameters": [{"name": "city", "type": "string", "description": "the city meant",
        "required": true, "options": []}],
    "instruction": "",
    "reasoning_mode": "prompt",
    "memory": {"window": {"enabled": false, "size": 10}},
    "vision": {"enabled": false}
}"#;

pub(super) fn read(fields: &mut Fields<'_>) -> (Model, Vec<Selector>) {
    let mut reads = vec![fields.selector("query")];
    let model = model::read(fields);
    fields.list("parameters", |fields| {
        read_name(fields);
        fields.one_of("type", TYPES);
        fields.text("description");
        required_flag(fields, "required");
        texts(fields, "options");
    });
    let instruction = fields.text_opt("instruction");
    reads.extend(instruction.map(|text| model::references(&text)).unwrap_or_default());
    read_reasoning_mode(fields);
    reads.extend(model::read_memory(fields));
    reads.extend(model::read_vision(fields));
    (model, reads)
}

/// Anything but what Python calls false passes for a name, as its text.
fn read_name(fields: &mut Fields<'_>) {
    let Some(item) = fields.get("name") else {
        fields.error("name", "is missing");
        return;
    };
    let name = item.to_value();
    if name.is_falsy() {
        fields.error("name", "must not be empty");
    }
    let name = name.to_python();
    if RESERVED.contains(&&*name) {
        fields.error("name", format!("{name} is an output of the node itself"));
    }
}

/// It must be there, but null and the empty text stand for the first.
fn read_reasoning_mode(fields: &mut Fields<'_>) {
    let blank = fields.get("reasoning_mode").is_some_and(|item| item.to_value().is_falsy());
    if !blank {
        fields.one_of("reasoning_mode", REASONING);
    }
}
