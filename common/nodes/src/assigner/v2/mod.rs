//! Version 2 of `assigner`: several changes in order, all or nothing (spec/nodes.md §3.4).

mod checks;
mod spec;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success, Write};
use flowmill_engine::value::{self, Kind, Value, loads};
use flowmill_engine::variables::{Selector, Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs};

use spec::{Input, Item, Operation};

/// `assigner`, version 2
pub(crate) const TYPE: NodeType = NodeType {
    name: super::NAME,
    version: "2",
    about: "Changes variables: of the conversation, of a loop, or any other.",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[],
    example: r#"{"version": "2", "items": [{"variable_selector": ["conversation", "n"],
        "input_type": "constant", "operation": "+=", "value": 1}]}"#,
    compile,
};

#[derive(Debug)]
struct Assigner {
    items: Vec<Item>,
}

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let items = spec::read(fields);
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for item in &items {
        reads.push(item.target.clone());
        writes.push(item.target.clone());
        if let Input::Variable(selector) = &item.input {
            reads.push(selector.clone());
        }
    }
    let mut node = Node::inline(Assigner { items }, reads);
    node.writes = writes;
    node
}

impl Inline for Assigner {
    fn run(&self, variables: &Variables) -> Evaluation {
        // a private copy: later items see earlier changes, others see nothing until all is well
        let mut working = variables.clone();
        let mut changed: Vec<Selector> = Vec::new();
        for item in &self.items {
            match item.apply(&working) {
                Ok(None) => {}
                Ok(Some(Write { selector, variable })) => {
                    let [node, name] = selector.parts() else { continue };
                    working.set(node, name, variable);
                    if !changed.contains(&selector) {
                        changed.push(selector);
                    }
                }
                Err(error) => return Evaluation::Failed(error),
            }
        }
        let write = |selector: Selector| {
            let variable = working.get(selector.parts())?;
            Some(Write { selector, variable })
        };
        let writes = changed.into_iter().filter_map(write).collect();
        Evaluation::Succeeded(Success { writes, ..Success::default() })
    }
}

/// An error that the node itself catches; it has no type.
fn caught(message: String) -> NodeError {
    NodeError::new("", message)
}

fn invalid(value: &Value) -> NodeError {
    caught(format!("Invalid input value {}", value.to_python()))
}

impl Item {
    /// The change; None when the item is skipped.
    fn apply(&self, variables: &Variables) -> Result<Option<Write>, NodeError> {
        let found = variables.take(self.target.parts());
        // members of objects have no home: they are no variables
        let home = found.as_ref().and_then(Variable::home).cloned();
        let (Some(target), Some(home)) = (found, home) else {
            return Err(caught(format!("Variable {} not found", self.target)));
        };
        let kind = target.kind;
        checks::supported(self, kind).map_err(caught)?;
        let Some(input) = self.input(kind, variables)? else { return Ok(None) };
        if !checks::fits(self.operation, kind, &input) {
            return Err(invalid(&input));
        }
        let value = self.operation.apply(kind, target.value(), input)?;
        Ok(Some(Write { selector: home, variable: Variable::typed(kind, value) }))
    }

    /// The value to work with; None when its source holds null.
    fn input(&self, kind: Kind, variables: &Variables) -> Result<Option<Value>, NodeError> {
        let value = match &self.input {
            Input::Constant(value) => value.clone(),
            Input::Missing(shown) => {
                return Err(caught(format!("Variable {shown} not found")));
            }
            Input::Variable(selector) => match variables.get(selector.parts()) {
                None => return Err(caught(format!("Variable {selector} not found"))),
                Some(variable) if variable.kind == Kind::None => return Ok(None),
                Some(variable) => variable.value().clone(),
            },
        };
        if self.operation == Operation::Set
            && kind == Kind::Object
            && let Some(text) = value.as_str()
        {
            return loads(text).map(Some).map_err(|_| invalid(&value));
        }
        Ok(Some(value))
    }
}

impl Operation {
    fn apply(self, kind: Kind, current: &Value, input: Value) -> Result<Value, NodeError> {
        match self {
            Self::OverWrite | Self::Set => Ok(input),
            Self::Clear => {
                super::zero(kind).ok_or_else(|| NodeError::escaped(super::no_zero(kind)))
            }
            Self::Append => joined(current, &[input]),
            Self::Extend => match (current, &input) {
                (Value::Array(_), Value::Array(items)) => joined(current, items),
                // not a list: Python's own words for adding the two
                _ => arithmetic(current, value::Operator::Add, &input),
            },
            Self::Add => arithmetic(current, value::Operator::Add, &input),
            Self::Subtract => arithmetic(current, value::Operator::Sub, &input),
            Self::Multiply => arithmetic(current, value::Operator::Mul, &input),
            Self::Divide => arithmetic(current, value::Operator::Div, &input),
            Self::RemoveFirst => {
                without(current, |items| items.split_first().map(|(_, rest)| rest))
            }
            Self::RemoveLast => without(current, |items| items.split_last().map(|(_, rest)| rest)),
        }
    }
}

fn arithmetic(
    current: &Value,
    operator: value::Operator,
    input: &Value,
) -> Result<Value, NodeError> {
    let result = current.arithmetic(operator, input);
    result.map_err(|error| NodeError::escaped(error.to_string()))
}

fn joined(current: &Value, more: &[Value]) -> Result<Value, NodeError> {
    let items = list(current)?;
    Ok(Value::array(items.iter().chain(more).cloned().collect()))
}

fn without(
    current: &Value,
    rest: impl Fn(&[Value]) -> Option<&[Value]>,
) -> Result<Value, NodeError> {
    if current.is_falsy() {
        return Ok(current.clone());
    }
    Ok(Value::array(rest(list(current)?).unwrap_or_default().to_vec()))
}

/// The items of a list variable; a version 1 assigner may have left something else under its type.
fn list(value: &Value) -> Result<&[Value], NodeError> {
    match value {
        Value::Array(items) => Ok(items),
        other => {
            let found = other.type_name();
            Err(NodeError::escaped(format!("Value after * must be an iterable, not {found}")))
        }
    }
}
