//! `start`: the run's inputs (spec/nodes.md §2.1). The form's checks are made where inputs are
//! taken in; the node checks only its objects, as Dify's engine does.

mod spec;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::inputs;

use spec::JsonInput;

/// `start`
pub(crate) const TYPE: NodeType = NodeType {
    name: "start",
    version: "1",
    about: "Begins a run with its inputs.",
    category: Category::Root,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<variable>", "any", "each input, declared or not"),
        output("sys.<name>", "any", "the system variables"),
    ],
    example: spec::EXAMPLE,
    compile,
};

#[derive(Debug)]
struct Start {
    id: Name,
    objects: Vec<JsonInput>,
}

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let objects = spec::read(fields);
    Node::inline(Start { id: source.id.clone(), objects }, Vec::new())
}

impl Inline for Start {
    fn run(&self, variables: &Variables) -> Evaluation {
        for object in &self.objects {
            let input = variables.variable(&self.id, &object.name);
            let value = input.map_or(&Value::None, |input| input.value());
            if let Err(message) = object.check(value) {
                return Evaluation::Failed(NodeError::escaped(message));
            }
        }
        let outputs = inputs::outputs(&self.id, variables);
        Evaluation::Succeeded(Success { outputs, ..Success::default() })
    }
}

impl JsonInput {
    fn check(&self, value: &Value) -> Result<(), String> {
        let name = &self.name;
        if self.required && matches!(value, Value::None) {
            return Err(format!("{name} is required in input form"));
        }
        if value.is_falsy() {
            return Ok(());
        }
        if !matches!(value, Value::Object(_)) {
            return Err(format!("JSON object for '{name}' must be an object"));
        }
        let Some(schema) = &self.schema else { return Ok(()) };
        schema
            .check(value)
            .map_err(|problem| format!("JSON object for '{name}' does not match schema: {problem}"))
    }
}
