//! `datasource`: begins a run over what a data source delivers (spec/nodes.md §6.3). The source is
//! read before the run starts; the node copies what was written under it.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::inputs;

/// `datasource`
pub(crate) const TYPE: NodeType = NodeType {
    name: "datasource",
    version: "1",
    about: "Begins a run over a document of a data source.",
    category: Category::Root,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<variable>", "any", "what the data source delivered"),
        output("sys.<name>", "any", "the system variables"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    spec::read(fields);
    inputs::root(source)
}
