//! What an `answer` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] =
    &[field("answer", FieldKind::Template, REQUIRED, "the text, with references to variables")];

pub(super) fn read(fields: &mut Fields<'_>) -> Template {
    Template::parse(&fields.text("answer"))
}
