//! What version 1 of an `assigner` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

const MODES: &[&str] = &["over-write", "append", "clear"];

/// What such a node must have.
pub(crate) const REQUIRED_FIELDS: [&str; 3] =
    ["assigned_variable_selector", "write_mode", "input_variable_selector"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("assigned_variable_selector", FieldKind::Selector, REQUIRED, "the variable to change"),
    field("write_mode", FieldKind::Word(MODES), REQUIRED, "replace, add one item, or empty"),
    field("input_variable_selector", FieldKind::Selector, REQUIRED, "what to write"),
];

#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) target: Selector,
    pub(super) mode: Mode,
    pub(super) input: Selector,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    OverWrite,
    Append,
    Clear,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Spec {
    let target = fields.selector("assigned_variable_selector");
    let mode = match fields.one_of("write_mode", MODES) {
        "append" => Mode::Append,
        "clear" => Mode::Clear,
        _ => Mode::OverWrite,
    };
    Spec { target, mode, input: fields.selector("input_variable_selector") }
}
