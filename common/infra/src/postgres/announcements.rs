//! Ends of runs and batches that others are to be told of: notes that triggers make as they end.

use std::collections::BTreeMap;

use flowmill_engine::fact::{Event, Reason};
use flowmill_engine::value::Name;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::announcements::{Announcements, Ended, Unannounced};
use crate::journal::Part;
use crate::store::StoreError;

use super::batches::some_batches;
use super::intake::run_row;
use super::{PostgresStore, get, most as rows, text, trouble};

impl Announcements for PostgresStore {
    async fn unannounced(&self, most: usize) -> Result<Vec<Unannounced>, StoreError> {
        // whoever claimed a note and died leaves it to others after half a minute
        const CLAIM: &str = "
            WITH claimed AS (
                UPDATE announcements SET claimed_until = flowmill_now() + 30000000
                WHERE id IN (
                    SELECT id FROM announcements WHERE claimed_until < flowmill_now()
                    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
                RETURNING id, run, batch)
            SELECT id, claimed.batch AS batch_ended, runs.tenant, claimed.run, workflow, coalesce(name, '') AS name, status,
                accepted_at, started_at, finished_at, wake_at, in_flight, seq, conversation, rerun_of,
                endpoint, traceparent, metadata,
                runs.batch, line, custom_id, parent, ended.first, ended.last, ended.version, ended.facts
            FROM claimed
            LEFT JOIN runs USING (run)
            LEFT JOIN workflows ON workflows.tenant = runs.tenant AND digest = workflow
            LEFT JOIN LATERAL (
                SELECT first, last, version, facts FROM journal WHERE journal.run = claimed.run
                ORDER BY first DESC LIMIT 1) AS ended ON true
            ORDER BY id";
        let found = sqlx::query(CLAIM).bind(rows(most)).fetch_all(&self.writers).await;
        let found = found.map_err(|error| trouble(&error))?;
        let mut batches: BTreeMap<Name, i64> = BTreeMap::new();
        let mut forgotten = Vec::new();
        let mut unannounced = Vec::with_capacity(found.len());
        let reads = self.versions().reads();
        for row in &found {
            let id = get(row, "id")?;
            if let Some(batch) = get::<Option<&str>>(row, "batch_ended")? {
                batches.insert(batch.into(), id);
                continue;
            }
            if get::<Option<&str>>(row, "tenant")?.is_none() {
                // nobody can say any more how it ended
                forgotten.push(id);
                continue;
            }
            let (tenant, run) = (text(row, "tenant")?, Box::new(run_row(row)?));
            let ended = Ended::Run { tenant, reason: reason(&run.run, row, reads), run };
            unannounced.push(Unannounced { id, ended });
        }
        if !batches.is_empty() {
            let ids: Vec<&Name> = batches.keys().collect();
            for batch in some_batches(&self.writers, &ids).await? {
                if let Some(id) = batches.remove(&batch.batch) {
                    unannounced.push(Unannounced { id, ended: Ended::Batch(Box::new(batch)) });
                }
            }
            forgotten.extend(batches.into_values());
        }
        if !forgotten.is_empty() {
            self.announced(&forgotten).await?;
        }
        Ok(unannounced)
    }

    async fn announced(&self, ids: &[i64]) -> Result<(), StoreError> {
        const DONE: &str = "DELETE FROM announcements WHERE id = ANY($1)";
        let done = sqlx::query(DONE).bind(ids).execute(&self.writers).await;
        done.map(drop).map_err(|error| trouble(&error))
    }
}

/// What ended a run; None also when its last facts cannot be read, which the run's page tells.
fn reason(run: &Name, row: &PgRow, reads: u8) -> Option<Reason> {
    let first: i64 = row.try_get("first").ok()?;
    let part = Part {
        first,
        last: row.try_get("last").ok()?,
        version: i64::from(row.try_get::<i32, _>("version").ok()?),
        facts: row.try_get("facts").ok()?,
    };
    match part.read(run, first - 1, reads).ok()?.pop()?.event {
        Event::RunFinished(finished) => finished.reason,
        _ => None,
    }
}
