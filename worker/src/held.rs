//! What a worker holds, and what it was told to drop.

use std::collections::HashMap;

use flowmill_engine::fact::TaskId;
use flowmill_engine::value::Name;
use flowmill_infra::message::Task;
use tokio::task::{AbortHandle, Id};

/// The tasks a worker holds, each with what runs it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tasks: HashMap<Id, (Key, AbortHandle)>,
    /// What is to be dropped when it arrives. A queue keeps its order, so a drop is forgotten
    /// once a task that was published after it has come.
    unwanted: Vec<Unwanted>,
}

#[derive(Debug)]
struct Key {
    run: Name,
    task: TaskId,
    number: u64,
}

#[derive(Debug)]
struct Unwanted {
    run: Name,
    task: Option<TaskId>,
    before: u64,
}

impl Held {
    /// Whether a task that has just arrived is wanted at all.
    pub(crate) fn wants(&mut self, task: &Task) -> bool {
        if self.unwanted.is_empty() {
            return true;
        }
        self.unwanted.retain(|unwanted| unwanted.before > task.number);
        !self.unwanted.iter().any(|unwanted| unwanted.covers(&task.run, &task.task, task.number))
    }

    pub(crate) fn insert(&mut self, task: (Name, TaskId), number: u64, handle: AbortHandle) {
        let (run, task) = task;
        self.tasks.insert(handle.id(), (Key { run, task, number }, handle));
    }

    /// Something that was held ended, by itself or because it was dropped.
    pub(crate) fn remove(&mut self, id: Id) {
        self.tasks.remove(&id);
    }

    /// Drops tasks of a run, those that are held at once.
    pub(crate) fn drop_tasks(&mut self, run: Name, task: Option<TaskId>, before: u64) {
        let unwanted = Unwanted { run, task, before };
        let held = self.tasks.values();
        held.filter(|(key, _)| unwanted.covers(&key.run, &key.task, key.number))
            .for_each(|(_, handle)| handle.abort());
        self.unwanted.push(unwanted);
    }
}

impl Unwanted {
    fn covers(&self, run: &Name, task: &TaskId, number: u64) -> bool {
        number < self.before
            && self.run == *run
            && self.task.as_ref().is_none_or(|unwanted| unwanted == task)
    }
}
