//! The data of a template-transform node.

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field("template", FieldKind::Text, REQUIRED, "the Jinja2 template"),
    field("variables", FieldKind::List, REQUIRED, "the variables that the template sees"),
    field("variables[].variable", FieldKind::Text, REQUIRED, "its name in the template"),
    field("variables[].value_selector", FieldKind::Selector, REQUIRED, "where its value is read"),
];

#[derive(Debug)]
pub(super) struct Spec {
    pub(super) template: Name,
    pub(super) variables: Vec<(Name, Selector)>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Spec {
    let variables = fields
        .list("variables", |entry| (entry.text("variable"), entry.selector("value_selector")));
    Spec { template: fields.text("template"), variables }
}
