//! What a `question-classifier` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Memory, Model, Vision};

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

/// A `question-classifier` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) query: Selector,
    pub(super) model: Model,
    pub(super) classes: Vec<Class>,
    pub(super) instruction: Template,
    pub(super) memory: Option<Memory>,
    pub(super) vision: Vision,
}

/// A branch.
#[derive(Debug)]
pub(super) struct Class {
    /// Its handle.
    pub(super) id: Name,
    /// Its description, for the model.
    pub(super) name: Template,
    /// Its name, for people; may be empty.
    pub(super) label: Name,
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let query = fields.selector("query_variable_selector");
        let model = model::read(fields);
        let classes = fields.list("classes", |fields| {
            let id = fields.text("id");
            let label = fields.text_or("label", "");
            Class { id, name: Template::parse(&fields.text("name")), label }
        });
        let instruction = fields.text_opt("instruction").unwrap_or_default();
        let memory = Memory::read(fields);
        let vision = Vision::read(fields);
        let instruction = Template::parse(&instruction);
        Self { query, model, classes, instruction, memory, vision }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let mut reads = vec![self.query.clone()];
        reads.extend(self.classes.iter().flat_map(|class| class.name.references()));
        reads.extend(self.instruction.references());
        reads.extend(self.model.params.reads());
        reads.extend(self.memory.iter().flat_map(Memory::reads));
        reads.extend(self.vision.reads());
        reads
    }
}
