//! What became of each node: a fold over a run's facts, for people and for comparisons.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::fact::{
    Adopted, Event, Fact, FramePath, Kept, NodeFailed, NodeSucceeded, TaskId, Then, Waiting,
};
use crate::plan::{Outputs, Plan};
use crate::time::Time;
use crate::value::Name;

/// How much of a run's nodes is remembered. Nodes of the root frame always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Every node of every pass.
    #[default]
    Full,
    /// In passes, only nodes that failed.
    Failures,
    /// Nothing of passes: memory stays flat, however many there are.
    Off,
}

/// How far a node came, in Dify's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// It was in flight when the run ended.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed and its error strategy took over.
    Exception,
    /// It failed.
    Failed,
    /// It waits for a person.
    Paused,
}

impl NodeStatus {
    /// Dify's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Exception => "exception",
            Self::Failed => "failed",
            Self::Paused => "paused",
        }
    }
}

/// What became of one node execution.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRecord {
    /// Its id.
    pub node: Name,
    /// Where it lies.
    pub frame: FramePath,
    /// Its type.
    pub node_type: Name,
    /// Its title.
    pub title: Name,
    /// How far it came.
    pub status: NodeStatus,
    /// Its outputs; of a failed node, what the attempt had produced.
    pub outputs: Outputs,
    /// The error of its last failed attempt, unless it succeeded after all.
    pub error: Option<Name>,
    /// That error's `error_type`.
    pub error_type: Option<Name>,
    /// Which activation of it, counted from 1.
    pub generation: u32,
    /// Attempts after the first.
    pub retries: u32,
    /// The handle it chose, unless `source`.
    pub handle: Option<Name>,
    /// The earlier run that did it, if this one did not.
    pub adopted_from: Option<Name>,
    /// When its first attempt began.
    pub started_at: Time,
    /// When its last attempt ended.
    pub finished_at: Option<Time>,
}

/// All node executions that were remembered, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Report {
    nodes: IndexMap<(FramePath, Name), NodeRecord>,
    history: History,
    finished: u64,
}

impl Report {
    /// An empty report.
    pub fn new(history: History) -> Self {
        Self { history, ..Self::default() }
    }

    /// The records, in the order in which nodes began.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    /// How many node executions ended, remembered or not.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Takes one more fact of the run.
    pub fn add(&mut self, plan: &Plan, fact: &Fact) {
        match &fact.event {
            Event::TaskDispatched(sent) => {
                // passes begin as they open, in what they hold
                if sent.passes.is_none() {
                    let TaskId { frame, node, generation } = &sent.task;
                    self.begin(plan, frame, node, (*generation, fact.at));
                }
            }
            Event::ContainerStarted { frame, node, generation, .. } => {
                self.begin(plan, frame, node, (*generation, fact.at));
            }
            Event::PauseRequested { node: Some(waiting), .. } => {
                let Waiting { frame, node, generation } = waiting;
                if let Some(record) = self.begin(plan, frame, node, (*generation, fact.at)) {
                    record.status = NodeStatus::Paused;
                }
            }
            Event::NodeSucceeded(succeeded) => self.succeeded(plan, succeeded, fact.at),
            Event::NodeFailed(failed) => self.failed(plan, failed, fact.at),
            Event::Adopted(adopted) => self.adopted(plan, adopted, fact.at),
            Event::RunStarted(_)
            | Event::TaskReturned { .. }
            | Event::ChildCalled(_)
            | Event::ChildEnded(_)
            | Event::TaskCancelled { .. }
            | Event::FrameOpened { .. }
            | Event::FrameClosed { .. }
            | Event::PauseRequested { node: None, .. }
            | Event::RunPaused
            | Event::RunTakenUp
            | Event::RunResumed { .. }
            | Event::FormAnswered { .. }
            | Event::RunFinished(_) => {}
        }
    }

    fn begin(
        &mut self,
        plan: &Plan,
        frame: &FramePath,
        node: &Name,
        (generation, at): (u32, Time),
    ) -> Option<&mut NodeRecord> {
        if self.history == History::Off && !frame.is_root() {
            return None;
        }
        let found = plan.find(node).map(|index| plan.node(index))?;
        let key = (frame.clone(), node.clone());
        let record = self.nodes.entry(key).or_insert_with(|| NodeRecord {
            node: node.clone(),
            frame: frame.clone(),
            node_type: found.kind.clone(),
            title: found.title.clone(),
            status: NodeStatus::Running,
            outputs: Outputs::new(),
            error: None,
            error_type: None,
            generation,
            retries: 0,
            handle: None,
            adopted_from: None,
            started_at: at,
            finished_at: None,
        });
        record.generation = generation;
        Some(record)
    }

    fn succeeded(&mut self, plan: &Plan, fact: &NodeSucceeded, at: Time) {
        self.finished += 1;
        let began = (fact.generation, fact.started_at);
        let forget = self.history == History::Failures && !fact.frame.is_root();
        let Some(record) = self.begin(plan, &fact.frame, &fact.node, began) else {
            return;
        };
        if forget && record.retries == 0 {
            // usually the newest one, so nothing has to move
            self.nodes.shift_remove(&(fact.frame.clone(), fact.node.clone()));
            return;
        }
        record.status = NodeStatus::Succeeded;
        record.outputs.clone_from(&fact.success.outputs);
        record.error = None;
        record.error_type = None;
        record.handle = fact.success.handle.clone().filter(|handle| &**handle != "source");
        record.finished_at = Some(at);
    }

    fn adopted(&mut self, plan: &Plan, fact: &Adopted, at: Time) {
        let Kept::Outcome(success) = &fact.kept else { return };
        self.finished += 1;
        let own_error = fact.own_error();
        if self.history == History::Failures && !fact.frame.is_root() && own_error.is_none() {
            return;
        }
        let Some(record) = self.begin(plan, &fact.frame, &fact.node, (1, at)) else {
            return;
        };
        let status =
            if own_error.is_some() { NodeStatus::Exception } else { NodeStatus::Succeeded };
        record.status = status;
        record.outputs.clone_from(&success.outputs);
        record.error = own_error.map(|error| error.message.clone());
        record.error_type = own_error.map(|error| error.error_type.clone());
        let is_chosen = |handle: &Name| own_error.is_none() && &**handle != "source";
        record.handle = success.handle.clone().filter(is_chosen);
        record.adopted_from = Some(fact.from.clone());
        record.finished_at = Some(at);
    }

    fn failed(&mut self, plan: &Plan, fact: &NodeFailed, at: Time) {
        let retries = matches!(fact.then, Then::RetryAt(_));
        self.finished += u64::from(!retries);
        let began = (fact.generation, fact.started_at);
        let Some(record) = self.begin(plan, &fact.frame, &fact.node, began) else {
            return;
        };
        record.error = Some(fact.error.message.clone());
        record.error_type = Some(fact.error.kind.clone());
        match fact.then {
            Then::RetryAt(_) => {
                record.retries = fact.attempt;
                return;
            }
            Then::Unhandled => {
                record.status = NodeStatus::Failed;
                record.outputs.clone_from(&fact.error.outputs);
            }
            Then::DefaultValue | Then::FailBranch => {
                record.status = NodeStatus::Exception;
                if let Some(index) = plan.find(&fact.node) {
                    record.outputs = plan.node(index).exception_outputs(&fact.then, &fact.error);
                }
            }
        }
        record.finished_at = Some(at);
    }
}

impl NodeRecord {
    /// The key by which results name it: `id`, or `id@outer[0]/inner[2]` inside containers.
    pub fn key(&self) -> String {
        if self.frame.is_root() {
            self.node.to_string()
        } else {
            format!("{}@{}", self.node, self.frame)
        }
    }
}
