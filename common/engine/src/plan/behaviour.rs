//! What a node type is to the core: how it takes part in traversal and who executes it.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::error::NodeError;
use crate::fact::ChildCall;
use crate::form::Asks;
use crate::graph::{Item, Mode, Problems};
use crate::template::Piece;
use crate::value::{Kind, Name, Value};
use crate::variables::{Selector, Variable, Variables};

/// How a node takes part in traversal (spec/engine.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// May begin a run.
    Root,
    /// One handle is taken, all others are skipped.
    Branch,
    /// Suspends while its frames run.
    Container,
    /// Its outputs are merged into the run's outputs.
    Response,
    /// All out-edges are taken.
    Executable,
    /// Begins a container's body; hidden from observers, no step.
    BodyStart,
    /// Ends the loop around it when it succeeds.
    LoopEnd,
}

/// Which workers execute a task; ordered from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskClass {
    /// Cheap computation.
    Light,
    /// User code in a sandbox.
    Code,
    /// Calls over the network.
    Http,
    /// Calls of models.
    Llm,
}

impl TaskClass {
    /// All of them, each at its index.
    pub const ALL: [Self; 4] = [Self::Light, Self::Code, Self::Http, Self::Llm];

    /// What it is called wherever it is shown, and in the names of queues.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Code => "code",
            Self::Http => "http",
            Self::Llm => "llm",
        }
    }
}

/// Who executes a node.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// The core itself, while deciding.
    Inline(Arc<dyn Inline>),
    /// A worker.
    Task(TaskNode),
    /// The core, by running the body once per element.
    Iteration(Arc<Iteration>),
    /// The core, by running the body round by round.
    Loop(Arc<Loop>),
    /// Nobody: the run pauses until a person answers. Without a form any answer is taken as given.
    Pause(Option<Arc<dyn Asks>>),
}

impl Behaviour {
    /// Whether it may wait for runs of its own.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Task(TaskNode { waits: true, .. }))
    }
}

/// A node that a worker executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskNode {
    /// Which workers take it.
    pub class: TaskClass,
    /// Whether it spends money or acts on the world.
    pub costly: bool,
    /// Whether it may wait for runs of its own: it goes out alone, so that nothing waits with it.
    pub waits: bool,
}

impl TaskNode {
    /// A node that waits for no run.
    pub const fn new(class: TaskClass, costly: bool) -> Self {
        Self { class, costly, waits: false }
    }
}

/// A node that is pure, cheap, total and deterministic.
pub trait Inline: Debug + Send + Sync {
    /// Evaluates the node over the variables of its frame.
    fn run(&self, variables: &Variables) -> Evaluation;
}

/// What an inline node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluation {
    /// It succeeded.
    Succeeded(Success),
    /// It failed.
    Failed(NodeError),
    /// Its exact result needs a worker.
    NotInline,
}

/// A node's outputs in order.
pub type Outputs = Vec<(Name, Variable)>;

/// What a succeeded node gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Success {
    /// Outputs, written to the frame's variables under the node's id.
    pub outputs: Outputs,
    /// The handle a branch node chose; None is `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Name>,
    /// Variables changed that are not its outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Write>,
    /// A run of its own that it needs before it goes on: then it did not succeed yet, and all else
    /// that is said here counts for nothing. No fact says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Box<ChildCall>>,
}

/// A change of a variable that exists already, or of a loop's own variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The whole variable: `[node, name]`.
    pub selector: Selector,
    /// Its new content with its type tag.
    pub variable: Variable,
}

impl Success {
    /// Success with these outputs, typed by inference.
    pub fn of(outputs: impl IntoIterator<Item = (Name, Value)>) -> Self {
        let typed = outputs.into_iter().map(|(name, value)| (name, Variable::infer(value)));
        Self { outputs: typed.collect(), ..Self::default() }
    }

    /// What a node answers that needs a run of its own before it goes on.
    pub fn calling(call: ChildCall) -> Self {
        Self { call: Some(Box::new(call)), ..Self::default() }
    }

    /// The same with a chosen handle.
    #[must_use]
    pub fn with_handle(mut self, handle: impl Into<Name>) -> Self {
        self.handle = Some(handle.into());
        self
    }
}

impl From<Result<Success, NodeError>> for Evaluation {
    fn from(result: Result<Success, NodeError>) -> Self {
        match result {
            Ok(success) => Self::Succeeded(success),
            Err(error) => Self::Failed(error),
        }
    }
}

/// An iteration's configuration (spec/engine.md §13).
#[derive(Clone, Debug)]
pub struct Iteration {
    /// The body's first node.
    pub start: Name,
    /// The list to go through.
    pub input: Selector,
    /// What each element contributes.
    pub output: Selector,
    /// How many elements run at a time; 1 when sequential.
    pub width: u32,
    /// What an element's error does.
    pub on_error: OnItemError,
    /// Whether a list of lists becomes one list.
    pub flatten: bool,
}

/// `error_handle_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnItemError {
    /// `terminated`: the iteration fails.
    Terminate,
    /// `continue-on-error`: the element gives null.
    Continue,
    /// `remove-abnormal-output`: the element gives nothing.
    Remove,
}

/// A loop's configuration (spec/engine.md §14).
#[derive(Clone, Debug)]
pub struct Loop {
    /// The body's first node.
    pub start: Name,
    /// The most rounds.
    pub count: u32,
    /// When it ends.
    pub until: Conditions,
    /// Its own variables.
    pub variables: Vec<LoopVariable>,
}

/// One of a loop's own variables.
#[derive(Clone, Debug)]
pub struct LoopVariable {
    /// Its name under the loop's id.
    pub label: Name,
    /// Its declared type; `number` is [`Kind::Float`] here and takes the value's own kind.
    pub kind: Kind,
    /// Its first value.
    pub value: LoopValue,
}

/// Where a loop variable's first value comes from.
#[derive(Clone, Debug)]
pub enum LoopValue {
    /// `constant`
    Constant(Value),
    /// `variable`
    Variable(Selector),
}

/// A node to compile.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its id.
    pub id: &'a Name,
    /// Its `type`.
    pub kind: &'a str,
    /// Its title; may be empty.
    pub title: &'a str,
    /// Its `data`.
    pub data: &'a Item,
    /// What the whole document is.
    pub mode: Mode,
    /// Whether the document is read by Dify's rules alone (`conform`) or with our widenings.
    pub strict: bool,
    /// Whether sizes are limited as Dify limits them.
    pub dify_sizes: bool,
}

/// A compiled node.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How it takes part in traversal, its error strategy aside.
    pub category: Category,
    /// Who executes it.
    pub behaviour: Behaviour,
    /// Whether `retry_config` is honoured (llm, tool, code, http-request only).
    pub retries: bool,
    /// All it may read, so that a task can carry it.
    pub reads: Vec<Selector>,
    /// The variables it may change besides its outputs.
    pub writes: Vec<Selector>,
    /// What a response node shows while the run goes on (see [`crate::stream`]); its text is
    /// shown as written.
    pub response: Vec<Piece>,
}

/// The node types there are.
pub trait Catalogue {
    /// Compiles a node's data. Problems are added to `problems`; None when there was an error.
    fn compile(&self, source: &Source<'_>, problems: &mut Problems) -> Option<Compiled>;
}
