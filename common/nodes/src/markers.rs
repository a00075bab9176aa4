//! The nodes that mark where a container's body begins and where a loop ends (spec/nodes.md §2.4).

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::variables::Variables;

use crate::catalogue::{Needs, Node, NodeType, Runs};

/// `iteration-start`
pub(crate) const ITERATION_START: NodeType = NodeType {
    name: "iteration-start",
    about: "Begins the body of an iteration.",
    category: Category::BodyStart,
    ..MARKER
};

/// `loop-start`
pub(crate) const LOOP_START: NodeType = NodeType {
    name: "loop-start",
    about: "Begins the body of a loop.",
    category: Category::BodyStart,
    ..MARKER
};

/// `loop-end`
pub(crate) const LOOP_END: NodeType = NodeType {
    name: "loop-end",
    about: "Ends the loop around it once the round is done.",
    category: Category::LoopEnd,
    ..MARKER
};

const MARKER: NodeType = NodeType {
    name: "",
    version: "1",
    about: "",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: &[],
    handles: "source",
    outputs: &[],
    example: "{}",
    compile,
};

#[derive(Debug)]
struct Marker;

fn compile(_fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    Node::inline(Marker, Vec::new())
}

impl Inline for Marker {
    fn run(&self, _variables: &Variables) -> Evaluation {
        Evaluation::Succeeded(Success::default())
    }
}
