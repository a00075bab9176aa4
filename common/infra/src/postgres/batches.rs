//! The store for batches: lines as they come, runs as they are made of them, and what became of them.

use flowmill_engine::fact::Event;
use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;
use sqlx::{Acquire as _, PgConnection, PgPool};

use crate::batches::{
    Batch, Batches, Cause, Counts, Fed, LineResult, NewBatch, State, Steer, Steered, TOGETHER,
    Which, lines_of,
};
use crate::codec::{Codec, read_terms};
use crate::intake::Accepted;
use crate::store::StoreError;
use crate::webhooks::BATCH_COMPLETED;

use super::contents::part;
use super::intake::{Form, run_row};
use super::{PostgresStore, Tries, get, most as rows, number, text, time, trouble};

/// The most lines among which ends are looked for at a time.
const SPAN: i64 = 10_000;

/// A batch's row, with what its runs came to.
macro_rules! batch_rows {
    ($rest:literal) => {
        concat!(
            "SELECT b.batch, b.tenant, b.workflow, coalesce(w.name, '') AS name, b.terms, b.state,
                b.cause, b.lines, b.fed, b.rejected, b.created_at, b.started_at, b.finished_at,
                b.due_at, b.rerun_of, e.succeeded, e.partial, e.failed, e.stopped
            FROM batches b
            LEFT JOIN workflows w ON w.tenant = b.tenant AND w.digest = b.workflow
            LEFT JOIN LATERAL (
                SELECT coalesce(sum(succeeded), 0)::int8 AS succeeded,
                    coalesce(sum(partial), 0)::int8 AS partial,
                    coalesce(sum(failed), 0)::int8 AS failed,
                    coalesce(sum(stopped), 0)::int8 AS stopped
                FROM batch_ends WHERE batch_ends.batch = b.batch) AS e ON true
            WHERE ",
            $rest
        )
    };
}

impl Batches for PostgresStore {
    async fn create_batch(&self, batch: &NewBatch) -> Result<Accepted, StoreError> {
        const CREATE: &str = "
            INSERT INTO batches (batch, tenant, workflow, terms, key, fingerprint, rerun_of, due_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, flowmill_now() + $8)
            ON CONFLICT DO NOTHING";
        const KNOWN: &str = "SELECT batch, fingerprint FROM batches WHERE tenant = $1 AND key = $2";
        let terms = self.codec.terms(&batch.terms)?;
        let key = batch.key.as_ref();
        let mut tries = Tries::new();
        loop {
            let create = sqlx::query(CREATE)
                .bind(&*batch.batch)
                .bind(&*batch.tenant)
                .bind(&*batch.workflow)
                .bind(&terms)
                .bind(key.map(|key| &*key.key))
                .bind(key.map(|key| &*key.fingerprint))
                .bind(batch.rerun_of.as_deref())
                .bind(number(batch.due_in));
            match create.execute(&self.writers).await {
                Ok(_) => break,
                Err(error) => tries.after(error).await?,
            }
        }
        let Some(key) = key else { return Ok(Accepted::New) };
        let known = sqlx::query(KNOWN).bind(&*batch.tenant).bind(&*key.key);
        let known = known.fetch_one(&self.writers).await.map_err(|error| trouble(&error))?;
        let first = text(&known, "batch")?;
        Ok(if first == batch.batch {
            Accepted::New
        } else if text(&known, "fingerprint")? == key.fingerprint {
            Accepted::Before(first)
        } else {
            Accepted::Other(first)
        })
    }

    async fn add_lines(
        &self,
        tenant: &Name,
        batch: &Name,
        first: u64,
        lines: &[Name],
    ) -> Result<bool, StoreError> {
        const ADD: &str = "
            WITH grown AS (
                UPDATE batches SET lines = lines + $4, grown_at = flowmill_now()
                WHERE batch = $1 AND tenant = $2 AND state = 'importing' AND lines = $3 - 1
                RETURNING batch)
            INSERT INTO batch_lines (batch, first, lines) SELECT batch, $3, $5 FROM grown";
        let added = sqlx::query(ADD)
            .bind(&**batch)
            .bind(&**tenant)
            .bind(number(first))
            .bind(rows(lines.len()))
            .bind(lines.join("\n"))
            .execute(&self.writers)
            .await;
        Ok(added.map_err(|error| trouble(&error))?.rows_affected() > 0)
    }

    async fn begin_batch(&self, tenant: &Name, batch: &Name) -> Result<bool, StoreError> {
        const BEGIN: &str = "
            UPDATE batches SET state = 'running', started_at = flowmill_now()
            WHERE batch = $1 AND tenant = $2 AND state = 'importing'";
        let begun = sqlx::query(BEGIN).bind(&**batch).bind(&**tenant).execute(&self.writers).await;
        Ok(begun.map_err(|error| trouble(&error))?.rows_affected() > 0)
    }

    async fn batch(&self, tenant: &Name, batch: &Name) -> Result<Option<Batch>, StoreError> {
        let found = sqlx::query(batch_rows!("b.tenant = $1 AND b.batch = $2"));
        let found = found.bind(&**tenant).bind(&**batch);
        self.first_of(tenant, found).await?.as_ref().map(batch_row).transpose()
    }

    async fn batches(
        &self,
        tenant: &Name,
        before: Option<&Name>,
        most: usize,
    ) -> Result<Vec<Batch>, StoreError> {
        const LISTED: &str = batch_rows!(
            "b.tenant = $1 AND ($2 IS NULL OR b.batch < $2) ORDER BY b.batch DESC LIMIT $3"
        );
        let found = sqlx::query(LISTED)
            .bind(&**tenant)
            .bind(before.map(|before| &**before))
            .bind(rows(most));
        self.all_of(tenant, found).await?.iter().map(batch_row).collect()
    }

    async fn lines(&self, batch: &Name, first: u64, most: usize) -> Result<Vec<Name>, StoreError> {
        const PART: &str = "
            SELECT first, lines FROM batch_lines
            WHERE batch = $1 AND first >= coalesce(
                (SELECT max(first) FROM batch_lines WHERE batch = $1 AND first <= $2), 0)
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

    async fn claim_batches(&self, feeder: &Name, most: usize) -> Result<Vec<Batch>, StoreError> {
        // an upload that nobody goes on with is stopped after an hour
        const CLAIM: &str = "
            UPDATE batches SET feeder = $1, claimed_until = flowmill_now() + 10000000
            WHERE batch IN (
                SELECT batch FROM batches
                WHERE finished_at IS NULL
                    AND (state IN ('running', 'stopping')
                        OR state = 'importing' AND grown_at < flowmill_now() - 3600000000
                        OR due_at <= flowmill_now())
                    AND (claimed_until < flowmill_now()
                        OR feeder = $1 AND claimed_until < flowmill_now() + 5000000)
                ORDER BY batch LIMIT $2 FOR UPDATE SKIP LOCKED)";
        const CLAIMED: &str = batch_rows!(
            "b.finished_at IS NULL AND b.feeder = $1 AND b.claimed_until > flowmill_now()
            ORDER BY b.batch LIMIT $2"
        );
        let claim = sqlx::query(CLAIM).bind(&**feeder).bind(rows(most));
        claim.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        let found = sqlx::query(CLAIMED).bind(&**feeder).bind(rows(most));
        let found = found.fetch_all(&self.writers).await.map_err(|error| trouble(&error))?;
        found.iter().map(batch_row).collect()
    }

    async fn feed(&self, batch: &Name, after: u64, fed: &[Fed]) -> Result<bool, StoreError> {
        let mut submissions = Vec::with_capacity(fed.len());
        for fed in fed {
            if let Fed::Run(submission) = fed {
                submissions.push(&**submission);
            }
        }
        let form = Form::of(&self.codec, submissions).await?;
        let mut tries = Tries::new();
        loop {
            // what a first try of unknown outcome wrote has moved the mark: it is not done again
            let written = match self.writers.acquire().await {
                Ok(mut connection) => write(&mut connection, batch, after, fed, &form).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(is_written) => return Ok(is_written),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn steer_batch(
        &self,
        tenant: &Name,
        batch: &Name,
        steer: Steer,
        actor: &Name,
    ) -> Result<Option<Steered>, StoreError> {
        let wish = self.codec.wish(&steer.wish())?;
        let steered = async {
            let mut connection = self.writers.acquire().await?;
            self::steer(&mut connection, (tenant, batch), steer, &wish, actor).await
        };
        if let Some(runs) = steered.await.map_err(|error| trouble(&error))? {
            return Ok(Some(Steered::Done(runs)));
        }
        let found = self.batch(tenant, batch).await?;
        Ok(found.map(|found| Steered::Refused(found.state)))
    }

    async fn end_batch(&self, batch: &Name, state: State) -> Result<bool, StoreError> {
        const END: &str = "
            WITH ended AS (
                UPDATE batches SET state = $2, finished_at = flowmill_now()
                WHERE batch = $1 AND finished_at IS NULL
                RETURNING tenant, batch
            ), told AS (
                INSERT INTO webhook_deliveries (tenant, endpoint, message, event, subject, seq)
                SELECT tenant, id, 'msg_' || batch, $3, batch, 0
                FROM ended JOIN endpoints USING (tenant)
                WHERE disabled IS NULL AND is_for_all AND $3 = ANY(events)
            ), freed AS (
                DELETE FROM shares USING ended
                WHERE shares.tenant = ended.tenant AND kind = 'batch' AND name = batch)
            SELECT EXISTS (SELECT FROM ended)";
        let ended = sqlx::query_scalar::<_, bool>(END)
            .bind(&**batch)
            .bind(state.name())
            .bind(BATCH_COMPLETED)
            .fetch_one(&self.writers)
            .await;
        ended.map_err(|error| trouble(&error))
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
                NULL AS metadata, j.first, j.last, j.version, j.facts
            FROM runs r
            LEFT JOIN workflows w ON w.tenant = r.tenant AND w.digest = r.workflow
            LEFT JOIN LATERAL (
                SELECT first, last, version, facts FROM journal WHERE journal.run = r.run
                ORDER BY first DESC LIMIT 1) AS j ON true
            WHERE r.batch = $2 AND r.tenant = $1 AND r.line > $3 AND r.line <= $6
                AND r.finished_at IS NOT NULL
                AND ($5 IS NULL OR (r.status IN ('succeeded', 'partial-succeeded')) = $5)
            ORDER BY r.line LIMIT $4";
        const REJECTS: &str = "
            SELECT line, custom_id, problem FROM batch_rejects
            JOIN batches USING (batch)
            WHERE batch = $2 AND tenant = $1 AND line > $3 AND line <= $5 ORDER BY line LIMIT $4";
        const FED: &str = "SELECT fed FROM batches WHERE tenant = $1 AND batch = $2";
        let fed = sqlx::query_scalar::<_, i64>(FED).bind(&**tenant).bind(&**batch);
        let mut reading = self.of_tenant(tenant).await?;
        let fed = fed.fetch_optional(&mut *reading).await.map_err(|error| trouble(&error))?;
        let fed = fed.unwrap_or(0);
        let mut results = Vec::new();
        let (mut from, mut span) = (number(after), rows(most));
        // a part of the lines at a time: a database that knows nothing of a large batch yet would
        // otherwise rather sort all of it for each page
        while results.len() < most && from < fed {
            let (before, left, to) = (results.len(), rows(most - results.len()), from + span);
            let ask = |query| {
                let query = sqlx::query(query).bind(&**tenant).bind(&**batch);
                query.bind(from).bind(left)
            };
            let runs = ask(RUNS).bind(which.is_good()).bind(to).fetch_all(&mut *reading).await;
            for row in &runs.map_err(|error| trouble(&error))? {
                results.push(run_of(&self.codec, row)?);
            }
            if which != Which::Good {
                let rejects = ask(REJECTS).bind(to).fetch_all(&mut *reading).await;
                for row in &rejects.map_err(|error| trouble(&error))? {
                    let result = Err(text(row, "problem")?);
                    results.push(LineResult { result, ..line(row)? });
                }
                results[before..].sort_by_key(|found| found.line);
                results.truncate(most);
            }
            (from, span) = (to, (span * 4).min(SPAN));
        }
        Ok(results)
    }
}

/// Those of these batches that there are, whosever they are, in any order.
pub(super) async fn some_batches(from: &PgPool, ids: &[&Name]) -> Result<Vec<Batch>, StoreError> {
    let ids: Vec<&str> = ids.iter().map(|id| &***id).collect();
    let found = sqlx::query(batch_rows!("b.batch = ANY($1)")).bind(ids).fetch_all(from).await;
    found.map_err(|error| trouble(&error))?.iter().map(batch_row).collect()
}

/// Moves the mark over lines, and writes what is made of them.
async fn write(
    to: &mut PgConnection,
    batch: &Name,
    after: u64,
    fed: &[Fed],
    form: &Form,
) -> Result<bool, sqlx::Error> {
    const MOVE: &str = "
        UPDATE batches SET fed = fed + $3, rejected = rejected + $4
        WHERE batch = $1 AND fed = $2 AND state = 'running' AND fed + $3 <= lines";
    const REJECT: &str = "
        INSERT INTO batch_rejects (batch, line, custom_id, problem)
        SELECT $1, line, custom_id, problem
        FROM unnest($2::int8[], $3::text[], $4::text[]) AS new (line, custom_id, problem)";
    let mut lines = Vec::new();
    let mut ids = Vec::new();
    let mut problems = Vec::new();
    for (fed, line) in fed.iter().zip(after + 1..) {
        if let Fed::Rejected { custom_id, problem } = fed {
            lines.push(number(line));
            ids.push(custom_id.as_ref().map(|id| id.replace('\0', "\u{fffd}")));
            problems.push(problem.replace('\0', "\u{fffd}"));
        }
    }
    let mut transaction = to.begin().await?;
    let moved = sqlx::query(MOVE)
        .bind(&**batch)
        .bind(number(after))
        .bind(rows(fed.len()))
        .bind(rows(lines.len()))
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    form.write(&mut transaction).await?;
    if !lines.is_empty() {
        let reject = sqlx::query(REJECT).bind(&**batch).bind(&lines).bind(&ids).bind(&problems);
        reject.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Changes a batch, and leaves a signal to each of its runs that goes on. The second statement sees
/// the runs that were made before the first one had the row.
async fn steer(
    to: &mut PgConnection,
    (tenant, batch): (&Name, &Name),
    steer: Steer,
    wish: &str,
    actor: &Name,
) -> Result<Option<Vec<Name>>, sqlx::Error> {
    const CHANGE: &str = "
        UPDATE batches SET state = $3, cause = coalesce($4, cause), claimed_until = 0,
            -- one whose lines never came to an end has not begun
            started_at = coalesce(started_at, flowmill_now())
        WHERE tenant = $1 AND batch = $2 AND state = ANY($5)";
    const SIGNAL: &str = "
        WITH live AS (
            SELECT tenant, run, shard, status FROM runs
            -- so written, the planner cannot take the index of what goes on, in which it would go over
            -- all that has ended; those that go on are mostly the last, and so many there are
            WHERE tenant = $1 AND batch = $2 AND coalesce(finished_at, 0) = 0
            ORDER BY line DESC
            LIMIT (
                SELECT greatest(fed - rejected - coalesce(
                    (SELECT sum(succeeded + partial + failed + stopped)::int8
                    FROM batch_ends WHERE batch_ends.batch = batches.batch), 0), 0)
                FROM batches WHERE batch = $2))
        INSERT INTO signals (tenant, run, shard, wish, actor)
        SELECT tenant, run, shard, $3, $4 FROM live
        WHERE $5 OR status = 'paused'
            -- or about to be
            OR EXISTS (SELECT FROM signals WHERE signals.run = live.run AND settled_at IS NULL)
        ORDER BY run
        RETURNING run";
    let from: Vec<&str> = steer.from().iter().map(|state| state.name()).collect();
    let mut transaction = to.begin().await?;
    let changed = sqlx::query(CHANGE)
        .bind(&**tenant)
        .bind(&**batch)
        .bind(steer.to().name())
        .bind(steer.cause().map(Cause::name))
        .bind(from)
        .execute(&mut *transaction)
        .await?;
    if changed.rows_affected() == 0 {
        return Ok(None);
    }
    let runs = sqlx::query_scalar::<_, String>(SIGNAL)
        .bind(&**tenant)
        .bind(&**batch)
        .bind(wish)
        .bind(&**actor)
        .bind(!steer.is_for_paused())
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some(runs.into_iter().map(Name::from).collect()))
}

fn batch_row(row: &PgRow) -> Result<Batch, StoreError> {
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
fn line(row: &PgRow) -> Result<LineResult, StoreError> {
    Ok(LineResult {
        line: get::<i64>(row, "line")?.unsigned_abs(),
        custom_id: get::<Option<&str>>(row, "custom_id")?.map(Name::from),
        result: Err("".into()),
    })
}

/// A line that became a run, with its end, which is the last fact.
fn run_of(codec: &Codec, row: &PgRow) -> Result<LineResult, StoreError> {
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
