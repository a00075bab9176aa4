//! What a `loop` node's data holds.

use flowmill_engine::condition::Conditions;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Loop, LoopValue, LoopVariable};
use flowmill_engine::value::Kind;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::list_or_empty;

const LOGICAL: &[&str] = &["and", "or"];

const KINDS: [(&str, Kind); 8] = [
    ("string", Kind::String),
    ("number", Kind::Float),
    ("object", Kind::Object),
    ("boolean", Kind::Boolean),
    ("array[string]", Kind::ArrayString),
    ("array[number]", Kind::ArrayNumber),
    ("array[object]", Kind::ArrayObject),
    ("array[boolean]", Kind::ArrayBoolean),
];

const KIND_NAMES: &[&str] = &[
    "string",
    "number",
    "object",
    "boolean",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
];

const SOURCES: &[&str] = &["variable", "constant"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("start_node_id", FieldKind::Text, REQUIRED, "the body's first node"),
    field("loop_count", FieldKind::Integer, REQUIRED, "the most rounds, from 1"),
    field("break_conditions", FieldKind::List, REQUIRED, "when it ends; as those of if-else"),
    field("logical_operator", FieldKind::Word(LOGICAL), REQUIRED, "and / or"),
    field("loop_variables", FieldKind::List, "[]", "variables of its own that rounds change"),
    field("loop_variables[].label", FieldKind::Text, REQUIRED, "a variable's name"),
    field("loop_variables[].var_type", FieldKind::Word(KIND_NAMES), REQUIRED, "its type"),
    field(
        "loop_variables[].value_type",
        FieldKind::Word(SOURCES),
        REQUIRED,
        "where its first value comes from",
    ),
    field(
        "loop_variables[].value",
        FieldKind::Any,
        REQUIRED,
        "a selector, or the value itself; lists as JSON text",
    ),
];

pub(super) const EXAMPLE: &str = r#"{
    "start_node_id": "lp1start", "loop_count": 10, "logical_operator": "and",
    "break_conditions": [
        {"variable_selector": ["lp1", "n"], "comparison_operator": "≥", "value": "5"}],
    "loop_variables": [
        {"label": "n", "var_type": "number", "value_type": "constant", "value": 0}]
}"#;

pub(super) fn read(fields: &mut Fields<'_>) -> Loop {
    let start = fields.text("start_node_id");
    let count = fields.integer("loop_count");
    if count < 1 {
        fields.error("loop_count", format!("must be at least 1, not {count}"));
    }
    let until = Conditions::read(fields, "break_conditions", "logical_operator");
    let variables = list_or_empty(fields, "loop_variables", read_variable);
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    Loop { start, count, until, variables }
}

fn read_variable(fields: &mut Fields<'_>) -> LoopVariable {
    let label = fields.text("label");
    let word = fields.one_of("var_type", KIND_NAMES);
    let kind = KINDS.iter().find(|(name, _)| *name == word).map_or(Kind::String, |(_, kind)| *kind);
    let source = fields.one_of("value_type", SOURCES);
    let Some(item) = fields.get("value") else {
        fields.error("value", "is missing");
        return LoopVariable { label, kind, value: LoopValue::Variable(Selector::new([])) };
    };
    let value = if source == "constant" {
        LoopValue::Constant(item.to_value())
    } else {
        // what is no selector fails the loop when it starts, not the document
        let parts = item.as_seq().unwrap_or_default();
        let parts: Option<Vec<_>> = parts.iter().map(|part| part.as_name().cloned()).collect();
        let selector = Selector::new(parts.unwrap_or_default());
        if selector.variable().is_none() {
            fields.warning("value", "is no selector, so the loop will fail when it starts");
        }
        LoopValue::Variable(selector)
    };
    LoopVariable { label, kind, value }
}
