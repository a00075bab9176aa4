//! What a `trigger-plugin` node's data holds.

use flowmill_engine::graph::Fields;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("plugin_id", FieldKind::Text, REQUIRED, "the plugin"),
    field("provider_id", FieldKind::Text, REQUIRED, "its provider of events"),
    field("event_name", FieldKind::Text, REQUIRED, "the event"),
    field("subscription_id", FieldKind::Text, REQUIRED, "the subscription; exports leave it empty"),
    field("plugin_unique_identifier", FieldKind::Text, REQUIRED, "the plugin's exact version"),
    field("event_parameters", FieldKind::Mapping, "{}", "name -> {type, value}"),
];

pub(super) const EXAMPLE: &str = r#"{
    "plugin_id": "langgenius/github_trigger",
    "provider_id": "langgenius/github_trigger/github_trigger",
    "event_name": "issue_opened", "subscription_id": "",
    "plugin_unique_identifier": "langgenius/github_trigger:1.0.0@x", "event_parameters": {}
}"#;

pub(super) fn read(fields: &mut Fields<'_>) {
    fields.text("plugin_id");
    fields.text("provider_id");
    fields.text("event_name");
    fields.text("subscription_id");
    fields.text("plugin_unique_identifier");
    if fields.get("event_parameters").is_some() {
        fields.mapping("event_parameters", |_| ());
    }
}
