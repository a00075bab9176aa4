//! The store for workers. Its statements need no more than the role `flowmill_worker` may do:
//! insert into and read `checkpoints` and `payloads`.

use std::collections::{BTreeMap, HashMap};

use flowmill_engine::run::Outcome;
use flowmill_engine::value::Name;
use sqlx::{PgPool, Row as _};

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Extent, Scope};
use crate::store::StoreError;
use crate::texts::Texts;

use super::intake::WORKFLOW;
use super::{PostgresStore, Tries, get, trouble};

/// Tries to take the next number, before others that do the same are told to be in the way.
const TRIES: usize = 20;

impl Checkpoints for PostgresStore {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        // in the order of their keys, so that no two calls wait for each other; of a key that is
        // there twice, the first wins
        let mut rows = BTreeMap::new();
        for checkpoint in checkpoints {
            let Checkpoint { key, outcome } = checkpoint;
            let text = self.codec.outcome(&key.run, outcome).await?;
            rows.entry(self.row(key)?).or_insert(text);
        }
        let mut tries = Tries::new();
        let kept = loop {
            match save(&self.writers, &rows).await {
                Ok(kept) => break kept,
                Err(error) => tries.after(error).await?,
            }
        };
        let mut losers = Vec::new();
        let mut seen: HashMap<Row, &Checkpoint> = HashMap::new();
        for checkpoint in checkpoints {
            let row = self.row(&checkpoint.key)?;
            let Some(kept) = kept.get(&row) else {
                let why = "a checkpoint was removed while it was written".to_owned();
                return Err(StoreError::Unavailable(why));
            };
            let is_first = seen.insert(row.clone(), checkpoint).is_none();
            let is_ours = rows.get(&row) == Some(kept) && is_first;
            if !is_ours {
                let outcome = self.codec.read_outcome(&checkpoint.key.run, kept).await?;
                losers.push(Checkpoint { key: checkpoint.key.clone(), outcome });
            }
        }
        Ok(losers)
    }

    /// Read where it is written: a copy that lags behind does not count.
    async fn find(&self, scope: &Scope) -> Result<Vec<Outcome>, StoreError> {
        const NODES: &str = "
            SELECT completion FROM checkpoints
            WHERE tenant = $1 AND run = $2 AND task = ANY($3) AND n = 0";
        const FRAMES: &str = "
            SELECT completion FROM unnest($3::text[], $4::text[]) AS asked (first, beyond)
            JOIN checkpoints ON task >= first AND task < beyond
            WHERE tenant = $1 AND run = $2 AND n = 0";
        let Scope { tenant, run, extent } = scope;
        let found = match extent {
            Extent::Nodes(tasks) => {
                let tasks: Result<Vec<_>, _> =
                    tasks.iter().map(|task| self.codec.task(task)).collect();
                let query = sqlx::query_scalar::<_, String>(NODES).bind(&**tenant).bind(&**run);
                query.bind(tasks?).fetch_all(&self.writers).await
            }
            Extent::Frames(frames) => {
                let ranges: Result<Vec<_>, _> =
                    frames.iter().map(|frame| self.codec.tasks_in(frame)).collect();
                let (first, beyond): (Vec<_>, Vec<_>) = ranges?.into_iter().unzip();
                let query = sqlx::query_scalar::<_, String>(FRAMES).bind(&**tenant).bind(&**run);
                query.bind(first).bind(beyond).fetch_all(&self.writers).await
            }
        };
        let found = found.map_err(|error| trouble(&error))?;
        let mut outcomes = Vec::with_capacity(found.len());
        for text in &found {
            outcomes.push(self.codec.read_outcome(run, text).await?);
        }
        Ok(outcomes)
    }

    async fn outcome(&self, key: &CheckpointKey) -> Result<Option<Outcome>, StoreError> {
        // read where it is written: a copy that lags behind does not count
        const OUTCOME: &str = "
            SELECT completion FROM checkpoints
            WHERE tenant = $1 AND run = $2 AND task = $3 AND attempt = $4 AND n = 0";
        let Row { tenant, run, task, attempt } = self.row(key)?;
        let outcome = sqlx::query_scalar::<_, String>(OUTCOME);
        let outcome = outcome.bind(tenant).bind(run).bind(task).bind(attempt);
        let found = outcome.fetch_optional(&self.writers).await.map_err(|error| trouble(&error))?;
        match found {
            Some(text) => self.codec.read_outcome(&key.run, &text).await.map(Some),
            None => Ok(None),
        }
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<u32, StoreError> {
        const SEEN: &str = "
            INSERT INTO checkpoints (tenant, run, task, attempt, n)
            SELECT $1, $2, $3, $4, coalesce(max(n), 0) + 1 FROM checkpoints
            WHERE tenant = $1 AND run = $2 AND task = $3 AND attempt = $4
            ON CONFLICT DO NOTHING
            RETURNING n";
        let row = self.row(key)?;
        let Row { tenant, run, task, attempt } = &row;
        for _ in 0..TRIES {
            let seen = sqlx::query_scalar::<_, i32>(SEEN);
            let seen = seen.bind(tenant).bind(run).bind(task).bind(attempt);
            let seen = seen.fetch_optional(&self.writers).await.map_err(|error| trouble(&error))?;
            // another delivery may have taken the number at the same time
            if let Some(redeliveries) = seen {
                return Ok(redeliveries.unsigned_abs());
            }
        }
        Err(StoreError::Unavailable("a task is delivered many times at once".to_owned()))
    }
}

impl Texts for PostgresStore {
    async fn text(&self, tenant: &Name, digest: &Name) -> Result<Option<Name>, StoreError> {
        const TEXT: &str = "
            SELECT bytes FROM payloads WHERE tenant = $1 AND owner = $2 AND digest = $3";
        let found = sqlx::query(TEXT).bind(&**tenant).bind(WORKFLOW).bind(&**digest);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        let Some(row) = found else { return Ok(None) };
        let (text, _) = self.codec.read_document(digest, get(&row, "bytes")?)?;
        Ok(Some(text))
    }
}

/// What a checkpoint is known by in its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Row {
    tenant: String,
    run: String,
    task: String,
    attempt: i32,
}

impl PostgresStore {
    fn row(&self, key: &CheckpointKey) -> Result<Row, StoreError> {
        Ok(Row {
            tenant: key.tenant.to_string(),
            run: key.run.to_string(),
            task: self.codec.task(&key.task)?,
            attempt: i32::try_from(key.attempt).unwrap_or(i32::MAX),
        })
    }
}

/// Writes what is not there, and answers what is there now.
async fn save(
    to: &PgPool,
    rows: &BTreeMap<Row, String>,
) -> Result<HashMap<Row, String>, sqlx::Error> {
    const SAVE: &str = "
        INSERT INTO checkpoints (tenant, run, task, attempt, n, completion)
        SELECT tenant, run, task, attempt, 0, completion
        FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::text[])
            AS asked (tenant, run, task, attempt, completion)
        ON CONFLICT DO NOTHING
        RETURNING run";
    const KEPT: &str = "
        SELECT tenant, run, task, attempt, checkpoints.completion
        FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[])
            AS asked (tenant, run, task, attempt)
        JOIN checkpoints USING (tenant, run, task, attempt) WHERE n = 0";
    let tenants: Vec<&str> = rows.keys().map(|row| &*row.tenant).collect();
    let runs: Vec<&str> = rows.keys().map(|row| &*row.run).collect();
    let tasks: Vec<&str> = rows.keys().map(|row| &*row.task).collect();
    let attempts: Vec<i32> = rows.keys().map(|row| row.attempt).collect();
    let completions: Vec<&str> = rows.values().map(|text| &**text).collect();
    let save = sqlx::query(SAVE).bind(&tenants).bind(&runs).bind(&tasks).bind(&attempts);
    let saved = save.bind(completions).fetch_all(to).await?;
    if saved.len() == rows.len() {
        return Ok(rows.clone().into_iter().collect());
    }
    let kept = sqlx::query(KEPT).bind(tenants).bind(runs).bind(tasks).bind(attempts);
    let mut found = HashMap::new();
    for row in kept.fetch_all(to).await? {
        let key = Row {
            tenant: row.try_get("tenant")?,
            run: row.try_get("run")?,
            task: row.try_get("task")?,
            attempt: row.try_get("attempt")?,
        };
        found.insert(key, row.try_get("completion")?);
    }
    Ok(found)
}
