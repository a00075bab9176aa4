//! `end`: gathers variables into the run's outputs (spec/nodes.md §2.2).

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source};
use flowmill_engine::template::Piece;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Selector, Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::shared::Named;

/// `end`
pub(crate) const TYPE: NodeType = NodeType {
    name: "end",
    version: "1",
    about: "Ends a path and gathers the run's outputs.",
    category: Category::Response,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("<variable>", "any", "the value at its selector; null when missing")],
    example: r#"{"outputs": [{"variable": "x", "value_selector": ["start", "x"], "value_type": "string"}]}"#,
    compile,
};

#[derive(Debug)]
struct End {
    outputs: Vec<(Name, Selector)>,
}

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let outputs = spec::read(fields);
    let reads = outputs.iter().map(|(_, selector)| selector.clone()).collect();
    Node { response: response(&outputs), ..Node::inline(End { outputs }, reads) }
}

/// Its outputs, a line each; an empty selector leaves its line empty.
fn response(outputs: &[(Name, Selector)]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(2 * outputs.len());
    for (index, (_, selector)) in outputs.iter().enumerate() {
        if index > 0 {
            pieces.push(Piece::Text("\n".into()));
        }
        if !selector.parts().is_empty() {
            pieces.push(Piece::Reference(selector.clone()));
        }
    }
    if matches!(pieces.last(), Some(Piece::Text(_))) {
        pieces.pop();
    }
    pieces
}

impl Inline for End {
    fn run(&self, variables: &Variables) -> Evaluation {
        let mut outputs = Named::default();
        for (name, selector) in &self.outputs {
            let found = variables.get(selector.parts());
            let value = found.map_or(Value::None, |variable| variable.value().clone());
            outputs.put(name, Variable::infer(value));
        }
        Evaluation::Succeeded(outputs.success())
    }
}
