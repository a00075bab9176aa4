//! Version 1 of `assigner`: one variable, no type checks (spec/nodes.md §3.3).

mod spec;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success, Write};
use flowmill_engine::value::Value;
use flowmill_engine::variables::{Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs};

use spec::{Mode, Spec};

pub(super) use spec::REQUIRED_FIELDS;

/// `assigner`, version 1
pub(crate) const TYPE: NodeType = NodeType {
    name: super::NAME,
    version: "1",
    about: "Changes one variable (the form of old documents).",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[],
    example: r#"{"assigned_variable_selector": ["conversation", "memory"],
        "write_mode": "append", "input_variable_selector": ["llm", "text"]}"#,
    compile,
};

#[derive(Debug)]
struct Assigner(Spec);

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = spec::read(fields);
    let writes = vec![spec.target.clone()];
    let mut node = Node::inline(Assigner(spec.clone()), vec![spec.target, spec.input]);
    node.writes = writes;
    node
}

impl Inline for Assigner {
    fn run(&self, variables: &Variables) -> Evaluation {
        self.0.run(variables).map_err(NodeError::escaped).into()
    }
}

impl Spec {
    fn run(&self, variables: &Variables) -> Result<Success, String> {
        let target = match self.target.parts() {
            [node, name] => variables.variable(node, name),
            _ => None,
        };
        let target = target.ok_or("assigned variable not found")?;
        let input = || {
            let input = variables.get(self.input.parts());
            input.map(|input| input.value().clone()).ok_or("input value not found")
        };
        let value = match self.mode {
            Mode::OverWrite => input()?,
            Mode::Append => {
                let input = input()?;
                if !target.kind.is_array() {
                    return Err("append mode requires an array variable".to_owned());
                }
                appended(target.value(), input)?
            }
            Mode::Clear => super::zero(target.kind).ok_or_else(|| super::no_zero(target.kind))?,
        };
        let variable = Variable::typed(target.kind, value);
        let selector = target.home().unwrap_or(&self.target).clone();
        let write = Write { selector, variable };
        Ok(Success { writes: vec![write], ..Success::default() })
    }
}

/// The list with one more item. An earlier over-write may have left no list.
fn appended(list: &Value, item: Value) -> Result<Value, String> {
    match list {
        Value::Array(items) => Ok(Value::array(items.iter().cloned().chain([item]).collect())),
        other => {
            let found = other.type_name();
            Err(format!("Value after * must be an iterable, not {found}"))
        }
    }
}
