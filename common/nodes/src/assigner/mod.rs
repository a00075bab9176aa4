//! `assigner`: changes variables that are not its own outputs, in two versions that share a name
//! (spec/nodes.md §3.3, §3.4).

pub mod v1;
pub mod v2;

use flowmill_engine::graph::{Problem, Problems};
use flowmill_engine::plan::Source;
use flowmill_engine::value::{Kind, Value};

use crate::catalogue::NodeType;

/// Its `type` in a document.
const NAME: &str = "assigner";

/// Takes version 2 for a node that says version 1, or nothing, but has only the fields of
/// version 2. It could not be read otherwise.
pub(crate) fn by_shape(
    kind: &'static NodeType,
    source: &Source<'_>,
    problems: &mut Problems,
) -> &'static NodeType {
    let first = kind.name == NAME && kind.version == v1::TYPE.version;
    let has = |key| source.data.get(key).is_some();
    let complete = v1::REQUIRED_FIELDS.iter().all(|key| has(key));
    if !first || complete || !has("items") {
        return kind;
    }
    if !source.strict {
        let line = source.data.get("items").map_or(source.data.line, |items| items.line);
        let message = "belongs to version 2; the node is read as that although it does not say so";
        let problem = Problem::warning("questionable_node_data", line, message)
            .at_node(source.id, source.title)
            .at_field("items");
        problems.push(problem);
    }
    &v2::TYPE
}

/// What `clear` leaves of a type; None where Dify has no such value.
fn zero(kind: Kind) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::from("")),
        Kind::Integer => Some(Value::int(0)),
        Kind::Float => Some(Value::Float(0.0)),
        Kind::Boolean => Some(Value::Bool(false)),
        Kind::Object => Some(Value::object([])),
        Kind::ArrayAny
        | Kind::ArrayString
        | Kind::ArrayNumber
        | Kind::ArrayObject
        | Kind::ArrayBoolean => Some(Value::array(Vec::new())),
        Kind::ArrayFile | Kind::File | Kind::Secret | Kind::None => None,
    }
}

/// What Dify says where there is none.
fn no_zero(kind: Kind) -> String {
    format!("unsupported variable type: {}", kind.name())
}
