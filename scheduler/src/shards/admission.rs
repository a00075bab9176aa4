//! Which of the runs that wait may begin: as many as there is room for, shared as places of the window
//! are.
//!
//! While all that wait fit in, they begin in the order of their acceptance, and one question brings
//! them. Once they do not, each flow gets its part: whoever submits a hundred thousand runs is no
//! reason for others to wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::fact::Lane;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::{Flow, OF_CHILDREN, WaitingFlow};
use flowmill_infra::shards::{Damaged, Queued, Shards};
use flowmill_infra::shares::{Party, Shares};
use flowmill_infra::store::StoreError;
use tokio::time::Instant;

use crate::allotments::{Allotment, Allotments, fullness, is_of};
use crate::gate::KEPT;
use crate::owner::Owner;
use crate::plans::{PlanError, Plans};

use super::{ROWS, Sharded};

/// The most runs in memory that did not end; more stay rows.
const ACTIVE: usize = 10_000;

/// How many runs end, at most, until those that wait are looked at again.
const ENDS: usize = 64;

/// What is known of runs that wait.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Whether more wait than may begin, as far as is known.
    is_backlogged: bool,
    /// In which flows, as they were seen last.
    flows: Vec<WaitingFlow>,
    /// How many runs there were after some began.
    active: usize,
}

impl Admission {
    /// Whether enough runs ended for others to begin.
    pub(super) fn has_room(&self, owner: &Owner) -> bool {
        let ended = self.active.saturating_sub(owner.active());
        self.is_backlogged && ended >= (self.active / 16).clamp(1, ENDS)
    }

    /// The flows in which runs wait that could not begin.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().map(|waiting| &waiting.flow)
    }
}

impl<S: Shards + Shares, P: Plans> Sharded<S, P> {
    /// Begins runs that wait, as many as may.
    pub(super) async fn begin_queued(
        &mut self,
        owner: &mut Owner,
        now: Time,
    ) -> Result<(), StoreError> {
        // nobody knows yet what is limited
        if !self.allotting.has_told() {
            return Ok(());
        }
        let room = ACTIVE.saturating_sub(owner.active());
        if room == 0 {
            self.admission.is_backlogged = true;
            return self.begin_children(owner, now).await;
        }
        let most = room.min(ROWS);
        if !self.admission.is_backlogged {
            let queued = self.store.queued(&self.shards(), most).await?;
            // there may be others behind these, which are to have their part
            self.admission.is_backlogged = queued.len() == most;
            if !self.admission.is_backlogged {
                for queued in queued {
                    self.begin_one(owner, queued, now).await;
                }
            }
        }
        let before = owner.active();
        if self.admission.is_backlogged {
            self.begin_children(owner, now).await?;
            self.begin_in_turns(owner, now, most).await?;
        }
        self.admission.active = owner.active();
        // what cannot begin is asked for again in its time, not at once
        if owner.active() > before {
            self.sweep_at = Instant::now();
        }
        Ok(())
    }

    /// Begins runs that nodes of others wait for, whatever is full: those end with them.
    async fn begin_children(&mut self, owner: &mut Owner, now: Time) -> Result<(), StoreError> {
        let children = [(OF_CHILDREN.into(), ROWS)];
        let queued = self.store.queued_of(&self.shards(), &children).await?;
        if queued.len() == ROWS {
            self.sweep_at = Instant::now();
        }
        for queued in queued {
            self.begin_one(owner, queued, now).await;
        }
        Ok(())
    }

    /// Gives each flow its part of the places.
    async fn begin_in_turns(
        &mut self,
        owner: &mut Owner,
        now: Time,
        most: usize,
    ) -> Result<(), StoreError> {
        let shards = self.shards();
        let flows = self.store.waiting_flows(&shards).await?;
        self.admission.is_backlogged = !flows.is_empty();
        let chosen = choose(&flows, owner.census(), &self.allotting.allotments(), most);
        self.admission.flows = flows;
        if chosen.is_empty() {
            return Ok(());
        }
        for queued in self.store.queued_of(&shards, &chosen).await? {
            self.begin_one(owner, queued, now).await;
        }
        Ok(())
    }

    async fn begin_one(&mut self, owner: &mut Owner, queued: Result<Queued, Damaged>, now: Time) {
        match queued {
            Ok(queued) if self.may_begin(owner, &queued) => self.begin(owner, queued, now).await,
            Ok(_) => self.admission.is_backlogged = true,
            Err(Damaged { run, why }) => self.condemned.cannot_be_read(&run, &why),
        }
    }

    /// Whether the limits of its flow allow one more run.
    fn may_begin(&self, owner: &Owner, queued: &Queued) -> bool {
        let allotments = self.allotting.allotments();
        if !allotments.has_limits() || queued.start.parent.is_some() {
            return true;
        }
        let flow = Flow {
            lane: queued.start.options.lane,
            tenant: queued.tenant.clone(),
            workflow: queued.name.clone(),
            batch: queued.start.line.as_ref().map(|line| line.batch.clone()),
        };
        let mut rooms = allotments
            .of_flow(&flow)
            .filter_map(|(party, allotment)| room(&flow.tenant, &party, allotment, owner.census()));
        rooms.all(|room| room > 0)
    }

    pub(super) async fn begin(&mut self, owner: &mut Owner, queued: Queued, now: Time) {
        let Queued { plan, tenant, name, start } = queued;
        let run = start.run.clone();
        if owner.holds(&run) || self.condemned.has(&run) {
            return;
        }
        match self.plans.plan(&tenant, &plan).await {
            Ok(plan) => {
                if let Err(why) = owner.begin(now, plan, (tenant, name), start) {
                    self.condemned.broken(&run, &why);
                }
            }
            Err(error @ PlanError::Bad(_)) => self.condemned.broken(&run, &error.to_string()),
            Err(error @ PlanError::Unavailable(_)) => {
                tracing::warn!(run.id = %run, %error, "a run cannot begin yet");
            }
        }
    }
}

type Census = BTreeMap<Arc<Flow>, usize>;

/// How many more runs of a party of a tenant may begin; None where there is no limit.
fn room(tenant: &Name, party: &Party, allotment: &Allotment, census: &Census) -> Option<usize> {
    let of_it = census.iter().filter(|(flow, _)| flow.tenant == *tenant && is_of(flow, party));
    Some(allotment.runs()?.saturating_sub(of_it.map(|(_, runs)| runs).sum()))
}

/// What decides whose turn it is to begin runs.
#[derive(Debug)]
struct Turns<'a> {
    tenants: Vec<Standing>,
    flows: Vec<Candidate>,
    /// The parties that are limited, and how many runs of each may still begin.
    rooms: Vec<((&'a Name, Party), usize)>,
    /// The weights of all tenants who want some or have some.
    weights: u64,
    /// Runs of batches.
    of_batches: usize,
    /// Places that are free.
    free: usize,
}

/// How much a tenant has for their weight.
#[derive(Clone, Copy, Debug)]
struct Standing {
    weight: u64,
    runs: usize,
}

impl Standing {
    fn fullness(self) -> u64 {
        fullness(self.runs, self.weight)
    }
}

/// A flow in which runs wait.
#[derive(Debug)]
struct Candidate {
    lane: Lane,
    /// Where its tenant is.
    tenant: usize,
    /// What it has beside others of its tenant.
    standing: Standing,
    /// Where its limits are.
    rooms: Vec<usize>,
}

impl<'a> Turns<'a> {
    fn new(waiting: &'a [WaitingFlow], census: &'a Census, allotments: &Allotments) -> Self {
        let mut runs: BTreeMap<&Name, usize> = BTreeMap::new();
        for WaitingFlow { flow, .. } in waiting {
            runs.entry(&flow.tenant).or_default();
        }
        for (flow, count) in census {
            *runs.entry(&flow.tenant).or_default() += count;
        }
        let names: Vec<&Name> = runs.keys().copied().collect();
        let tenants: Vec<Standing> = runs
            .iter()
            .map(|(name, runs)| Standing { weight: allotments.weight_of_tenant(name), runs: *runs })
            .collect();
        let mut rooms: Vec<((&Name, Party), usize)> = Vec::new();
        let flows = waiting.iter().map(|WaitingFlow { flow, .. }| {
            let limits = allotments.of_flow(flow).filter_map(|(party, allotment)| {
                let known = rooms
                    .iter()
                    .position(|((tenant, of), _)| **tenant == flow.tenant && *of == party);
                known.or_else(|| {
                    let room = room(&flow.tenant, &party, allotment, census)?;
                    rooms.push(((&flow.tenant, party), room));
                    Some(rooms.len() - 1)
                })
            });
            let limits = limits.collect();
            let runs = census.get(flow).copied().unwrap_or(0);
            Candidate {
                lane: flow.lane,
                tenant: names.binary_search(&&flow.tenant).unwrap_or(0),
                standing: Standing { weight: allotments.weight(flow), runs },
                rooms: limits,
            }
        });
        let flows = flows.collect();
        let batches = census.iter().filter(|(flow, _)| flow.lane == Lane::Batch);
        Self {
            weights: tenants.iter().map(|tenant| tenant.weight).sum(),
            of_batches: batches.map(|(_, runs)| runs).sum(),
            free: ACTIVE.saturating_sub(tenants.iter().map(|tenant| tenant.runs).sum()),
            tenants,
            flows,
            rooms,
        }
    }

    /// Whether a flow may have one more: of the last places a tenant gets only what makes up its
    /// share, and never all of them.
    fn may_take(&self, flow: &Candidate) -> bool {
        let Standing { weight, runs } = self.tenants[flow.tenant];
        let share = (ACTIVE as u64).saturating_mul(weight) / self.weights.max(1);
        let share = usize::try_from(share).unwrap_or(ACTIVE).min(ACTIVE - ACTIVE / KEPT);
        let is_kept = self.free <= ACTIVE / KEPT;
        (!is_kept || runs < share) && flow.rooms.iter().all(|at| self.rooms[*at].1 > 0)
    }

    /// The flow whose turn it is.
    fn next(&self) -> Option<usize> {
        let mut first: [Option<((u64, u64), usize)>; 2] = [None; 2];
        for (at, flow) in self.flows.iter().enumerate().filter(|(_, flow)| self.may_take(flow)) {
            let key = (self.tenants[flow.tenant].fullness(), flow.standing.fullness());
            let best = &mut first[flow.lane as usize];
            if best.is_none_or(|(other, _)| key < other) {
                *best = Some((key, at));
            }
        }
        let [interactive, batch] = first;
        let kept = batch.filter(|_| self.of_batches < ACTIVE / KEPT);
        kept.or(interactive).or(batch).map(|(_, at)| at)
    }

    /// Gives a flow so many places, or as many as its limits allow; answers how many.
    fn give(&mut self, at: usize, count: usize) -> usize {
        let flow = &mut self.flows[at];
        let room = flow.rooms.iter().map(|at| self.rooms[*at].1).min();
        let count = count.min(room.unwrap_or(usize::MAX));
        for at in &flow.rooms {
            self.rooms[*at].1 -= count;
        }
        flow.standing.runs += count;
        self.tenants[flow.tenant].runs += count;
        self.of_batches += if flow.lane == Lane::Batch { count } else { 0 };
        self.free = self.free.saturating_sub(count);
        count
    }
}

/// How many runs of which flows are to begin, by their keys: `most` in all.
fn choose(
    waiting: &[WaitingFlow],
    census: &Census,
    allotments: &Allotments,
    most: usize,
) -> Vec<(Name, usize)> {
    let mut turns = Turns::new(waiting, census, allotments);
    let mut left = most.min(turns.free);
    let mut chosen = vec![0; waiting.len()];
    // several at a time, so that many flows cost little
    let step = (left / waiting.len().max(1) / 4).max(1);
    while left > 0 {
        let Some(at) = turns.next() else { break };
        let count = turns.give(at, step.min(left));
        chosen[at] += count;
        left -= count;
    }
    let keys = waiting.iter().map(|waiting| waiting.key.clone());
    keys.zip(chosen).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use flowmill_infra::shares::{Allotted, Quota, Share};

    use super::*;

    fn flow(lane: Lane, tenant: &str, batch: Option<&str>) -> Flow {
        let batch = batch.map(Name::from);
        Flow { lane, tenant: tenant.into(), workflow: "w".into(), batch }
    }

    fn waiting(flows: &[&Flow]) -> Vec<WaitingFlow> {
        let flows = flows.iter().zip(0..);
        let waiting = |(flow, number): (&&Flow, u32)| WaitingFlow {
            key: format!("{number}").as_str().into(),
            flow: (*flow).clone(),
        };
        flows.map(waiting).collect()
    }

    fn census(of: &[(&Flow, usize)]) -> Census {
        of.iter().map(|(flow, runs)| (Arc::new((*flow).clone()), *runs)).collect()
    }

    fn counts(chosen: &[(Name, usize)]) -> Vec<(&str, usize)> {
        chosen.iter().map(|(key, count)| (&**key, *count)).collect()
    }

    #[test]
    fn who_has_little_comes_first() {
        let (many, one) =
            (flow(Lane::Interactive, "many", None), flow(Lane::Interactive, "one", None));
        let free = Allotments::default();
        let chosen = choose(&waiting(&[&many, &one]), &census(&[(&many, 400)]), &free, 512);
        assert_eq!(counts(&chosen), [("0", 64), ("1", 448)]);
        let chosen = choose(&waiting(&[&many, &one]), &census(&[(&many, 5000)]), &free, 512);
        assert_eq!(counts(&chosen), [("1", 512)]);
        // whoever is alone gets all, but for what is kept
        let chosen = choose(&waiting(&[&many]), &census(&[(&many, 5000)]), &free, 512);
        assert_eq!(counts(&chosen), [("0", 512)]);
        assert!(choose(&waiting(&[&many]), &census(&[(&many, 9000)]), &free, 512).is_empty());
        let chosen = choose(&waiting(&[&many, &one]), &census(&[(&many, 9000)]), &free, 512);
        assert_eq!(counts(&chosen), [("1", 512)]);
    }

    #[test]
    fn batches_wait_for_others_but_have_a_tenth() {
        let (person, batch) =
            (flow(Lane::Interactive, "t", None), flow(Lane::Batch, "t", Some("b")));
        let free = Allotments::default();
        let all = waiting(&[&person, &batch]);
        let chosen = choose(&all, &census(&[(&batch, 1000), (&person, 3000)]), &free, 100);
        assert_eq!(counts(&chosen), [("0", 100)]);
        let chosen = choose(&all, &census(&[(&batch, 900), (&person, 3000)]), &free, 200);
        assert_eq!(counts(&chosen), [("0", 100), ("1", 100)]);
    }

    #[test]
    fn weights_and_limits_count() {
        let (heavy, light) =
            (flow(Lane::Batch, "t", Some("heavy")), flow(Lane::Batch, "t", Some("light")));
        let limited = flow(Lane::Batch, "u", Some("limited"));
        let held = |tenant: &str, party, weight, runs| {
            let share = Share { weight, runs, tasks: None };
            Allotted { tenant: tenant.into(), party, share }
        };
        let batch = |name: &str| Party::Batch(name.into());
        let shares = [held("t", batch("heavy"), 3, None), held("u", batch("limited"), 1, Some(10))];
        let quota =
            Quota { tenant: "u".into(), party: batch("limited"), runs: Some(6), tasks: None };
        let allotments = Allotments::of(&shares, &[quota]);
        let all = waiting(&[&heavy, &light, &limited]);
        let chosen = choose(&all, &census(&[(&limited, 4)]), &allotments, 402);
        let [(_, heavy), (_, light), limited] = counts(&chosen)[..] else { panic!("{chosen:?}") };
        assert_eq!((heavy + light, limited), (400, ("2", 2)));
        assert!((280..=320).contains(&heavy), "{heavy} and {light}");
    }

    #[test]
    fn a_limit_of_a_tenant_is_for_all_of_its_flows_together() {
        let (one, other) = (flow(Lane::Batch, "t", Some("a")), flow(Lane::Batch, "t", Some("b")));
        let share = Share { weight: 1, runs: Some(5), tasks: None };
        let held = Allotted { tenant: "t".into(), party: Party::Tenant, share };
        let quota = Quota { tenant: "t".into(), party: Party::Tenant, runs: Some(5), tasks: None };
        let allotments = Allotments::of(&[held], &[quota]);
        let chosen = choose(&waiting(&[&one, &other]), &census(&[(&one, 1)]), &allotments, 512);
        let sum: usize = chosen.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, 4, "{chosen:?}");
    }
}
