//! What can be told to a run, and what it answers to what no longer applies.

use crate::error::NodeError;
use crate::fact::{ChildEnded, FramePath, Reason, Returned, TaskId};
use crate::plan::{Success, TaskClass};
use crate::time::Time;
use crate::value::{Name, Value};

use super::chunks::weight;

/// Something that arrived for a run.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed: due retries, deadlines and work left over from the last input.
    Tick,
    /// The gate lets `count` ready nodes of a class go out.
    Grant {
        /// Which class.
        class: TaskClass,
        /// How many.
        count: usize,
        /// The number that the first of them is published under; the others follow.
        number: u64,
        /// How many workers there are to share the passes of a container, at least one.
        workers: u32,
    },
    /// A worker answered.
    Completed(Completion),
    /// A task came back without an answer.
    Returned {
        /// The task.
        task: TaskId,
        /// The attempt it was sent for.
        attempt: u32,
        /// The sending that came back.
        dispatch: u32,
        /// Why.
        reason: Returned,
        /// It may not be sent again before.
        not_before: Option<Time>,
    },
    /// A run ended that a node waits for, or it cannot be begun.
    ChildEnded(Box<ChildEnded>),
    /// A person answered a node that waits for one.
    Answered {
        /// Where the node lies.
        frame: FramePath,
        /// The node.
        node: Name,
        /// The chosen action.
        action: Name,
        /// What was entered.
        values: Vec<(Name, Value)>,
        /// Who answers, if that is known.
        by: Option<Name>,
    },
    /// The process that had the run in hand is gone; whoever says so has it now. What was out is
    /// lost.
    TakeUp,
    /// Nothing new may start, whatever people answer, until it is resumed.
    Pause {
        /// Why.
        reason: Name,
    },
    /// It may go on. A run that has not come to its pause yet does not pause.
    Resume,
    /// It must end.
    Stop {
        /// Who says so.
        reason: Reason,
        /// What is said to the user.
        message: Name,
    },
}

/// A worker's answer to a task.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The task.
    pub task: TaskId,
    /// The attempt it was sent for.
    pub attempt: u32,
    /// The sending that is answered.
    pub dispatch: u32,
    /// What became of what it carries, in the order in which that happened.
    pub outcomes: Vec<Outcome>,
    /// What becomes of the task.
    pub end: End,
}

/// What became of one attempt of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The node execution.
    pub task: TaskId,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// What it gave.
    pub outcome: Result<Success, NodeError>,
    /// When the attempt began.
    pub started_at: Time,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
}

impl Outcome {
    /// About how many bytes it has in a message.
    pub fn weight(&self) -> usize {
        const FRAME: usize = 128;
        let values = match &self.outcome {
            Ok(success) => {
                let outputs = success.outputs.iter().map(|(_, held)| held.value());
                let writes = success.writes.iter().map(|write| write.variable.value());
                outputs.chain(writes).map(|value| weight(value) + FRAME).sum()
            }
            Err(error) => {
                let outputs = error.outputs.iter().map(|(_, held)| weight(held.value()) + FRAME);
                let traceback = error.traceback.as_ref().map_or(0, |text| text.len());
                error.message.len() + traceback + outputs.sum::<usize>()
            }
        };
        FRAME + self.task.frame.as_str().len() + values
    }
}

/// What becomes of a task after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on; more outcomes follow.
    More,
    /// Its worker has done all that could be done there.
    Done,
    /// It comes back with something left to do.
    Returned(Returned),
}

impl Completion {
    /// The answer to a task that carries one node.
    pub fn of(dispatch: u32, outcome: Outcome) -> Self {
        let (task, attempt) = (outcome.task.clone(), outcome.attempt);
        Self { task, attempt, dispatch, outcomes: vec![outcome], end: End::Done }
    }
}

/// Why an input changed nothing. That is no fault: messages arrive late and twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The run has ended.
    #[error("the run has ended")]
    Finished,
    /// The task is not out, or another attempt of it is.
    #[error("the task is not out, or a later attempt of it is")]
    Stale,
    /// The run waits for nothing of the kind.
    #[error("the run does not wait for this")]
    NotWaiting,
    /// It is held or running already, or the node has its answer.
    #[error("this was said before")]
    Already,
    /// A person's answer does not fit the form.
    #[error("{0}")]
    Unfit(Name),
    /// A person's answer comes after the form's time.
    #[error("the time to answer is over")]
    Late,
}

/// Why a run wants to be told the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Work was left over.
    Work,
    /// A retry is due.
    Retry,
    /// A task is out for too long.
    TaskDue,
    /// The run's deadline.
    Deadline,
    /// A form was not answered in time.
    FormDue,
}
