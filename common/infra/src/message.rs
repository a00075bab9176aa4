//! What scheduler and workers say to each other.

use std::time::Duration;

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;

/// One attempt of a fragment, for a worker.
#[derive(Clone, Debug)]
pub struct Task {
    /// The run.
    pub run: Name,
    /// The plan to load: the document's digest.
    pub workflow: Name,
    /// What it is.
    pub task: TaskId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Which sending of this attempt, counted from 1.
    pub dispatch: u32,
    /// Its place among all that its owner published, counted from 1.
    pub number: u64,
    /// Which workers take it.
    pub class: TaskClass,
    /// All it may read.
    pub variables: Variables,
    /// How long it may take.
    pub timeout: Duration,
}

/// What arrives in a shard's inbox.
#[derive(Debug)]
pub enum Delivery {
    /// A worker answered.
    Completed {
        /// The run.
        run: Name,
        /// The answer.
        completion: Completion,
    },
    /// A worker gave a task back without an answer.
    Returned {
        /// The run.
        run: Name,
        /// The task.
        task: TaskId,
        /// The attempt it was sent for.
        attempt: u32,
        /// The sending that came back.
        dispatch: u32,
        /// Why.
        reason: Returned,
    },
}

/// What workers are told about tasks they may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Stop a task of a run, or all of them, at once; nobody waits for the answer.
    Drop {
        /// The run.
        run: Name,
        /// The task; all of the run's when None.
        task: Option<TaskId>,
        /// It concerns what was published with a lower number than this, also what has not
        /// reached a worker yet; what comes later is wanted.
        before: u64,
    },
}
