//! The store for workers. Its statements need no more than the role `flowmill_worker` may do:
//! insert into and read `checkpoints` and `payloads`.

use std::collections::{BTreeMap, HashMap};

use flowmill_engine::run::Completion;
use flowmill_engine::value::Name;
use sqlx::{PgPool, Row as _};

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Known};
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
            let Checkpoint { key, completion } = checkpoint;
            let text = self.codec.completion(&key.run, completion)?;
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
                let completion = self.codec.read_completion(&row.run, kept)?;
                losers.push(Checkpoint { key: checkpoint.key.clone(), completion });
            }
        }
        Ok(losers)
    }

    async fn find(&self, key: &CheckpointKey) -> Result<Option<Completion>, StoreError> {
        let row = self.row(key)?;
        self.outcome(&row).await
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<Known, StoreError> {
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
            // another delivery took the number at the same time
            let Some(redeliveries) = seen else { continue };
            let completion = self.outcome(&row).await?;
            return Ok(Known { completion, redeliveries: redeliveries.unsigned_abs() });
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
    /// Read where it is written: a copy that lags behind does not count.
    async fn outcome(&self, row: &Row) -> Result<Option<Completion>, StoreError> {
        const OUTCOME: &str = "
            SELECT completion FROM checkpoints
            WHERE tenant = $1 AND run = $2 AND task = $3 AND attempt = $4 AND n = 0";
        let Row { tenant, run, task, attempt } = row;
        let outcome = sqlx::query_scalar::<_, String>(OUTCOME);
        let outcome = outcome.bind(tenant).bind(run).bind(task).bind(attempt);
        let outcome = outcome.fetch_optional(&self.writers).await;
        let outcome = outcome.map_err(|error| trouble(&error))?;
        outcome.map(|text| self.codec.read_completion(run, &text)).transpose()
    }

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
