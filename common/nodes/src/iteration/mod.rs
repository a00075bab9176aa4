//! `iteration`: runs its body once per element of a list (spec/engine.md §13). The engine runs
//! it; this is its data.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source};

use crate::catalogue::{Body, Needs, Node, NodeType, Runs, output};

/// `iteration`
pub(crate) const TYPE: NodeType = NodeType {
    name: "iteration",
    version: "1",
    about: "Runs its body once for each element of a list.",
    category: Category::Container,
    runs: Runs::Container,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("output", "array", "what each element gave, in order")],
    example: r#"{"start_node_id": "it1start", "iterator_selector": ["start", "items"],
        "output_selector": ["body", "x"], "is_parallel": true, "parallel_nums": 10,
        "error_handle_mode": "terminated", "flatten_output": true}"#,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let iteration = spec::read(fields);
    // the output is read in each element's frame, where it may name an outer variable
    let reads = vec![iteration.input.clone(), iteration.output.clone()];
    Node::new(Body::Iteration(iteration), reads)
}
