//! What a `knowledge-index` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field(
        "chunk_structure",
        FieldKind::Text,
        REQUIRED,
        "text_model, hierarchical_model or qa_model",
    ),
    field("index_chunk_variable_selector", FieldKind::Selector, REQUIRED, "the passages"),
];

pub(super) fn read(fields: &mut Fields<'_>) -> Selector {
    fields.text("chunk_structure");
    fields.selector("index_chunk_variable_selector")
}
