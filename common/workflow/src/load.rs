//! A document, compiled.

use std::fmt::Write as _;
use std::sync::Arc;

use flowmill_engine::graph::{Graph, Problems};
use flowmill_engine::plan::{CompileError, Options, Plan, compile};
use flowmill_engine::value::Name;
use flowmill_nodes::mock::Mocks;
use flowmill_nodes::registry::{Executors, Recorder};
use sha2::{Digest as _, Sha256};

/// A compiled document with all that is needed to run it in this process.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// The document's digest.
    pub digest: Name,
    /// Its text, for whoever keeps it.
    pub text: Name,
    /// The document itself.
    pub graph: Graph,
    /// What the engine runs.
    pub plan: Arc<Plan>,
    /// What executes its nodes.
    pub executors: Arc<Executors>,
    /// What is questionable about the document.
    pub warnings: Problems,
}

/// How a document is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// Dify's rules alone.
    pub strict: bool,
    /// Dify's limits of sizes.
    pub dify_sizes: bool,
    /// The root node to begin at.
    pub root: Option<&'a str>,
}

/// Compiles a document; mocks stand in for nodes.
///
/// # Errors
/// All problems of the document.
pub fn load(text: &str, reading: Reading<'_>, mocks: Mocks) -> Result<Workflow, CompileError> {
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
        text: text.into(),
        plan: Arc::new(plan),
        executors: Arc::new(recorder.into_executors()),
        warnings,
        graph: document.graph,
    })
}

/// Reads a document without compiling it: what it says, and what is questionable about it.
///
/// # Errors
/// Why it is no document of a workflow.
pub fn read(text: &str) -> Result<(Graph, Problems), CompileError> {
    let document =
        flowmill_dsl::document::read(text).map_err(|problems| CompileError { problems })?;
    Ok((document.graph, document.warnings))
}

/// A document's version: the SHA-256 of its text, in hexadecimal.
pub fn digest(text: &str) -> Name {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // writing to a string cannot fail
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}
