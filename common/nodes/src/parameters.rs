//! Parameters bound to values or variables, as tools, agents and data sources have them.

use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::variables::Selector;

use crate::model;

/// How a parameter gets its value.
pub(crate) const BINDINGS: &[&str] = &["mixed", "variable", "constant"];

/// Reads a mapping of names to `{type, value}`, which must be there; gives what it may read.
/// Entries that are no mapping or have no value do not count.
pub(crate) fn read(fields: &mut Fields<'_>, key: &str) -> Vec<Selector> {
    fields.mapping(key, read_entries).unwrap_or_default()
}

fn read_entries(fields: &mut Fields<'_>) -> Vec<Selector> {
    let mut reads = Vec::new();
    for (name, item) in fields.item().as_map().unwrap_or_default() {
        let Some(name) = name.as_str() else {
            fields.error("", "parameter names must be text");
            continue;
        };
        if item.is_null() || item.as_map().is_some() && item.get("value").is_none_or(Item::is_null)
        {
            continue;
        }
        if item.as_map().is_none() {
            fields.warning(name, "is no mapping, so the parameter is not set");
            continue;
        }
        reads.extend(fields.mapping_of(name, item, read_binding).unwrap_or_default());
    }
    reads
}

fn read_binding(fields: &mut Fields<'_>) -> Vec<Selector> {
    match fields.one_of("type", BINDINGS) {
        "variable" => vec![fields.selector("value")],
        "mixed" => model::references(&fields.text("value")),
        _ => match fields.get("value").and_then(|item| item.as_str()) {
            Some(text) => model::references(text),
            None => Vec::new(),
        },
    }
}
