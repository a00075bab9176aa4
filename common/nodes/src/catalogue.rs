//! What a node type is, in data: everything that a reader, `flowmill nodes` and the plan's
//! compiler need to know about it, in one place.

use std::sync::Arc;

use flowmill_engine::form::Asks;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Inline, Iteration, Loop, Source, TaskNode};
use flowmill_engine::template::Piece;
use flowmill_engine::variables::Selector;

use crate::context::Execute;

/// A node type, or one version of it.
#[derive(Debug)]
pub struct NodeType {
    /// Its `type` in a document.
    pub name: &'static str,
    /// Its `version`; among several with one name the exact one is taken, else the highest.
    pub version: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// How it takes part in traversal.
    pub category: Category,
    /// Who executes it.
    pub runs: Runs,
    /// Whether `retry_config` is honoured.
    pub retries: bool,
    /// What it needs besides this program.
    pub needs: Needs,
    /// What its `data` holds besides the fields that all nodes have.
    pub fields: &'static [FieldDoc],
    /// The handles that edges may leave it by.
    pub handles: &'static str,
    /// The variables it writes.
    pub outputs: &'static [OutputDoc],
    /// A complete, valid `data` as JSON, without the common fields.
    pub example: &'static str,
    /// Reads its `data`. Problems go into the fields; the result counts only if none is an error.
    pub compile: fn(&mut Fields<'_>, &Source<'_>) -> Node,
}

/// What a node type needs besides this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A service that the services file names. Where answers are compared with Dify's engine, a mock.
    Service,
}

/// Who executes a node type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The core itself, while deciding.
    Inline,
    /// A worker.
    Task(TaskNode),
    /// The core, by running a body.
    Container,
    /// A person, while the run pauses.
    Person,
}

/// One field of a node's `data`.
#[derive(Clone, Copy, Debug)]
pub struct FieldDoc {
    /// Its path: `cases[].conditions`.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// What it is when absent, as JSON; `required` when it must be there.
    pub default: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text.
    Text,
    /// Text with `{{#node.variable#}}` references.
    Template,
    /// true or false.
    Flag,
    /// A whole number.
    Integer,
    /// A list of text that names a variable.
    Selector,
    /// A list of such lists.
    Selectors,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A mapping.
    Mapping,
    /// A list of mappings.
    List,
    /// Anything.
    Any,
}

/// One variable that a node writes.
#[derive(Clone, Copy, Debug)]
pub struct OutputDoc {
    /// Its name; in angle brackets when the document decides it.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// What it is.
    pub about: &'static str,
}

/// A field that must be there.
pub(crate) const REQUIRED: &str = "required";

/// A field's documentation.
pub(crate) const fn field(
    name: &'static str,
    kind: FieldKind,
    default: &'static str,
    about: &'static str,
) -> FieldDoc {
    FieldDoc { name, kind, default, about }
}

/// An output's documentation.
pub(crate) const fn output(
    name: &'static str,
    kind: &'static str,
    about: &'static str,
) -> OutputDoc {
    OutputDoc { name, kind, about }
}

/// A node's compiled data.
#[derive(Debug)]
pub struct Node {
    /// What executes it.
    pub body: Body,
    /// All it may read.
    pub reads: Vec<Selector>,
    /// The variables it may change besides its outputs.
    pub writes: Vec<Selector>,
    /// What a response node shows while the run goes on.
    pub response: Vec<Piece>,
    /// Whether it may wait for runs of its own.
    pub waits: bool,
}

/// What executes a node.
#[derive(Debug)]
pub enum Body {
    /// The core, and a worker where the core cannot.
    Inline(Arc<dyn Inline>),
    /// The core; where it answers `NotInline` a worker, by other means.
    InlineOr(Arc<dyn Inline>, Arc<dyn Execute>),
    /// A worker.
    Task(Arc<dyn Execute>),
    /// The core, once per element.
    Iteration(Iteration),
    /// The core, round by round.
    Loop(Loop),
    /// A person, who is asked with a form if there is one.
    Pause(Option<Arc<dyn Asks>>),
}

impl Node {
    /// A node without writes.
    pub fn new(body: Body, reads: Vec<Selector>) -> Self {
        Self { body, reads, writes: Vec::new(), response: Vec::new(), waits: false }
    }

    /// A node that the core evaluates.
    pub fn inline(inline: impl Inline + 'static, reads: Vec<Selector>) -> Self {
        Self::new(Body::Inline(Arc::new(inline)), reads)
    }

    /// The same, which may wait for runs of its own.
    #[must_use]
    pub fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// A node that a worker executes.
    pub fn task(execute: impl Execute + 'static, reads: Vec<Selector>) -> Self {
        Self::new(Body::Task(Arc::new(execute)), reads)
    }
}
