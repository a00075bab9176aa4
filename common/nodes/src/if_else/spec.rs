//! What an `if-else` node's data holds, in its present and its first shape.

use flowmill_engine::condition::Conditions;
use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

const LOGICAL: &[&str] = &["and", "or"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("cases", FieldKind::List, "null", "the cases, tried in order"),
    field("cases[].case_id", FieldKind::Text, REQUIRED, "the handle it takes"),
    field("cases[].logical_operator", FieldKind::Word(LOGICAL), REQUIRED, "and / or"),
    field("cases[].conditions", FieldKind::List, REQUIRED, "its conditions"),
    field(
        "cases[].conditions[].variable_selector",
        FieldKind::Selector,
        REQUIRED,
        "the variable looked at",
    ),
    field(
        "cases[].conditions[].comparison_operator",
        FieldKind::Word(OPERATORS),
        REQUIRED,
        "how it is compared",
    ),
    field(
        "cases[].conditions[].value",
        FieldKind::Any,
        "null",
        "with what: text with references, a list of text, true or false",
    ),
    field(
        "cases[].conditions[].sub_variable_condition",
        FieldKind::Mapping,
        "null",
        "for lists of files: {logical_operator, conditions: [{key, comparison_operator, value}]}",
    ),
    field("logical_operator", FieldKind::Word(LOGICAL), "\"and\"", "the first shape's and / or"),
    field("conditions", FieldKind::List, "null", "the first shape's conditions, without `cases`"),
];

pub(super) const EXAMPLE: &str = r#"{
    "cases": [{"case_id": "true", "logical_operator": "and", "conditions": [{
        "variable_selector": ["start", "n"], "comparison_operator": "≥", "value": "5",
        "sub_variable_condition": {"logical_operator": "and", "conditions": []}}]}],
    "logical_operator": "and",
    "conditions": []
}"#;

const OPERATORS: &[&str] = &[
    "contains",
    "not contains",
    "start with",
    "end with",
    "is",
    "is not",
    "empty",
    "not empty",
    "in",
    "not in",
    "all of",
    "=",
    "≠",
    ">",
    "<",
    "≥",
    "≤",
    "null",
    "not null",
    "exists",
    "not exists",
];

#[derive(Debug)]
pub(super) struct Case {
    pub(super) id: Name,
    pub(super) conditions: Conditions,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Vec<Case> {
    let first_shape = Conditions::read_optional(fields, "conditions", "logical_operator");
    let cases = fields.list_opt("cases", |fields| Case {
        id: fields.text("case_id"),
        conditions: Conditions::read(fields, "conditions", "logical_operator"),
    });
    cases.unwrap_or_else(|| vec![Case { id: "true".into(), conditions: first_shape }])
}
