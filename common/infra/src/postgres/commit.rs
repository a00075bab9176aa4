//! The commit: one statement that checks who owns the shards and what is held of the runs, and
//! writes everything or nothing. A statement by itself is a transaction, so it costs one round
//! trip, and no lock outlives it.

use std::collections::BTreeMap;

use flowmill_engine::fact::{Event, Fact, Status};
use flowmill_engine::value::Name;
use sqlx::{PgPool, Row as _};

use crate::codec::Codec;
use crate::message::{PlanKey, Shard};
use crate::store::{Batch, Commit, Standing, StoreError, Tenure};

use super::conversations::{self, Said};
use super::{Tries, is_lost, number, trouble};

/// The rows of shards are locked first, in their order, then those of runs, in theirs: no two
/// commits wait for each other. A takeover that was committed meanwhile is seen, since the lock is
/// given on the row as it is then.
const COMMIT: &str = "
WITH tenure AS MATERIALIZED (
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[])
        AS tenure (shard, epoch, mark, last)
), owned AS MATERIALIZED (
    SELECT s.shard FROM shards s JOIN tenure t ON t.shard = s.shard AND t.epoch = s.epoch
    ORDER BY s.shard FOR NO KEY UPDATE OF s
), asked AS MATERIALIZED (
    SELECT * FROM unnest($5::text[], $6::int8[], $7::int8[], $8::int4[], $9::text[],
        $10::bool[], $11::text[], $12::text[], $13::int8[], $14::int8[], $15::int8[],
        $16::bool[], $17::int4[], $18::int8[])
        WITH ORDINALITY AS asked (run, first, last, shard, workflow,
            dify_sizes, mocks, status, started_at, finished_at, wake_at,
            is_ready, in_flight, last_number, place)
), met AS MATERIALIZED (
    SELECT asked.*, held.seq, coalesce(held.tenant, 'default') AS tenant, held.conversation,
        held.batch
    FROM asked LEFT JOIN LATERAL (
        SELECT seq, tenant, conversation, batch FROM runs WHERE runs.run = asked.run FOR NO KEY UPDATE
    ) AS held ON true
    WHERE (SELECT count(*) FROM owned) = cardinality($1)
), verdict AS MATERIALIZED (
    SELECT $19 AND (SELECT count(*) FROM owned) = cardinality($1)
        AND NOT EXISTS (SELECT FROM met WHERE coalesce(seq, 0) + 1 <> first) AS is_good
), begun AS (
    INSERT INTO runs (run, tenant, shard, workflow, dify_sizes, mocks, status, seq, started_at,
        finished_at, wake_at, is_ready, in_flight, last_number)
    SELECT run, tenant, shard, workflow, dify_sizes, mocks, coalesce(status, 'running'), last,
        coalesce(started_at, 0), finished_at, wake_at, is_ready, in_flight, last_number
    FROM met WHERE seq IS NULL AND (SELECT is_good FROM verdict)
), moved AS (
    UPDATE runs SET
        status = coalesce(met.status, runs.status, 'running'),
        seq = met.last,
        start = NULL,
        started_at = coalesce(runs.started_at, met.started_at),
        finished_at = coalesce(runs.finished_at, met.finished_at),
        wake_at = met.wake_at,
        is_ready = met.is_ready,
        in_flight = met.in_flight,
        last_number = greatest(runs.last_number, met.last_number)
    FROM met
    WHERE runs.run = met.run AND met.seq IS NOT NULL AND (SELECT is_good FROM verdict)
), written AS (
    INSERT INTO journal (run, first, last, tenant, version, facts)
    SELECT ($5::text[])[entry.place], entry.first, entry.last,
        (SELECT array_agg(tenant ORDER BY place) FROM met)[entry.place], $20, entry.facts
    FROM unnest($21::int4[], $22::int8[], $23::int8[], $24::text[])
        AS entry (place, first, last, facts)
    WHERE (SELECT is_good FROM verdict)
), raised AS (
    UPDATE shards SET mark = greatest(shards.mark, tenure.mark),
        last = greatest(shards.last, tenure.last), version = greatest(shards.version, $20)
    FROM tenure
    WHERE shards.shard = tenure.shard AND (SELECT is_good FROM verdict)
        AND (tenure.mark > shards.mark OR tenure.last > shards.last OR $20 > shards.version)
), settled AS (
    UPDATE signals SET settled_at = flowmill_now(), refused = done.refused
    FROM unnest($25::int8[], $26::text[]) AS done (id, refused)
    WHERE signals.id = done.id AND (SELECT is_good FROM verdict)
), counted AS (
    INSERT INTO batch_ends AS ends (batch, shard, succeeded, partial, failed, stopped)
    SELECT batch, shard, count(*) FILTER (WHERE status = 'succeeded'),
        count(*) FILTER (WHERE status = 'partial-succeeded'),
        count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'stopped')
    FROM met
    WHERE batch IS NOT NULL AND finished_at IS NOT NULL AND (SELECT is_good FROM verdict)
    GROUP BY batch, shard
    -- the rows of a shard are written by its owner alone
    ON CONFLICT (batch, shard) DO UPDATE SET succeeded = ends.succeeded + excluded.succeeded,
        partial = ends.partial + excluded.partial, failed = ends.failed + excluded.failed,
        stopped = ends.stopped + excluded.stopped
), said AS (
    INSERT INTO conversation_variables (tenant, conversation, name, run, variable)
    SELECT DISTINCT ON (met.tenant, met.conversation, new.name)
        met.tenant, met.conversation, new.name, met.run, new.variable
    FROM unnest($27::int4[], $28::text[], $29::text[]) AS new (place, name, variable)
    JOIN met ON met.place = new.place
    WHERE met.conversation IS NOT NULL AND (SELECT is_good FROM verdict)
    -- the rows are locked in their order; of two runs that end, the later one counts
    ORDER BY met.tenant, met.conversation, new.name, met.place DESC
    ON CONFLICT (tenant, conversation, name) DO UPDATE
        SET run = excluded.run, variable = excluded.variable, written_at = flowmill_now()
)
SELECT is_good,
    CASE WHEN NOT is_good THEN ARRAY(SELECT shard FROM owned) END AS owned,
    CASE WHEN NOT is_good THEN ARRAY(SELECT coalesce(seq, 0) FROM met ORDER BY place) END AS held
FROM verdict";

/// Makes a batch durable. When the connection breaks while the server works on it, the same is
/// asked again: the locks of the first try are waited for, and what it wrote is recognised.
pub(super) async fn commit(to: &PgPool, codec: &Codec, batch: &Batch) -> Result<(), StoreError> {
    let form = Form::of(codec, batch).await?;
    let mut is_unknown = false;
    let mut tries = Tries::new();
    loop {
        match form.write(to, batch).await {
            Ok(()) => return Ok(()),
            Err(Failed::Lost(why)) => {
                is_unknown = true;
                tries.after(why).await?;
            }
            Err(Failed::Unsent(why)) if is_unknown => tries.after(why).await?,
            Err(Failed::Unsent(why)) => return Err(trouble(&why)),
            Err(Failed::Refused(_)) if is_unknown && form.is_written(to).await? => return Ok(()),
            Err(Failed::Refused(why)) => return Err(why),
        }
    }
}

/// Why one try did not write.
enum Failed {
    /// Nobody knows whether it did.
    Lost(sqlx::Error),
    /// The server was not asked.
    Unsent(sqlx::Error),
    /// It did not, for this reason.
    Refused(StoreError),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        if is_lost(&error) { Self::Lost(error) } else { Self::Refused(trouble(&error)) }
    }
}

/// A batch as the statement takes it.
#[derive(Debug)]
struct Form {
    tenures: Vec<Tenure>,
    /// Each run once, in the order of their ids.
    runs: Vec<Summary>,
    /// One for each commit, in the order of the batch.
    entries: Vec<Entry>,
    /// What runs that end wrote to their conversations.
    said: Vec<Said>,
    /// Whether each run's entries follow each other.
    is_even: bool,
    /// The version of the facts.
    version: u8,
}

/// What a batch makes of a run's row.
#[derive(Debug)]
struct Summary {
    run: Name,
    first: u64,
    last: u64,
    standing: Standing,
    plan: PlanKey,
    status: Option<Status>,
    started_at: Option<u64>,
    finished_at: Option<u64>,
}

/// What a commit adds to the journal.
#[derive(Debug)]
struct Entry {
    /// Its run among `runs`.
    place: usize,
    first: u64,
    last: u64,
    /// The first fact that does not follow the one before it.
    hole: Option<u64>,
    facts: String,
}

impl Form {
    async fn of(codec: &Codec, batch: &Batch) -> Result<Self, StoreError> {
        let commits = || batch.commits.iter().filter_map(|commit| Some((commit, ends(commit)?)));
        let mut runs = BTreeMap::new();
        for (commit, (first, last)) in commits() {
            let summary = runs.entry(&commit.run).or_insert_with(|| Summary::of(commit, first));
            summary.add(commit, last);
        }
        let places: BTreeMap<&Name, usize> =
            runs.keys().enumerate().map(|(place, run)| (*run, place)).collect();
        let mut entries = Vec::with_capacity(batch.commits.len());
        let mut reached: BTreeMap<usize, u64> = BTreeMap::new();
        let (mut is_even, version) = (true, codec.versions.writes());
        for (commit, (first, last)) in commits() {
            let place = places.get(&commit.run).copied().unwrap_or_default();
            let hole = commit.facts.iter().zip(first..).find(|(fact, due)| fact.seq != *due);
            let hole = hole.map(|(fact, _)| fact.seq);
            let before = reached.insert(place, last);
            is_even &= hole.is_none() && before.is_none_or(|before| before + 1 == first);
            let facts = codec.facts(&commit.run, &commit.facts).await?;
            entries.push(Entry { place, first, last, hole, facts });
        }
        let mut tenures = batch.tenures.clone();
        tenures.sort_by_key(|tenure| tenure.shard);
        tenures.dedup_by_key(|tenure| tenure.shard);
        let place = |run: &Name| places.get(run).copied().unwrap_or_default();
        let said = conversations::said(codec, commits().map(|(commit, _)| commit), place)?;
        let runs = runs.into_values().collect();
        let mut form = Self { tenures, runs, entries, said, is_even, version };
        form.raise_numbers();
        Ok(form)
    }

    /// A shard's last number rises with those of its runs.
    fn raise_numbers(&mut self) {
        for tenure in &mut self.tenures {
            let own = self.runs.iter().filter(|run| run.standing.shard == tenure.shard);
            tenure.last = own.map(|run| run.standing.last_number).max().unwrap_or(0);
        }
    }

    /// A run of a shard that nobody said to own; a batch without any tenure needs none.
    fn strange(&self) -> Option<StoreError> {
        let is_owned =
            |shard: Shard| self.tenures.binary_search_by_key(&shard, |held| held.shard).is_ok();
        let mut runs = self.runs.iter().map(|run| run.standing.shard);
        let strange = runs.find(|shard| !is_owned(*shard)).filter(|_| !self.tenures.is_empty());
        strange.map(|shard| StoreError::Fenced { shard })
    }

    async fn write(&self, to: &PgPool, batch: &Batch) -> Result<(), Failed> {
        if let Some(strange) = self.strange() {
            return Err(Failed::Refused(strange));
        }
        let mut connection = to.acquire().await.map_err(Failed::Unsent)?;
        let Self { tenures, runs, entries, said, is_even, version } = self;
        let refused: Vec<Option<String>> = batch
            .signals
            .iter()
            // a text of the database holds no NUL
            .map(|signal| signal.refused.as_ref().map(|why| why.replace('\0', "\u{fffd}")))
            .collect();
        let of = |run: fn(&Summary) -> Option<u64>| -> Vec<Option<i64>> {
            runs.iter().map(|summary| run(summary).map(number)).collect()
        };
        let query = sqlx::query(COMMIT)
            .bind(tenures.iter().map(|held| i32::from(held.shard.0)).collect::<Vec<_>>())
            .bind(tenures.iter().map(|held| number(held.epoch)).collect::<Vec<_>>())
            .bind(tenures.iter().map(|held| number(held.mark)).collect::<Vec<_>>())
            .bind(tenures.iter().map(|held| number(held.last)).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| &*run.run).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| number(run.first)).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| number(run.last)).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| i32::from(run.standing.shard.0)).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| &*run.plan.workflow).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.plan.dify_sizes).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.plan.mocks.as_deref()).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| run.status.map(Status::name)).collect::<Vec<_>>())
            .bind(of(|run| run.started_at))
            .bind(of(|run| run.finished_at))
            .bind(of(|run| run.standing.wake_at.map(|at| at.0)))
            .bind(runs.iter().map(|run| run.standing.is_ready).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| count(run.standing.in_flight)).collect::<Vec<_>>())
            .bind(runs.iter().map(|run| number(run.standing.last_number)).collect::<Vec<_>>())
            .bind(*is_even)
            .bind(i32::from(*version))
            .bind(entries.iter().map(|entry| place(entry.place)).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| number(entry.first)).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| number(entry.last)).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| &*entry.facts).collect::<Vec<_>>())
            .bind(batch.signals.iter().map(|signal| signal.signal).collect::<Vec<_>>())
            .bind(refused)
            .bind(said.iter().map(|said| place(said.place)).collect::<Vec<_>>())
            .bind(said.iter().map(|said| &*said.name).collect::<Vec<_>>())
            .bind(said.iter().map(|said| &*said.variable).collect::<Vec<_>>());
        let row = match query.fetch_one(&mut *connection).await {
            Ok(row) => row,
            Err(error) if is_taken(&error) => return Err(self.raced(to, error).await),
            Err(error) => return Err(error.into()),
        };
        if row.try_get("is_good")? {
            return Ok(());
        }
        let owned: Vec<i32> = row.try_get("owned")?;
        let fenced = |held: &&Tenure| !owned.contains(&i32::from(held.shard.0));
        if let Some(Tenure { shard, .. }) = tenures.iter().find(fenced) {
            return Err(Failed::Refused(StoreError::Fenced { shard: *shard }));
        }
        let held: Vec<i64> = row.try_get("held")?;
        Err(Failed::Refused(self.conflict(held)))
    }

    /// Two began the same run at the same time, and the other came first.
    async fn raced(&self, to: &PgPool, error: sqlx::Error) -> Failed {
        const HELD: &str = "
            SELECT coalesce(seq, 0) AS seq
            FROM unnest($1::text[]) WITH ORDINALITY AS asked (run, place)
            LEFT JOIN runs ON runs.run = asked.run ORDER BY place";
        let runs: Vec<&str> = self.runs.iter().map(|run| &*run.run).collect();
        match sqlx::query_scalar::<_, i64>(HELD).bind(runs).fetch_all(to).await {
            Ok(held) => Failed::Refused(self.conflict(held)),
            Err(_) => error.into(),
        }
    }

    /// The first of the entries that does not follow what is held.
    fn conflict(&self, mut held: Vec<i64>) -> StoreError {
        for entry in &self.entries {
            let Some(held) = held.get_mut(entry.place) else { continue };
            let follows = number(entry.first) == *held + 1;
            let wrong = if follows { entry.hole } else { Some(entry.first) };
            if let Some(seq) = wrong {
                return StoreError::Conflict { run: self.runs[entry.place].run.clone(), seq };
            }
            *held = number(entry.last);
        }
        // whoever was in the way has gone meanwhile
        StoreError::Unavailable("another transaction changed the same runs".to_owned())
    }

    /// Whether exactly these facts are there: an earlier try of ours wrote them.
    async fn is_written(&self, to: &PgPool) -> Result<bool, StoreError> {
        const THERE: &str = "
            SELECT count(*)
            FROM unnest($1::text[], $2::int8[], $3::text[]) AS entry (run, first, facts)
            JOIN journal ON journal.run = entry.run AND journal.first = entry.first
                AND journal.facts = entry.facts";
        let run = |entry: &Entry| self.runs[entry.place].run.clone();
        let there = sqlx::query_scalar::<_, i64>(THERE)
            .bind(self.entries.iter().map(|entry| run(entry).to_string()).collect::<Vec<_>>())
            .bind(self.entries.iter().map(|entry| number(entry.first)).collect::<Vec<_>>())
            .bind(self.entries.iter().map(|entry| &*entry.facts).collect::<Vec<_>>())
            .fetch_one(to)
            .await
            .map_err(|error| trouble(&error))?;
        Ok(!self.entries.is_empty() && usize::try_from(there) == Ok(self.entries.len()))
    }
}

impl Summary {
    fn of(commit: &Commit, first: u64) -> Self {
        Self {
            run: commit.run.clone(),
            first,
            last: first,
            standing: Standing::default(),
            plan: PlanKey::default(),
            status: None,
            started_at: None,
            finished_at: None,
        }
    }

    /// What a list of runs shows of further facts.
    fn add(&mut self, commit: &Commit, last: u64) {
        let last_number = self.standing.last_number.max(commit.standing.last_number);
        self.last = last;
        self.standing = Standing { last_number, ..commit.standing };
        for Fact { at, event, .. } in commit.facts.iter() {
            match event {
                Event::RunStarted(started) => {
                    self.plan = PlanKey {
                        workflow: started.workflow.clone(),
                        dify_sizes: started.options.dify_sizes,
                        mocks: started.options.mocks.clone(),
                    };
                    self.status = Some(Status::Running);
                    self.started_at = Some(at.0);
                }
                Event::RunPaused => self.status = Some(Status::Paused),
                Event::RunResumed { .. } => self.status = Some(Status::Running),
                Event::RunFinished(finished) => {
                    self.status = Some(finished.status);
                    self.finished_at = Some(at.0);
                }
                _ => {}
            }
        }
        if self.finished_at.is_some() {
            let Standing { shard, last_number, .. } = self.standing;
            self.standing = Standing { shard, last_number, ..Standing::default() };
        }
    }
}

/// The numbers of a commit's first and last fact; None for one without facts.
fn ends(commit: &Commit) -> Option<(u64, u64)> {
    Some((commit.facts.first()?.seq, commit.facts.last()?.seq))
}

/// Whether a row of that key is there already.
fn is_taken(error: &sqlx::Error) -> bool {
    const UNIQUE_VIOLATION: &str = "23505";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some(UNIQUE_VIOLATION)
}

fn count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Arrays of the database are counted from 1.
fn place(place: usize) -> i32 {
    i32::try_from(place).map_or(i32::MAX, |place| place.saturating_add(1))
}
