//! `human-input`: asks a person and waits (spec/nodes.md §7). The engine pauses the run; this is
//! the form's data, what is asked and how an answer is read.

mod ask;
mod spec;

use std::sync::Arc;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Body, Needs, Node, NodeType, Runs, output};

/// `human-input`
pub(crate) const TYPE: NodeType = NodeType {
    name: "human-input",
    version: "1",
    about: "Asks a person and waits for the answer.",
    category: Category::Branch,
    runs: Runs::Person,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "the id of each action, and `__timeout`",
    outputs: &[
        output("<input>", "string or files", "what the person entered; absent on time-out"),
        output("__action_id", "string", "the action chosen; empty on time-out"),
        output("__action_value", "string", "its title; empty on time-out"),
        output("__rendered_content", "string", "the form's text with the entries"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    if source.strict {
        // forms are not the business of the engine that answers are compared with
        return Node::new(Body::Pause(None), Vec::new());
    }
    let form = spec::read(fields);
    let reads = form.reads();
    Node::new(Body::Pause(Some(Arc::new(form))), reads)
}
