//! The shared store for those who submit runs, want something of them, or look at them.

use flowmill_engine::fact::Fact;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::intake::{
    self, Accepted, Attached, Conversation, Document, Filter, IdempotencyKey, Intake, Submission,
    Turn,
};
use crate::message::PlanKey;
use crate::shards::{Signal, Wish};
use crate::store::{Settled, Standing, StoreError};

use super::{RunRow, SharedStore, SignalRow, State};

impl Intake for SharedStore {
    async fn push(&self, tenant: &Name, document: &Document) -> Result<(), StoreError> {
        let mut state = self.lock();
        let key = (tenant.clone(), document.digest.clone());
        let kept = state.documents.entry(key).or_insert_with(|| document.clone());
        kept.name = document.name.clone();
        let name = (tenant.clone(), document.name.clone());
        state.names.insert(name, document.digest.clone());
        Ok(())
    }

    async fn document(&self, tenant: &Name, named: &str) -> Result<Option<Document>, StoreError> {
        let state = self.lock();
        let by_digest = |digest: &Name| state.documents.get(&(tenant.clone(), digest.clone()));
        let found = by_digest(&named.into())
            .or_else(|| by_digest(state.names.get(&(tenant.clone(), named.into()))?));
        Ok(found.cloned())
    }

    async fn versions(
        &self,
        tenant: &Name,
        named: &[Name],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let mut found = Vec::with_capacity(named.len());
        for named in named {
            let version = self.document(tenant, named).await?;
            found.push(version.map(|document| Document { text: "".into(), ..document }));
        }
        Ok(found)
    }

    async fn keep(&self, tenant: &Name, digest: &Name, text: &Name) -> Result<(), StoreError> {
        let key = (tenant.clone(), digest.clone());
        self.lock().texts.entry(key).or_insert_with(|| text.clone());
        Ok(())
    }

    async fn documents(&self, tenant: &Name) -> Result<Vec<Document>, StoreError> {
        let state = self.lock();
        let theirs = state.names.iter().filter(|((whose, _), _)| whose == tenant);
        let document = |((_, name), digest): (&(Name, Name), &Name)| {
            let found = state.documents.get(&(tenant.clone(), digest.clone()))?;
            Some(Document { name: name.clone(), text: "".into(), ..found.clone() })
        };
        Ok(theirs.filter_map(document).collect())
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Accepted>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        Ok(state.accept(submissions, now))
    }

    async fn conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> Result<Option<Conversation>, StoreError> {
        let key = (tenant.clone(), conversation.clone());
        Ok(self.lock().conversations.get(&key).cloned())
    }

    async fn wish(
        &self,
        tenant: &Name,
        run: &Name,
        wish: &Wish,
        actor: &Name,
    ) -> Result<Option<i64>, StoreError> {
        let mut state = self.lock();
        let goes_on = state.run_of(tenant, run).is_some_and(|row| row.finished_at.is_none());
        if !goes_on {
            return Ok(None);
        }
        let id = state.signal(run, wish, actor);
        Ok(Some(id))
    }

    async fn settled(&self, signals: &[i64]) -> Result<Vec<Settled>, StoreError> {
        let state = self.lock();
        let is_asked = |row: &&SignalRow| signals.contains(&row.signal.id);
        let asked = state.signals.iter().filter(is_asked);
        Ok(asked.filter_map(|row| row.settled.clone()).collect())
    }

    async fn run(&self, tenant: &Name, run: &Name) -> Result<Option<intake::RunRow>, StoreError> {
        let state = self.lock();
        Ok(state.run_of(tenant, run).map(|row| state.shown(run, row)))
    }

    async fn runs(
        &self,
        tenant: &Name,
        filter: &Filter,
    ) -> Result<Vec<intake::RunRow>, StoreError> {
        let state = self.lock();
        let Filter { workflow, status, is_queued, rerun_of, batch, parent, .. } = filter;
        let Filter { since, until, before, after, most, .. } = filter;
        let before =
            before.as_ref().map(|run| state.run_of(tenant, run).map_or(0, |row| row.place));
        let after =
            after.as_ref().map(|run| state.run_of(tenant, run).map_or(u64::MAX, |row| row.place));
        let is_of = |row: &RunRow, named: &Name| {
            row.plan.workflow == *named || state.name_of(row).as_ref() == Some(named)
        };
        let is_shown = |row: &RunRow| {
            row.tenant == *tenant
                && workflow.as_ref().is_none_or(|named| is_of(row, named))
                && if *is_queued {
                    row.status.is_none()
                } else {
                    status.is_none_or(|status| row.status == Some(status))
                }
                && before.is_none_or(|before| row.place < before)
                && after.is_none_or(|after| row.place > after)
                && since.is_none_or(|since| row.accepted_at >= since)
                && until.is_none_or(|until| row.accepted_at < until)
                && (rerun_of.is_none() || *rerun_of == row.rerun_of)
                && (parent.is_none() || parent.as_ref() == row.parent.as_ref().map(|of| &of.run))
                && batch
                    .as_ref()
                    .is_none_or(|batch| row.line.as_ref().is_some_and(|line| line.batch == *batch))
        };
        let mut found: Vec<_> = state.runs.iter().filter(|(_, row)| is_shown(row)).collect();
        found.sort_by_key(|(_, row)| std::cmp::Reverse(row.place));
        if filter.is_oldest_first {
            found.reverse();
        }
        let bare = |shown: intake::RunRow| {
            let attached = Attached { metadata: None, ..shown.attached };
            intake::RunRow { attached, ..shown }
        };
        Ok(found.into_iter().take(*most).map(|(run, row)| bare(state.shown(run, row))).collect())
    }

    async fn ended(&self, runs: &[Name]) -> Result<Vec<Name>, StoreError> {
        let state = self.lock();
        let has_ended =
            |run: &&Name| state.runs.get(*run).is_some_and(|row| row.finished_at.is_some());
        Ok(runs.iter().filter(has_ended).cloned().collect())
    }

    async fn facts(
        &self,
        tenant: &Name,
        run: &Name,
        after: u64,
    ) -> Result<Option<(PlanKey, Vec<Fact>)>, StoreError> {
        let state = self.lock();
        Ok(state.run_of(tenant, run).map(|row| {
            let later = row.journal.iter().filter(|fact| fact.seq > after);
            (row.plan.clone(), later.cloned().collect())
        }))
    }

    async fn news(&self, asked: &[(Name, u64)]) -> Result<Vec<Vec<Fact>>, StoreError> {
        let state = self.lock();
        let journal = |run: &Name| state.runs.get(run).into_iter().flat_map(|row| &row.journal);
        let later = |(run, after): &(Name, u64)| {
            journal(run).filter(|fact| fact.seq > *after).cloned().collect()
        };
        Ok(asked.iter().map(later).collect())
    }
}

impl State {
    pub(super) fn accept(&mut self, submissions: &[Submission], now: Time) -> Vec<Accepted> {
        let mut accepted = Vec::with_capacity(submissions.len());
        for Submission { tenant, shard, plan, start, wake_at, key, turn, attached } in submissions {
            if let Some(before) =
                key.as_ref().and_then(|key| self.take_key(tenant, key, &start.run))
            {
                accepted.push(before);
                continue;
            }
            accepted.push(Accepted::New);
            let goes_on = |run: &Name| self.runs.get(run).is_some_and(|r| r.finished_at.is_none());
            let is_orphan = start.parent.as_ref().is_some_and(|parent| !goes_on(&parent.run));
            if self.runs.contains_key(&start.run) || is_orphan {
                continue;
            }
            let mut row = self.new_row(tenant.clone(), plan.clone(), now);
            row.start = Some(start.clone());
            row.rerun_of = start.adoption.as_ref().map(|adoption| adoption.from.clone());
            row.conversation = turn.as_ref().map(|turn| turn.conversation.clone());
            row.line.clone_from(&start.line);
            row.parent.clone_from(&start.parent);
            row.attached.clone_from(attached);
            if let Some(turn) = turn {
                self.count(tenant, turn);
            }
            row.standing =
                Standing { shard: *shard, wake_at: Some(*wake_at), ..Standing::default() };
            self.runs.insert(start.run.clone(), row);
        }
        accepted
    }

    /// Leaves a signal for a run's owner, and answers its number.
    pub(super) fn signal(&mut self, run: &Name, wish: &Wish, actor: &Name) -> i64 {
        let id = self.signals.last().map_or(0, |row| row.signal.id) + 1;
        let (run, wish, actor) = (run.clone(), Ok(wish.clone()), actor.clone());
        let signal = Signal { id, run, wish, actor };
        self.signals.push(SignalRow { signal, settled: None });
        id
    }

    /// What a key was used for before; None when it is the run's.
    fn take_key(&mut self, tenant: &Name, key: &IdempotencyKey, run: &Name) -> Option<Accepted> {
        let kept = self.keys.entry((tenant.clone(), key.key.clone()));
        let (first, known) = kept.or_insert_with(|| (run.clone(), key.clone()));
        if first == run {
            return None;
        }
        let is_same = known.fingerprint == key.fingerprint;
        let first = first.clone();
        Some(if is_same { Accepted::Before(first) } else { Accepted::Other(first) })
    }

    /// Counts a turn of a conversation, which begins with its first.
    fn count(&mut self, tenant: &Name, turn: &Turn) {
        let key = (tenant.clone(), turn.conversation.clone());
        let app = turn.app.clone();
        let new = || Conversation { app, turns: 0, values: Vec::new() };
        self.conversations.entry(key).or_insert_with(new).turns += u64::from(turn.counts);
    }

    fn run_of(&self, tenant: &Name, run: &Name) -> Option<&RunRow> {
        self.runs.get(run).filter(|row| row.tenant == *tenant)
    }

    /// What a run's document is called.
    pub(super) fn name_of(&self, row: &RunRow) -> Option<Name> {
        let key = (row.tenant.clone(), row.plan.workflow.clone());
        self.documents.get(&key).map(|document| document.name.clone())
    }

    pub(super) fn shown(&self, run: &Name, row: &RunRow) -> intake::RunRow {
        intake::RunRow {
            run: run.clone(),
            workflow: row.plan.workflow.clone(),
            name: self.name_of(row).unwrap_or_else(|| "".into()),
            status: row.status,
            accepted_at: row.accepted_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            wake_at: row.standing.wake_at,
            in_flight: row.standing.in_flight,
            seq: row.journal.last().map_or(0, |fact| fact.seq),
            conversation: row.conversation.clone(),
            rerun_of: row.rerun_of.clone(),
            attached: row.attached.clone(),
            line: row.line.clone(),
            parent: row.parent.as_ref().map(|parent| parent.run.clone()),
        }
    }
}
