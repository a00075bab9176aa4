//! `loop`: runs its body round by round until a condition holds (spec/engine.md §14). The engine
//! runs it; this is its data.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, LoopValue, Source};

use crate::catalogue::{Body, Needs, Node, NodeType, Runs, output};

/// `loop`
pub(crate) const TYPE: NodeType = NodeType {
    name: "loop",
    version: "1",
    about: "Runs its body again and again until a condition holds or it was run often enough.",
    category: Category::Container,
    runs: Runs::Container,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<label>", "that of its value", "a loop variable's last value"),
        output("loop_round", "integer", "how many rounds were run; absent when none was"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let spec = spec::read(fields);
    let mut reads = spec.until.references();
    for variable in &spec.variables {
        if let LoopValue::Variable(selector) = &variable.value {
            reads.push(selector.clone());
        }
    }
    // its own variables are no reads from outside
    reads.retain(|selector| selector.parts().first() != Some(source.id));
    Node::new(Body::Loop(spec), reads)
}
