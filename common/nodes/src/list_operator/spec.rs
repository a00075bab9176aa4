//! What a `list-operator` node's data holds.

use flowmill_engine::graph::{Content, Fields, lax_bool};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::list_or_empty;

const OPERATORS: &[&str] = &[
    "contains",
    "start with",
    "end with",
    "is",
    "in",
    "empty",
    "not contains",
    "is not",
    "not in",
    "not empty",
    "=",
    "≠",
    "<",
    ">",
    "≥",
    "≤",
];

const DIRECTIONS: &[&str] = &["asc", "desc"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("variable", FieldKind::Selector, "[]", "the list"),
    field("filter_by", FieldKind::Mapping, REQUIRED, "which items stay"),
    field("filter_by.enabled", FieldKind::Flag, "false", "whether to filter"),
    field("filter_by.conditions", FieldKind::List, "[]", "what all of them must satisfy"),
    field("filter_by.conditions[].key", FieldKind::Text, "\"\"", "for files: the attribute"),
    field(
        "filter_by.conditions[].comparison_operator",
        FieldKind::Word(OPERATORS),
        "\"contains\"",
        "how it is compared",
    ),
    field(
        "filter_by.conditions[].value",
        FieldKind::Any,
        "\"\"",
        "with what: text with references, a list of text, true or false",
    ),
    field("extract_by", FieldKind::Mapping, "{}", "taking one item"),
    field("extract_by.enabled", FieldKind::Flag, "false", "whether to take one"),
    field("extract_by.serial", FieldKind::Template, "\"1\"", "which, counted from 1"),
    field("order_by", FieldKind::Mapping, REQUIRED, "ordering"),
    field("order_by.enabled", FieldKind::Flag, "false", "whether to order"),
    field("order_by.key", FieldKind::Text, "\"\"", "for files: the attribute"),
    field("order_by.value", FieldKind::Word(DIRECTIONS), "\"asc\"", "the direction"),
    field("limit", FieldKind::Mapping, REQUIRED, "cutting"),
    field("limit.enabled", FieldKind::Flag, "false", "whether to cut"),
    field(
        "limit.size",
        FieldKind::Integer,
        "-1",
        "how many of the first items stay; negative: how many of the last go",
    ),
];

pub(super) const EXAMPLE: &str = r#"{
    "variable": ["start", "items"],
    "filter_by": {"enabled": true, "conditions": [
        {"key": "", "comparison_operator": "contains", "value": "a"}]},
    "extract_by": {"enabled": false, "serial": "1"},
    "order_by": {"enabled": true, "key": "", "value": "asc"},
    "limit": {"enabled": true, "size": 10}
}"#;

#[derive(Debug)]
pub(super) struct Spec {
    pub(super) list: Selector,
    pub(super) filter: bool,
    pub(super) conditions: Vec<Condition>,
    pub(super) extract: Option<Template>,
    pub(super) order: Option<Order>,
    pub(super) limit: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) key: Name,
    pub(super) operator: &'static str,
    pub(super) expected: Expected,
}

#[derive(Debug)]
pub(super) enum Expected {
    Text(Template),
    List(Vec<Name>),
    Bool(bool),
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) key: Name,
    pub(super) descending: bool,
}

impl Spec {
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let of_conditions =
            self.conditions.iter().filter_map(|condition| match &condition.expected {
                Expected::Text(template) => Some(template),
                Expected::List(_) | Expected::Bool(_) => None,
            });
        self.extract.iter().chain(of_conditions)
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Spec {
    let list = match fields.get("variable") {
        Some(_) => fields.selector("variable"),
        None => Selector::new([]),
    };
    let filter = fields.mapping("filter_by", |fields| {
        let enabled = fields.flag("enabled", false);
        (enabled, list_or_empty(fields, "conditions", read_condition))
    });
    let (filter, conditions) = filter.unwrap_or_default();
    let order = fields.mapping("order_by", |fields| {
        let enabled = fields.flag("enabled", false);
        let key = fields.text_or("key", "");
        let descending = fields.one_of_or("value", DIRECTIONS, "asc") == "desc";
        enabled.then_some(Order { key, descending })
    });
    let limit = fields.mapping("limit", |fields| {
        let enabled = fields.flag("enabled", false);
        let size = fields.integer_or("size", -1);
        enabled.then_some(size)
    });
    let extract = fields.get("extract_by").and_then(|_| {
        fields.mapping("extract_by", |fields| {
            let enabled = fields.flag("enabled", false);
            let serial = fields.text_or("serial", "1");
            enabled.then(|| Template::parse(&serial))
        })
    });
    Spec {
        list,
        filter,
        conditions,
        extract: extract.flatten(),
        order: order.flatten(),
        limit: limit.flatten(),
    }
}

fn read_condition(fields: &mut Fields<'_>) -> Condition {
    let key = fields.text_or("key", "");
    let operator = fields.one_of_or("comparison_operator", OPERATORS, "contains");
    Condition { key, operator, expected: read_expected(fields) }
}

/// Text, a list of text or a boolean; 0 and 1 pass for booleans, as in pydantic.
fn read_expected(fields: &mut Fields<'_>) -> Expected {
    let Some(item) = fields.get("value") else { return Expected::Text(Template::default()) };
    match &item.content {
        Content::Str(text) => Expected::Text(Template::parse(text)),
        Content::Seq(_) => Expected::List(fields.selector("value").parts().to_vec()),
        _ => Expected::Bool(lax_bool(item).unwrap_or_else(|| {
            let found = item.type_name();
            let message = format!("must be text, a list of text, true or false, not {found}");
            fields.error("value", message);
            false
        })),
    }
}

impl Expected {
    /// Python's name of its type.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Bool(_) => "bool",
        }
    }

    /// As Python prints it; text is never asked for.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(_) => String::new(),
            Self::List(items) => {
                Value::array(items.iter().cloned().map(Value::Str).collect()).to_python()
            }
            Self::Bool(value) => Value::Bool(*value).to_python(),
        }
    }
}
