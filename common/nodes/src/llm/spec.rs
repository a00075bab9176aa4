//! What an `llm` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Model};
use crate::shared::required_flag;

const ROLES: &[&str] = &["system", "user", "assistant", "tool"];
const EDITIONS: &[&str] = &["basic", "jinja2"];
const REASONING: &[&str] = &["separated", "tagged"];

pub(super) const FIELDS: &[FieldDoc] = &[
    model::MODEL,
    model::PROVIDER,
    model::NAME,
    model::MODE,
    model::PARAMS,
    field(
        "prompt_template",
        FieldKind::Any,
        REQUIRED,
        "a list of {role, text, edition_type, jinja2_text}, or one without role",
    ),
    field("prompt_template[].role", FieldKind::Word(ROLES), REQUIRED, "who says it"),
    field("prompt_template[].text", FieldKind::Template, "\"\"", "what is said"),
    field(
        "prompt_config",
        FieldKind::Mapping,
        "{}",
        "{jinja2_variables: [{variable, value_selector}]}",
    ),
    field("context", FieldKind::Mapping, REQUIRED, "what `{{#context#}}` stands for"),
    field("context.enabled", FieldKind::Flag, REQUIRED, "whether there is any"),
    field("context.variable_selector", FieldKind::Selector, "null", "where it is read"),
    model::MEMORY,
    model::VISION,
    field("structured_output", FieldKind::Mapping, "null", "{schema} of the answer"),
    field("structured_output_enabled", FieldKind::Flag, "false", "whether the schema counts"),
    field(
        "reasoning_format",
        FieldKind::Word(REASONING),
        "\"tagged\"",
        "whether thoughts stay in the text",
    ),
];

pub(super) const EXAMPLE: &str = r#"{
    "model": {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat",
        "completion_params": {"temperature": 0.7}},
    "prompt_template": [{"role": "user", "text": "{{#start.question#}}"}],
    "prompt_config": {"jinja2_variables": []},
    "context": {"enabled": false, "variable_selector": []},
    "memory": {"window": {"enabled": false, "size": 10}},
    "vision": {"enabled": false},
    "structured_output": {"schema": {}},
    "structured_output_enabled": false,
    "reasoning_format": "tagged"
}"#;

pub(super) fn read(fields: &mut Fields<'_>) -> (Model, Vec<Selector>) {
    let model = model::read(fields);
    let mut reads = read_prompts(fields);
    let variables = fields.mapping_opt("prompt_config", |fields| {
        fields.list_opt("jinja2_variables", |fields| {
            fields.text("variable");
            fields.selector("value_selector")
        })
    });
    reads.extend(variables.flatten().unwrap_or_default());
    let context = fields.mapping("context", |fields| {
        let enabled = required_flag(fields, "enabled");
        fields.selector_opt("variable_selector").filter(|_| enabled)
    });
    reads.extend(context.flatten());
    reads.extend(model::read_memory(fields));
    reads.extend(model::read_vision(fields));
    fields.mapping_opt("structured_output", |_| ());
    // newer documents use the engine's own name, which wins
    let switch = ["structured_output_switch_on", "structured_output_enabled"];
    if let Some(key) = switch.into_iter().find(|key| fields.get(key).is_some()) {
        fields.flag(key, false);
    }
    fields.one_of_or("reasoning_format", REASONING, "tagged");
    (model, reads)
}

/// The shape decides, not the model's mode: a list is a chat, one mapping a completion.
fn read_prompts(fields: &mut Fields<'_>) -> Vec<Selector> {
    let one = fields.get("prompt_template").is_some_and(|item| item.as_map().is_some());
    if one {
        let read = fields.mapping("prompt_template", |fields| {
            let text = fields.text("text");
            read_prompt(fields, &text)
        });
        return read.unwrap_or_default();
    }
    let read = fields.list("prompt_template", |fields| {
        fields.one_of("role", ROLES);
        let text = fields.text_or("text", "");
        read_prompt(fields, &text)
    });
    read.into_iter().flatten().collect()
}

fn read_prompt(fields: &mut Fields<'_>, text: &str) -> Vec<Selector> {
    if fields.given("edition_type").is_some() {
        fields.one_of("edition_type", EDITIONS);
    }
    let jinja = fields.text_opt("jinja2_text");
    let mut reads = model::references(text);
    reads.extend(jinja.map(|text| model::references(&text)).unwrap_or_default());
    reads
}
