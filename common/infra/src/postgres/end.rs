//! The end of a run that its owner cannot move: its last fact is written without the others.

use flowmill_engine::fact::{Event, Fact, RunFinished};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::{PgPool, Row as _};

use crate::codec::Codec;
use crate::shards::last_facts;
use crate::store::{StoreError, Tenure};

use super::{Tries, get, number, time, trouble};

/// How often others may change the run meanwhile. Only its owner does, and that is who asks.
const TRIES: usize = 3;

/// Writes the end of a run that has none yet; false when it is unknown or has one.
pub(super) async fn end(
    to: &PgPool,
    codec: &Codec,
    tenure: Tenure,
    run: &Name,
    finished: &RunFinished,
) -> Result<bool, StoreError> {
    for _ in 0..TRIES {
        let Some(held) = Held::of(to, tenure, run).await? else { return Ok(false) };
        let facts = held.facts(codec, finished).await;
        match write(to, codec, tenure, (run, held.seq), &facts).await? {
            Written::Yes => return Ok(true),
            Written::Fenced => return Err(StoreError::Fenced { shard: tenure.shard }),
            Written::Moved => {}
        }
    }
    Err(StoreError::Unavailable("another transaction changed the same run".to_owned()))
}

/// What is held of a run.
struct Held {
    /// The last fact of its row or its journal, whichever is later.
    seq: i64,
    start: Option<String>,
    now: Time,
}

impl Held {
    async fn of(from: &PgPool, tenure: Tenure, run: &Name) -> Result<Option<Self>, StoreError> {
        const HELD: &str = "
            SELECT greatest(seq, (SELECT max(last) FROM journal WHERE journal.run = runs.run))
                AS seq, start, flowmill_now() AS now
            FROM runs WHERE run = $1 AND shard = $2 AND finished_at IS NULL";
        let found = sqlx::query(HELD).bind(&**run).bind(i32::from(tenure.shard.0));
        let found = found.fetch_optional(from).await.map_err(|error| trouble(&error))?;
        let held = |row| {
            Ok(Self {
                seq: get(&row, "seq")?,
                start: get(&row, "start")?,
                now: time(get(&row, "now")?),
            })
        };
        found.map(held).transpose()
    }

    /// The end, and the beginning before it if there was none.
    async fn facts(&self, codec: &Codec, finished: &RunFinished) -> Vec<Fact> {
        let is_new = self.seq == 0;
        let start = match self.start.as_deref().filter(|_| is_new) {
            Some(text) => codec.read_start(text).await.ok(),
            None => None,
        };
        last_facts(start, self.seq.unsigned_abs(), self.now, finished)
    }
}

enum Written {
    Yes,
    /// The shard has another owner.
    Fenced,
    /// The run is not where it was.
    Moved,
}

async fn write(
    to: &PgPool,
    codec: &Codec,
    tenure: Tenure,
    (run, seq): (&Name, i64),
    facts: &[Fact],
) -> Result<Written, StoreError> {
    // the shard's row first, then the run's: as a commit locks them
    const END: &str = "
        WITH owned AS MATERIALIZED (
            SELECT shard FROM shards WHERE shard = $1 AND epoch = $2 FOR NO KEY UPDATE
        ), ended AS (
            UPDATE runs SET status = $10, seq = $5, start = NULL, wake_at = NULL,
                started_at = coalesce(started_at, $6), finished_at = $6,
                is_ready = false, in_flight = 0
            WHERE run = $3 AND seq <= $4 AND finished_at IS NULL AND EXISTS (SELECT FROM owned)
            RETURNING run, tenant, batch
        ), counted AS (
            INSERT INTO batch_ends AS ends (batch, shard, succeeded, partial, failed, stopped)
            SELECT batch, $1, ($10 = 'succeeded')::int, ($10 = 'partial-succeeded')::int,
                ($10 = 'failed')::int, ($10 = 'stopped')::int
            FROM ended WHERE batch IS NOT NULL
            ON CONFLICT (batch, shard) DO UPDATE SET
                succeeded = ends.succeeded + excluded.succeeded,
                partial = ends.partial + excluded.partial,
                failed = ends.failed + excluded.failed, stopped = ends.stopped + excluded.stopped
        ), settled AS (
            UPDATE signals SET settled_at = flowmill_now(), refused = 'the run has ended'
            FROM ended WHERE signals.run = ended.run AND settled_at IS NULL
        ), raised AS (
            UPDATE shards SET version = $8
            WHERE shard = $1 AND version < $8 AND EXISTS (SELECT FROM ended)
        ), written AS (
            INSERT INTO journal (run, first, last, tenant, version, facts)
            SELECT run, $7, $5, tenant, $8, $9 FROM ended
            RETURNING run)
        SELECT EXISTS (SELECT FROM owned) AS is_owned, EXISTS (SELECT FROM written) AS is_written";
    let (Some(first), Some(last)) = (facts.first(), facts.last()) else {
        return Ok(Written::Moved);
    };
    let Event::RunFinished(finished) = &last.event else { return Ok(Written::Moved) };
    let (text, version) = (codec.facts(run, facts).await?, codec.versions.writes());
    let mut tries = Tries::new();
    let row = loop {
        let end = sqlx::query(END)
            .bind(i32::from(tenure.shard.0))
            .bind(number(tenure.epoch))
            .bind(&**run)
            .bind(seq)
            .bind(number(last.seq))
            .bind(number(last.at.0))
            .bind(number(first.seq))
            .bind(i32::from(version))
            .bind(&text)
            .bind(finished.status.name());
        match end.fetch_one(to).await {
            Ok(row) => break row,
            Err(error) => tries.after(error).await?,
        }
    };
    let is = |column| row.try_get::<bool, _>(column).map_err(|error| trouble(&error));
    Ok(match (is("is_owned")?, is("is_written")?) {
        (_, true) => Written::Yes,
        (false, false) => Written::Fenced,
        (true, false) => Written::Moved,
    })
}
