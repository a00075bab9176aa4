//! What became true about a run. Facts are all that is ever stored of it; replaying them gives
//! the same run, whatever the release.
//!
//! Facts name nodes by their id in the document and frames by their path, never by an index of
//! the plan. They are written as JSON with the version in [`Event::RunStarted`]; a change of
//! meaning is a new version, never a changed old one. The names in [`RESERVED`] belong to facts
//! that embedded runs do not produce.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{ErrorRecord, NodeError};
use crate::form::Form;
use crate::plan::{Outputs, Success, TaskClass, Write};
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::Variable;

pub use crate::frame_path::FramePath;
pub use crate::options::{Dispatch, Lane, Options};

/// The version in which facts are written.
pub const VERSION: u32 = 1;

/// The rules by which runs are decided. It is fixed in [`Event::RunStarted`]; a change that
/// alters outcomes raises it.
pub const RULES: u32 = 1;

/// Names kept for facts that durable, distributed runs will need.
pub const RESERVED: [&str; 2] = ["task_started", "passes_finished"];

/// One fact of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Its place among the run's facts, counted from 1.
    pub seq: u64,
    /// When it became true.
    pub at: Time,
    /// What became true.
    pub event: Event,
}

/// What became true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    RunStarted(Box<RunStarted>),
    /// An earlier run did this already.
    Adopted(Box<Adopted>),
    /// A task is to be published.
    TaskDispatched(TaskDispatched),
    /// A task came back without an outcome; its node is ready again.
    TaskReturned {
        /// The task.
        task: TaskId,
        /// The attempt it was sent for.
        attempt: u32,
        /// Why it came back.
        reason: Returned,
        /// It may not be sent again before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Time>,
    },
    /// A node asked for a run of its own. It waits for that, and holds no worker meanwhile.
    ChildCalled(Box<ChildCalled>),
    /// That run ended: the node is ready again.
    ChildEnded(Box<ChildEnded>),
    /// Workers are to be told.
    TaskCancelled {
        /// The task; all that are out when None.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// What they are told.
        mode: CancelMode,
    },
    /// A node succeeded.
    NodeSucceeded(NodeSucceeded),
    /// An attempt of a node failed.
    NodeFailed(NodeFailed),
    /// A container began; its frames follow.
    ContainerStarted {
        /// Where it lies.
        frame: FramePath,
        /// The container.
        node: Name,
        /// Which activation of it.
        generation: u32,
        /// Elements to go through, or the most rounds.
        length: u64,
        /// A loop's own variables.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        writes: Vec<Write>,
    },
    /// A pass of a container began.
    FrameOpened {
        /// The new frame.
        frame: FramePath,
        /// Its element, for an iteration; an element may be null.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        item: Option<Value>,
    },
    /// A pass of a container ended.
    FrameClosed {
        /// The frame.
        frame: FramePath,
        /// What came of it.
        result: Pass,
    },
    /// Nothing new starts until the run is resumed.
    PauseRequested {
        /// The node that waits for a person, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<Waiting>,
        /// Why.
        reason: Name,
        /// What is asked, unless it was asked before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<Arc<Form>>,
    },
    /// Nothing runs any more; the run waits.
    RunPaused,
    /// The process that had the run in hand is gone, and another one has it now. The run's clock
    /// stood since the fact before this one.
    RunTakenUp,
    /// The run goes on.
    RunResumed {
        /// Nodes that begin anew.
        reactivated: Vec<Waiting>,
    },
    /// A person answered, or nobody did in time.
    FormAnswered {
        /// Where the node lies.
        frame: FramePath,
        /// The node.
        node: Name,
        /// The chosen action.
        handle: Name,
        /// The node's outputs.
        outputs: Outputs,
        /// Whether the time was over.
        #[serde(default, skip_serializing_if = "is_false")]
        timed_out: bool,
        /// Who answered, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Name>,
    },
    /// The run ended.
    RunFinished(Box<RunFinished>),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

/// What is written is there, also when it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// How a run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The version its facts are written in.
    pub version: u32,
    /// The rules it is decided by.
    pub rules: u32,
    /// Its id.
    pub run: Name,
    /// The document's digest.
    pub workflow: Name,
    /// The root node it begins at.
    pub root: Name,
    /// The user's inputs.
    pub inputs: Vec<(Name, Value)>,
    /// `sys.*`.
    pub system: Vec<(Name, Value)>,
    /// `env.*`.
    pub environment: Vec<(Name, Variable)>,
    /// `conversation.*`, as they were.
    pub conversation: Vec<(Name, Variable)>,
    /// Limits and deadlines.
    pub options: Options,
    /// The earlier run whose finished work it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<Name>,
    /// The line of a batch that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<BatchLine>,
    /// The node of another run that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The node of another run that waits for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The other run.
    pub run: Name,
    /// The node's execution in it.
    pub task: TaskId,
    /// Which attempt of it, counted from 1.
    pub attempt: u32,
    /// Which of its calls.
    pub call: Name,
    /// How many runs wait for each other, this one among them: 1 if the other one is nobody's child.
    pub depth: u32,
    /// The run at the top of them, which pays for all; None: the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Name>,
    /// The batch that the run at the top is a line of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Name>,
}

impl Parent {
    /// The run at the top of those that wait for each other.
    pub fn root(&self) -> &Name {
        self.root.as_ref().unwrap_or(&self.run)
    }
}

/// A node that waits for a run of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildCalled {
    /// The node's execution.
    pub task: TaskId,
    /// Which attempt of it, counted from 1.
    pub attempt: u32,
    /// What it asked for.
    pub call: ChildCall,
    /// When it is sent again all the same, to look.
    pub look_at: Time,
}

/// What a node asks for that waits for a run of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildCall {
    /// Which of the attempt's calls: the same call again is the same run.
    pub name: Name,
    /// The document, by its name or digest.
    pub workflow: Name,
    /// What it begins with.
    pub inputs: Vec<(Name, Value)>,
}

/// The end of a run that a node waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildEnded {
    /// The node's execution.
    pub task: TaskId,
    /// Which attempt of it, counted from 1.
    pub attempt: u32,
    /// How it ended.
    pub end: ChildEnd,
}

/// How a run ended that a node waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildEnd {
    /// Which of the attempt's calls it answers.
    pub name: Name,
    /// The run; None when it could not be begun.
    pub run: Option<Name>,
    /// How it ended: one that could not be begun failed.
    pub status: Status,
    /// What it gave.
    pub outputs: Vec<(Name, Value)>,
    /// Why it did not succeed.
    pub error: Option<Name>,
}

/// A line of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLine {
    /// The batch.
    pub batch: Name,
    /// Which of its lines, counted from 1.
    pub line: u64,
    /// What the submitter calls the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<Name>,
}

/// What a run takes over from an earlier run of the same nodes, instead of doing it again. It
/// costs no step and nothing is executed; see [`crate::rerun`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// The earlier run.
    pub from: Name,
    /// Where the node lies. A pass takes over what is said of it when it opens.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// What is taken over.
    pub kept: Kept,
    /// What response nodes inside of it gave to the outputs around it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<(Name, Value)>,
    /// Errors behind it that the earlier run handled; they count as this run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorRecord>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_omitted: u64,
}

/// The part of a node's work that an earlier run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// All of it: the node is done. Of a node that failed and was handled, what took its place.
    Outcome(Success),
    /// Some elements of an iteration, by ranges; only the others are opened.
    Elements(Vec<Range>),
    /// The first rounds of a loop; the others follow them.
    Rounds {
        /// How many.
        count: u64,
        /// The loop's own variables and those around it, as these rounds left them.
        writes: Vec<Write>,
    },
}

/// Elements of an iteration, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The first of them.
    pub first: u64,
    /// What each of them gave.
    pub values: Vec<Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Adopted {
    /// The error of the node itself, if what is taken over is what took the place of its outcome.
    pub fn own_error(&self) -> Option<&ErrorRecord> {
        self.errors.iter().find(|error| error.frame == self.frame && error.node == self.node)
    }
}

/// A task to publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDispatched {
    /// The task.
    pub task: TaskId,
    /// The nodes it carries, each after the one before; the first is its head. None when it
    /// carries passes.
    pub nodes: Vec<Name>,
    /// The passes it carries of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Passes>,
    /// Which attempt of the head, counted from 1.
    pub attempt: u32,
    /// Which sending of this attempt, counted from 1.
    pub dispatch: u32,
    /// Which workers take it.
    pub class: TaskClass,
    /// When it counts as timed out.
    pub due: Time,
    /// Its place among all that its owner published, counted from 1.
    #[serde(default)]
    pub number: u64,
}

/// Passes of a container that one task carries, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passes {
    /// The first of them.
    pub first: u64,
    /// How many, at least one.
    pub count: u64,
    /// How many of them may be open at a time.
    pub lanes: u32,
}

/// What a task is known by: a node execution, or a container with the frame of the first pass that
/// it carries (which no node execution is, because the container lies outside of that frame).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The frame its head lies in; of passes, the first one's.
    pub frame: FramePath,
    /// Its head; of passes, their container.
    pub node: Name,
    /// Which activation of the head, counted from 1.
    pub generation: u32,
}

/// A node's success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSucceeded {
    /// Where it lies.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// Which activation of it, counted from 1.
    pub generation: u32,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Its outputs, handle and writes.
    pub success: Success,
    /// When the attempt began.
    pub started_at: Time,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
}

/// A failed attempt of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFailed {
    /// Where it lies.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// Which activation of it, counted from 1.
    pub generation: u32,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Why.
    pub error: NodeError,
    /// What follows.
    pub then: Then,
    /// Variables that stay changed all the same (a loop's own).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Write>,
    /// When the attempt began.
    pub started_at: Time,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
}

/// What follows from a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Another attempt at this time.
    RetryAt(Time),
    /// The declared defaults are given instead.
    DefaultValue,
    /// The branch `fail-branch` is taken.
    FailBranch,
    /// The failure goes on outwards.
    Unhandled,
}

/// What came of a container's pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// An iteration's element gave this.
    Value(Value),
    /// A loop's round ended and another may follow.
    Next,
    /// A loop's round ended and so does the loop.
    Break,
    /// It failed, or the loop's condition did after it.
    Failed(NodeError),
}

/// A node that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Where it lies.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// Which activation of it.
    pub generation: u32,
}

/// Why a task came back without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// The worker gave it back.
    HandedBack,
    /// The worker is gone.
    WorkerLost,
    /// No queue took it.
    Unroutable,
    /// It was lost more often than can be chance, or took too long: its parts go out one by one, so
    /// that only the guilty one fails.
    Suspected,
}

/// What workers are told about a cancelled task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelMode {
    /// Start nothing more and answer.
    Halt,
    /// Stop at once; nobody waits for the answer.
    Drop,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFinished {
    /// Dify's status.
    pub status: Status,
    /// Our own cause of a `stopped` or `failed` run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Dify's error text of a failed or stopped run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Name>,
    /// The outputs merged so far.
    pub outputs: Vec<(Name, Value)>,
    /// Errors, handled and not: the first [`crate::error::MAX_RECORDS`], and the one that failed
    /// the run.
    pub errors: Vec<ErrorRecord>,
    /// How many errors were left out of the list.
    pub errors_omitted: u64,
    /// Failed attempts and containers.
    pub exceptions_count: u64,
    /// Node attempts started in the root frame.
    pub steps: u64,
    /// Conversation variables that nodes wrote, each as it was written last: what the next run of
    /// the conversation begins with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conversation: Vec<(Name, Variable)>,
}

/// A run's status in Dify's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It goes on.
    Running,
    /// It waits for a person or a resume.
    Paused,
    /// It ended well.
    Succeeded,
    /// It ended well though something failed on the way.
    PartialSucceeded,
    /// It failed.
    Failed,
    /// It was stopped.
    Stopped,
}

impl Status {
    /// Dify's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::PartialSucceeded => "partial-succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Who or what ended a run that did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person.
    User,
    /// Its deadline.
    Deadline,
    /// A limit on steps or time.
    Limit,
    /// A fault of the engine itself.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_may_be_null() {
        for item in [Some(Value::None), None] {
            let event = Event::FrameOpened { frame: "it[0]".into(), item };
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        }
    }
}
