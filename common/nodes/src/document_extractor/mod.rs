//! `document-extractor`: turns files into text (spec/nodes.md §4.3).
//!
//! [`kind`] says what a file is, [`convert`] holds the converters, [`converter`] calls them where
//! they can do no harm, and [`helper`] is the process in which they run.

pub mod convert;
pub mod converter;
pub mod helper;
pub mod kind;
mod spec;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{File, Kind as ValueKind, Value};
use flowmill_engine::variables::{Selector, Variable, Variables};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::files::{FileError, REMOTE_URL};
use convert::ConvertError;
use kind::Kind;

/// `document-extractor`
pub const TYPE: NodeType = NodeType {
    name: "document-extractor",
    version: "1",
    about: "Turns a file, or several, into text.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Light, false)),
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("text", "string or array[string]", "the text of the file, or of each")],
    example: r#"{"variable_selector": ["start", "file"], "is_array_file": false}"#,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let node = DocumentExtractor::read(fields);
    let reads = vec![node.files.clone()];
    Node::task(node, reads)
}

/// A document-extractor node.
#[derive(Clone, Debug)]
pub struct DocumentExtractor {
    files: Selector,
}

impl DocumentExtractor {
    /// Reads a node's data.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self { files: spec::read(fields) }
    }
}

impl Execute for DocumentExtractor {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}

impl DocumentExtractor {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Some(given) = variables.get(self.files.parts()) else {
            return Err(failed(format!("File variable not found for selector: {}", self.files)));
        };
        let value = given.value();
        let holds_files = matches!(given.kind, ValueKind::File | ValueKind::ArrayFile);
        if !value.is_falsy() && !holds_files {
            return Err(failed(format!("Variable {} is not an ArrayFileSegment", self.files)));
        }
        let text = match value {
            Value::File(file) => Variable::infer(Value::from(text_of(file, context).await?)),
            Value::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items.iter() {
                    // whatever else is in a list of files is empty
                    if let Value::File(file) = item {
                        texts.push(Value::from(text_of(file, context).await?));
                    }
                }
                list(texts)
            }
            _ => list(Vec::new()),
        };
        Ok(Success { outputs: vec![("text".into(), text)], ..Success::default() })
    }
}

fn list(texts: Vec<Value>) -> Variable {
    Variable::typed(ValueKind::ArrayString, Value::array(texts))
}

/// A failure that the node itself catches; it has no type.
fn failed(message: impl Into<String>) -> NodeError {
    NodeError::new("", message.into())
}

async fn text_of(file: &File, context: &NodeContext) -> Result<String, NodeError> {
    let documents = &context.documents;
    let content = context.open(file, documents.most_bytes()).await;
    let content = content.map_err(|error| match &error {
        FileError::Nowhere { .. } if &*file.transfer_method == REMOTE_URL => {
            failed("Missing URL for remote file")
        }
        _ => failed(format!("Error downloading file: {error}")).with_class(error.class()),
    })?;
    let kind = Kind::of(file.extension.as_deref(), file.mime_type.as_deref());
    let kind = kind.map_err(|error| failed(error.to_string()))?;
    let text = documents.convert(kind, content, context.timeout).await;
    text.map_err(|error| {
        let class = match &error {
            ConvertError::Failed(_) | ConvertError::TooLarge { .. } => ErrorClass::Invalid,
            ConvertError::TimedOut { .. } => ErrorClass::Timeout,
            ConvertError::Broke { .. } => ErrorClass::Internal,
            ConvertError::NotBuilt { .. } | ConvertError::NotIsolated(_) => ErrorClass::Denied,
        };
        failed(error.to_string()).with_class(class)
    })
}
