//! What an `iteration` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Iteration, OnItemError};

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

const MODES: &[&str] = &["terminated", "continue-on-error", "remove-abnormal-output"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("start_node_id", FieldKind::Text, REQUIRED, "the body's first node"),
    field("iterator_selector", FieldKind::Selector, REQUIRED, "the list"),
    field("output_selector", FieldKind::Selector, REQUIRED, "what an element gives"),
    field("is_parallel", FieldKind::Flag, "false", "whether elements run side by side"),
    field("parallel_nums", FieldKind::Integer, "10", "how many at most, from 1"),
    field(
        "error_handle_mode",
        FieldKind::Word(MODES),
        "\"terminated\"",
        "what an element's error does: fail, give null, give nothing",
    ),
    field("flatten_output", FieldKind::Flag, "true", "whether a list of lists becomes one list"),
];

pub(super) fn read(fields: &mut Fields<'_>) -> Iteration {
    let start = fields.text("start_node_id");
    let input = fields.selector("iterator_selector");
    let output = fields.selector("output_selector");
    let parallel = fields.flag("is_parallel", false);
    let width = fields.integer_or("parallel_nums", 10);
    if width < 1 {
        fields.error("parallel_nums", format!("must be at least 1, not {width}"));
    }
    let on_error = match fields.one_of_or("error_handle_mode", MODES, "terminated") {
        "continue-on-error" => OnItemError::Continue,
        "remove-abnormal-output" => OnItemError::Remove,
        _ => OnItemError::Terminate,
    };
    let flatten = fields.flag("flatten_output", true);
    let width = if parallel { u32::try_from(width.max(1)).unwrap_or(u32::MAX) } else { 1 };
    Iteration { start, input, output, width, on_error, flatten }
}
