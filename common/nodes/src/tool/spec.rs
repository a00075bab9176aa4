//! What a `tool` node's data holds.

use flowmill_engine::graph::{Content, Fields};
use flowmill_engine::variables::Selector;

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
    field("credential_id", FieldKind::Text, "null", "which credential it uses"),
    field("plugin_unique_identifier", FieldKind::Text, "null", "the plugin's exact version"),
    field("tool_node_version", FieldKind::Text, "null", "the rules its parameters follow"),
];

pub(super) const EXAMPLE: &str = r#"{
    "provider_id": "langgenius/google/google", "provider_name": "langgenius/google/google",
    "provider_type": "builtin", "tool_name": "google_search", "tool_label": "Google Search",
    "tool_configurations": {"result_type": "link"},
    "tool_parameters": {"query": {"type": "mixed", "value": "x"}},
    "credential_id": "c", "plugin_unique_identifier": "langgenius/google:0.0.1@x",
    "tool_node_version": "2"
}"#;

pub(super) struct Spec {
    pub(super) needs: String,
    pub(super) reads: Vec<Selector>,
}

pub(super) fn read(fields: &mut Fields<'_>, strict: bool) -> Spec {
    let provider = fields.text("provider_id");
    fields.text("provider_name");
    fields.one_of("provider_type", PROVIDERS);
    let tool = fields.text("tool_name");
    fields.text("tool_label");
    fields.mapping("tool_configurations", |fields| read_settings(fields, strict));
    let reads = parameters::read(fields, "tool_parameters");
    fields.text_opt("credential_id");
    let plugin = fields.text_opt("plugin_unique_identifier").unwrap_or(provider);
    fields.text_opt("tool_node_version");
    Spec { needs: format!("the tool {tool} of {plugin}"), reads }
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
