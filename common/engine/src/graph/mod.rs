//! A workflow's document as data: nodes, edges and declared variables, with the lines they came
//! from. Tolerant: nothing here is checked; [`crate::plan`] does that.

mod fields;
mod item;
mod problem;

pub use fields::{Fields, lax_bool, lax_integer};
pub use item::{Content, Item};
pub use problem::{Problem, Problems, Severity};

use crate::value::Name;

/// A workflow as its document describes it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// What the document says it is.
    pub mode: Mode,
    /// The app's name, for people.
    pub name: Name,
    /// The document's DSL version, if it has one.
    pub version: Option<Name>,
    /// Nodes in file order, notes already dropped.
    pub nodes: Vec<Node>,
    /// Edges in file order.
    pub edges: Vec<Edge>,
    /// `workflow.environment_variables`, each a mapping.
    pub environment: Vec<Item>,
    /// `workflow.conversation_variables`, each a mapping.
    pub conversation: Vec<Item>,
    /// `workflow.features`, as it stands.
    pub features: Item,
    /// `dependencies`, as it stands: the plugins the document names.
    pub dependencies: Item,
}

impl Graph {
    /// Whether secrets stand in the document.
    pub fn has_secrets(&self) -> bool {
        let is_secret =
            |variable: &Item| variable.get("value_type").and_then(Item::as_str) == Some("secret");
        self.environment.iter().any(is_secret)
    }
}

/// `app.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `workflow`
    #[default]
    Workflow,
    /// `advanced-chat`
    Chat,
}

/// One entry of `workflow.graph.nodes`. Fields that loading must check are kept as they stand.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `id`.
    pub id: Item,
    /// Outer `parentId`, null when absent.
    pub parent_id: Item,
    /// `data`.
    pub data: Item,
    /// The line on which the entry begins, counted from 1.
    pub line: u32,
}

/// One entry of `workflow.graph.edges`. Absent fields are null.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// `id`.
    pub id: Item,
    /// `source`.
    pub source: Item,
    /// `target`.
    pub target: Item,
    /// `sourceHandle`.
    pub source_handle: Item,
    /// The line on which the entry begins, counted from 1.
    pub line: u32,
}
