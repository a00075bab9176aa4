//! The shared store for owners of shards.

use std::collections::BTreeSet;

use flowmill_engine::fact::RunFinished;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::flow::{self, Flow, WaitingFlow};
use crate::intake::end_of;
use crate::message::Shard;
use crate::shards::{Announcement, Damaged, Held, Journal, Queued, Shards, Signal, last_facts};
use crate::store::{Settled, StoreError, Tenure};

use super::{RunRow, SharedStore, State};

impl Shards for SharedStore {
    async fn hold(&self, me: &Announcement, most: u16) -> Result<Held, StoreError> {
        let now = self.now();
        let until = now.after(self.lease);
        let mut state = self.lock();
        state.schedulers.insert(me.scheduler.clone(), now);
        let mine = |owner: &Option<Name>| owner.as_ref() == Some(&me.scheduler);
        let mut count = 0;
        for row in state.shards.iter_mut().filter(|row| mine(&row.owner) && row.expires_at > now) {
            row.expires_at = until;
            count += 1;
        }
        let free = state.shards.iter_mut().filter(|row| row.expires_at <= now);
        for row in free.take(usize::from(most).saturating_sub(count)) {
            row.owner = Some(me.scheduler.clone());
            row.expires_at = until;
            row.epoch += 1;
        }
        let held = state
            .shards
            .iter()
            .zip(0..)
            .filter(|(row, _)| mine(&row.owner) && row.expires_at > now);
        let tenures = held
            .map(|(row, shard)| Tenure {
                shard: Shard(shard),
                epoch: row.epoch,
                mark: row.mark,
                last: row.last,
            })
            .collect();
        let alive = state.schedulers.values().filter(|seen| now.since(**seen) < self.lease).count();
        Ok(Held {
            tenures,
            schedulers: u16::try_from(alive.max(1)).unwrap_or(u16::MAX),
            shards: u16::try_from(state.shards.len()).unwrap_or(u16::MAX),
            now,
        })
    }

    async fn release(&self, me: &Announcement, shards: &[Shard]) -> Result<(), StoreError> {
        let mut state = self.lock();
        if shards.is_empty() {
            state.schedulers.remove(&me.scheduler);
        }
        for (row, shard) in state.shards.iter_mut().zip(0..) {
            let is_mine = row.owner.as_ref() == Some(&me.scheduler);
            if is_mine && (shards.is_empty() || shards.contains(&Shard(shard))) {
                row.owner = None;
                row.expires_at = Time::default();
            }
        }
        Ok(())
    }

    async fn queued(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        let state = self.lock();
        let mut waiting: Vec<(u64, Queued)> =
            state.waiting(shards).filter(|(_, queued)| !state.is_wanted(queued)).collect();
        waiting.sort_by_key(|(place, _)| *place);
        Ok(waiting.into_iter().take(most).map(|(_, queued)| Ok(queued)).collect())
    }

    async fn waiting_flows(&self, shards: &[Shard]) -> Result<Vec<WaitingFlow>, StoreError> {
        let state = self.lock();
        let waiting = state.waiting(shards).map(|(_, queued)| {
            let key = Name::from(key_of(&queued));
            let flow = Flow { workflow: queued.name, ..flow::of_key(&key) };
            WaitingFlow { key, flow }
        });
        Ok(waiting.collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn queued_of(
        &self,
        shards: &[Shard],
        flows: &[(Name, usize)],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        let state = self.lock();
        let mut queued = Vec::new();
        for (key, most) in flows {
            let is_of_it =
                |(_, queued): &(u64, Queued)| *key_of(queued) == **key && !state.is_wanted(queued);
            let mut waiting: Vec<(u64, Queued)> = state.waiting(shards).filter(is_of_it).collect();
            waiting.sort_by_key(|(place, _)| *place);
            queued.extend(waiting.into_iter().take(*most).map(|(_, queued)| Ok(queued)));
        }
        Ok(queued)
    }

    async fn queued_runs(&self, runs: &[Name]) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        let state = self.lock();
        let rows = runs.iter().filter_map(|run| state.runs.get(run));
        Ok(rows.filter_map(|row| state.queued(row)).map(|(_, queued)| Ok(queued)).collect())
    }

    async fn unfinished(&self, tenure: Tenure) -> Result<Vec<Name>, StoreError> {
        let state = self.lock();
        let is_left = |row: &RunRow| {
            let standing = &row.standing;
            standing.is_ready || (standing.in_flight > 0 && standing.last_number > tenure.mark)
        };
        let shards = [tenure.shard];
        let left = state.of(&shards).filter(|(_, row)| is_left(row));
        Ok(left.map(|(run, _)| run.clone()).collect())
    }

    async fn due(
        &self,
        shards: &[Shard],
        until: Time,
        most: usize,
    ) -> Result<Vec<(Time, Name)>, StoreError> {
        let state = self.lock();
        let waking = state.of(shards).filter_map(|(run, row)| Some((row.standing.wake_at?, run)));
        let mut due: Vec<(Time, Name)> =
            waking.filter(|(at, _)| *at <= until).map(|(at, run)| (at, run.clone())).collect();
        due.sort();
        due.truncate(most);
        Ok(due)
    }

    async fn signals(&self, shards: &[Shard], most: usize) -> Result<Vec<Signal>, StoreError> {
        let state = self.lock();
        let is_theirs = |signal: &Signal| {
            let row = state.runs.get(&signal.run);
            row.is_some_and(|row| shards.contains(&row.standing.shard))
        };
        let open =
            state.signals.iter().filter(|row| row.settled.is_none() && is_theirs(&row.signal));
        Ok(open.take(most).map(|row| row.signal.clone()).collect())
    }

    async fn journals(&self, runs: &[Name]) -> Result<Vec<Result<Journal, Damaged>>, StoreError> {
        let state = self.lock();
        let journal = |run: &Name| {
            let row = state.runs.get(run).filter(|row| !row.journal.is_empty())?;
            let (tenant, plan) = (row.tenant.clone(), row.plan.clone());
            let (run, name) = (run.clone(), state.name_of(row).unwrap_or_default());
            Some(Ok(Journal { run, tenant, name, plan, facts: row.journal.clone() }))
        };
        Ok(runs.iter().filter_map(journal).collect())
    }

    async fn end_of(&self, tenant: &Name, run: &Name) -> Result<Option<RunFinished>, StoreError> {
        end_of(self, tenant, run).await
    }

    async fn end(&self, tenure: Tenure, run: &Name, end: &RunFinished) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        if !state.owns(&tenure) {
            return Err(StoreError::Fenced { shard: tenure.shard });
        }
        let row = state.runs.get_mut(run);
        let Some(row) =
            row.filter(|row| row.finished_at.is_none() && row.standing.shard == tenure.shard)
        else {
            return Ok(false);
        };
        let last = row.journal.last().map_or(0, |fact| fact.seq);
        let facts = last_facts(row.start.take(), last, now, end);
        let before = row.status;
        row.extend(&facts);
        state.tell_endpoints(now, run, before);
        state.tell_family(run);
        for row in state.signals.iter_mut().filter(|row| row.signal.run == *run) {
            let refused = Some("the run has ended".into());
            row.settled.get_or_insert(Settled { signal: row.signal.id, refused });
        }
        Ok(true)
    }

    async fn without_deadline(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Name>, StoreError> {
        let state = self.lock();
        let never = |row: &RunRow| row.finished_at.is_none() && row.standing.wake_at.is_none();
        let lost = state.of(shards).filter(|(_, row)| never(row));
        Ok(lost.take(most).map(|(run, _)| run.clone()).collect())
    }

    async fn doubt(&self, tenure: Tenure) -> Result<(), StoreError> {
        let mut state = self.lock();
        let is_owned = state.owns(&tenure);
        match state.shards.get_mut(usize::from(tenure.shard.0)).filter(|_| is_owned) {
            Some(row) => {
                row.mark = 0;
                Ok(())
            }
            None => Err(StoreError::Fenced { shard: tenure.shard }),
        }
    }
}

impl State {
    /// The runs of these shards, by their ids.
    fn of<'a>(&'a self, shards: &'a [Shard]) -> impl Iterator<Item = (&'a Name, &'a RunRow)> {
        self.runs.iter().filter(|(_, row)| shards.contains(&row.standing.shard))
    }

    /// The runs of these shards that have not begun, each with its place.
    fn waiting<'a>(&'a self, shards: &'a [Shard]) -> impl Iterator<Item = (u64, Queued)> {
        self.of(shards).filter_map(|(_, row)| self.queued(row))
    }

    /// A run that has not begun, with its place.
    fn queued(&self, row: &RunRow) -> Option<(u64, Queued)> {
        let start = row.start.clone().filter(|_| row.status.is_none())?;
        let (plan, tenant) = (row.plan.clone(), row.tenant.clone());
        let name = self.name_of(row).unwrap_or_default();
        Some((row.place, Queued { plan, tenant, name, start }))
    }

    /// Whether something is wanted of it that its owner did not deal with.
    fn is_wanted(&self, queued: &Queued) -> bool {
        let is_of_it = |signal: &Signal| signal.run == queued.start.run;
        self.signals.iter().any(|row| row.settled.is_none() && is_of_it(&row.signal))
    }
}

/// What the flow of a run is known by.
fn key_of(Queued { plan, tenant, start, .. }: &Queued) -> String {
    flow::key_of(start, tenant, plan)
}
