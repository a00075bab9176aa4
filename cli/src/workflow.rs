//! From a file to something that runs.

use std::path::Path;

use anyhow::Context as _;
pub(crate) use flowmill_workflow::rerun::node_id;
pub(crate) use flowmill_workflow::{Reading, Workflow, load};

/// Reads a file as text, whatever stands in it.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))
}
