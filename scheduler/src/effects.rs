//! What facts call for, once they are committed.

use std::time::Duration;

use flowmill_engine::fact::{CancelMode, Event, Fact, TaskDispatched};
use flowmill_engine::run::Run;
use flowmill_engine::time::Time;
use flowmill_infra::message::{Control, Task};

/// Messages to workers.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) tasks: Vec<Task>,
    pub(crate) controls: Vec<Control>,
}

impl Effects {
    /// Adds what facts of a run call for; the run stands right after them. `published` counts
    /// the tasks of all runs.
    pub(crate) fn add(&mut self, run: &Run, facts: &[Fact], published: &mut u64) {
        for fact in facts {
            match &fact.event {
                Event::TaskDispatched(sent) => {
                    self.tasks.extend(task(run, sent, fact.at, published));
                }
                Event::TaskCancelled { task, mode: CancelMode::Drop } => {
                    let (run, task) = (run.id().clone(), task.clone());
                    self.controls.push(Control::Drop { run, task, before: *published + 1 });
                }
                _ => {}
            }
        }
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.tasks.append(&mut other.tasks);
        self.controls.append(&mut other.controls);
    }
}

/// The message for a task. None when the run has no use for it any more.
fn task(run: &Run, sent: &TaskDispatched, at: Time, published: &mut u64) -> Option<Task> {
    let variables = run.task_variables(&sent.task)?;
    *published += 1;
    Some(Task {
        run: run.id().clone(),
        workflow: run.workflow().clone(),
        task: sent.task.clone(),
        attempt: sent.attempt,
        dispatch: sent.dispatch,
        number: *published,
        class: sent.class,
        variables,
        timeout: sent.due.since(at).max(Duration::from_millis(1)),
    })
}
