//! From a file to something that runs.

use std::path::Path;

use anyhow::Context as _;
use flowmill_engine::plan::Plan;
use flowmill_engine::value::Name;

pub(crate) use flowmill_workflow::{Reading, Workflow, load};

/// Reads a file as text, whatever stands in it.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// A node by its id, or by a title that no other node has.
pub(crate) fn node_id(plan: &Plan, name: &str) -> Option<Name> {
    if plan.find(name).is_some() {
        return Some(name.into());
    }
    let mut titled = plan.nodes().iter().filter(|node| &*node.title == name);
    let first = titled.next()?;
    titled.next().is_none().then(|| first.id.clone())
}
