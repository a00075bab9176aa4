//! What the data of several node types has in common.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Outputs, Success};
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::{Selector, Variable, Variables};

/// The names of variable types that a document may declare.
pub(crate) const SEGMENT_TYPES: &[&str] = &[
    "number",
    "integer",
    "float",
    "string",
    "object",
    "secret",
    "file",
    "boolean",
    "array[any]",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[file]",
    "array[boolean]",
    "none",
    "group",
];

/// A boolean that must be there.
pub(crate) fn required_flag(fields: &mut Fields<'_>, key: &str) -> bool {
    if fields.get(key).is_none() {
        fields.error(key, "is missing");
    }
    fields.flag(key, false)
}

/// A list of selectors that must be there.
pub(crate) fn required_selectors(fields: &mut Fields<'_>, key: &str) -> Vec<Selector> {
    if fields.get(key).is_none() {
        fields.error(key, "is missing");
    }
    fields.selectors(key)
}

/// A list of text; None when absent or null.
pub(crate) fn texts(fields: &mut Fields<'_>, key: &str) -> Option<Vec<Name>> {
    // a selector is a list of text, no more
    fields.selector_opt(key).map(|selector| selector.parts().to_vec())
}

/// A list of mappings; empty when absent. Null is an error.
pub(crate) fn list_or_empty<T>(
    fields: &mut Fields<'_>,
    key: &str,
    read: impl FnMut(&mut Fields<'_>) -> T,
) -> Vec<T> {
    match fields.get(key) {
        Some(_) => fields.list(key, read),
        None => Vec::new(),
    }
}

/// A template's text, its variables in the text form.
pub(crate) fn rendered(template: &Template, variables: &Variables) -> Result<Name, NodeError> {
    Ok(template.render_text(variables)?)
}

/// Outputs under names that may repeat: of equal names the last value counts, at the first's place.
#[derive(Debug, Default)]
pub(crate) struct Named {
    outputs: Outputs,
    places: BTreeMap<Name, usize>,
}

impl Named {
    /// Adds one, or replaces the one of that name.
    pub(crate) fn put(&mut self, name: &Name, variable: Variable) {
        match self.places.entry(name.clone()) {
            Entry::Occupied(place) => self.outputs[*place.get()].1 = variable,
            Entry::Vacant(place) => {
                place.insert(self.outputs.len());
                self.outputs.push((name.clone(), variable));
            }
        }
    }

    /// A node's success with them.
    pub(crate) fn success(self) -> Success {
        Success { outputs: self.outputs, ..Success::default() }
    }
}
