//! Root nodes: what was written under them before the run started becomes their outputs.

use flowmill_engine::plan::{Evaluation, Inline, Outputs, Source, Success};
use flowmill_engine::value::Name;
use flowmill_engine::variables::{Selector, Variable, Variables};

use crate::catalogue::Node;

/// The reserved name of the system variables.
const SYSTEM: &str = "sys";

/// A root node that copies.
pub(crate) fn root(source: &Source<'_>) -> Node {
    // the engine that answers are compared with knows these nodes only as empty roots
    if source.strict {
        return Node::inline(Nothing, Vec::new());
    }
    Node::inline(Root { id: source.id.clone() }, Vec::<Selector>::new())
}

/// A node's own variables by their names, and the system's as `sys.<name>`.
pub(crate) fn outputs(id: &str, variables: &Variables) -> Outputs {
    let copy = |variable: &Variable| Variable::infer(variable.value().clone());
    let own = variables.of_node(id).iter();
    let own = own.map(|(name, variable)| (name.clone(), copy(variable)));
    let system = variables.of_node(SYSTEM).iter().map(|(name, variable)| {
        let name: Name = format!("{SYSTEM}.{name}").into();
        (name, copy(variable))
    });
    own.chain(system).collect()
}

#[derive(Debug)]
struct Root {
    id: Name,
}

impl Inline for Root {
    fn run(&self, variables: &Variables) -> Evaluation {
        let outputs = outputs(&self.id, variables);
        Evaluation::Succeeded(Success { outputs, ..Success::default() })
    }
}

#[derive(Debug)]
struct Nothing;

impl Inline for Nothing {
    fn run(&self, _variables: &Variables) -> Evaluation {
        Evaluation::Succeeded(Success::default())
    }
}
