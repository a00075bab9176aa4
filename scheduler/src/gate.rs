//! How many tasks of a class may be out at a time.

use flowmill_engine::plan::TaskClass;

const CLASSES: [TaskClass; 4] =
    [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];

/// The most tasks in flight, by class. It bounds what waits in the broker: the rest waits as
/// ready nodes, which cost nothing.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    limits: [usize; CLASSES.len()],
    out: [usize; CLASSES.len()],
}

impl Window {
    /// A window of `slots` workers' slots per class: twice as many may be out, so that no slot
    /// waits for the next task.
    pub fn for_slots(slots: impl Fn(TaskClass) -> usize) -> Self {
        Self { limits: CLASSES.map(|class| slots(class).max(1) * 2), out: [0; CLASSES.len()] }
    }

    pub(crate) fn classes() -> [TaskClass; CLASSES.len()] {
        CLASSES
    }

    pub(crate) fn free(&self, class: TaskClass) -> usize {
        let index = class as usize;
        self.limits[index].saturating_sub(self.out[index])
    }

    /// Notes that a run's tasks of a class went from `before` to `after`.
    pub(crate) fn moved(&mut self, class: TaskClass, before: usize, after: usize) {
        let out = &mut self.out[class as usize];
        *out = (*out + after).saturating_sub(before);
    }
}
