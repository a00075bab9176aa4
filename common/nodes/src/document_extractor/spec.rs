//! What a `document-extractor` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] =
    &[field("variable_selector", FieldKind::Selector, REQUIRED, "the file, or the list of files")];

pub(super) fn read(fields: &mut Fields<'_>) -> Selector {
    fields.selector("variable_selector")
}
