//! A store in memory that several schedulers share: what a database is to processes, this is to
//! services in one of them. It keeps everything as long as one of its handles lives.
//!
//! Here are facts and their commit; `shards` is for owners, `intake` for submitters, `work` for
//! workers and whoever compiles documents, `batches` for batches, `contents` for whoever takes files
//! in, `shares` for who may have how much, `letters` for dead letters, `announcements` for whoever
//! tells others of ends, `webhooks` for those who send events, `tenants` for whoever asks who a caller
//! is.

mod announcements;
mod audit;
mod batches;
#[cfg(feature = "payloads")]
mod contents;
mod intake;
mod keeping;
mod letters;
#[cfg(feature = "seal")]
mod reseal;
mod shards;
mod shares;
mod tenants;
mod webhooks;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flowmill_engine::fact::{BatchLine, Event, Fact, Parent, Status};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::run::{Outcome, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::audit::Entry;
use crate::checkpoints::CheckpointKey;
use crate::clock::{Clock as _, SystemClock};
use crate::dead_letters::DeadLetter;
use crate::intake::{Attached, Conversation, Document, IdempotencyKey};
use crate::message::{PlanKey, Shard};
use crate::retention::Terms;
use crate::shards::{Signal, Wish};
use crate::shares::{Parts, Party, Share};
use crate::store::{Batch, Commit, Settled, Standing, Store, StoreError, Tenure};
use crate::tenants::{ApiKey, DEFAULT_TENANT};

/// A way into a store that others have ways into.
#[derive(Clone, Debug)]
pub struct SharedStore {
    state: Arc<Mutex<State>>,
    #[cfg(feature = "payloads")]
    payloads: Arc<super::MemoryPayloads>,
    clock: SystemClock,
    lease: Duration,
}

#[derive(Debug, Default)]
struct State {
    shards: Vec<ShardRow>,
    /// When each scheduler said last that it lives.
    schedulers: BTreeMap<Name, Time>,
    runs: BTreeMap<Name, RunRow>,
    /// How many runs were accepted or begun.
    places: u64,
    signals: Vec<SignalRow>,
    /// By tenant and id.
    conversations: BTreeMap<(Name, Name), Conversation>,
    /// By digest.
    documents: BTreeMap<(Name, Name), Document>,
    /// What documents are compiled with.
    texts: BTreeMap<(Name, Name), Name>,
    /// The digest that a name means.
    names: BTreeMap<(Name, Name), Name>,
    /// The run that was submitted under a key.
    keys: HashMap<(Name, Name), (Name, IdempotencyKey)>,
    checkpoints: HashMap<CheckpointKey, Kept>,
    letters: Vec<letters::LetterRow>,
    endpoints: Vec<webhooks::EndpointRow>,
    deliveries: Vec<webhooks::DeliveryRow>,
    /// How many deliveries were made.
    told: i64,
    batches: BTreeMap<Name, batches::BatchRow>,
    /// Since when each is there.
    tenants: BTreeMap<Name, Time>,
    /// Those that were removed and had something.
    leaving: BTreeSet<Name>,
    api_keys: Vec<ApiKey>,
    audit: Vec<Entry>,
    /// How long tenants want what they have to be kept.
    terms: BTreeMap<Name, Terms>,
    shares: BTreeMap<(Name, Party), Share>,
    /// What schedulers have of what is shared.
    parts: Parts,
    #[cfg(feature = "payloads")]
    uploads: BTreeMap<(Name, Name), crate::contents::Upload>,
}

#[derive(Clone, Debug, Default)]
struct ShardRow {
    epoch: u64,
    mark: u64,
    last: u64,
    owner: Option<Name>,
    expires_at: Time,
}

#[derive(Debug)]
struct RunRow {
    tenant: Name,
    place: u64,
    plan: PlanKey,
    /// What it begins with, until it begins.
    start: Option<Start>,
    status: Option<Status>,
    accepted_at: Time,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    /// Whether others were told of its end.
    is_announced: bool,
    standing: Standing,
    journal: Vec<Fact>,
    conversation: Option<Name>,
    rerun_of: Option<Name>,
    attached: Attached,
    line: Option<BatchLine>,
    /// The node of another run that waits for it.
    parent: Option<Parent>,
}

#[derive(Debug)]
struct SignalRow {
    signal: Signal,
    settled: Option<Settled>,
}

/// What is kept of an attempt.
#[derive(Debug, Default)]
struct Kept {
    outcome: Option<Outcome>,
    redeliveries: u32,
}

impl SharedStore {
    /// An empty store of so many shards. A lease lasts this long.
    pub fn new(shards: u16, lease: Duration) -> Self {
        let rows = vec![ShardRow::default(); usize::from(shards.max(1))];
        let tenants = BTreeMap::from([(DEFAULT_TENANT.into(), Time::default())]);
        let state = State { shards: rows, tenants, ..State::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            #[cfg(feature = "payloads")]
            payloads: Arc::default(),
            clock: SystemClock::new(),
            lease,
        }
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(self, clock: SystemClock) -> Self {
        Self { clock, ..self }
    }

    /// Another way into the same store, by which a lease lasts this long.
    #[must_use]
    pub fn with_lease(&self, lease: Duration) -> Self {
        Self { lease, ..self.clone() }
    }

    /// The dead letters that were kept, in order.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.lock().letters.iter().map(|row| row.parked.letter.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Store for SharedStore {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.lock();
        state.check_owner(batch)?;
        state.check_order(batch)?;
        for commit in &batch.commits {
            state.add(now, commit);
        }
        for tenure in &batch.tenures {
            if let Some(row) = state.shards.get_mut(usize::from(tenure.shard.0)) {
                row.mark = row.mark.max(tenure.mark);
            }
        }
        for settled in &batch.signals {
            let found = state.signals.iter_mut().find(|row| row.signal.id == settled.signal);
            if let Some(row) = found {
                row.settled = Some(settled.clone());
            }
        }
        Ok(())
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        Ok(self.lock().runs.get(run).map(|row| row.journal.clone()).unwrap_or_default())
    }

    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        let state = self.lock();
        let begun = state.runs.get(run).filter(|row| !row.journal.is_empty());
        Ok(begun.map(|row| {
            let mut report = Report::new(History::Full);
            row.journal.iter().for_each(|fact| report.add(plan, fact));
            report
        }))
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.runs.remove(run);
        state.signals.retain(|row| row.signal.run != *run);
        state.checkpoints.retain(|key, _| key.run != *run);
        Ok(())
    }
}

impl State {
    /// Whether this epoch is the shard's present one.
    fn owns(&self, tenure: &Tenure) -> bool {
        let row = self.shards.get(usize::from(tenure.shard.0));
        row.is_some_and(|row| row.epoch == tenure.epoch)
    }

    fn check_owner(&self, batch: &Batch) -> Result<(), StoreError> {
        let Batch { commits, tenures, .. } = batch;
        let is_claimed = |shard: Shard| tenures.iter().any(|tenure| tenure.shard == shard);
        let strange = commits.iter().map(|commit| commit.standing.shard);
        let strange = strange.filter(|shard| !tenures.is_empty() && !is_claimed(*shard));
        let lost = tenures.iter().filter(|tenure| !self.owns(tenure)).map(|tenure| tenure.shard);
        match strange.chain(lost).next() {
            Some(shard) => Err(StoreError::Fenced { shard }),
            None => Ok(()),
        }
    }

    fn check_order(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut next: HashMap<&Name, u64> = HashMap::new();
        for commit in &batch.commits {
            let row = self.runs.get(&commit.run);
            if row.is_some_and(|row| row.finished_at.is_some()) && !commit.facts.is_empty() {
                let seq = commit.facts[0].seq;
                return Err(StoreError::Conflict { run: commit.run.clone(), seq });
            }
            let held = row.and_then(|row| row.journal.last()).map_or(0, |fact| fact.seq);
            let expected = next.entry(&commit.run).or_insert(held + 1);
            for fact in commit.facts.iter() {
                if fact.seq != *expected {
                    return Err(StoreError::Conflict { run: commit.run.clone(), seq: fact.seq });
                }
                *expected += 1;
            }
        }
        Ok(())
    }

    fn add(&mut self, now: Time, commit: &Commit) {
        if commit.facts.is_empty() {
            return;
        }
        let Commit { run, facts, standing, .. } = commit;
        if let Some(row) = self.shards.get_mut(usize::from(standing.shard.0)) {
            row.last = row.last.max(standing.last_number);
        }
        if !self.runs.contains_key(run) {
            let row = self.new_row(DEFAULT_TENANT.into(), PlanKey::default(), now);
            self.runs.insert(run.clone(), row);
        }
        if let Some(row) = self.runs.get_mut(run) {
            let last_number = row.standing.last_number.max(standing.last_number);
            row.standing = Standing { last_number, ..*standing };
            let before = row.status;
            row.extend(facts);
            self.tell_endpoints(now, run, before);
            self.tell_family(run);
        }
        self.keep_said(run, facts);
    }

    /// The end of a child is told to its parent, and the end of a parent ends its children.
    fn tell_family(&mut self, run: &Name) {
        let has_ended = |row: &RunRow| row.finished_at.is_some();
        let Some(row) = self.runs.get(run).filter(|row| has_ended(row)) else { return };
        let actor = format!("run {run}").into();
        if let Some(Parent { run: parent, task, attempt, call, .. }) = row.parent.clone()
            && self.runs.get(&parent).is_some_and(|row| !has_ended(row))
        {
            let wish = Wish::ChildEnded { task, attempt, call, run: run.clone() };
            self.signal(&parent, &wish, &actor);
        }
        let is_child = |row: &RunRow| row.parent.as_ref().is_some_and(|of| of.run == *run);
        let going = self.runs.iter().filter(|(_, row)| is_child(row) && !has_ended(row));
        let going: Vec<Name> = going.map(|(child, _)| child.clone()).collect();
        for child in going {
            self.signal(&child, &Wish::Stop, &actor);
        }
    }

    /// Keeps what a run that ended wrote to its conversation.
    fn keep_said(&mut self, run: &Name, facts: &[Fact]) {
        let Some(row) = self.runs.get(run) else { return };
        let Some(conversation) = &row.conversation else { return };
        let key = (row.tenant.clone(), conversation.clone());
        let Some(kept) = self.conversations.get_mut(&key) else { return };
        for fact in facts {
            let Event::RunFinished(finished) = &fact.event else { continue };
            for (name, said) in &finished.conversation {
                match kept.values.binary_search_by(|(held, _)| held.cmp(name)) {
                    Ok(at) => kept.values[at].1 = said.clone(),
                    Err(at) => kept.values.insert(at, (name.clone(), said.clone())),
                }
            }
        }
    }

    fn new_row(&mut self, tenant: Name, plan: PlanKey, accepted_at: Time) -> RunRow {
        self.places += 1;
        RunRow {
            tenant,
            place: self.places,
            plan,
            start: None,
            status: None,
            accepted_at,
            started_at: None,
            finished_at: None,
            is_announced: false,
            standing: Standing::default(),
            journal: Vec::new(),
            conversation: None,
            rerun_of: None,
            attached: Attached::default(),
            line: None,
            parent: None,
        }
    }
}

impl RunRow {
    /// Adds facts, and what a list of runs shows of them.
    fn extend(&mut self, facts: &[Fact]) {
        // what was submitted says which plan it follows
        let was_queued = self.start.take().is_some();
        self.status.get_or_insert(Status::Running);
        for Fact { at, event, .. } in facts {
            match event {
                Event::RunStarted(started) => {
                    self.started_at = Some(*at);
                    if was_queued {
                        continue;
                    }
                    self.plan = PlanKey::of(&started.workflow, &started.options);
                }
                Event::RunPaused => self.status = Some(Status::Paused),
                Event::RunResumed { .. } => self.status = Some(Status::Running),
                Event::RunFinished(finished) => {
                    self.status = Some(finished.status);
                    self.started_at.get_or_insert(*at);
                    self.finished_at = Some(*at);
                }
                _ => {}
            }
        }
        if self.finished_at.is_some() {
            let Standing { shard, last_number, .. } = self.standing;
            self.standing = Standing { shard, last_number, ..Standing::default() };
        }
        self.journal.extend_from_slice(facts);
    }
}
