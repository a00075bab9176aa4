//! The bodies of version 1, frozen: a field is never added, removed, moved or given another type.

use std::time::Duration;

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
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
    variables: JsonBytes,
    timeout_us: u64,
    trace: Option<String>,
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
            variables: variables_of_json(&self.variables)?,
            timeout: Duration::from_micros(self.timeout_us),
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
    succeeded: bool,
    outcome: JsonBytes,
    started_at_us: u64,
    elapsed_us: u64,
}

impl CompletedV1 {
    pub(super) fn of(run: &str, completion: &Completion) -> Result<Self, String> {
        Ok(Self {
            run: run.to_owned(),
            task: (&completion.task).into(),
            attempt: completion.attempt,
            dispatch: completion.dispatch,
            succeeded: completion.outcome.is_ok(),
            outcome: match &completion.outcome {
                Ok(success) => success_to_json(success)?,
                Err(error) => error_to_json(error)?,
            },
            started_at_us: completion.started_at.0,
            elapsed_us: completion.elapsed_us,
        })
    }

    pub(super) fn read(self) -> Result<Delivery, String> {
        let completion = Completion {
            task: self.task.into(),
            attempt: self.attempt,
            dispatch: self.dispatch,
            outcome: if self.succeeded {
                Ok(success_of_json(&self.outcome)?)
            } else {
                Err(error_of_json(&self.outcome)?)
            },
            started_at: Time(self.started_at_us),
            elapsed_us: self.elapsed_us,
        };
        Ok(Delivery::Completed { run: self.run.into(), completion })
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
        let reason = match reason {
            Returned::HandedBack => 0,
            Returned::WorkerLost => 1,
            Returned::Unroutable => 2,
        };
        Self { run: run.to_owned(), task: task.into(), attempt, dispatch, reason }
    }

    pub(super) fn read(self) -> Result<Delivery, String> {
        let reason = match self.reason {
            0 => Returned::HandedBack,
            1 => Returned::WorkerLost,
            2 => Returned::Unroutable,
            other => return Err(format!("there is no reason {other}")),
        };
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

/// Says nothing but that it came.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskV1 {}
