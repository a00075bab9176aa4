//! Who may send how many tasks: a bound on what is out, shared in turns.

use std::collections::VecDeque;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::value::Name;

/// The classes, each at its index.
pub(crate) const CLASSES: [TaskClass; 4] =
    [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];

/// A number per class.
pub(crate) type PerClass = [usize; CLASSES.len()];

/// The most tasks in flight, by class. It bounds what waits in the broker: the rest waits as
/// ready nodes, which cost nothing.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    limits: PerClass,
}

impl Window {
    /// A window of so many tasks per class, at least one.
    pub fn new(limits: impl Fn(TaskClass) -> usize) -> Self {
        Self { limits: CLASSES.map(|class| limits(class).max(1)) }
    }

    /// A window for `slots` workers' slots per class: twice as many may be out, so that no slot
    /// waits for the next task.
    pub fn for_slots(slots: impl Fn(TaskClass) -> usize) -> Self {
        Self::new(|class| slots(class).max(1) * 2)
    }
}

/// The window, how much of it is taken, and the runs that want some of the rest.
#[derive(Debug)]
pub(crate) struct Gate {
    window: Window,
    out: PerClass,
    /// Runs with ready nodes of a class, each in its turn.
    hungry: [VecDeque<Name>; CLASSES.len()],
}

impl Gate {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, out: PerClass::default(), hungry: Default::default() }
    }

    /// Notes that a run's tasks went from `before` to `after`.
    pub(crate) fn moved(&mut self, before: PerClass, after: PerClass) {
        for ((out, before), after) in self.out.iter_mut().zip(before).zip(after) {
            *out = (*out + after).saturating_sub(before);
        }
    }

    /// A run wants places of a class.
    pub(crate) fn queue(&mut self, class: TaskClass, run: Name) {
        self.hungry[class as usize].push_back(run);
    }

    /// How many tasks of each class are out, and may be.
    pub(crate) fn places(&self) -> (PerClass, PerClass) {
        (self.out, self.window.limits)
    }

    /// Whose turn it is, and how many places it may take: its share of the free ones.
    pub(crate) fn next(&mut self, class: TaskClass) -> Option<(Name, usize)> {
        let index = class as usize;
        let free = self.window.limits[index].saturating_sub(self.out[index]);
        if free == 0 {
            return None;
        }
        let hungry = &mut self.hungry[index];
        let share = free.div_ceil(hungry.len().max(1));
        hungry.pop_front().map(|run| (run, share))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.out == PerClass::default() && self.hungry.iter().all(VecDeque::is_empty)
    }
}
