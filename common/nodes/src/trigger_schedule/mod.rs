//! `trigger-schedule`: begins runs by the clock (spec/nodes.md §8.2). When is the timer's business; the
//! node itself only begins the run.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::inputs;

/// `trigger-schedule`
pub(crate) const TYPE: NodeType = NodeType {
    name: "trigger-schedule",
    version: "1",
    about: "Begins runs at set times.",
    category: Category::Root,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("sys.<name>", "any", "the system variables")],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    spec::read(fields);
    inputs::root(source)
}
