//! The bodies of version 1, frozen: a field is never added, removed, moved or given another type.

use std::time::Duration;

use flowmill_engine::fact::{Passes, Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Completion, End, Fragment, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::value::Value;
use flowmill_engine::variables::{Variable, Variables};
use serde::{Deserialize, Serialize};

use super::codec::JsonBytes;
use super::values::{
    error_of_json, error_to_json, success_of_json, success_to_json, variables_of_json,
    variables_to_json,
};
use crate::message::{Beat, Control, Delivery, PlanKey, Shard, Task};

#[derive(Debug, Serialize, Deserialize)]
struct TaskIdV1 {
    frame: String,
    node: String,
    generation: u32,
}

impl From<&TaskId> for TaskIdV1 {
    fn from(task: &TaskId) -> Self {
        Self {
            frame: task.frame.as_str().to_owned(),
            node: task.node.to_string(),
            generation: task.generation,
        }
    }
}

impl From<TaskIdV1> for TaskId {
    fn from(body: TaskIdV1) -> Self {
        Self {
            frame: body.frame.as_str().into(),
            node: body.node.into(),
            generation: body.generation,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskV1 {
    tenant: String,
    run: String,
    shard: u16,
    workflow: String,
    dify_sizes: bool,
    mocks: Option<String>,
    task: TaskIdV1,
    attempt: u32,
    dispatch: u32,
    number: u64,
    class: u8,
    fragment: FragmentV1,
    fused: bool,
    variables: JsonBytes,
    timeout_us: u64,
    trace: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum FragmentV1 {
    Nodes(Vec<String>),
    Passes { first: u64, count: u64, lanes: u32, items: JsonBytes },
}

/// Elements travel as a variable does, so that whatever holds for those holds for them.
const ITEMS: &str = "items";

impl FragmentV1 {
    fn of(fragment: &Fragment) -> Result<Self, String> {
        Ok(match fragment {
            Fragment::Nodes(nodes) => Self::Nodes(nodes.iter().map(ToString::to_string).collect()),
            Fragment::Passes(passes, items) => {
                let Passes { first, count, lanes } = *passes;
                let items = Variable::infer(Value::array(items.clone()));
                let mut held = Variables::default();
                held.set(&ITEMS.into(), &ITEMS.into(), items);
                Self::Passes { first, count, lanes, items: variables_to_json(&held)? }
            }
        })
    }

    fn read(self) -> Result<Fragment, String> {
        Ok(match self {
            Self::Nodes(nodes) => Fragment::Nodes(nodes.into_iter().map(Into::into).collect()),
            Self::Passes { first, count, lanes, items } => {
                let held = variables_of_json(&items)?;
                let items = held.variable(ITEMS, ITEMS).map(Variable::value);
                let Some(Value::Array(items)) = items else {
                    return Err("passes without elements".to_owned());
                };
                Fragment::Passes(Passes { first, count, lanes }, items.to_vec())
            }
        })
    }
}

impl TaskV1 {
    pub(super) fn of(task: &Task) -> Result<Self, String> {
        Ok(Self {
            tenant: task.tenant.to_string(),
            run: task.run.to_string(),
            shard: task.shard.0,
            workflow: task.plan.workflow.to_string(),
            dify_sizes: task.plan.dify_sizes,
            mocks: task.plan.mocks.as_deref().map(str::to_owned),
            task: (&task.task).into(),
            attempt: task.attempt,
            dispatch: task.dispatch,
            number: task.number,
            class: class_to_number(task.class),
            fragment: FragmentV1::of(&task.fragment)?,
            fused: task.is_fused,
            variables: variables_to_json(&task.variables)?,
            timeout_us: u64::try_from(task.timeout.as_micros()).unwrap_or(u64::MAX),
            trace: task.trace.as_deref().map(str::to_owned),
        })
    }

    pub(super) fn read(self) -> Result<Task, String> {
        Ok(Task {
            tenant: self.tenant.into(),
            run: self.run.into(),
            shard: Shard(self.shard),
            plan: PlanKey {
                workflow: self.workflow.into(),
                dify_sizes: self.dify_sizes,
                mocks: self.mocks.map(Into::into),
            },
            task: self.task.into(),
            attempt: self.attempt,
            dispatch: self.dispatch,
            number: self.number,
            class: class_of_number(self.class)?,
            fragment: self.fragment.read()?,
            is_fused: self.fused,
            variables: variables_of_json(&self.variables)?,
            timeout: Duration::from_micros(self.timeout_us),
            // whoever carries the message knows
            sent_at: None,
            trace: self.trace.map(Into::into),
        })
    }
}

fn class_to_number(class: TaskClass) -> u8 {
    match class {
        TaskClass::Light => 0,
        TaskClass::Code => 1,
        TaskClass::Http => 2,
        TaskClass::Llm => 3,
    }
}

fn class_of_number(number: u8) -> Result<TaskClass, String> {
    match number {
        0 => Ok(TaskClass::Light),
        1 => Ok(TaskClass::Code),
        2 => Ok(TaskClass::Http),
        3 => Ok(TaskClass::Llm),
        other => Err(format!("there is no class {other}")),
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CompletedV1 {
    run: String,
    task: TaskIdV1,
    attempt: u32,
    dispatch: u32,
    outcomes: Vec<OutcomeV1>,
    end: EndV1,
}

#[derive(Debug, Serialize, Deserialize)]
struct OutcomeV1 {
    task: TaskIdV1,
    attempt: u32,
    succeeded: bool,
    outcome: JsonBytes,
    started_at_us: u64,
    elapsed_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum EndV1 {
    More,
    Done,
    Returned(u8),
}

impl CompletedV1 {
    pub(super) fn of(run: &str, completion: &Completion) -> Result<Self, String> {
        let outcomes: Result<_, _> = completion.outcomes.iter().map(OutcomeV1::of).collect();
        Ok(Self {
            run: run.to_owned(),
            task: (&completion.task).into(),
            attempt: completion.attempt,
            dispatch: completion.dispatch,
            outcomes: outcomes?,
            end: match completion.end {
                End::More => EndV1::More,
                End::Done => EndV1::Done,
                End::Returned(reason) => EndV1::Returned(reason_to_number(reason)),
            },
        })
    }

    pub(super) fn read(self) -> Result<Delivery, String> {
        let outcomes: Result<_, _> = self.outcomes.into_iter().map(OutcomeV1::read).collect();
        let completion = Completion {
            task: self.task.into(),
            attempt: self.attempt,
            dispatch: self.dispatch,
            outcomes: outcomes?,
            end: match self.end {
                EndV1::More => End::More,
                EndV1::Done => End::Done,
                EndV1::Returned(reason) => End::Returned(reason_of_number(reason)?),
            },
        };
        Ok(Delivery::Completed { run: self.run.into(), completion })
    }
}

impl OutcomeV1 {
    fn of(outcome: &Outcome) -> Result<Self, String> {
        Ok(Self {
            task: (&outcome.task).into(),
            attempt: outcome.attempt,
            succeeded: outcome.outcome.is_ok(),
            outcome: match &outcome.outcome {
                Ok(success) => success_to_json(success)?,
                Err(error) => error_to_json(error)?,
            },
            started_at_us: outcome.started_at.0,
            elapsed_us: outcome.elapsed_us,
        })
    }

    fn read(self) -> Result<Outcome, String> {
        Ok(Outcome {
            task: self.task.into(),
            attempt: self.attempt,
            outcome: if self.succeeded {
                Ok(success_of_json(&self.outcome)?)
            } else {
                Err(error_of_json(&self.outcome)?)
            },
            started_at: Time(self.started_at_us),
            elapsed_us: self.elapsed_us,
        })
    }
}

fn reason_to_number(reason: Returned) -> u8 {
    match reason {
        Returned::HandedBack => 0,
        Returned::WorkerLost => 1,
        Returned::Unroutable => 2,
        Returned::Suspected => 3,
    }
}

fn reason_of_number(number: u8) -> Result<Returned, String> {
    match number {
        0 => Ok(Returned::HandedBack),
        1 => Ok(Returned::WorkerLost),
        2 => Ok(Returned::Unroutable),
        3 => Ok(Returned::Suspected),
        other => Err(format!("there is no reason {other}")),
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReturnedV1 {
    run: String,
    task: TaskIdV1,
    attempt: u32,
    dispatch: u32,
    reason: u8,
}

impl ReturnedV1 {
    pub(super) fn of(run: &str, task: &TaskId, sending: (u32, u32), reason: Returned) -> Self {
        let (attempt, dispatch) = sending;
        let reason = reason_to_number(reason);
        Self { run: run.to_owned(), task: task.into(), attempt, dispatch, reason }
    }

    pub(super) fn read(self) -> Result<Delivery, String> {
        let reason = reason_of_number(self.reason)?;
        let (attempt, dispatch) = (self.attempt, self.dispatch);
        let (run, task) = (self.run.into(), self.task.into());
        Ok(Delivery::Returned { run, task, attempt, dispatch, reason })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PokeV1 {
    run: String,
}

impl PokeV1 {
    pub(super) fn of(run: &str) -> Self {
        Self { run: run.to_owned() }
    }

    pub(super) fn read(self) -> Delivery {
        Delivery::Poke { run: self.run.into() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BeatV1 {
    worker: String,
    began_us: u64,
    slots: [u16; 4],
    held: Vec<(u16, Vec<u64>)>,
}

impl BeatV1 {
    pub(super) fn of(beat: &Beat) -> Self {
        Self {
            worker: beat.worker.to_string(),
            began_us: beat.began.0,
            slots: beat.slots,
            held: beat.held.iter().map(|(shard, numbers)| (shard.0, numbers.clone())).collect(),
        }
    }

    pub(super) fn read(self) -> Delivery {
        Delivery::Beat(Beat {
            worker: self.worker.into(),
            began: Time(self.began_us),
            slots: self.slots,
            held: self.held.into_iter().map(|(shard, held)| (Shard(shard), held)).collect(),
            // they travel beside the body
            waits: Vec::new(),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LostV1 {
    shard: u16,
}

impl LostV1 {
    pub(super) fn of(shard: Shard) -> Self {
        Self { shard: shard.0 }
    }

    pub(super) fn read(self) -> Delivery {
        Delivery::Lost { shard: Shard(self.shard) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DropV1 {
    run: String,
    task: Option<TaskIdV1>,
    before: u64,
}

impl DropV1 {
    pub(super) fn of(run: &str, task: Option<&TaskId>, before: u64) -> Self {
        Self { run: run.to_owned(), task: task.map(Into::into), before }
    }

    pub(super) fn read(self) -> Control {
        let task = self.task.map(Into::into);
        Control::Drop { run: self.run.into(), task, before: self.before }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HaltV1 {
    run: String,
    before: u64,
}

impl HaltV1 {
    pub(super) fn of(run: &str, before: u64) -> Self {
        Self { run: run.to_owned(), before }
    }

    pub(super) fn read(self) -> Control {
        Control::Halt { run: self.run.into(), before: self.before }
    }
}

/// Says nothing but that it came.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskV1 {}
