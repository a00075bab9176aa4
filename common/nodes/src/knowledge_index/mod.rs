//! `knowledge-index`: keeps passages in a knowledge base (spec/nodes.md §6.2). [`spec`] is its data,
//! [`chunks`] what chunkers give.

mod chunks;
mod spec;
#[cfg(test)]
mod tests;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_services::knowledge::{Indexed, Kept, KnowledgeErrorKind};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::knowledge;
use chunks::Chunks;
use spec::Spec;

/// `knowledge-index`
pub(crate) const TYPE: NodeType = NodeType {
    name: "knowledge-index",
    version: "1",
    about: "Keeps passages in a knowledge base.",
    category: Category::Response,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: false,
    needs: Needs::Service,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("dataset_id", "string", "the knowledge base"),
        output("dataset_name", "string", "its name"),
        output("batch", "string", "the documents that it came with"),
        output("document_id", "string", "the document"),
        output("document_name", "string", "its name"),
        output("created_at", "number", "when, in seconds since 1970"),
        output("display_status", "string", "how far indexing is"),
        output("preview", "array[object]", "what would be kept, where sys.invoke_from is debugger"),
    ],
    example: r#"{"chunk_structure": "text_model",
        "index_chunk_variable_selector": ["chunker", "result"]}"#,
    compile,
};

/// The `error_type` of its own failures.
const FAILED: &str = "KnowledgeIndexNodeError";

/// `sys.invoke_from` of a run that only shows what would be kept.
const DEBUGGER: &str = "debugger";

/// What was kept is kept as.
const STEP: &str = "keep";

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let reads = spec.reads();
    Node::task(KnowledgeIndex { spec }, reads)
}

#[derive(Debug)]
struct KnowledgeIndex {
    spec: Spec,
}

impl KnowledgeIndex {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { structure, chunks } = &self.spec;
        let base = system(variables, "dataset_id")
            .ok_or_else(|| NodeError::escaped("Dataset ID is required."))?;
        let chunks = variables
            .get(chunks.parts())
            .ok_or_else(|| NodeError::escaped("Index chunk variable is required."))?;
        if chunks.value().is_falsy() {
            return Err(NodeError::new("", "Chunks is required."));
        }
        let chunks = Chunks::read(structure, chunks.value())?;
        if system(variables, "invoke_from").as_deref() == Some(DEBUGGER) {
            return Ok(Success::of(chunks.preview(structure)));
        }
        let needed = |name: &str, what: &str| {
            let lacks = || NodeError::new(FAILED, format!("{what} is required."));
            system(variables, name).ok_or_else(lacks)
        };
        let document = needed("document_id", "Document ID")?;
        let batch = needed("batch", "Batch")?;
        let original = system(variables, "original_document_id");
        let kept = Kept {
            id: Some(original.unwrap_or_else(|| document.clone())),
            name: document,
            passages: chunks.cuts,
            ..Kept::default()
        };
        // a worker that goes on in place of a lost one does not keep it again
        let outputs = context.step(STEP, keep((&base, &batch), kept, context)).await?;
        let Value::Object(outputs) = outputs else {
            return Err(NodeError::new(FAILED, "what was kept of the document cannot be read"));
        };
        Ok(Success::of(outputs.iter().map(|(name, value)| (name.clone(), value.clone()))))
    }
}

/// Keeps a document and gives the node's outputs as an object.
async fn keep(
    (base, batch): (&Name, &Name),
    kept: Kept,
    context: &NodeContext,
) -> Result<Value, NodeError> {
    let indexed = context.services.knowledge.keep(base, kept, &context.caller).await;
    let indexed = indexed.map_err(|error| match error.kind {
        KnowledgeErrorKind::NoBase => NodeError::escaped(format!("Dataset {base} not found.")),
        _ => knowledge::failed(error, FAILED),
    })?;
    let Indexed { base, base_name, document, document_name, created_at, display_status, .. } =
        indexed;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are few enough")]
    let created_at = created_at as f64;
    Ok(Value::object([
        ("dataset_id".into(), Value::Str(base)),
        ("dataset_name".into(), Value::Str(base_name)),
        ("batch".into(), Value::Str(batch.clone())),
        ("document_id".into(), Value::Str(document)),
        ("document_name".into(), Value::Str(document_name)),
        ("created_at".into(), Value::Float(created_at)),
        ("display_status".into(), Value::Str(display_status)),
    ]))
}

/// What the run was begun with; None where it is nothing.
fn system(variables: &Variables, name: &str) -> Option<Name> {
    let found = variables.variable("sys", name)?;
    found.value().as_str().filter(|text| !text.is_empty()).map(Name::from)
}

impl Execute for KnowledgeIndex {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
