//! Conditions of if-else nodes and loops (spec/engine.md §16, spec/nodes.md §3.1).

/// A group of conditions with its logical operator.
#[derive(Clone, Debug, Default)]
pub struct Conditions {}
