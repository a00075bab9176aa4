//! What a worker keeps of costly work, so that nobody pays for it again.
//!
//! A checkpoint is written once: of two, the first wins, and whoever comes second goes on from
//! there. The database role that a worker uses can insert and read them and nothing else.

use std::future::Future;

use flowmill_engine::fact::{FramePath, TaskId};
use flowmill_engine::run::{Fragment, Outcome};
use flowmill_engine::value::Name;

use crate::message::Task;
use crate::store::StoreError;

/// What a checkpoint is known by; also a task, among those that were delivered again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointKey {
    /// Whose run it is.
    pub tenant: Name,
    /// The run.
    pub run: Name,
    /// The node execution.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
}

/// The outcome of one attempt of a node, kept because it cost something, or because something that
/// did rests on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Whose it is.
    pub key: CheckpointKey,
    /// The outcome.
    pub outcome: Outcome,
}

/// What stands between a node and the name of a step of it; no node's id has it.
const STEP: &str = "\u{1}";

impl CheckpointKey {
    /// What a step of this attempt is known by.
    #[must_use]
    pub fn step(&self, name: &str) -> Self {
        let node = format!("{}{STEP}{name}", self.task.node).into();
        Self { task: TaskId { node, ..self.task.clone() }, ..self.clone() }
    }
}

/// Whether this is a step of a node's attempt, and no outcome that the run waits for.
pub fn is_step(task: &TaskId) -> bool {
    task.node.contains(STEP)
}

/// The part of a run that a task carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whose run it is.
    pub tenant: Name,
    /// The run.
    pub run: Name,
    /// How far it reaches.
    pub extent: Extent,
}

/// How far a part of a run reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All attempts of these node executions.
    Nodes(Vec<TaskId>),
    /// All that lies in these frames, at any depth; in the root lies the whole run.
    Frames(Vec<FramePath>),
}

impl Scope {
    /// What a task carries.
    pub fn of(task: &Task) -> Self {
        let Task { tenant, run, task, fragment, .. } = task;
        let extent = match fragment {
            Fragment::Nodes(nodes) => {
                let id = |node: &Name| {
                    let generation = if *node == task.node { task.generation } else { 1 };
                    TaskId { frame: task.frame.clone(), node: node.clone(), generation }
                };
                Extent::Nodes(nodes.iter().map(id).collect())
            }
            Fragment::Passes(passes, _) => {
                let (outer, id, first) = task.frame.split().unwrap_or_default();
                let passes = first..first.saturating_add(passes.count);
                Extent::Frames(passes.map(|pass| outer.pass(&id, pass)).collect())
            }
        };
        Self { tenant: tenant.clone(), run: run.clone(), extent }
    }

    /// Whether an attempt lies in it.
    pub fn holds(&self, key: &CheckpointKey) -> bool {
        let frame = key.task.frame.clone();
        let mut around = std::iter::successors(Some(frame), |frame| frame.split().map(|at| at.0));
        self.tenant == key.tenant
            && self.run == key.run
            && match &self.extent {
                Extent::Nodes(nodes) => nodes.contains(&key.task),
                Extent::Frames(frames) => {
                    around.any(|frame| frames.contains(&frame))
                        || frames.iter().any(FramePath::is_root)
                }
            }
    }
}

/// What is known of a task that was delivered again.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The outcomes that were kept of what it carries, in no particular order.
    pub outcomes: Vec<Outcome>,
    /// How often it was delivered again, this time among them. It says nothing once there is an
    /// outcome of the task itself.
    pub redeliveries: u32,
}

/// The store, for a worker.
pub trait Checkpoints: Send + Sync + 'static {
    /// Makes outcomes durable. Of each key that had one already, the one that was there.
    ///
    /// # Errors
    /// When the store cannot be reached or changed: then none was written.
    fn save(
        &self,
        checkpoints: &[Checkpoint],
    ) -> impl Future<Output = Result<Vec<Checkpoint>, StoreError>> + Send;

    /// The outcomes that were kept of a part of a run.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn find(&self, scope: &Scope) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;

    /// The outcome of one attempt, if it came so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn outcome(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<Option<Outcome>, StoreError>> + Send;

    /// Notes that a task was delivered again and answers how often that was, this time among them.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn seen_again(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<u32, StoreError>> + Send;
}
