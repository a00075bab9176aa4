//! What a `human-input` node's data holds.

use std::collections::BTreeSet;

use flowmill_engine::form::{Action, Files};
use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::{list_or_empty, texts};

const INPUTS: &[&str] = &["paragraph", "select", "file", "file-list", "text_input", "text-input"];
const SOURCES: &[&str] = &["constant", "variable"];
const STYLES: &[&str] = &["primary", "default", "accent", "ghost"];
/// The kind of files that goes by extension.
pub(super) const CUSTOM: &str = "custom";
const UNITS: &[&str] = &["hour", "day"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("form_content", FieldKind::Template, "\"\"", "the form's text, in Markdown"),
    field("inputs", FieldKind::List, "[]", "what the person may enter"),
    field("inputs[].type", FieldKind::Word(INPUTS), REQUIRED, "the kind of entry"),
    field("inputs[].output_variable_name", FieldKind::Text, REQUIRED, "the output's name"),
    field("inputs[].default", FieldKind::Mapping, "null", "a paragraph's: type, selector, value"),
    field("inputs[].option_source", FieldKind::Any, "null", "a select's: type, selector, value"),
    field("inputs[].allowed_file_types", FieldKind::Any, "[]", "which files are taken"),
    field("inputs[].allowed_file_extensions", FieldKind::Any, "[]", "which custom files"),
    field("inputs[].allowed_file_upload_methods", FieldKind::Any, "[]", "how they may come"),
    field("inputs[].number_limits", FieldKind::Any, "0", "the most files of a list"),
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

/// The most characters of a slot's name.
pub(super) const MAX_SLOT: usize = 30;
const MS_PER_HOUR: u64 = 3600 * 1000;

/// A form's data.
#[derive(Debug)]
pub(super) struct FormSpec {
    pub(super) content: Template,
    pub(super) inputs: Vec<Input>,
    pub(super) actions: Vec<Action>,
    pub(super) wait_ms: u64,
    pub(super) webapp: bool,
}

/// An input's data.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: Name,
    pub(super) kind: InputKind,
    /// Where its default or its options come from.
    pub(super) source: Option<Selector>,
}

#[derive(Debug)]
pub(super) enum InputKind {
    /// With its default.
    Paragraph(Option<Name>),
    /// With its options.
    Select(Vec<Name>),
    File(Files),
    FileList(Files),
}

impl FormSpec {
    /// All that the form reads.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let sources = self.inputs.iter().filter_map(|input| input.source.clone());
        self.content.references().chain(sources).collect()
    }
}

/// Reads it all.
pub(super) fn read(fields: &mut Fields<'_>) -> FormSpec {
    let content = Template::parse(&fields.text_or("form_content", ""));
    let inputs = list_or_empty(fields, "inputs", read_input);
    unique(fields, "inputs", inputs.iter().map(|input| &input.name));
    let actions = list_or_empty(fields, "user_actions", read_action);
    unique(fields, "user_actions", actions.iter().map(|action| &action.id));
    let timeout = u64::try_from(fields.integer_or("timeout", 36)).unwrap_or(0);
    let hours = match fields.one_of_or("timeout_unit", UNITS, "hour") {
        "day" => timeout.saturating_mul(24),
        _ => timeout,
    };
    let deliveries = list_or_empty(fields, "delivery_methods", |fields| {
        (fields.text("type"), fields.flag("enabled", true))
    });
    let webapp = deliveries.iter().any(|(kind, enabled)| *enabled && &**kind == "webapp");
    FormSpec { content, inputs, actions, wait_ms: hours.saturating_mul(MS_PER_HOUR), webapp }
}

fn read_input(fields: &mut Fields<'_>) -> Input {
    let kind = fields.one_of("type", INPUTS);
    let name = fields.text("output_variable_name");
    let (kind, source) = match kind {
        "select" => {
            let read = fields.mapping_opt("option_source", |fields| {
                let selector = read_source(fields);
                let options = match selector {
                    // what the document holds besides is a leftover of the editor
                    Some(_) => Vec::new(),
                    None => texts(fields, "value").unwrap_or_default(),
                };
                (options, selector)
            });
            let (options, selector) = read.unwrap_or_default();
            (InputKind::Select(options), selector)
        }
        "file" => (InputKind::File(read_files(fields)), None),
        "file-list" => (InputKind::FileList(read_files(fields)), None),
        _ => {
            // its name before the first release
            let key = if fields.given("default").is_some() { "default" } else { "placeholder" };
            let read = fields.mapping_opt(key, |fields| {
                let selector = read_source(fields);
                (fields.text_opt("value").filter(|_| selector.is_none()), selector)
            });
            let (default, selector) = read.unwrap_or_default();
            (InputKind::Paragraph(default), selector)
        }
    };
    Input { name, kind, source }
}

/// The variable that something comes from, unless the document has it.
fn read_source(fields: &mut Fields<'_>) -> Option<Selector> {
    let variable = fields.one_of("type", SOURCES) == "variable";
    let selector = texts(fields, "selector").filter(|_| variable).map(Selector::new);
    if variable && selector.as_ref().is_none_or(|selector| selector.variable().is_none()) {
        fields.error("selector", "must name a variable: [node, name]");
    }
    selector
}

fn read_files(fields: &mut Fields<'_>) -> Files {
    let kinds = texts(fields, "allowed_file_types").unwrap_or_default();
    let extensions = texts(fields, "allowed_file_extensions").unwrap_or_default();
    let methods = texts(fields, "allowed_file_upload_methods").unwrap_or_default();
    let most = fields.integer_or("number_limits", 0);
    if kinds.iter().any(|kind| &**kind == CUSTOM) && extensions.is_empty() {
        fields.error("allowed_file_extensions", "must list the extensions of custom files");
    }
    Files { kinds, extensions, methods, most: u64::try_from(most).unwrap_or(0) }
}

fn read_action(fields: &mut Fields<'_>) -> Action {
    let id = fields.text("id");
    let mut letters = id.chars();
    let starts = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let good = starts && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fields.get("id").is_some() && (!good || id.chars().count() > MAX_ID) {
        let message = format!("must be a word of at most {MAX_ID} letters, digits and _");
        fields.error("id", message);
    }
    let title = fields.text("title");
    if title.chars().count() > MAX_TITLE {
        fields.error("title", format!("must have at most {MAX_TITLE} characters"));
    }
    let style = fields.one_of_or("button_style", STYLES, "default").into();
    Action { id, title, style }
}

fn unique<'a>(fields: &mut Fields<'_>, key: &str, names: impl Iterator<Item = &'a Name>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            fields.error(key, format!("{name} occurs twice"));
        }
    }
}
