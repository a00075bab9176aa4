//! `trigger-webhook`: begins a run when a request arrives (spec/nodes.md §8.1). The endpoint writes what
//! it received under the node before the run starts; the node copies it.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::inputs;

/// `trigger-webhook`
pub(crate) const TYPE: NodeType = NodeType {
    name: "trigger-webhook",
    version: "1",
    about: "Begins a run when an HTTP request arrives.",
    category: Category::Root,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<field>", "as declared", "a header, parameter or body field; null when absent"),
        output("_webhook_raw", "object", "the whole request"),
        output("sys.<name>", "any", "the system variables"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    spec::read(fields);
    inputs::root(source)
}
