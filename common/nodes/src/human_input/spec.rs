//! What a `human-input` node's data holds.

use std::collections::BTreeSet;

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model;
use crate::shared::{list_or_empty, texts};

const INPUTS: &[&str] = &["paragraph", "select", "file", "file-list", "text_input", "text-input"];
const SOURCES: &[&str] = &["constant", "variable"];
const STYLES: &[&str] = &["primary", "default", "accent", "ghost"];
const UNITS: &[&str] = &["hour", "day"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("form_content", FieldKind::Template, "\"\"", "the form's text, in Markdown"),
    field("inputs", FieldKind::List, "[]", "what the person may enter"),
    field("inputs[].type", FieldKind::Word(INPUTS), REQUIRED, "the kind of entry"),
    field("inputs[].output_variable_name", FieldKind::Text, REQUIRED, "the output's name"),
    field("user_actions", FieldKind::List, "[]", "the buttons"),
    field("user_actions[].id", FieldKind::Text, REQUIRED, "its handle, at most 20 characters"),
    field("user_actions[].title", FieldKind::Text, REQUIRED, "its text, at most 100 characters"),
    field("user_actions[].button_style", FieldKind::Word(STYLES), "\"default\"", "its look"),
    field("timeout", FieldKind::Integer, "36", "how long to wait"),
    field("timeout_unit", FieldKind::Word(UNITS), "\"hour\"", "in which unit"),
    field("delivery_methods", FieldKind::List, "[]", "how the form reaches people"),
];

pub(super) const EXAMPLE: &str = r#"{
    "form_content": "Is {{#start.x#}} right? {{#$output.comment#}}",
    "inputs": [{"type": "paragraph", "output_variable_name": "comment"}],
    "user_actions": [{"id": "approve", "title": "Approve", "button_style": "primary"}],
    "timeout": 36, "timeout_unit": "hour",
    "delivery_methods": [{"id": "d", "type": "webapp", "enabled": true, "config": {}}]
}"#;

/// The most characters of an action's id.
const MAX_ID: usize = 20;
/// The most characters of an action's title.
const MAX_TITLE: usize = 100;

/// Reads it all; gives what the form may read.
pub(super) fn read(fields: &mut Fields<'_>) -> Vec<Selector> {
    let mut reads = model::references(&fields.text_or("form_content", ""));
    let inputs = list_or_empty(fields, "inputs", read_input);
    let names: Vec<Name> = inputs.iter().map(|(name, _)| name.clone()).collect();
    unique(fields, "inputs", &names);
    reads.extend(inputs.into_iter().filter_map(|(_, source)| source));
    let actions = list_or_empty(fields, "user_actions", read_action);
    unique(fields, "user_actions", &actions);
    fields.integer_or("timeout", 36);
    fields.one_of_or("timeout_unit", UNITS, "hour");
    list_or_empty(fields, "delivery_methods", |fields| {
        fields.text("type");
        fields.flag("enabled", true);
    });
    reads
}

fn read_input(fields: &mut Fields<'_>) -> (Name, Option<Selector>) {
    fields.one_of("type", INPUTS);
    let name = fields.text("output_variable_name");
    let key = if fields.given("option_source").is_some() { "option_source" } else { "default" };
    let source = fields.mapping_opt(key, |fields| {
        let variable = fields.one_of("type", SOURCES) == "variable";
        texts(fields, "selector").filter(|_| variable).map(Selector::new)
    });
    (name, source.flatten())
}

fn read_action(fields: &mut Fields<'_>) -> Name {
    let id = fields.text("id");
    let mut letters = id.chars();
    let starts = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let good = starts && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fields.get("id").is_some() && (!good || id.chars().count() > MAX_ID) {
        let message = format!("must be a word of at most {MAX_ID} letters, digits and _");
        fields.error("id", message);
    }
    if fields.text("title").chars().count() > MAX_TITLE {
        fields.error("title", format!("must have at most {MAX_TITLE} characters"));
    }
    fields.one_of_or("button_style", STYLES, "default");
    id
}

fn unique(fields: &mut Fields<'_>, key: &str, names: &[Name]) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            fields.error(key, format!("{name} occurs twice"));
        }
    }
}
