//! What a `tool` node's data holds, and how Dify adapts it when it is loaded (spec/nodes.md §4.4).

use flowmill_engine::graph::{Content, Fields, Item};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;
use flowmill_services::tools::{Form, Parameter, ParameterKind, Wanted};

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::parameters;

const PROVIDERS: &[&str] =
    &["plugin", "builtin", "workflow", "api", "app", "dataset-retrieval", "mcp"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("provider_id", FieldKind::Text, REQUIRED, "who offers the tool"),
    field("provider_name", FieldKind::Text, REQUIRED, "the same, by name"),
    field("provider_type", FieldKind::Word(PROVIDERS), REQUIRED, "what kind of provider it is"),
    field("tool_name", FieldKind::Text, REQUIRED, "the tool"),
    field("tool_label", FieldKind::Text, REQUIRED, "its name, for people"),
    field("tool_configurations", FieldKind::Mapping, REQUIRED, "settings: name -> value"),
    field("tool_parameters", FieldKind::Mapping, REQUIRED, "name -> {type, value}"),
    field("paramSchemas", FieldKind::Any, "[]", "what the editor knew of its parameters"),
    field("credential_id", FieldKind::Text, "null", "which credential it uses"),
    field("plugin_unique_identifier", FieldKind::Text, "null", "the plugin's exact version"),
    field("tool_node_version", FieldKind::Text, "null", "the rules its parameters follow"),
];

pub(super) const EXAMPLE: &str = r#"{
    "provider_id": "langgenius/google/google", "provider_name": "langgenius/google/google",
    "provider_type": "builtin", "tool_name": "google_search", "tool_label": "Google Search",
    "tool_configurations": {"result_type": "link"},
    "tool_parameters": {"query": {"type": "mixed", "value": "x"}},
    "paramSchemas": [{"name": "query", "type": "string", "form": "llm", "required": true}],
    "credential_id": "c", "plugin_unique_identifier": "langgenius/google:0.0.1@x",
    "tool_node_version": "2"
}"#;

/// A node's data.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub(super) wanted: Wanted,
    /// `tool_parameters`.
    pub(super) parameters: Vec<(Name, Given)>,
    /// `tool_configurations`.
    pub(super) settings: Vec<(Name, Given)>,
    /// What the document says of the tool's parameters; counts where nobody else does.
    pub(super) declared: Vec<Parameter>,
    pub(super) reads: Vec<Selector>,
}

/// How a parameter gets its value.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// A variable's value.
    Variable(Selector),
    /// Text with references.
    Text(Template),
    /// A value that is no text. Dify makes text of it where the tool takes text.
    Plain(Value),
}

pub(super) fn read(fields: &mut Fields<'_>, strict: bool) -> Spec {
    let provider_id = fields.text("provider_id");
    let provider_name = fields.text("provider_name");
    let provider_type = fields.one_of("provider_type", PROVIDERS);
    let tool = fields.text("tool_name");
    fields.text("tool_label");
    fields.mapping("tool_configurations", |fields| read_settings(fields, strict));
    let mut reads = parameters::read(fields, "tool_parameters");
    let credential = fields.text_opt("credential_id");
    fields.text_opt("plugin_unique_identifier");
    let by_new_rules = fields.text_opt("tool_node_version").is_some()
        || fields.get("version").and_then(Item::as_str).is_some_and(|version| version != "1");
    let declared = fields.get("paramSchemas").map(declared).unwrap_or_default();
    let mut parameters = entries(fields.get("tool_parameters"), given);
    let mut settings = Vec::new();
    for (name, item) in members(fields.get("tool_configurations")) {
        if let Some(given) = given(item) {
            // an entry of the newer form is a parameter as well
            if !parameters.iter().any(|(held, _)| *held == name) {
                parameters.push((name.clone(), given.clone()));
            }
            settings.push((name, given));
        } else if let Some(setting) = setting(item, by_new_rules) {
            settings.push((name, setting));
        }
    }
    for (_, given) in &settings {
        match given {
            Given::Variable(selector) => reads.push(selector.clone()),
            Given::Text(template) => reads.extend(template.references()),
            Given::Plain(_) => {}
        }
    }
    let wanted = Wanted {
        provider_type: provider_type.into(),
        provider_id,
        provider_name,
        tool,
        credential,
    };
    Spec { wanted, parameters, settings, declared, reads }
}

/// Old documents hold nulls here, which Dify drops when it imports them.
fn read_settings(fields: &mut Fields<'_>, strict: bool) {
    for (name, item) in fields.item().as_map().unwrap_or_default() {
        let Some(name) = name.as_str() else {
            fields.error("", "setting names must be text");
            continue;
        };
        match &item.content {
            Content::Null if !strict => {}
            Content::Null | Content::Seq(_) | Content::Other(..) => {
                let found = item.type_name();
                let message =
                    format!("must be text, a number, a boolean or a mapping, not {found}");
                fields.error(name, message);
            }
            Content::Bool(_)
            | Content::Int(_)
            | Content::Float(_)
            | Content::Str(_)
            | Content::Map(_) => {}
        }
    }
}

fn members(item: Option<&Item>) -> impl Iterator<Item = (Name, &Item)> {
    let members = item.and_then(Item::as_map).unwrap_or_default();
    members.iter().filter_map(|(name, item)| Some((name.as_name()?.clone(), item)))
}

fn entries(item: Option<&Item>, read: impl Fn(&Item) -> Option<Given>) -> Vec<(Name, Given)> {
    members(item).filter_map(|(name, item)| Some((name, read(item)?))).collect()
}

/// An entry of the form `{type, value}`; None for others and for those without a value.
fn given(item: &Item) -> Option<Given> {
    let (kind, value) = (item.get("type")?.as_str()?, item.get("value")?);
    match (kind, &value.content) {
        (_, Content::Null) => None,
        ("variable", Content::Seq(parts)) => {
            let parts = parts.iter().filter_map(Item::as_name).cloned();
            Some(Given::Variable(Selector::new(parts)))
        }
        ("mixed" | "constant", Content::Str(text)) => Some(Given::Text(Template::parse(text))),
        ("mixed" | "constant", _) => Some(Given::Plain(value.to_value())),
        _ => None,
    }
}

/// A setting as it stands; text is filled in by the newer rules only.
fn setting(item: &Item, by_new_rules: bool) -> Option<Given> {
    match &item.content {
        Content::Null => None,
        // the newer form without a value
        Content::Map(_) if item.get("type").is_some() && item.get("value").is_some() => None,
        Content::Str(text) if by_new_rules => Some(Given::Text(Template::parse(text))),
        _ => Some(Given::Plain(item.to_value())),
    }
}

/// What the editor knew of the tool's parameters.
fn declared(schemas: &Item) -> Vec<Parameter> {
    let read = |schema: &Item| {
        let text = |key: &str| schema.get(key).and_then(Item::as_name).cloned();
        let about = |key: &str| match schema.get(key) {
            Some(item) if item.as_map().is_some() => {
                item.get("en_US").and_then(Item::as_name).cloned()
            }
            Some(item) => item.as_name().cloned(),
            None => None,
        };
        let options = schema.get("options").and_then(Item::as_seq).unwrap_or_default();
        let options = options.iter().filter_map(|option| option.get("value")?.as_name().cloned());
        let required = schema.get("required").map(Item::to_value);
        let default = schema.get("default").map(Item::to_value);
        Some(Parameter {
            name: text("name")?,
            kind: ParameterKind::of_word(text("type").as_deref().unwrap_or_default()),
            form: match text("form").as_deref() {
                Some("form") => Form::Form,
                _ => Form::Llm,
            },
            required: required == Some(Value::Bool(true)),
            about: about("llm_description")
                .filter(|about| !about.is_empty())
                .or_else(|| about("human_description"))
                .unwrap_or_default(),
            default: default.filter(|default| *default != Value::None),
            options: options.collect(),
            schema: None,
        })
    };
    schemas.as_seq().unwrap_or_default().iter().filter_map(read).collect()
}
