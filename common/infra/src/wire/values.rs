//! Variables, outcomes and errors as JSON: the one place where values become a message's bytes.

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Name, decode};
use flowmill_engine::variables::{Variable, Variables};

use super::codec::JsonBytes;

/// A node and what it wrote, in order.
type Node<V> = (Name, Vec<(Name, V)>);

/// All that a task may read, by node.
pub(super) fn variables_to_json(variables: &Variables) -> Result<JsonBytes, String> {
    let nodes: Vec<_> = variables.sorted();
    serde_json::to_vec(&nodes).map(JsonBytes).map_err(|error| error.to_string())
}

pub(super) fn variables_of_json(json: &JsonBytes) -> Result<Variables, String> {
    let nodes: Vec<Node<Variable>> = decode(&json.0).map_err(|error| error.to_string())?;
    let each = |(node, held): Node<Variable>| {
        held.into_iter().map(move |(name, variable)| (node.clone(), name, variable))
    };
    Ok(nodes.into_iter().flat_map(each).collect())
}

pub(super) fn success_to_json(success: &Success) -> Result<JsonBytes, String> {
    serde_json::to_vec(success).map(JsonBytes).map_err(|error| error.to_string())
}

pub(super) fn success_of_json(json: &JsonBytes) -> Result<Success, String> {
    decode(&json.0).map_err(|error| error.to_string())
}

pub(super) fn error_to_json(error: &NodeError) -> Result<JsonBytes, String> {
    serde_json::to_vec(error).map(JsonBytes).map_err(|error| error.to_string())
}

pub(super) fn error_of_json(json: &JsonBytes) -> Result<NodeError, String> {
    decode(&json.0).map_err(|error| error.to_string())
}
