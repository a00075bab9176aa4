//! What a `datasource` node's data holds.

use flowmill_engine::graph::Fields;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("plugin_id", FieldKind::Text, REQUIRED, "the plugin"),
    field("provider_name", FieldKind::Text, REQUIRED, "its provider"),
    field("provider_type", FieldKind::Text, REQUIRED, "what kind of source it is"),
    field("datasource_name", FieldKind::Text, "\"local_file\"", "the source"),
    field("datasource_configurations", FieldKind::Mapping, "null", "settings"),
    field("plugin_unique_identifier", FieldKind::Text, "null", "the plugin's exact version"),
    field("datasource_parameters", FieldKind::Mapping, "null", "name -> {type, value}"),
];

pub(super) const EXAMPLE: &str = r#"{
    "plugin_id": "langgenius/file", "provider_name": "file", "provider_type": "local_file",
    "datasource_name": "upload-file", "datasource_configurations": {},
    "plugin_unique_identifier": "langgenius/file:0.0.5@x", "datasource_parameters": {}
}"#;

pub(super) fn read(fields: &mut Fields<'_>) {
    fields.text("plugin_id");
    fields.text("provider_name");
    fields.text("provider_type");
    fields.text_or("datasource_name", "local_file");
    fields.mapping_opt("datasource_configurations", |_| ());
    fields.text_opt("plugin_unique_identifier");
    fields.mapping_opt("datasource_parameters", |_| ());
}
