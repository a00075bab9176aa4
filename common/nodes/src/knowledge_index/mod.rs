//! `knowledge-index`: stores passages in a knowledge base (spec/nodes.md §6.2). Its data is read;
//! nothing stores them yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::not_configured;

/// `knowledge-index`
pub(crate) const TYPE: NodeType = NodeType {
    name: "knowledge-index",
    version: "1",
    about: "Stores passages in a knowledge base.",
    category: Category::Response,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: false,
    needs: Needs::Mock,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("dataset_id", "string", "the knowledge base"),
        output("document_id", "string", "the document"),
        output("display_status", "string", "how far indexing is"),
    ],
    example: r#"{"chunk_structure": "text_model",
        "index_chunk_variable_selector": ["chunker", "result"]}"#,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let chunks = spec::read(fields);
    not_configured::node(TYPE.name, "a knowledge base", vec![chunks])
}
