//! The store for batches: lines as they come, runs as they are made of them, and what became of them.

use flowmill_engine::fact::Event;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::batches::{
    Batch, Batches, Cause, Counts, Fed, LineResult, NewBatch, State, Steer, Steered, TOGETHER,
    Which, lines_of,
};
use crate::codec::{Codec, read_terms};
use crate::intake::Accepted;
use crate::sqlite::writer::Change;
use crate::store::StoreError;
use crate::webhooks::BATCH_COMPLETED;

use super::contents::part;
use super::intake::{Accepting, run_row};
use super::{SharedFolder, get, list, most as rows, number, text, time, trouble};

/// How long the lines of a batch may stand still before it is stopped, in microseconds.
const ABANDONED: u64 = 3_600_000_000;

/// A batch's row.
macro_rules! batch_rows {
    ($rest:literal) => {
        concat!(
            "SELECT b.*, coalesce(w.name, '') AS name FROM batches b
            LEFT JOIN workflows w ON w.tenant = b.tenant AND w.digest = b.workflow
            WHERE ",
            $rest
        )
    };
}

impl Batches for SharedFolder {
    async fn create_batch(&self, batch: &NewBatch) -> Result<Accepted, StoreError> {
        let terms = self.codec.terms(&batch.terms)?;
        self.writer.write(Creating { batch: batch.clone(), terms, now: self.now() }).await
    }

    async fn add_lines(
        &self,
        tenant: &Name,
        batch: &Name,
        first: u64,
        lines: &[Name],
    ) -> Result<bool, StoreError> {
        let count = lines.len();
        let (tenant, batch, lines) = (tenant.clone(), batch.clone(), lines.join("\n"));
        self.writer.write(Adding { tenant, batch, first, count, lines, now: self.now() }).await
    }

    async fn begin_batch(&self, tenant: &Name, batch: &Name) -> Result<bool, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.writer.write(Beginning { tenant, batch, now: self.now() }).await
    }

    async fn batch(&self, tenant: &Name, batch: &Name) -> Result<Option<Batch>, StoreError> {
        let found = sqlx::query(batch_rows!("b.tenant = ? AND b.batch = ?"));
        let found = found.bind(&**tenant).bind(&**batch).fetch_optional(&self.readers).await;
        found.map_err(|error| trouble(&error))?.as_ref().map(batch_row).transpose()
    }

    async fn batches(
        &self,
        tenant: &Name,
        before: Option<&Name>,
        most: usize,
    ) -> Result<Vec<Batch>, StoreError> {
        const LISTED: &str = batch_rows!(
            "b.tenant = ?1 AND (?2 IS NULL OR b.batch < ?2) ORDER BY b.batch DESC LIMIT ?3"
        );
        let found = sqlx::query(LISTED)
            .bind(&**tenant)
            .bind(before.map(|before| &**before))
            .bind(rows(most))
            .fetch_all(&self.readers)
            .await;
        found.map_err(|error| trouble(&error))?.iter().map(batch_row).collect()
    }

    async fn lines(&self, batch: &Name, first: u64, most: usize) -> Result<Vec<Name>, StoreError> {
        const PART: &str = "
            SELECT first, lines FROM batch_lines
            WHERE batch = ?1 AND first >= coalesce(
                (SELECT max(first) FROM batch_lines WHERE batch = ?1 AND first <= ?2), 0)
            ORDER BY first LIMIT 1";
        let mut lines: Vec<Name> = Vec::new();
        let mut bytes = 0;
        while lines.len() < most && bytes < TOGETHER {
            let next = first + lines.len() as u64;
            let part = sqlx::query(PART).bind(&**batch).bind(number(next));
            let part = part.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
            let Some(part) = part else { break };
            let first = get::<i64>(&part, "first")?.unsigned_abs();
            let (text, before): (&str, _) = (get(&part, "lines")?, lines.len());
            bytes += text.len();
            lines.extend(lines_of(text, first, next, most - before));
            if lines.len() == before {
                break;
            }
        }
        Ok(lines)
    }

    /// The folder has one process, so nothing needs to be claimed.
    async fn claim_batches(&self, _: &Name, most: usize) -> Result<Vec<Batch>, StoreError> {
        const OPEN: &str = batch_rows!(
            "b.finished_at IS NULL AND (state IN ('running', 'stopping')
                OR state = 'importing' AND grown_at < ?1 - ?2 OR due_at <= ?1)
            ORDER BY b.batch LIMIT ?3"
        );
        let found = sqlx::query(OPEN).bind(number(self.now().0)).bind(number(ABANDONED));
        let found = found.bind(rows(most)).fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(batch_row).collect()
    }

    async fn feed(&self, batch: &Name, after: u64, fed: &[Fed]) -> Result<bool, StoreError> {
        let now = self.now();
        let mut submissions = Vec::new();
        let mut rejects = Vec::new();
        for (fed, line) in fed.iter().zip(after + 1..) {
            match fed {
                Fed::Run(submission) => {
                    let start = self.codec.start(&submission.start).await?;
                    let awaited = self.codec.awaited(&submission.start)?;
                    submissions.push(((**submission).clone(), start, awaited));
                }
                Fed::Rejected { custom_id, problem } => {
                    rejects.push((line, custom_id.clone(), problem.clone()));
                }
            }
        }
        let (batch, count) = (batch.clone(), fed.len());
        let runs = Accepting { submissions, now };
        self.writer.write(Feeding { batch, after, count, rejects, runs }).await
    }

    async fn steer_batch(
        &self,
        tenant: &Name,
        batch: &Name,
        steer: Steer,
        actor: &Name,
    ) -> Result<Option<Steered>, StoreError> {
        let wish = self.codec.wish(&steer.wish())?;
        let now = self.now();
        let steering = Steering {
            tenant: tenant.clone(),
            batch: batch.clone(),
            steer,
            wish,
            actor: actor.clone(),
            now,
        };
        if let Some(runs) = self.writer.write(steering).await? {
            return Ok(Some(Steered::Done(runs)));
        }
        let found = self.batch(tenant, batch).await?;
        Ok(found.map(|found| Steered::Refused(found.state)))
    }

    async fn end_batch(&self, batch: &Name, state: State) -> Result<bool, StoreError> {
        self.writer.write(Ending { batch: batch.clone(), state, now: self.now() }).await
    }

    async fn results(
        &self,
        tenant: &Name,
        batch: &Name,
        after: u64,
        most: usize,
        which: Which,
    ) -> Result<Vec<LineResult>, StoreError> {
        const RUNS: &str = "
            SELECT r.run, r.workflow, coalesce(w.name, '') AS name, r.status, r.accepted_at,
                r.started_at, r.finished_at, r.wake_at, r.in_flight, r.seq, r.conversation,
                r.rerun_of, r.batch, r.line, r.custom_id, r.parent, r.endpoint, r.traceparent,
                NULL AS metadata, j.first, j.last,
                j.version, j.facts
            FROM runs r
            LEFT JOIN journal j ON j.run = r.run
                AND j.first = (SELECT max(first) FROM journal WHERE journal.run = r.run)
            LEFT JOIN workflows w ON w.tenant = r.tenant AND w.digest = r.workflow
            WHERE r.batch = ?2 AND r.tenant = ?1 AND r.line > ?3 AND r.finished_at IS NOT NULL
                AND (?5 IS NULL OR (r.status IN ('succeeded', 'partial-succeeded')) = ?5)
            ORDER BY r.line LIMIT ?4";
        const REJECTS: &str = "
            SELECT line, custom_id, problem FROM batch_rejects
            JOIN batches USING (batch)
            WHERE batch = ?2 AND tenant = ?1 AND line > ?3 ORDER BY line LIMIT ?4";
        let ask = |query| {
            let query = sqlx::query(query).bind(&**tenant).bind(&**batch);
            query.bind(number(after)).bind(rows(most))
        };
        let runs = ask(RUNS).bind(which.is_good()).fetch_all(&self.readers).await;
        let runs = runs.map_err(|error| trouble(&error))?;
        let mut results = Vec::with_capacity(runs.len());
        for row in &runs {
            results.push(run_of(&self.codec, row)?);
        }
        if which != Which::Good {
            let rejects = ask(REJECTS).fetch_all(&self.readers).await;
            for row in &rejects.map_err(|error| trouble(&error))? {
                let result = Err(text(row, "problem")?);
                results.push(LineResult { result, ..line(row)? });
            }
            results.sort_by_key(|found| found.line);
            results.truncate(most);
        }
        Ok(results)
    }
}

/// A line that became a run, with its end, which is the last fact.
fn run_of(codec: &Codec, row: &SqliteRow) -> Result<LineResult, StoreError> {
    let run = run_row(row)?;
    let last = match get::<Option<i64>>(row, "first")? {
        Some(_) => codec.read_last(&run.run, &part(row)?)?,
        None => None,
    };
    let end = last.and_then(|fact| match fact.event {
        Event::RunFinished(finished) => Some(finished),
        _ => None,
    });
    Ok(LineResult { result: Ok((run, end)), ..line(row)? })
}

/// A batch, with what was agreed on as text.
#[derive(Debug)]
struct Creating {
    batch: NewBatch,
    terms: String,
    now: Time,
}

impl Change for Creating {
    type Answer = Accepted;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Accepted, StoreError>, sqlx::Error> {
        const CREATE: &str = "
            INSERT INTO batches (batch, tenant, workflow, terms, key, fingerprint, rerun_of, due_at,
                created_at, grown_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 + ?9, ?8, ?8) ON CONFLICT DO NOTHING";
        const KNOWN: &str = "SELECT batch, fingerprint FROM batches WHERE tenant = ? AND key = ?";
        let Self { batch, terms, now } = self;
        let key = batch.key.as_ref();
        sqlx::query(CREATE)
            .bind(&*batch.batch)
            .bind(&*batch.tenant)
            .bind(&*batch.workflow)
            .bind(&**terms)
            .bind(key.map(|key| &*key.key))
            .bind(key.map(|key| &*key.fingerprint))
            .bind(batch.rerun_of.as_deref())
            .bind(number(now.0))
            .bind(number(batch.due_in))
            .execute(&mut *to)
            .await?;
        let Some(key) = key else { return Ok(Ok(Accepted::New)) };
        let known = sqlx::query(KNOWN).bind(&*batch.tenant).bind(&*key.key).fetch_one(to).await?;
        let first: &str = known.try_get("batch")?;
        let fingerprint: &str = known.try_get("fingerprint")?;
        Ok(Ok(if first == &*batch.batch {
            Accepted::New
        } else if fingerprint == &*key.fingerprint {
            Accepted::Before(first.into())
        } else {
            Accepted::Other(first.into())
        }))
    }
}

/// Lines that follow those that are there.
#[derive(Debug)]
struct Adding {
    tenant: Name,
    batch: Name,
    first: u64,
    count: usize,
    lines: String,
    now: Time,
}

impl Change for Adding {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const GROW: &str = "
            UPDATE batches SET lines = lines + ?4, grown_at = ?5
            WHERE batch = ?1 AND tenant = ?2 AND state = 'importing' AND lines = ?3 - 1";
        const ADD: &str = "INSERT INTO batch_lines (batch, first, lines) VALUES (?, ?, ?)";
        let grown = sqlx::query(GROW)
            .bind(&*self.batch)
            .bind(&*self.tenant)
            .bind(number(self.first))
            .bind(rows(self.count))
            .bind(number(self.now.0))
            .execute(&mut *to)
            .await?;
        if grown.rows_affected() == 0 {
            return Ok(Ok(false));
        }
        let add = sqlx::query(ADD).bind(&*self.batch).bind(number(self.first)).bind(&*self.lines);
        add.execute(to).await.map(|_| Ok(true))
    }
}

/// A batch whose lines are complete.
#[derive(Debug)]
struct Beginning {
    tenant: Name,
    batch: Name,
    now: Time,
}

impl Change for Beginning {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const BEGIN: &str = "
            UPDATE batches SET state = 'running', started_at = ?3
            WHERE batch = ?1 AND tenant = ?2 AND state = 'importing'";
        let begin = sqlx::query(BEGIN).bind(&*self.batch).bind(&*self.tenant);
        let begun = begin.bind(number(self.now.0)).execute(to).await?;
        Ok(Ok(begun.rows_affected() > 0))
    }
}

/// What becomes of lines.
#[derive(Debug)]
struct Feeding {
    batch: Name,
    after: u64,
    count: usize,
    rejects: Vec<(u64, Option<Name>, Name)>,
    runs: Accepting,
}

impl Change for Feeding {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const MOVE: &str = "
            UPDATE batches SET fed = fed + ?3, rejected = rejected + ?4
            WHERE batch = ?1 AND fed = ?2 AND state = 'running' AND fed + ?3 <= lines";
        const REJECT: &str = "
            INSERT INTO batch_rejects (batch, line, custom_id, problem) VALUES (?, ?, ?, ?)";
        let moved = sqlx::query(MOVE)
            .bind(&*self.batch)
            .bind(number(self.after))
            .bind(rows(self.count))
            .bind(rows(self.rejects.len()))
            .execute(&mut *to)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(Ok(false));
        }
        for (line, custom_id, problem) in &self.rejects {
            let reject = sqlx::query(REJECT).bind(&*self.batch).bind(number(*line));
            reject.bind(custom_id.as_deref()).bind(&**problem).execute(&mut *to).await?;
        }
        Ok(self.runs.apply(to).await?.map(|_| true))
    }
}

/// A wish for a batch, and the signal that each of its runs gets.
#[derive(Debug)]
struct Steering {
    tenant: Name,
    batch: Name,
    steer: Steer,
    wish: String,
    actor: Name,
    now: Time,
}

impl Change for Steering {
    type Answer = Option<Vec<Name>>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Option<Vec<Name>>, StoreError>, sqlx::Error> {
        const CHANGE: &str = "
            UPDATE batches SET state = ?3, cause = coalesce(?4, cause),
                started_at = coalesce(started_at, ?6)
            WHERE tenant = ?1 AND batch = ?2 AND state IN (SELECT value FROM json_each(?5))";
        const SIGNAL: &str = "
            INSERT INTO signals (run, shard, wish, actor, sent_at)
            SELECT run, shard, ?3, ?4, ?5 FROM runs
            WHERE tenant = ?1 AND batch = ?2 AND finished_at IS NULL AND (?6 OR status = 'paused'
                -- or about to be
                OR EXISTS (SELECT 1 FROM signals s WHERE s.run = runs.run AND settled_at IS NULL))
            RETURNING run";
        let Self { steer, .. } = self;
        let from: Vec<&str> = steer.from().iter().map(|state| state.name()).collect();
        let from = match list(&from) {
            Ok(from) => from,
            Err(error) => return Ok(Err(error)),
        };
        let changed = sqlx::query(CHANGE)
            .bind(&*self.tenant)
            .bind(&*self.batch)
            .bind(steer.to().name())
            .bind(steer.cause().map(Cause::name))
            .bind(from)
            .bind(number(self.now.0))
            .execute(&mut *to)
            .await?;
        if changed.rows_affected() == 0 {
            return Ok(Ok(None));
        }
        let runs = sqlx::query_scalar::<_, String>(SIGNAL)
            .bind(&*self.tenant)
            .bind(&*self.batch)
            .bind(&*self.wish)
            .bind(&*self.actor)
            .bind(number(self.now.0))
            .bind(!steer.is_for_paused())
            .fetch_all(to)
            .await?;
        Ok(Ok(Some(runs.into_iter().map(Name::from).collect())))
    }
}

/// The end of a batch.
#[derive(Debug)]
struct Ending {
    batch: Name,
    state: State,
    now: Time,
}

impl Change for Ending {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const END: &str = "
            UPDATE batches SET state = ?2, finished_at = ?3
            WHERE batch = ?1 AND finished_at IS NULL";
        const SHARE: &str = "
            DELETE FROM shares WHERE kind = 'batch' AND name = ?1
                AND tenant = (SELECT tenant FROM batches WHERE batch = ?1)";
        const TELL: &str = "
            INSERT INTO webhook_deliveries
                (tenant, endpoint, message, event, subject, seq, noted_at, due_at, begun_at)
            SELECT tenant, id, 'msg_' || batch, ?2, batch, 0, ?3, ?3, ?3
            FROM batches JOIN endpoints USING (tenant)
            WHERE batch = ?1 AND disabled IS NULL AND is_for_all
                AND EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?2)";
        let now = number(self.now.0);
        let end = sqlx::query(END).bind(&*self.batch).bind(self.state.name()).bind(now);
        if end.execute(&mut *to).await?.rows_affected() == 0 {
            return Ok(Ok(false));
        }
        let tell = sqlx::query(TELL).bind(&*self.batch).bind(BATCH_COMPLETED).bind(now);
        tell.execute(&mut *to).await?;
        sqlx::query(SHARE).bind(&*self.batch).execute(to).await.map(|_| Ok(true))
    }
}

fn batch_row(row: &SqliteRow) -> Result<Batch, StoreError> {
    let batch = text(row, "batch")?;
    let odd = |what: &str| StoreError::Corrupt(format!("batch {batch} has no known {what}"));
    let count = |column| Ok::<_, StoreError>(get::<i64>(row, column)?.unsigned_abs());
    let point = |column| Ok::<_, StoreError>(get::<Option<i64>>(row, column)?.map(time));
    let cause = get::<Option<&str>>(row, "cause")?;
    Ok(Batch {
        tenant: text(row, "tenant")?,
        workflow: text(row, "workflow")?,
        name: text(row, "name")?,
        terms: read_terms(get(row, "terms")?)?,
        state: State::of(get(row, "state")?).ok_or_else(|| odd("state"))?,
        cause: cause.and_then(Cause::of),
        lines: count("lines")?,
        fed: count("fed")?,
        rejected: count("rejected")?,
        counts: Counts {
            succeeded: count("succeeded")?,
            partial: count("partial")?,
            failed: count("failed")?,
            stopped: count("stopped")?,
        },
        created_at: time(get(row, "created_at")?),
        started_at: point("started_at")?,
        finished_at: point("finished_at")?,
        due_at: time(get(row, "due_at")?),
        rerun_of: get::<Option<&str>>(row, "rerun_of")?.map(Name::from),
        batch,
    })
}

/// A line without what became of it.
fn line(row: &SqliteRow) -> Result<LineResult, StoreError> {
    Ok(LineResult {
        line: get::<i64>(row, "line")?.unsigned_abs(),
        custom_id: get::<Option<&str>>(row, "custom_id")?.map(Name::from),
        result: Err("".into()),
    })
}
