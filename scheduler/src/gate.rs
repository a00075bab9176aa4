//! Who may send how many tasks: a bound on what is out, shared fairly among those who want some.
//!
//! Runs that somebody waits for come first, with a tenth kept for batches. Among the tenants of a
//! lane a place goes to the one that has the least out for its weight, among a tenant's batches and
//! its other runs again to the one with the least, and its runs take turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flowmill_engine::fact::Lane;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::value::Name;

/// The classes, each at its index.
pub(crate) const CLASSES: [TaskClass; 4] =
    [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];

/// A number per class.
pub(crate) type PerClass = [usize; CLASSES.len()];

/// Of how many places batches get one, if runs come before them that want all.
const KEPT: usize = 10;

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

/// Runs that share what they get: those of a batch, or all others of a tenant in a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) lane: Lane,
    pub(crate) tenant: Name,
    pub(crate) batch: Option<Name>,
}

/// What a flow has and wants.
#[derive(Debug, Default)]
struct Stream {
    out: PerClass,
    /// Runs with ready nodes of a class, each in its turn.
    hungry: [VecDeque<Name>; CLASSES.len()],
    /// When it got something last: of two with as much, the one that waits longer comes first.
    turn: u64,
}

impl Stream {
    fn is_gone(&self) -> bool {
        self.out == PerClass::default() && self.hungry.iter().all(VecDeque::is_empty)
    }
}

/// The window, how much of it is taken, and the runs that want some of the rest.
#[derive(Debug)]
pub(crate) struct Gate {
    window: Window,
    out: PerClass,
    flows: BTreeMap<Arc<Flow>, Stream>,
    turns: u64,
}

impl Gate {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, out: PerClass::default(), flows: BTreeMap::new(), turns: 0 }
    }

    /// Notes that a run's tasks went from `before` to `after`.
    pub(crate) fn moved(&mut self, flow: &Arc<Flow>, before: PerClass, after: PerClass) {
        if before == after {
            return;
        }
        let stream = self.flows.entry(flow.clone()).or_default();
        for out in [&mut self.out, &mut stream.out] {
            for ((out, before), after) in out.iter_mut().zip(before).zip(after) {
                *out = (*out + after).saturating_sub(before);
            }
        }
        if stream.is_gone() {
            self.flows.remove(flow);
        }
    }

    /// A run wants places of a class.
    pub(crate) fn queue(&mut self, class: TaskClass, flow: &Arc<Flow>, run: Name) {
        let stream = self.flows.entry(flow.clone()).or_default();
        stream.hungry[class as usize].push_back(run);
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
        let flow = self.first(index)?;
        let rivals = self.flows.iter().filter(|(rival, _)| rival.lane == flow.lane);
        let wanting: usize = rivals.map(|(_, stream)| stream.hungry[index].len()).sum();
        self.turns += 1;
        let stream = self.flows.get_mut(&flow)?;
        stream.turn = self.turns;
        let run = stream.hungry[index].pop_front()?;
        if stream.is_gone() {
            self.flows.remove(&flow);
        }
        Some((run, free.div_ceil(wanting.max(1))))
    }

    /// The flow whose turn it is.
    fn first(&self, index: usize) -> Option<Arc<Flow>> {
        let lane = self.lane(index)?;
        let of_lane = || self.flows.iter().filter(|(flow, _)| flow.lane == lane);
        let mut of_tenants: BTreeMap<&Name, usize> = BTreeMap::new();
        for (flow, stream) in of_lane() {
            *of_tenants.entry(&flow.tenant).or_default() += stream.out[index];
        }
        let wanting = of_lane().filter(|(_, stream)| !stream.hungry[index].is_empty());
        let first = wanting.min_by_key(|(flow, stream)| {
            (of_tenants.get(&flow.tenant).copied(), stream.out[index], stream.turn)
        });
        first.map(|(flow, _)| flow.clone())
    }

    /// The lane whose turn it is: the one that is waited for, unless the other has less than what
    /// is kept for it.
    fn lane(&self, index: usize) -> Option<Lane> {
        let mut wants = [false; 2];
        let mut of_batches = 0;
        for (flow, stream) in &self.flows {
            wants[flow.lane as usize] |= !stream.hungry[index].is_empty();
            if flow.lane == Lane::Batch {
                of_batches += stream.out[index];
            }
        }
        let kept = self.window.limits[index].div_ceil(KEPT);
        match wants {
            [true, true] if of_batches < kept => Some(Lane::Batch),
            [true, _] => Some(Lane::Interactive),
            [false, true] => Some(Lane::Batch),
            [false, false] => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.out == PerClass::default() && self.flows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: usize = TaskClass::Http as usize;

    fn flow(lane: Lane, tenant: &str, batch: Option<&str>) -> Arc<Flow> {
        Arc::new(Flow { lane, tenant: tenant.into(), batch: batch.map(Name::from) })
    }

    fn gate(places: usize) -> Gate {
        Gate::new(Window::new(|_| places))
    }

    /// Gives one place at a time, and whose they were, until there is none; runs are named after
    /// their flow and want as much as they can get.
    fn given(gate: &mut Gate, flows: &[(&str, &Arc<Flow>)]) -> Vec<String> {
        let mut given = Vec::new();
        while let Some((run, _)) = gate.next(TaskClass::Http) {
            let name = run.to_string();
            let (_, flow) = flows.iter().find(|(start, _)| name.starts_with(start)).unwrap();
            let mut one = PerClass::default();
            one[HTTP] = 1;
            gate.moved(flow, PerClass::default(), one);
            gate.queue(TaskClass::Http, flow, run);
            given.push(name);
        }
        given
    }

    fn count(given: &[String], start: &str) -> usize {
        given.iter().filter(|run| run.starts_with(start)).count()
    }

    #[test]
    fn tenants_get_as_much_however_many_runs_they_have() {
        let mut gate = gate(10);
        let (many, one) = (flow(Lane::Batch, "many", None), flow(Lane::Batch, "one", None));
        for run in 0..1000 {
            gate.queue(TaskClass::Http, &many, format!("m{run}").as_str().into());
        }
        gate.queue(TaskClass::Http, &one, "o".into());
        let given = given(&mut gate, &[("m", &many), ("o", &one)]);
        assert_eq!((count(&given, "m"), count(&given, "o")), (5, 5));
    }

    #[test]
    fn batches_of_a_tenant_get_as_much_as_each_other() {
        let mut gate = gate(12);
        let (large, small) = (flow(Lane::Batch, "t", Some("l")), flow(Lane::Batch, "t", Some("s")));
        let other = flow(Lane::Batch, "u", None);
        for run in 0..100 {
            gate.queue(TaskClass::Http, &large, format!("l{run}").as_str().into());
        }
        gate.queue(TaskClass::Http, &small, "s".into());
        gate.queue(TaskClass::Http, &other, "o".into());
        let given = given(&mut gate, &[("l", &large), ("s", &small), ("o", &other)]);
        let counts = ["l", "s", "o"].map(|start| count(&given, start));
        assert_eq!(counts, [3, 3, 6]);
    }

    #[test]
    fn who_is_waited_for_comes_first_and_a_tenth_is_kept() {
        let mut gate = gate(20);
        let (batch, person) =
            (flow(Lane::Batch, "t", Some("b")), flow(Lane::Interactive, "t", None));
        for run in 0..100 {
            gate.queue(TaskClass::Http, &batch, format!("b{run}").as_str().into());
        }
        gate.queue(TaskClass::Http, &person, "p".into());
        let given = given(&mut gate, &[("b", &batch), ("p", &person)]);
        assert_eq!((count(&given, "b"), count(&given, "p")), (2, 18));
    }

    #[test]
    fn one_that_comes_late_gets_the_next_place() {
        let mut gate = gate(4);
        let (early, late) = (flow(Lane::Batch, "early", None), flow(Lane::Batch, "late", None));
        gate.queue(TaskClass::Http, &early, "e".into());
        assert_eq!(given(&mut gate, &[("e", &early)]).len(), 4);
        gate.queue(TaskClass::Http, &late, "l".into());
        let mut one = PerClass::default();
        one[HTTP] = 1;
        gate.moved(&early, one, PerClass::default());
        assert_eq!(given(&mut gate, &[("e", &early), ("l", &late)]), ["l"]);
    }

    #[test]
    fn whoever_is_alone_gets_all() {
        let mut gate = gate(7);
        let alone = flow(Lane::Batch, "t", None);
        gate.queue(TaskClass::Http, &alone, "a".into());
        assert_eq!(gate.next(TaskClass::Http), Some(("a".into(), 7)));
        assert!(gate.is_empty());
    }
}
