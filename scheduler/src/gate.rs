//! Who may send how many tasks: a bound on what is out, shared fairly among those who want some.
//!
//! Runs that somebody waits for come first, with a tenth kept for batches. Among the tenants of a
//! lane a place goes to the one that has the least out for its weight, among a tenant's documents and
//! batches again to the one with the least, and its runs take turns. The last tenth of the places is
//! for tenants that have less than their share. Who has all that a limit allows waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flowmill_engine::fact::Lane;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shares::Party;

use crate::allotments::{Allotments, fullness, is_of};
use crate::pace::Pace;

/// A number per class.
pub(crate) type PerClass = [usize; TaskClass::ALL.len()];

/// Of how many places one is kept: for batches, if runs come before them that want all, and for
/// tenants that have less than their share.
pub(crate) const KEPT: usize = 10;

/// The most tasks in flight, by class. It bounds what waits in the broker: the rest waits as
/// ready nodes, which cost nothing.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    limits: PerClass,
}

impl Window {
    /// A window of so many tasks per class, at least one.
    pub fn new(limits: impl Fn(TaskClass) -> usize) -> Self {
        Self { limits: TaskClass::ALL.map(|class| limits(class).max(1)) }
    }

    /// A window for `slots` workers' slots per class: twice as many may be out, so that no slot
    /// waits for the next task.
    pub fn for_slots(slots: impl Fn(TaskClass) -> usize) -> Self {
        Self::new(|class| slots(class).max(1) * 2)
    }

    pub(crate) fn limits(&self) -> PerClass {
        self.limits
    }
}

/// What a flow has and wants.
#[derive(Debug, Default)]
struct Stream {
    out: PerClass,
    /// Runs with ready nodes of a class, each in its turn.
    hungry: [VecDeque<Name>; TaskClass::ALL.len()],
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
    pace: Pace,
    allotments: Arc<Allotments>,
    out: PerClass,
    /// Of these in each lane, by tenant.
    of_tenants: [BTreeMap<Name, PerClass>; 2],
    flows: BTreeMap<Arc<Flow>, Stream>,
    turns: u64,
}

/// Who wants places of a class, so that each place is given without a look at all of them.
#[derive(Debug)]
pub(crate) struct Round {
    index: usize,
    lanes: [Wanting; 2],
}

/// Who wants some in a lane.
#[derive(Debug, Default)]
struct Wanting {
    tenants: Vec<Tenant>,
    /// The weights of all who want some or have some.
    weights: u64,
}

/// A tenant who wants some.
#[derive(Debug)]
struct Tenant {
    name: Name,
    weight: u64,
    /// Their flows that do, each with its weight.
    flows: Vec<(Arc<Flow>, u64)>,
    /// When one of these got something last.
    turn: u64,
}

/// The part of so many that a weight is of all weights, one at least.
fn part(of: usize, weight: u64, weights: u64) -> usize {
    let part =
        u64::try_from(of).unwrap_or(u64::MAX).saturating_mul(weight).div_ceil(weights.max(1));
    usize::try_from(part).unwrap_or(usize::MAX).clamp(1, of.max(1))
}

impl Gate {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            pace: Pace::new(window),
            allotments: Arc::default(),
            out: PerClass::default(),
            of_tenants: Default::default(),
            flows: BTreeMap::new(),
            turns: 0,
        }
    }

    /// From now on these shares count.
    pub(crate) fn allot(&mut self, allotments: Arc<Allotments>) {
        self.allotments = allotments;
    }

    /// How fast workers take up what is sent.
    pub(crate) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Notes that a run's tasks went from `before` to `after`.
    pub(crate) fn moved(&mut self, flow: &Arc<Flow>, before: PerClass, after: PerClass) {
        if before == after {
            return;
        }
        let stream = self.flows.entry(flow.clone()).or_default();
        let of_tenants = &mut self.of_tenants[flow.lane as usize];
        let of_tenant = of_tenants.entry(flow.tenant.clone()).or_default();
        for out in [&mut self.out, of_tenant, &mut stream.out] {
            for ((out, before), after) in out.iter_mut().zip(before).zip(after) {
                *out = (*out + after).saturating_sub(before);
            }
        }
        if *of_tenant == PerClass::default() {
            of_tenants.remove(&flow.tenant);
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
        (self.out, self.pace.limits())
    }

    /// How many tasks of a party are out, of all classes.
    pub(crate) fn out_of(&self, tenant: &Name, party: &Party) -> usize {
        let of_it = self.flows.iter().filter(|(flow, _)| flow.tenant == *tenant);
        let of_it = of_it.filter(|(flow, _)| is_of(flow, party));
        of_it.map(|(_, stream)| stream.out.iter().sum::<usize>()).sum()
    }

    /// Who wants places of a class; None when there are none, or nobody does.
    pub(crate) fn round(&self, class: TaskClass) -> Option<Round> {
        let index = class as usize;
        if self.free(index) == 0 {
            return None;
        }
        let mut lanes: [Wanting; 2] = Default::default();
        let hungry = self.flows.iter().filter(|(_, stream)| !stream.hungry[index].is_empty());
        for (flow, stream) in hungry {
            // flows of a lane are in the order of their tenants
            let tenants = &mut lanes[flow.lane as usize].tenants;
            if tenants.last().is_none_or(|last| last.name != flow.tenant) {
                let weight = self.allotments.weight_of_tenant(&flow.tenant);
                let (name, flows) = (flow.tenant.clone(), Vec::new());
                tenants.push(Tenant { name, weight, flows, turn: 0 });
            }
            if let Some(tenant) = tenants.last_mut() {
                tenant.turn = tenant.turn.max(stream.turn);
                tenant.flows.push((flow.clone(), self.allotments.weight(flow)));
            }
        }
        if lanes.iter().all(|lane| lane.tenants.is_empty()) {
            return None;
        }
        for (lane, of_tenants) in lanes.iter_mut().zip(&self.of_tenants) {
            let wants =
                |name: &Name| lane.tenants.binary_search_by(|tenant| tenant.name.cmp(name)).is_ok();
            let content = of_tenants.iter().filter(|(name, out)| out[index] > 0 && !wants(name));
            let content: u64 =
                content.map(|(name, _)| self.allotments.weight_of_tenant(name)).sum();
            lane.weights = content + lane.tenants.iter().map(|tenant| tenant.weight).sum::<u64>();
        }
        Some(Round { index, lanes })
    }

    fn free(&self, index: usize) -> usize {
        self.pace.limits()[index].saturating_sub(self.out[index])
    }

    /// Whose turn it is, and how many places it may take: its share of the free ones.
    pub(crate) fn next(&mut self, round: &mut Round) -> Option<(Name, usize)> {
        let index = round.index;
        let free = self.free(index);
        loop {
            let lane = self.lane(round).filter(|_| free > 0)?;
            let wanting = &mut round.lanes[lane as usize];
            let weights = wanting.tenants.iter().map(|tenant| tenant.weight).sum();
            let Some((place, at)) = self.first(lane, wanting, (index, free)) else {
                // none of them may have more
                wanting.tenants.clear();
                continue;
            };
            let tenant = &mut wanting.tenants[place];
            let (flow, weight) = tenant.flows[at].clone();
            let room = self.room(&flow);
            let stream = self.flows.get_mut(&flow);
            let run = stream.filter(|_| room > 0).and_then(|stream| {
                let rivals = stream.hungry[index].len();
                Some((stream.hungry[index].pop_front()?, rivals, stream))
            });
            let Some((run, rivals, stream)) = run else {
                tenant.flows.swap_remove(at);
                if tenant.flows.is_empty() {
                    wanting.tenants.remove(place);
                }
                continue;
            };
            let of_flows = tenant.flows.iter().map(|(_, weight)| weight).sum();
            let share = part(part(free, tenant.weight, weights), weight, of_flows).min(room);
            self.turns += 1;
            (stream.turn, tenant.turn) = (self.turns, self.turns);
            if stream.is_gone() {
                self.flows.remove(&flow);
            }
            return Some((run, share.div_ceil(rivals.max(1))));
        }
    }

    /// The tenant whose turn it is, and which of their flows, by their places.
    fn first(
        &self,
        lane: Lane,
        wanting: &Wanting,
        (index, free): (usize, usize),
    ) -> Option<(usize, usize)> {
        let limit = self.pace.limits()[index];
        let is_kept = free <= limit.div_ceil(KEPT);
        let out = |tenant: &Tenant| {
            let out = self.of_tenants[lane as usize].get(&tenant.name);
            out.map_or(0, |out| out[index])
        };
        let may_take =
            |tenant: &Tenant| !is_kept || out(tenant) < part(limit, tenant.weight, wanting.weights);
        let tenants = wanting.tenants.iter().enumerate().filter(|(_, tenant)| may_take(tenant));
        // of those with as much the one that waits longer
        let (place, tenant) = tenants
            .min_by_key(|(_, tenant)| (fullness(out(tenant), tenant.weight), tenant.turn))?;
        let flows = tenant.flows.iter().enumerate();
        let (at, _) = flows.min_by_key(|(_, (flow, weight))| {
            let stream = self.flows.get(flow);
            let (out, turn) = stream.map_or((0, 0), |stream| (stream.out[index], stream.turn));
            (fullness(out, *weight), turn)
        })?;
        Some((place, at))
    }

    /// How many more tasks a flow may have out.
    fn room(&self, flow: &Flow) -> usize {
        let rooms = self.allotments.of_flow(flow).filter_map(|(party, allotment)| {
            let most = allotment.tasks()?;
            Some(most.saturating_sub(self.out_of(&flow.tenant, &party)))
        });
        rooms.min().unwrap_or(usize::MAX)
    }

    /// The lane whose turn it is: the one that is waited for, unless the other has less than what
    /// is kept for it.
    fn lane(&self, round: &Round) -> Option<Lane> {
        let wants = |lane: Lane| !round.lanes[lane as usize].tenants.is_empty();
        let index = round.index;
        let of_batches = self.of_tenants[Lane::Batch as usize].values().map(|out| out[index]);
        let kept = self.pace.limits()[index].div_ceil(KEPT);
        match (wants(Lane::Interactive), wants(Lane::Batch)) {
            (true, true) if of_batches.sum::<usize>() < kept => Some(Lane::Batch),
            (true, _) => Some(Lane::Interactive),
            (false, true) => Some(Lane::Batch),
            (false, false) => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.out == PerClass::default()
            && self.flows.is_empty()
            && self.of_tenants.iter().all(BTreeMap::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use flowmill_infra::shares::{Allotted, Quota, Share};

    use super::*;

    const HTTP: usize = TaskClass::Http as usize;

    fn flow(lane: Lane, tenant: &str, batch: Option<&str>) -> Arc<Flow> {
        let (tenant, batch) = (tenant.into(), batch.map(Name::from));
        Arc::new(Flow { lane, tenant, workflow: "w".into(), batch })
    }

    fn gate(places: usize) -> Gate {
        Gate::new(Window::new(|_| places))
    }

    /// Gives one place at a time, and whose they were, until there is none; runs are named after
    /// their flow and want as much as they can get.
    fn given(gate: &mut Gate, flows: &[(&str, &Arc<Flow>)]) -> Vec<String> {
        let mut given = Vec::new();
        let Some(mut round) = gate.round(TaskClass::Http) else { return given };
        while let Some((run, _)) = gate.next(&mut round) {
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

    fn allot(gate: &mut Gate, shares: &[(&str, Party, Share)]) {
        let allotted = |(tenant, party, share): &(&str, Party, Share)| Allotted {
            tenant: (*tenant).into(),
            party: party.clone(),
            share: *share,
        };
        let shares: Vec<Allotted> = shares.iter().map(allotted).collect();
        // whoever is alone may have all
        let quota = |of: &Allotted| {
            let Share { runs, tasks, .. } = of.share;
            Quota { tenant: of.tenant.clone(), party: of.party.clone(), runs, tasks }
        };
        let quotas: Vec<Quota> = shares.iter().map(quota).collect();
        gate.allot(Arc::new(Allotments::of(&shares, &quotas)));
    }

    #[test]
    fn weights_say_who_gets_how_much() {
        let mut gate = gate(40);
        let (heavy, light) = (flow(Lane::Batch, "heavy", None), flow(Lane::Batch, "light", None));
        let batch = |batch| flow(Lane::Batch, "heavy", Some(batch));
        let (large, small) = (batch("large"), batch("small"));
        let weight = |weight| Share { weight, ..Share::default() };
        let shares = [
            ("heavy", Party::Tenant, weight(3)),
            ("heavy", Party::Batch("large".into()), weight(4)),
        ];
        allot(&mut gate, &shares);
        for run in 0..100 {
            gate.queue(TaskClass::Http, &large, format!("l{run}").as_str().into());
            gate.queue(TaskClass::Http, &small, format!("s{run}").as_str().into());
            gate.queue(TaskClass::Http, &heavy, format!("h{run}").as_str().into());
            gate.queue(TaskClass::Http, &light, format!("o{run}").as_str().into());
        }
        let flows = [("l", &large), ("s", &small), ("h", &heavy), ("o", &light)];
        let given = given(&mut gate, &flows);
        let counts = ["l", "s", "h", "o"].map(|start| count(&given, start));
        assert_eq!(counts, [20, 5, 5, 10]);
    }

    #[test]
    fn the_share_that_is_offered_at_once_is_by_weight_too() {
        let mut gate = gate(40);
        let (heavy, light) = (flow(Lane::Batch, "heavy", None), flow(Lane::Batch, "light", None));
        let share = Share { weight: 3, ..Share::default() };
        allot(&mut gate, &[("heavy", Party::Tenant, share)]);
        gate.queue(TaskClass::Http, &heavy, "h".into());
        gate.queue(TaskClass::Http, &light, "l".into());
        let mut round = gate.round(TaskClass::Http).unwrap();
        assert_eq!(gate.next(&mut round), Some(("h".into(), 30)));
    }

    #[test]
    fn whoever_has_all_that_a_limit_allows_waits() {
        let mut gate = gate(20);
        let one = flow(Lane::Interactive, "t", None);
        let other = flow(Lane::Batch, "t", Some("b"));
        let limit = |tasks| Share { tasks: Some(tasks), ..Share::default() };
        let shares = [("t", Party::Tenant, limit(7)), ("t", Party::Batch("b".into()), limit(3))];
        allot(&mut gate, &shares);
        gate.queue(TaskClass::Http, &other, "b".into());
        let flows = [("b", &other), ("i", &one)];
        assert_eq!(count(&given(&mut gate, &flows), "b"), 3);
        gate.queue(TaskClass::Http, &one, "i".into());
        assert_eq!(count(&given(&mut gate, &flows), "i"), 4);
        assert_eq!(gate.out_of(&"t".into(), &Party::Tenant), 7);
        // one that is not limited is not held up by those who are
        let free = flow(Lane::Batch, "free", None);
        gate.queue(TaskClass::Http, &free, "f".into());
        let flows = [("b", &other), ("i", &one), ("f", &free)];
        // all but what is kept for the other, who has less than its share
        assert_eq!(count(&given(&mut gate, &flows), "f"), 11);
    }

    #[test]
    fn the_last_places_are_for_those_below_their_share() {
        let mut gate = gate(100);
        let (many, few) = (flow(Lane::Batch, "many", None), flow(Lane::Batch, "few", None));
        let mut one = PerClass::default();
        one[HTTP] = 1;
        gate.moved(&few, PerClass::default(), one);
        gate.queue(TaskClass::Http, &many, "m".into());
        assert_eq!(count(&given(&mut gate, &[("m", &many)]), "m"), 89);
        gate.queue(TaskClass::Http, &few, "f".into());
        assert_eq!(count(&given(&mut gate, &[("m", &many), ("f", &few)]), "f"), 10);
    }

    #[test]
    fn whoever_is_alone_gets_all() {
        let mut gate = gate(7);
        let alone = flow(Lane::Batch, "t", None);
        gate.queue(TaskClass::Http, &alone, "a".into());
        let mut round = gate.round(TaskClass::Http).unwrap();
        assert_eq!(gate.next(&mut round), Some(("a".into(), 7)));
        assert_eq!(gate.next(&mut round), None);
        assert!(gate.is_empty());
    }
}
