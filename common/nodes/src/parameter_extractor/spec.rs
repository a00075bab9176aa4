//! What a `parameter-extractor` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Memory, Model, Vision};
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

/// A `parameter-extractor` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) query: Selector,
    pub(super) model: Model,
    pub(super) parameters: Vec<Parameter>,
    pub(super) instruction: Template,
    /// Whether the model is to call a function rather than to write JSON.
    pub(super) by_function: bool,
    pub(super) memory: Option<Memory>,
    pub(super) vision: Vision,
}

/// A value to look for.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Name,
    pub(super) kind: Wanted,
    pub(super) description: Name,
    pub(super) is_required: bool,
    /// What it may be; empty: anything.
    pub(super) options: Vec<Name>,
}

/// A parameter's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    One(Scalar),
    Many(Scalar),
}

/// The type of a parameter, or of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    String,
    Number,
    Boolean,
    Object,
}

impl Scalar {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
        }
    }
}

impl Wanted {
    fn named(name: &str) -> Self {
        match name {
            "number" => Self::One(Scalar::Number),
            "boolean" | "bool" => Self::One(Scalar::Boolean),
            "array[string]" => Self::Many(Scalar::String),
            "array[number]" => Self::Many(Scalar::Number),
            "array[object]" => Self::Many(Scalar::Object),
            "array[boolean]" => Self::Many(Scalar::Boolean),
            _ => Self::One(Scalar::String),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::One(scalar) => scalar.name().to_owned(),
            Self::Many(scalar) => format!("array[{}]", scalar.name()),
        }
    }
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let query = fields.selector("query");
        let model = model::read(fields);
        let parameters = fields.list("parameters", |fields| Parameter {
            name: read_name(fields),
            kind: Wanted::named(fields.one_of("type", TYPES)),
            description: fields.text("description"),
            is_required: required_flag(fields, "required"),
            options: texts(fields, "options").unwrap_or_default(),
        });
        let instruction = fields.text_opt("instruction").unwrap_or_default();
        let by_function = read_reasoning_mode(fields) == "function_call";
        let memory = Memory::read(fields);
        let vision = Vision::read(fields);
        let instruction = Template::parse(&instruction);
        Self { query, model, parameters, instruction, by_function, memory, vision }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let mut reads = vec![self.query.clone()];
        reads.extend(self.instruction.references());
        reads.extend(self.model.params.reads());
        reads.extend(self.memory.iter().flat_map(Memory::reads));
        reads.extend(self.vision.reads());
        reads
    }
}

/// Anything but what Python calls false passes for a name, as its text.
fn read_name(fields: &mut Fields<'_>) -> Name {
    let Some(item) = fields.get("name") else {
        fields.error("name", "is missing");
        return "".into();
    };
    let name = item.to_value();
    if name.is_falsy() {
        fields.error("name", "must not be empty");
    }
    let name = name.to_python();
    if RESERVED.contains(&&*name) {
        fields.error("name", format!("{name} is an output of the node itself"));
    }
    name.into()
}

/// It must be there, but null and the empty text stand for the first.
fn read_reasoning_mode(fields: &mut Fields<'_>) -> &'static str {
    let blank = fields.get("reasoning_mode").is_some_and(|item| item.to_value().is_falsy());
    if blank { REASONING[0] } else { fields.one_of("reasoning_mode", REASONING) }
}
