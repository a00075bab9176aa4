//! From a file to something that runs.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::graph::{Graph, Problems};
use flowmill_engine::plan::{CompileError, Options, Plan, compile};
use flowmill_engine::value::Name;
use flowmill_nodes::mock::Mocks;
use flowmill_nodes::registry::{Executors, Recorder};
use sha2::{Digest as _, Sha256};

/// A compiled document with all that is needed to run it in this process.
#[derive(Clone, Debug)]
pub(crate) struct Workflow {
    /// The document's digest.
    pub(crate) digest: Name,
    /// Its text, for whoever keeps it.
    #[cfg(feature = "store")]
    pub(crate) text: Name,
    /// The document itself.
    pub(crate) graph: Graph,
    pub(crate) plan: Arc<Plan>,
    pub(crate) executors: Arc<Executors>,
    /// What is questionable about the document.
    pub(crate) warnings: Problems,
}

/// How a document is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'a> {
    /// Dify's rules alone.
    pub(crate) strict: bool,
    /// Dify's limits of sizes.
    pub(crate) dify_sizes: bool,
    /// The root node to begin at.
    pub(crate) root: Option<&'a str>,
}

/// Reads a file as text, whatever stands in it.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// Compiles a document; mocks stand in for nodes.
///
/// # Errors
/// All problems of the document.
pub(crate) fn load(
    text: &str,
    reading: Reading<'_>,
    mocks: Mocks,
) -> Result<Workflow, CompileError> {
    let document =
        flowmill_dsl::document::read(text).map_err(|problems| CompileError { problems })?;
    let recorder = Recorder::with_mocks(mocks);
    let options =
        Options { strict: reading.strict, dify_sizes: reading.dify_sizes, root: reading.root };
    let plan = compile(&document.graph, &recorder, options).map_err(|mut error| {
        error.problems.splice(0..0, document.warnings.clone());
        error
    })?;
    let mut warnings = document.warnings;
    warnings.extend_from_slice(plan.warnings());
    Ok(Workflow {
        digest: digest(text),
        #[cfg(feature = "store")]
        text: text.into(),
        plan: Arc::new(plan),
        executors: Arc::new(recorder.into_executors()),
        warnings,
        graph: document.graph,
    })
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

fn digest(text: &str) -> Name {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // writing to a string cannot fail
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}
