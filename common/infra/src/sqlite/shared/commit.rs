//! The commit: checks who owns the shards and what is held of the runs, then writes everything.

use std::collections::HashMap;

use flowmill_engine::fact::{Event, Fact, Status, VERSION};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variable;
use sqlx::{Row as _, SqliteConnection};

use crate::codec::Codec;
use crate::message::{PlanKey, Shard};
use crate::sqlite::writer::Change;
use crate::store::{Batch, Commit, Settled, Standing, StoreError, Tenure};

use super::{conversations, number};

/// A batch, written out by whoever commits it.
#[derive(Debug)]
pub(super) struct Committing {
    tenures: Vec<Tenure>,
    entries: Vec<Entry>,
    signals: Vec<Settled>,
    now: Time,
}

/// A run's facts, and what they make of its row.
#[derive(Debug)]
struct Entry {
    run: Name,
    first: u64,
    last: u64,
    /// The first fact that does not follow the one before it.
    hole: Option<u64>,
    facts: String,
    standing: Standing,
    /// Which plan it follows, where it begins here.
    plan: Option<PlanKey>,
    status: Option<Status>,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    /// What it wrote to its conversation, as it is kept; only with its end.
    said: Vec<(Name, String)>,
}

impl Committing {
    pub(super) async fn of(codec: &Codec, batch: &Batch, now: Time) -> Result<Self, StoreError> {
        let Batch { commits, tenures, signals } = batch;
        let mut entries = Vec::with_capacity(commits.len());
        for commit in commits {
            if let (Some(first), Some(last)) = (commit.facts.first(), commit.facts.last()) {
                let facts = codec.facts(&commit.run, &commit.facts).await?;
                let mut entry = Entry::of(commit, (first.seq, last.seq), facts);
                for (name, variable) in conversation(&commit.facts) {
                    entry.said.push((name.clone(), codec.said(&commit.run, variable)?));
                }
                entries.push(entry);
            }
        }
        Ok(Self { tenures: tenures.clone(), entries, signals: signals.clone(), now })
    }

    /// A shard that has another owner, or of which nobody said to own it; a batch without any
    /// tenure needs none.
    async fn fenced(&self, at: &mut SqliteConnection) -> Result<Option<StoreError>, sqlx::Error> {
        let is_owned = |shard: Shard| self.tenures.iter().any(|held| held.shard == shard);
        let mut shards = self.entries.iter().map(|entry| entry.standing.shard);
        let strange = shards.find(|shard| !self.tenures.is_empty() && !is_owned(*shard));
        if let Some(shard) = strange {
            return Ok(Some(StoreError::Fenced { shard }));
        }
        for tenure in &self.tenures {
            if !owns(*tenure, at).await? {
                return Ok(Some(StoreError::Fenced { shard: tenure.shard }));
            }
        }
        Ok(None)
    }

    /// The first of the entries that does not follow what is held.
    async fn conflict(&self, at: &mut SqliteConnection) -> Result<Option<StoreError>, sqlx::Error> {
        let mut reached: HashMap<&Name, u64> = HashMap::new();
        for entry in &self.entries {
            let (held, has_ended) = match reached.get(&entry.run) {
                Some(last) => (*last, false),
                None => held(&entry.run, at).await?,
            };
            let follows = entry.first == held + 1 && !has_ended;
            let wrong = if follows { entry.hole } else { Some(entry.first) };
            if let Some(seq) = wrong {
                return Ok(Some(StoreError::Conflict { run: entry.run.clone(), seq }));
            }
            reached.insert(&entry.run, entry.last);
        }
        Ok(None)
    }
}

impl Change for Committing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const RAISE: &str = "UPDATE shards SET mark = ?2 WHERE shard = ?1 AND mark < ?2";
        const SETTLE: &str = "UPDATE signals SET settled_at = ?2, refused = ?3 WHERE id = ?1";
        if let Some(fenced) = self.fenced(to).await? {
            return Ok(Err(fenced));
        }
        if let Some(conflict) = self.conflict(to).await? {
            return Ok(Err(conflict));
        }
        for entry in &self.entries {
            entry.write(to, self.now).await?;
        }
        for Tenure { shard, mark, .. } in &self.tenures {
            let raise = sqlx::query(RAISE).bind(i64::from(shard.0)).bind(number(*mark));
            raise.execute(&mut *to).await?;
        }
        for Settled { signal, refused } in &self.signals {
            let settle = sqlx::query(SETTLE).bind(signal).bind(number(self.now.0));
            settle.bind(refused.as_deref()).execute(&mut *to).await?;
        }
        Ok(Ok(()))
    }
}

impl Entry {
    fn of(commit: &Commit, (first, last): (u64, u64), facts: String) -> Self {
        let hole = commit.facts.iter().zip(first..).find(|(fact, due)| fact.seq != *due);
        let mut entry = Self {
            run: commit.run.clone(),
            first,
            last,
            hole: hole.map(|(fact, _)| fact.seq),
            facts,
            standing: commit.standing,
            plan: None,
            status: None,
            started_at: None,
            finished_at: None,
            said: Vec::new(),
        };
        for fact in commit.facts.iter() {
            entry.note(fact);
        }
        if entry.finished_at.is_some() {
            let Standing { shard, last_number, .. } = entry.standing;
            entry.standing = Standing { shard, last_number, ..Standing::default() };
        }
        entry
    }

    /// What a list of runs shows of a fact.
    fn note(&mut self, Fact { at, event, .. }: &Fact) {
        match event {
            Event::RunStarted(started) => {
                self.plan = Some(PlanKey::of(&started.workflow, &started.options));
                self.status = Some(Status::Running);
                self.started_at = Some(*at);
            }
            Event::RunPaused => self.status = Some(Status::Paused),
            Event::RunResumed { .. } => self.status = Some(Status::Running),
            Event::RunFinished(finished) => {
                self.status = Some(finished.status);
                self.finished_at = Some(*at);
            }
            _ => {}
        }
    }

    async fn write(&self, to: &mut SqliteConnection, now: Time) -> Result<(), sqlx::Error> {
        // what was submitted says which plan it follows
        const RUN: &str = "
            INSERT INTO runs (run, tenant, shard, workflow, dify_sizes, mocks, status, seq,
                accepted_at, started_at, finished_at, wake_at, is_ready, in_flight, last_number)
            VALUES (?1, 'default', ?2, ?3, ?4, ?5, coalesce(?6, 'running'), ?7,
                ?8, coalesce(?9, 0), ?10, ?11, ?12, ?13, ?14)
            ON CONFLICT (run) DO UPDATE SET
                status = coalesce(?6, status, 'running'), seq = ?7, start = NULL,
                started_at = coalesce(started_at, ?9, ?10),
                finished_at = coalesce(finished_at, ?10),
                wake_at = ?11, is_ready = ?12, in_flight = ?13,
                last_number = max(last_number, ?14)";
        const FACTS: &str = "
            INSERT INTO journal (run, first, last, version, facts) VALUES (?, ?, ?, ?, ?)";
        const LAST: &str = "UPDATE shards SET last = ?2 WHERE shard = ?1 AND last < ?2";
        let Standing { shard, wake_at, is_ready, in_flight, last_number } = self.standing;
        let plan = self.plan.clone().unwrap_or_default();
        sqlx::query(RUN)
            .bind(&*self.run)
            .bind(i64::from(shard.0))
            .bind(&*plan.workflow)
            .bind(plan.dify_sizes)
            .bind(plan.mocks.as_deref())
            .bind(self.status.map(Status::name))
            .bind(number(self.last))
            .bind(number(now.0))
            .bind(self.started_at.map(|at| number(at.0)))
            .bind(self.finished_at.map(|at| number(at.0)))
            .bind(wake_at.map(|at| number(at.0)))
            .bind(is_ready)
            .bind(i64::from(in_flight))
            .bind(number(last_number))
            .execute(&mut *to)
            .await?;
        sqlx::query(FACTS)
            .bind(&*self.run)
            .bind(number(self.first))
            .bind(number(self.last))
            .bind(i64::from(VERSION))
            .bind(&*self.facts)
            .execute(&mut *to)
            .await?;
        for said in &self.said {
            conversations::keep(to, &self.run, said).await?;
        }
        if last_number > 0 {
            let last = sqlx::query(LAST).bind(i64::from(shard.0)).bind(number(last_number));
            last.execute(to).await?;
        }
        Ok(())
    }
}

/// What a run that ends wrote to its conversation.
fn conversation(facts: &[Fact]) -> &[(Name, Variable)] {
    match facts.last().map(|fact| &fact.event) {
        Some(Event::RunFinished(finished)) => &finished.conversation,
        _ => &[],
    }
}

/// Whether this epoch is the shard's present one.
pub(super) async fn owns(tenure: Tenure, at: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    const OWNED: &str = "SELECT EXISTS (SELECT 1 FROM shards WHERE shard = ? AND epoch = ?)";
    let owned = sqlx::query_scalar::<_, bool>(OWNED);
    owned.bind(i64::from(tenure.shard.0)).bind(number(tenure.epoch)).fetch_one(at).await
}

/// A run's last fact, 0 when there is none, and whether it has ended.
async fn held(run: &Name, at: &mut SqliteConnection) -> Result<(u64, bool), sqlx::Error> {
    const HELD: &str = "SELECT seq, finished_at IS NOT NULL AS has_ended FROM runs WHERE run = ?";
    let Some(row) = sqlx::query(HELD).bind(&**run).fetch_optional(at).await? else {
        return Ok((0, false));
    };
    Ok((row.try_get::<i64, _>("seq")?.unsigned_abs(), row.try_get("has_ended")?))
}
