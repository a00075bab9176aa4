//! What a `variable-aggregator` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::{SEGMENT_TYPES, required_flag, required_selectors};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("output_type", FieldKind::Text, REQUIRED, "what the editor expects; not enforced"),
    field("variables", FieldKind::Selectors, REQUIRED, "the variables to look for, in order"),
    field("advanced_settings", FieldKind::Mapping, "null", "several groups instead of one"),
    field("advanced_settings.group_enabled", FieldKind::Flag, REQUIRED, "whether groups count"),
    field("advanced_settings.groups", FieldKind::List, REQUIRED, "the groups"),
    field("advanced_settings.groups[].group_name", FieldKind::Text, REQUIRED, "its output's name"),
    field(
        "advanced_settings.groups[].output_type",
        FieldKind::Word(SEGMENT_TYPES),
        REQUIRED,
        "what the editor expects; not enforced",
    ),
    field(
        "advanced_settings.groups[].variables",
        FieldKind::Selectors,
        REQUIRED,
        "the variables to look for, in order",
    ),
];

#[derive(Debug)]
pub(super) enum Spec {
    One(Vec<Selector>),
    Groups(Vec<(Name, Vec<Selector>)>),
}

pub(super) fn read(fields: &mut Fields<'_>) -> Spec {
    fields.text("output_type");
    let one = required_selectors(fields, "variables");
    let settings = fields.mapping_opt("advanced_settings", |fields| {
        let enabled = required_flag(fields, "group_enabled");
        let groups = fields.list("groups", |fields| {
            fields.one_of("output_type", SEGMENT_TYPES);
            let variables = required_selectors(fields, "variables");
            (fields.text("group_name"), variables)
        });
        (enabled, groups)
    });
    match settings {
        Some((true, groups)) => Spec::Groups(groups),
        Some((false, _)) | None => Spec::One(one),
    }
}
