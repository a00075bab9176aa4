//! What an `end` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("outputs", FieldKind::List, REQUIRED, "the outputs, in order"),
    field("outputs[].variable", FieldKind::Text, REQUIRED, "an output's name"),
    field("outputs[].value_selector", FieldKind::Selector, REQUIRED, "where its value is read"),
    field(
        "outputs[].value_type",
        FieldKind::Word(VALUE_TYPES),
        "\"any\"",
        "what the editor expects there; not enforced",
    ),
];

const VALUE_TYPES: &[&str] = &[
    "string",
    "number",
    "integer",
    "secret",
    "boolean",
    "object",
    "file",
    "array",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
    "array[file]",
    "any",
    "array[any]",
];

pub(super) fn read(fields: &mut Fields<'_>) -> Vec<(Name, Selector)> {
    fields.list("outputs", |fields| {
        let name = fields.text("variable");
        // old documents write `Array[...]`
        let old = fields.get("value_type").and_then(|item| item.as_str());
        let old = old.filter(|word| word.starts_with("Array["));
        match old {
            Some(word) if VALUE_TYPES.contains(&&*word.to_lowercase()) => {}
            _ => {
                fields.one_of_or("value_type", VALUE_TYPES, "any");
            }
        }
        (name, fields.selector("value_selector"))
    })
}
