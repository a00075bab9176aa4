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
use flowmill_infra::flow::{Flow, WaitingFlow};
use flowmill_infra::shards::{Damaged, Queued, Shards};
use flowmill_infra::shares::Shares;
use flowmill_infra::store::StoreError;
use tokio::time::Instant;

use crate::allotments::Allotments;
use crate::owner::Owner;
use crate::plans::{PlanError, Plans};

use super::{ROWS, Sharded};

/// The most runs in memory that did not end; more stay rows.
pub(super) const ACTIVE: usize = 10_000;

/// Of how many of these places one is kept: for batches, if runs come before them that want all, and
/// for tenants that have less than their share.
const KEPT: usize = 10;

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
            return Ok(());
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
            self.begin_in_turns(owner, now, most).await?;
        }
        self.admission.active = owner.active();
        // what cannot begin is asked for again in its time, not at once
        if owner.active() > before {
            self.sweep_at = Instant::now();
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
        if !allotments.has_limits() {
            return true;
        }
        let flow = Flow {
            lane: queued.start.options.lane,
            tenant: queued.tenant.clone(),
            workflow: queued.name.clone(),
            batch: queued.start.line.as_ref().map(|line| line.batch.clone()),
        };
        room(&flow, owner.census(), &BTreeMap::new(), &allotments) > 0
    }

    async fn begin(&mut self, owner: &mut Owner, queued: Queued, now: Time) {
        let Queued { plan, tenant, name, start } = queued;
        let run = start.run.clone();
        if owner.holds(&run) {
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

/// How many more runs of a flow may begin by its limits, beside those that were chosen.
fn room(
    flow: &Flow,
    census: &Census,
    chosen: &BTreeMap<&Flow, usize>,
    allotments: &Allotments,
) -> usize {
    let limits = allotments.of_flow(flow).filter_map(|(party, allotment)| {
        let most = allotment.runs()?;
        let is_of_it =
            |other: &Flow| other.tenant == flow.tenant && crate::allotments::is_of(other, &party);
        let held = census.iter().filter(|(other, _)| is_of_it(other)).map(|(_, runs)| runs);
        let more = chosen.iter().filter(|(other, _)| is_of_it(other)).map(|(_, runs)| runs);
        Some(most.saturating_sub(held.chain(more).sum()))
    });
    limits.min().unwrap_or(usize::MAX)
}

/// How many runs of which flows are to begin, by their keys: `most` in all.
fn choose(
    waiting: &[WaitingFlow],
    census: &Census,
    allotments: &Allotments,
    most: usize,
) -> Vec<(Name, usize)> {
    let mut of_tenants: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut of_batches = 0;
    for (flow, runs) in census {
        *of_tenants.entry(&flow.tenant).or_default() += runs;
        of_batches += if flow.lane == Lane::Batch { *runs } else { 0 };
    }
    let mut left = ACTIVE.saturating_sub(of_tenants.values().sum());
    let mut free = most.min(left);
    let mut of_flows: BTreeMap<&Flow, usize> = BTreeMap::new();
    let mut chosen = vec![0; waiting.len()];
    let has_limits = allotments.has_limits();
    // several at a time, so that many flows cost little
    let step = (free / waiting.len().max(1) / 4).max(1);
    while free > 0 {
        // of the last places each tenant gets only what makes up its share
        let tenants = waiting.iter().map(|waiting| &waiting.flow.tenant);
        let tenants: std::collections::BTreeSet<&Name> =
            tenants.chain(of_tenants.keys().copied()).collect();
        let weights: u64 = tenants.iter().map(|tenant| allotments.weight_of_tenant(tenant)).sum();
        let is_kept = left <= ACTIVE / KEPT;
        let may_take = |flow: &Flow| {
            let runs = of_tenants.get(&flow.tenant).copied().unwrap_or(0);
            let weight = allotments.weight_of_tenant(&flow.tenant);
            let share = (ACTIVE as u64).saturating_mul(weight) / weights.max(1);
            let is_below = (runs as u64) < share.min((ACTIVE - ACTIVE / KEPT) as u64);
            (!is_kept || is_below) && (!has_limits || room(flow, census, &of_flows, allotments) > 0)
        };
        let candidates: Vec<usize> =
            (0..waiting.len()).filter(|at| may_take(&waiting[*at].flow)).collect();
        let wants = |lane| candidates.iter().any(|at| waiting[*at].flow.lane == lane);
        let lane = match (wants(Lane::Interactive), wants(Lane::Batch)) {
            (true, true) if of_batches < ACTIVE / KEPT => Lane::Batch,
            (true, _) => Lane::Interactive,
            (false, true) => Lane::Batch,
            (false, false) => break,
        };
        let runs_of = |flow: &Flow| {
            let held = census.get(flow).copied().unwrap_or(0);
            held + of_flows.get(flow).copied().unwrap_or(0)
        };
        let of_lane = candidates.into_iter().filter(|at| waiting[*at].flow.lane == lane);
        let first = of_lane.min_by_key(|at| {
            let flow = &waiting[*at].flow;
            let of_tenant = of_tenants.get(&flow.tenant).copied().unwrap_or(0) as u64;
            let of_tenant = (of_tenant << 20) / allotments.weight_of_tenant(&flow.tenant);
            (of_tenant, ((runs_of(flow) as u64) << 20) / allotments.weight(flow))
        });
        let Some(at) = first else { break };
        let flow = &waiting[at].flow;
        let limit = if has_limits { room(flow, census, &of_flows, allotments) } else { usize::MAX };
        let count = step.min(free).min(limit).max(1);
        chosen[at] += count;
        *of_tenants.entry(&flow.tenant).or_default() += count;
        *of_flows.entry(flow).or_default() += count;
        of_batches += if lane == Lane::Batch { count } else { 0 };
        left = left.saturating_sub(count);
        free -= count;
    }
    let keys = waiting.iter().map(|waiting| waiting.key.clone());
    keys.zip(chosen).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use flowmill_infra::shares::{Allotted, Party, Quota, Share};

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
