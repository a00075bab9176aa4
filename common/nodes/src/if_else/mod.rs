//! `if-else`: takes the handle of the first case that holds (spec/nodes.md §3.1).

mod spec;

use flowmill_engine::condition::{ConditionError, Exception};
use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};

use spec::Case;

/// `if-else`
pub(crate) const TYPE: NodeType = NodeType {
    name: "if-else",
    version: "1",
    about: "Takes the branch of the first case whose conditions hold.",
    category: Category::Branch,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "the case_id of each case, and `false` (without `cases`: `true`, `false`)",
    outputs: &[
        output("result", "boolean", "whether a case held"),
        output("selected_case_id", "string", "its case_id, or `false`"),
    ],
    example: spec::EXAMPLE,
    compile,
};

/// The handle taken when no case holds.
const NO_CASE: &str = "false";

#[derive(Debug)]
struct IfElse {
    cases: Vec<Case>,
}

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let cases = spec::read(fields);
    let reads = cases.iter().flat_map(|case| case.conditions.references()).collect();
    Node::inline(IfElse { cases }, reads)
}

impl Inline for IfElse {
    fn run(&self, variables: &Variables) -> Evaluation {
        for case in &self.cases {
            match case.conditions.evaluate(variables) {
                Ok(true) => return selected(true, &case.id),
                Ok(false) => {}
                Err(error) => return Evaluation::Failed(failure(&error)),
            }
        }
        selected(false, &NO_CASE.into())
    }
}

fn selected(result: bool, case: &Name) -> Evaluation {
    let outputs = [
        ("result".into(), Value::Bool(result)),
        ("selected_case_id".into(), Value::Str(case.clone())),
    ];
    let handle = if case.is_empty() { NO_CASE.into() } else { case.clone() };
    Evaluation::Succeeded(Success::of(outputs).with_handle(handle))
}

/// What the node catches itself has no type; the rest escapes.
fn failure(error: &ConditionError) -> NodeError {
    match error.exception {
        Exception::Value | Exception::Type => NodeError::new("", error.message.as_str()),
        Exception::Other(_) => NodeError::escaped(error.message.as_str()),
    }
}
