//! `trigger-plugin`: begins a run when a plugin reports an event (spec/nodes.md §8.3). The plugin's variables
//! are written under the node before the run starts; the node copies them.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::inputs;

/// `trigger-plugin`
pub(crate) const TYPE: NodeType = NodeType {
    name: "trigger-plugin",
    version: "1",
    about: "Begins a run when a plugin reports an event.",
    category: Category::Root,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<variable>", "any", "what the plugin made of the event"),
        output("sys.<name>", "any", "the system variables"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    spec::read(fields);
    inputs::root(source)
}
