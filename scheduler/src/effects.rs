//! What facts call for, once they are committed.

use std::time::Duration;

use flowmill_engine::fact::{CancelMode, Event, Fact, RunFinished, TaskDispatched};
use flowmill_engine::run::{ChildOrder, Run, Seed};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::message::{Control, PlanKey, Shard, Task};
use flowmill_infra::traces::{self, RunSpan};

use crate::children::{Called, News};

/// Messages to workers, and word of children.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) tasks: Vec<Task>,
    pub(crate) controls: Vec<Control>,
    pub(crate) children: Vec<News>,
    /// The spans of runs that are traced and have ended.
    pub(crate) ended: Vec<RunSpan>,
}

/// Where a run belongs.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) tenant: Name,
    pub(crate) shard: Shard,
}

impl Effects {
    /// Adds what facts of a run call for; the run stands right after them. `last` is the highest
    /// number that a task of its shard was sent under.
    pub(crate) fn add(&mut self, run: &Run, home: &Home, facts: &[Fact], last: &mut u64) {
        for fact in facts {
            match &fact.event {
                Event::TaskDispatched(sent) => {
                    *last = sent.number.max(*last);
                    self.tasks.extend(task(run, home, sent, fact.at));
                }
                Event::TaskCancelled { mode: CancelMode::Halt, .. } => {
                    let run = run.id().clone();
                    self.controls.push(Control::Halt { run, before: *last + 1 });
                }
                Event::TaskCancelled { task, mode: CancelMode::Drop } => {
                    let (run, task) = (run.id().clone(), task.clone());
                    self.controls.push(Control::Drop { run, task, before: *last + 1 });
                }
                Event::ChildCalled(called) => {
                    let order = run.child(&called.task);
                    self.children.extend(order.map(|order| child(run, home, order)));
                }
                Event::RunFinished(finished) => {
                    self.ended.extend(span(run, finished, fact.at));
                    let parent = run.parent().map(|parent| parent.run.clone());
                    self.children.extend(parent.map(|parent| News::Ended { parent }));
                }
                _ => {}
            }
        }
    }

    /// Adds what a run calls for that was taken up: others may not have done it.
    pub(crate) fn again(&mut self, run: &Run, home: &Home) {
        let orders = run.children().into_iter();
        self.children.extend(orders.map(|order| child(run, home, order)));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.tasks.append(&mut other.tasks);
        self.controls.append(&mut other.controls);
        self.children.append(&mut other.children);
        self.ended.append(&mut other.ended);
    }
}

fn child(run: &Run, home: &Home, order: ChildOrder) -> News {
    let (tenant, options) = (home.tenant.clone(), run.options().clone());
    News::Called(Box::new(Called { tenant, order, options }))
}

/// What is told of a run that has ended where traces go.
fn span(run: &Run, finished: &RunFinished, at: Time) -> Option<RunSpan> {
    Some(RunSpan {
        run: run.id().clone(),
        trace: run.options().trace.clone()?,
        workflow: run.workflow().clone(),
        began: run.started_at(),
        ended: at,
        status: finished.status,
        error: finished.error.clone(),
    })
}

/// The message for a task. None when the run has no use for it any more.
fn task(run: &Run, home: &Home, sent: &TaskDispatched, at: Time) -> Option<Task> {
    let Seed { fragment, variables, .. } = run.seed_of(&sent.task)?;
    let timeout = Duration::from_millis(run.options().task_timeout_ms.max(1));
    Some(Task {
        tenant: home.tenant.clone(),
        run: run.id().clone(),
        shard: home.shard,
        plan: PlanKey::of(run.workflow(), run.options()),
        task: sent.task.clone(),
        attempt: sent.attempt,
        dispatch: sent.dispatch,
        number: sent.number,
        class: sent.class,
        fragment,
        is_fused: run.options().dispatch.is_left_to_workers(),
        variables,
        timeout,
        sent_at: Some(at),
        trace: run.options().trace.as_deref().and_then(|trace| traces::within(run.id(), trace)),
    })
}
