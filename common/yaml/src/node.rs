//! The document as a graph of nodes: an alias is a second reference to its anchor's node.

use flowmill_engine::value::Name;

/// A node's place among all nodes.
pub(super) type NodeId = usize;

/// A node with its tag resolved, not yet made a value.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) tag: Tag,
    pub(super) kind: NodeKind,
}

/// What a node consists of.
#[derive(Debug)]
pub(super) enum NodeKind {
    Scalar(Name),
    Sequence(Vec<NodeId>),
    /// `merged` of the pairs, the first ones, came through `<<`.
    Mapping {
        pairs: Vec<(NodeId, NodeId)>,
        merged: usize,
    },
}

impl NodeKind {
    /// How an error message calls it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "text",
            Self::Sequence(_) => "a list",
            Self::Mapping { .. } => "a mapping",
        }
    }
}

/// The tags that `PyYAML`'s safe loader knows, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Binary,
    Timestamp,
    Str,
    Seq,
    Map,
    Set,
    Omap,
    Pairs,
    /// `<<`
    Merge,
    /// `=`
    Value,
    Unknown(Name),
}

impl Tag {
    /// A tag as it was written, its handle already replaced.
    pub(super) fn from_uri(uri: &str) -> Self {
        match uri.strip_prefix("tag:yaml.org,2002:") {
            Some("null") => Self::Null,
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("binary") => Self::Binary,
            Some("timestamp") => Self::Timestamp,
            Some("str") => Self::Str,
            Some("seq") => Self::Seq,
            Some("map") => Self::Map,
            Some("set") => Self::Set,
            Some("omap") => Self::Omap,
            Some("pairs") => Self::Pairs,
            Some("merge") => Self::Merge,
            Some("value") => Self::Value,
            _ => Self::Unknown(uri.into()),
        }
    }
}
