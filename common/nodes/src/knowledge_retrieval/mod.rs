//! `knowledge-retrieval`: looks passages up in knowledge bases (spec/nodes.md §6.1). Its data is
//! read in full; nothing retrieves yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::not_configured;

/// `knowledge-retrieval`
pub(crate) const TYPE: NodeType = NodeType {
    name: "knowledge-retrieval",
    version: "1",
    about: "Looks up passages in knowledge bases.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: false,
    needs: Needs::Mock,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("result", "array[object]", "the passages, best first")],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let reads = spec::read(fields);
    not_configured::node(TYPE.name, "knowledge bases", reads)
}
