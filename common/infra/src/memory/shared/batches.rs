//! The shared store for batches.

use std::collections::BTreeMap;
use std::time::Duration;

use flowmill_engine::fact::{Event, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::batches::{
    Batch, Batches, Counts, Fed, LineResult, NewBatch, State, Steer, Steered, Which,
};
use crate::intake::{Accepted, IdempotencyKey, Submission};
use crate::shares::Party;
use crate::store::StoreError;

use super::{RunRow, SharedStore, State as Everything};

/// How long nobody else gets a batch that was claimed.
const CLAIM: Duration = Duration::from_secs(10);

/// How long the lines of a batch may stand still before it is stopped.
const ABANDONED: Duration = Duration::from_hours(1);

/// A batch and its lines.
#[derive(Debug)]
pub(super) struct BatchRow {
    /// Without counts, which the runs tell.
    batch: Batch,
    key: Option<IdempotencyKey>,
    lines: Vec<Name>,
    /// By line, what the submitter calls it and why it is no run.
    rejects: BTreeMap<u64, (Option<Name>, Name)>,
    grown_at: Time,
    /// Who makes runs of it, and until when.
    claim: (Name, Time),
    /// The number of the note that its end is not announced yet, below zero: those of runs are above.
    note: Option<i64>,
}

impl Everything {
    /// Whether a tenant has batches that have not ended.
    pub(super) fn feeds(&self, tenant: &Name) -> bool {
        let mut theirs = self.batches.values().filter(|row| row.batch.tenant == *tenant);
        theirs.any(|row| !row.batch.state.has_ended())
    }
}

impl Batches for SharedStore {
    async fn create_batch(&self, batch: &NewBatch) -> Result<Accepted, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let same = |row: &&BatchRow| {
            let of_key = |key: &IdempotencyKey| {
                row.batch.tenant == batch.tenant
                    && row.key.as_ref().is_some_and(|known| known.key == key.key)
            };
            row.batch.batch == batch.batch || batch.key.as_ref().is_some_and(of_key)
        };
        if let Some(known) = state.batches.values().find(same) {
            let id = known.batch.batch.clone();
            return Ok(if id == batch.batch {
                Accepted::New
            } else if known.key == batch.key {
                Accepted::Before(id)
            } else {
                Accepted::Other(id)
            });
        }
        let row = BatchRow {
            batch: Batch {
                batch: batch.batch.clone(),
                tenant: batch.tenant.clone(),
                workflow: batch.workflow.clone(),
                name: "".into(),
                terms: batch.terms.clone(),
                state: State::Importing,
                cause: None,
                lines: 0,
                fed: 0,
                rejected: 0,
                counts: Counts::default(),
                created_at: now,
                started_at: None,
                finished_at: None,
                due_at: now.after(Duration::from_micros(batch.due_in)),
                rerun_of: batch.rerun_of.clone(),
            },
            key: batch.key.clone(),
            lines: Vec::new(),
            rejects: BTreeMap::new(),
            grown_at: now,
            claim: ("".into(), Time(0)),
            note: None,
        };
        state.batches.insert(batch.batch.clone(), row);
        Ok(Accepted::New)
    }

    async fn add_lines(
        &self,
        tenant: &Name,
        batch: &Name,
        first: u64,
        lines: &[Name],
    ) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let Some(row) = state.batch_of(tenant, batch) else { return Ok(false) };
        if row.batch.state != State::Importing || row.batch.lines + 1 != first {
            return Ok(false);
        }
        row.lines.extend_from_slice(lines);
        row.batch.lines = row.lines.len() as u64;
        row.grown_at = now;
        Ok(true)
    }

    async fn begin_batch(&self, tenant: &Name, batch: &Name) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let row = state.batch_of(tenant, batch);
        let Some(row) = row.filter(|row| row.batch.state == State::Importing) else {
            return Ok(false);
        };
        row.batch.state = State::Running;
        row.batch.started_at = Some(now);
        Ok(true)
    }

    async fn batch(&self, tenant: &Name, batch: &Name) -> Result<Option<Batch>, StoreError> {
        let state = self.lock();
        let found = state.batches.get(batch).filter(|row| row.batch.tenant == *tenant);
        Ok(found.map(|row| state.told(row)))
    }

    async fn batches(
        &self,
        tenant: &Name,
        before: Option<&Name>,
        most: usize,
    ) -> Result<Vec<Batch>, StoreError> {
        let state = self.lock();
        let is_asked = |(id, row): &(&Name, &BatchRow)| {
            row.batch.tenant == *tenant && before.is_none_or(|before| *id < before)
        };
        let found = state.batches.iter().rev().filter(is_asked).take(most);
        Ok(found.map(|(_, row)| state.told(row)).collect())
    }

    async fn lines(&self, batch: &Name, first: u64, most: usize) -> Result<Vec<Name>, StoreError> {
        let state = self.lock();
        let Some(row) = state.batches.get(batch) else { return Ok(Vec::new()) };
        let skipped = usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(row.lines.iter().skip(skipped).take(most).cloned().collect())
    }

    async fn claim_batches(&self, feeder: &Name, most: usize) -> Result<Vec<Batch>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let is_due = |row: &&mut BatchRow| {
            let batch = &row.batch;
            let has_work = match batch.state {
                State::Running | State::Stopping => true,
                State::Importing => row.grown_at.after(ABANDONED) < now,
                _ => false,
            };
            let (holder, until) = &row.claim;
            batch.finished_at.is_none()
                && (has_work || batch.due_at <= now)
                && (holder == feeder || *until < now)
        };
        let mut claimed = Vec::new();
        for row in state.batches.values_mut().filter(is_due).take(most) {
            row.claim = (feeder.clone(), now.after(CLAIM));
            claimed.push(row.batch.batch.clone());
        }
        Ok(claimed.iter().filter_map(|id| Some(state.told(state.batches.get(id)?))).collect())
    }

    async fn feed(&self, batch: &Name, after: u64, fed: &[Fed]) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let is_next = |row: &&mut BatchRow| {
            let held = &row.batch;
            let end = after + fed.len() as u64;
            held.state == State::Running && held.fed == after && end <= held.lines
        };
        let Some(row) = state.batches.get_mut(batch).filter(is_next) else { return Ok(false) };
        row.batch.fed += fed.len() as u64;
        let mut submissions: Vec<Submission> = Vec::new();
        for (fed, line) in fed.iter().zip(after + 1..) {
            match fed {
                Fed::Run(submission) => submissions.push((**submission).clone()),
                Fed::Rejected { custom_id, problem } => {
                    row.batch.rejected += 1;
                    row.rejects.insert(line, (custom_id.clone(), problem.clone()));
                }
            }
        }
        state.accept(&submissions, now);
        Ok(true)
    }

    async fn steer_batch(
        &self,
        tenant: &Name,
        batch: &Name,
        steer: Steer,
        actor: &Name,
    ) -> Result<Option<Steered>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let Some(row) = state.batch_of(tenant, batch) else { return Ok(None) };
        let held = &mut row.batch;
        if !steer.from().contains(&held.state) {
            return Ok(Some(Steered::Refused(held.state)));
        }
        held.state = steer.to();
        held.cause = steer.cause().or(held.cause);
        held.started_at.get_or_insert(now);
        let waits = |run: &Name| {
            let mut open = state.signals.iter().filter(|row| row.settled.is_none());
            open.any(|row| row.signal.run == *run)
        };
        let is_asked = |run: &Name, row: &RunRow| {
            let is_of = row.line.as_ref().is_some_and(|line| line.batch == *batch);
            let is_paused = || row.status == Some(Status::Paused) || waits(run);
            is_of && row.finished_at.is_none() && (!steer.is_for_paused() || is_paused())
        };
        let runs = state.runs.iter().filter(|(run, row)| is_asked(run, row));
        let runs: Vec<Name> = runs.map(|(run, _)| run.clone()).collect();
        for run in &runs {
            state.signal(run, &steer.wish(), actor);
        }
        Ok(Some(Steered::Done(runs)))
    }

    async fn end_batch(&self, batch: &Name, end: State) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let ended = state.batches.values().filter(|row| row.batch.finished_at.is_some()).count();
        let open = |row: &&mut BatchRow| row.batch.finished_at.is_none();
        let Some(row) = state.batches.get_mut(batch).filter(open) else { return Ok(false) };
        row.batch.state = end;
        row.batch.finished_at = Some(now);
        row.note = i64::try_from(ended).ok().map(|before| -1 - before);
        let tenant = row.batch.tenant.clone();
        state.tell_of_batch(now, &tenant, batch);
        state.shares.remove(&(tenant, Party::Batch(batch.clone())));
        Ok(true)
    }

    async fn results(
        &self,
        tenant: &Name,
        batch: &Name,
        after: u64,
        most: usize,
        which: Which,
    ) -> Result<Vec<LineResult>, StoreError> {
        let state = self.lock();
        let held = state.batches.get(batch).filter(|row| row.batch.tenant == *tenant);
        let Some(held) = held else { return Ok(Vec::new()) };
        let is_good =
            |row: &RunRow| matches!(row.status, Some(Status::Succeeded | Status::PartialSucceeded));
        let is_asked = |row: &RunRow| {
            let is_meant = which.is_good().is_none_or(|asked| is_good(row) == asked);
            row.finished_at.is_some() && is_meant
        };
        let mut results = Vec::new();
        for (run, row) in state.runs.iter().filter(|(_, row)| is_asked(row)) {
            let line = row.line.as_ref();
            let Some(line) = line.filter(|line| line.batch == *batch && line.line > after) else {
                continue;
            };
            let end = match row.journal.last().map(|fact| &fact.event) {
                Some(Event::RunFinished(finished)) => Some(finished.clone()),
                _ => None,
            };
            let result = Ok((state.shown(run, row), end));
            results.push(LineResult { line: line.line, custom_id: line.custom_id.clone(), result });
        }
        if which != Which::Good {
            let rejects = held.rejects.range(after + 1..);
            results.extend(rejects.map(|(line, (custom_id, problem))| LineResult {
                line: *line,
                custom_id: custom_id.clone(),
                result: Err(problem.clone()),
            }));
        }
        results.sort_by_key(|found| found.line);
        results.truncate(most);
        Ok(results)
    }
}

impl Everything {
    /// Batches whose end is not announced yet, with the numbers of their notes.
    pub(super) fn batches_unannounced(&self) -> Vec<(i64, Box<Batch>)> {
        let noted = |row: &BatchRow| Some((row.note?, Box::new(self.told(row))));
        self.batches.values().filter_map(noted).collect()
    }

    /// These notes go.
    pub(super) fn batches_announced(&mut self, ids: &[i64]) {
        for row in self.batches.values_mut() {
            row.note = row.note.filter(|id| !ids.contains(id));
        }
    }

    fn batch_of(&mut self, tenant: &Name, batch: &Name) -> Option<&mut BatchRow> {
        self.batches.get_mut(batch).filter(|row| row.batch.tenant == *tenant)
    }

    /// A batch as its runs have it now.
    fn told(&self, row: &BatchRow) -> Batch {
        let mut batch = row.batch.clone();
        let name = (batch.tenant.clone(), batch.workflow.clone());
        if let Some(document) = self.documents.get(&name) {
            batch.name = document.name.clone();
        }
        let is_of = |run: &&RunRow| {
            run.finished_at.is_some()
                && run.line.as_ref().is_some_and(|line| line.batch == batch.batch)
        };
        let mut counts = Counts::default();
        for run in self.runs.values().filter(is_of) {
            match run.status {
                Some(Status::Succeeded) => counts.succeeded += 1,
                Some(Status::PartialSucceeded) => counts.partial += 1,
                Some(Status::Stopped) => counts.stopped += 1,
                _ => counts.failed += 1,
            }
        }
        batch.counts = counts;
        batch
    }
}
