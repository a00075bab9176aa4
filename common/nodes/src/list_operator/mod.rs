//! `list-operator`: filters a list, takes one of it, orders it, cuts it (spec/nodes.md §3.7).

mod filter;
mod order;
mod spec;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Integer, Kind, Value, int_error, python_int};
use flowmill_engine::variables::{Selector, Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::shared::rendered;

use spec::Spec;

/// `list-operator`
pub(crate) const TYPE: NodeType = NodeType {
    name: "list-operator",
    version: "1",
    about: "Filters a list, takes one of its items, orders it and cuts it, in this order.",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("result", "that of the list", "what is left of the list"),
        output("first_record", "any", "its first item, or null"),
        output("last_record", "any", "its last item, or null"),
    ],
    example: spec::EXAMPLE,
    compile,
};

#[derive(Debug)]
struct ListOperator(Spec);

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = spec::read(fields);
    let mut reads: Vec<Selector> = vec![spec.list.clone()];
    reads.extend(spec.templates().flat_map(Template::references));
    Node::inline(ListOperator(spec), reads)
}

impl Inline for ListOperator {
    fn run(&self, variables: &Variables) -> Evaluation {
        self.0.run(variables).into()
    }
}

impl Spec {
    fn run(&self, variables: &Variables) -> Result<Success, NodeError> {
        let Some(list) = variables.take(self.list.parts()) else {
            return Err(caught(format!("Variable not found for selector: {}", self.list)));
        };
        let kind = list.kind;
        if list.value().is_falsy() {
            let list = if kind.is_array() { list } else { Variable::infer(Value::array(vec![])) };
            return Ok(outputs(&list, Vec::new()));
        }
        let supported = matches!(
            kind,
            Kind::ArrayString | Kind::ArrayNumber | Kind::ArrayFile | Kind::ArrayBoolean
        );
        if !supported {
            return Err(caught(format!(
                "Variable {} is not an array type, actual type: <class '{}'>",
                self.list,
                class(kind, list.home().is_some())
            )));
        }
        let Value::Array(items) = list.value() else {
            // an assignment may have left something else under a list's type
            let found = list.value().type_name();
            return Err(NodeError::escaped(format!("'{found}' object is no list")));
        };
        let mut items = items.to_vec();
        if self.filter {
            items = filter::apply(&self.conditions, kind, items, variables)?;
        }
        if let Some(serial) = &self.extract {
            items = vec![extract(&rendered(serial, variables)?, &items)?];
        }
        if let Some(wanted) = &self.order {
            items = order::apply(wanted, kind, items)?;
        }
        if let Some(size) = self.limit {
            items.truncate(kept(items.len(), size));
        }
        Ok(outputs(&list, items))
    }
}

/// An error that the node itself catches; it has no type.
fn caught(message: impl Into<String>) -> NodeError {
    NodeError::new("", message.into())
}

/// The result is the list with other items: its type and where it lies stay.
fn outputs(list: &Variable, items: Vec<Value>) -> Success {
    let first = items.first().cloned().unwrap_or_default();
    let last = items.last().cloned().unwrap_or_default();
    let outputs = vec![
        ("result".into(), list.with_value(Value::array(items))),
        ("first_record".into(), Variable::infer(first)),
        ("last_record".into(), Variable::infer(last)),
    ];
    Success { outputs, ..Success::default() }
}

/// Counts from 1.
fn extract(serial: &str, items: &[Value]) -> Result<Value, NodeError> {
    let wanted = python_int(serial).ok_or_else(|| NodeError::escaped(int_error(serial)))?;
    let huge = if wanted < Integer::from(1) { 0 } else { i64::MAX };
    let index = wanted.to_i64().unwrap_or(huge);
    if index < 1 {
        let message = format!("Invalid serial index: must be >= 1, got {wanted}");
        return Err(NodeError::escaped(message));
    }
    let item = usize::try_from(index - 1).ok().and_then(|index| items.get(index));
    item.cloned().ok_or_else(|| {
        let length = items.len();
        caught(format!("Invalid serial index: must be <= {length}, got {wanted}"))
    })
}

/// How many items Python's `items[:size]` keeps.
fn kept(length: usize, size: i64) -> usize {
    let magnitude = usize::try_from(size.unsigned_abs()).unwrap_or(usize::MAX);
    if size >= 0 { magnitude.min(length) } else { length.saturating_sub(magnitude) }
}

/// The name of the class that holds such a value in Dify: one for variables, another for
/// members of objects.
fn class(kind: Kind, is_variable: bool) -> String {
    let name = match kind {
        Kind::None => "None",
        Kind::String => "String",
        Kind::Integer => "Integer",
        Kind::Float => "Float",
        Kind::Boolean => "Boolean",
        Kind::Object => "Object",
        Kind::File => "File",
        Kind::Secret => "Secret",
        Kind::ArrayAny => "ArrayAny",
        Kind::ArrayString => "ArrayString",
        Kind::ArrayNumber => "ArrayNumber",
        Kind::ArrayObject => "ArrayObject",
        Kind::ArrayFile => "ArrayFile",
        Kind::ArrayBoolean => "ArrayBoolean",
    };
    if is_variable {
        format!("graphon.variables.variables.{name}Variable")
    } else {
        format!("graphon.variables.segments.{name}Segment")
    }
}
