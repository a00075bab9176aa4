//! The end of a run that its owner cannot move: its last fact is written without the others.

use flowmill_engine::fact::{Fact, RunFinished, Status, VERSION};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::{SqliteConnection, SqlitePool};

use crate::codec::Codec;
use crate::shards::last_facts;
use crate::sqlite::writer::Change;
use crate::store::{StoreError, Tenure};

use super::commit::owns;
use super::{SharedFolder, get, number, trouble};

/// How often others may change the run meanwhile. Only its owner does, and that is who asks.
const TRIES: usize = 3;

/// Writes the end of a run that has none yet; false when it is unknown or has one.
pub(super) async fn end(
    store: &SharedFolder,
    tenure: Tenure,
    run: &Name,
    finished: &RunFinished,
) -> Result<bool, StoreError> {
    let SharedFolder { codec, readers, writer, .. } = store;
    for _ in 0..TRIES {
        let Some(held) = Held::of(readers, tenure, run).await? else { return Ok(false) };
        let facts = held.facts(codec, store.now(), finished).await;
        let (Some(first), Some(last)) = (facts.first(), facts.last()) else { return Ok(false) };
        let ending = Ending {
            tenure,
            run: run.clone(),
            seq: held.seq,
            first: first.seq,
            last: last.seq,
            at: last.at,
            status: finished.status,
            facts: codec.facts(run, &facts).await?,
        };
        if writer.write(ending).await? {
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable("another transaction changed the same run".to_owned()))
}

/// What is held of a run.
struct Held {
    /// The last fact of its row or its journal, whichever is later.
    seq: i64,
    start: Option<String>,
}

impl Held {
    async fn of(from: &SqlitePool, tenure: Tenure, run: &Name) -> Result<Option<Self>, StoreError> {
        const HELD: &str = "
            SELECT max(seq, coalesce(
                (SELECT max(last) FROM journal WHERE journal.run = runs.run), 0)) AS seq, start
            FROM runs WHERE run = ? AND shard = ? AND finished_at IS NULL";
        let found = sqlx::query(HELD).bind(&**run).bind(i64::from(tenure.shard.0));
        let found = found.fetch_optional(from).await.map_err(|error| trouble(&error))?;
        let held = |row| Ok(Self { seq: get(&row, "seq")?, start: get(&row, "start")? });
        found.map(held).transpose()
    }

    /// The end, and the beginning before it if there was none.
    async fn facts(&self, codec: &Codec, now: Time, finished: &RunFinished) -> Vec<Fact> {
        let is_new = self.seq == 0;
        let start = match self.start.as_deref().filter(|_| is_new) {
            Some(text) => codec.read_start(text).await.ok(),
            None => None,
        };
        last_facts(start, self.seq.unsigned_abs(), now, finished)
    }
}

/// The last facts of a run that stands at `seq`; false when it does not any more.
#[derive(Debug)]
struct Ending {
    tenure: Tenure,
    run: Name,
    seq: i64,
    first: u64,
    last: u64,
    at: Time,
    status: Status,
    facts: String,
}

impl Change for Ending {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const RUN: &str = "
            UPDATE runs SET status = ?3, seq = ?4, start = NULL, wake_at = NULL,
                started_at = coalesce(started_at, ?5), finished_at = ?5,
                is_ready = 0, in_flight = 0
            WHERE run = ?1 AND seq <= ?2 AND finished_at IS NULL";
        const SIGNALS: &str = "
            UPDATE signals SET settled_at = ?2, refused = 'the run has ended'
            WHERE run = ?1 AND settled_at IS NULL";
        const FACTS: &str = "
            INSERT INTO journal (run, first, last, version, facts) VALUES (?, ?, ?, ?, ?)";
        if !owns(self.tenure, to).await? {
            return Ok(Err(StoreError::Fenced { shard: self.tenure.shard }));
        }
        let run = sqlx::query(RUN)
            .bind(&*self.run)
            .bind(self.seq)
            .bind(self.status.name())
            .bind(number(self.last))
            .bind(number(self.at.0));
        if run.execute(&mut *to).await?.rows_affected() == 0 {
            return Ok(Ok(false));
        }
        let signals = sqlx::query(SIGNALS).bind(&*self.run).bind(number(self.at.0));
        signals.execute(&mut *to).await?;
        let facts = sqlx::query(FACTS)
            .bind(&*self.run)
            .bind(number(self.first))
            .bind(number(self.last))
            .bind(i64::from(VERSION))
            .bind(&*self.facts);
        facts.execute(to).await.map(|_| Ok(true))
    }
}
