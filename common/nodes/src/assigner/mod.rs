//! `assigner`: changes variables that are not its own outputs, in two versions that share a name
//! (spec/nodes.md §3.3, §3.4).

pub(crate) mod v1;
pub(crate) mod v2;

use flowmill_engine::graph::{Item, Problem, Problems};
use flowmill_engine::plan::Source;
use flowmill_engine::value::{Kind, Value};

use crate::catalogue::NodeType;

/// Its `type` in a document.
const NAME: &str = "assigner";

/// Corrects the version by the fields that the node has.
///
/// A node that says version 1, or nothing, but has only the fields of version 2 is read as version
/// 2; it could not be read otherwise. In strict mode the fields decide altogether, as they do for
/// the engine that answers are compared with.
pub(crate) fn by_shape(
    kind: &'static NodeType,
    source: &Source<'_>,
    problems: &mut Problems,
) -> &'static NodeType {
    if kind.name != NAME {
        return kind;
    }
    let has = |key| source.data.get(key).is_some();
    let complete = v1::REQUIRED_FIELDS.iter().all(|key| has(key));
    if source.strict {
        let says_second = source.data.get("version").and_then(Item::as_str) == Some("2");
        return if has("items") || says_second { &v2::TYPE } else { &v1::TYPE };
    }
    if kind.version != "1" || complete || !has("items") {
        return kind;
    }
    let line = source.data.get("items").map_or(source.data.line, |items| items.line);
    let message = "belongs to version 2; the node is read as that although it does not say so";
    let problem = Problem::warning("questionable_node_data", line, message)
        .at_node(source.id, source.title)
        .at_field("items");
    problems.push(problem);
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
