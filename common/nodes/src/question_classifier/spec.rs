//! What a `question-classifier` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Model};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("query_variable_selector", FieldKind::Selector, REQUIRED, "the text to classify"),
    model::MODEL,
    model::PROVIDER,
    model::NAME,
    model::MODE,
    model::PARAMS,
    field("classes", FieldKind::List, REQUIRED, "the branches"),
    field("classes[].id", FieldKind::Text, REQUIRED, "its handle"),
    field("classes[].name", FieldKind::Template, REQUIRED, "its description, for the model"),
    field("classes[].label", FieldKind::Text, "\"\"", "its name, for people"),
    field("instruction", FieldKind::Template, "null", "further advice for the model"),
    model::MEMORY,
    model::VISION,
];

pub(super) const EXAMPLE: &str = r#"{
    "query_variable_selector": ["sys", "query"],
    "model": {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat",
        "completion_params": {}},
    "classes": [{"id": "1", "name": "questions about prices", "label": "prices"}],
    "instruction": "",
    "memory": {"window": {"enabled": false, "size": 10}},
    "vision": {"enabled": false}
}"#;

pub(super) fn read(fields: &mut Fields<'_>) -> (Model, Vec<Selector>) {
    let mut reads = vec![fields.selector("query_variable_selector")];
    let model = model::read(fields);
    let names = fields.list("classes", |fields| {
        fields.text("id");
        fields.text_or("label", "");
        model::references(&fields.text("name"))
    });
    reads.extend(names.into_iter().flatten());
    let instruction = fields.text_opt("instruction");
    reads.extend(instruction.map(|text| model::references(&text)).unwrap_or_default());
    reads.extend(model::read_memory(fields));
    reads.extend(model::read_vision(fields));
    (model, reads)
}
