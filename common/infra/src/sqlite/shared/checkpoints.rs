//! The store for workers.

use flowmill_engine::run::Outcome;
use sqlx::SqliteConnection;

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Extent, Scope};
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::{SharedFolder, list, trouble};

impl Checkpoints for SharedFolder {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut rows = Vec::with_capacity(checkpoints.len());
        for Checkpoint { key, outcome } in checkpoints {
            rows.push((self.row(key)?, self.codec.outcome(&key.run, outcome).await?));
        }
        let earlier = self.writer.write(Saving(rows)).await?;
        let mut losers = Vec::with_capacity(earlier.len());
        for (checkpoint, kept) in checkpoints.iter().zip(earlier) {
            let Some(kept) = kept else { continue };
            let key = checkpoint.key.clone();
            let outcome = self.codec.read_outcome(&key.run, &kept).await?;
            losers.push(Checkpoint { key, outcome });
        }
        Ok(losers)
    }

    async fn find(&self, scope: &Scope) -> Result<Vec<Outcome>, StoreError> {
        const NODES: &str = "
            SELECT completion FROM checkpoints
            WHERE tenant = ?1 AND run = ?2 AND task IN (SELECT value FROM json_each(?3)) AND n = 0";
        const FRAMES: &str = "
            SELECT completion FROM json_each(?3) AS asked
            JOIN checkpoints ON task >= asked.value ->> 0 AND task < asked.value ->> 1
            WHERE tenant = ?1 AND run = ?2 AND n = 0";
        let Scope { tenant, run, extent } = scope;
        let (query, asked) = match extent {
            Extent::Nodes(tasks) => {
                let tasks: Result<Vec<_>, _> =
                    tasks.iter().map(|task| self.codec.task(task)).collect();
                (NODES, list(&tasks?)?)
            }
            Extent::Frames(frames) => {
                let ranges: Result<Vec<_>, _> =
                    frames.iter().map(|frame| self.codec.tasks_in(frame)).collect();
                (FRAMES, list(&ranges?)?)
            }
        };
        let found = sqlx::query_scalar::<_, String>(query).bind(&**tenant).bind(&**run).bind(asked);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let mut outcomes = Vec::with_capacity(found.len());
        for text in &found {
            outcomes.push(self.codec.read_outcome(run, text).await?);
        }
        Ok(outcomes)
    }

    async fn outcome(&self, key: &CheckpointKey) -> Result<Option<Outcome>, StoreError> {
        let found = self.row(key)?.completion();
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        match found {
            Some(text) => self.codec.read_outcome(&key.run, &text).await.map(Some),
            None => Ok(None),
        }
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<u32, StoreError> {
        self.writer.write(Seeing(self.row(key)?)).await
    }
}

/// What a checkpoint is known by in its table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    tenant: String,
    run: String,
    task: String,
    attempt: i64,
}

impl SharedFolder {
    fn row(&self, key: &CheckpointKey) -> Result<Row, StoreError> {
        Ok(Row {
            tenant: key.tenant.to_string(),
            run: key.run.to_string(),
            task: self.codec.task(&key.task)?,
            attempt: i64::from(key.attempt),
        })
    }
}

impl Row {
    /// The outcome that is kept under it.
    fn completion(
        self,
    ) -> sqlx::query::QueryScalar<'static, sqlx::Sqlite, String, sqlx::sqlite::SqliteArguments>
    {
        const COMPLETION: &str = "
            SELECT completion FROM checkpoints
            WHERE tenant = ? AND run = ? AND task = ? AND attempt = ? AND n = 0";
        let Self { tenant, run, task, attempt } = self;
        sqlx::query_scalar(COMPLETION).bind(tenant).bind(run).bind(task).bind(attempt)
    }
}

/// Outcomes as text. Of each that came second, the one that was there.
#[derive(Debug)]
struct Saving(Vec<(Row, String)>);

impl Change for Saving {
    type Answer = Vec<Option<String>>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<Option<String>>, StoreError>, sqlx::Error> {
        const SAVE: &str = "
            INSERT INTO checkpoints (tenant, run, task, attempt, n, completion)
            VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT DO NOTHING";
        let mut earlier = Vec::with_capacity(self.0.len());
        for (row, completion) in &self.0 {
            let Row { tenant, run, task, attempt } = row;
            let save = sqlx::query(SAVE).bind(tenant).bind(run).bind(task).bind(attempt);
            let is_new = save.bind(completion).execute(&mut *to).await?.rows_affected() > 0;
            earlier.push(if is_new {
                None
            } else {
                Some(row.clone().completion().fetch_one(&mut *to).await?)
            });
        }
        Ok(Ok(earlier))
    }
}

/// A task that was delivered again; how often that was.
#[derive(Debug)]
struct Seeing(Row);

impl Change for Seeing {
    type Answer = u32;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<u32, StoreError>, sqlx::Error> {
        const SEEN: &str = "
            INSERT INTO checkpoints (tenant, run, task, attempt, n)
            SELECT ?1, ?2, ?3, ?4, coalesce(max(n), 0) + 1 FROM checkpoints
            WHERE tenant = ?1 AND run = ?2 AND task = ?3 AND attempt = ?4
            RETURNING n";
        let Row { tenant, run, task, attempt } = &self.0;
        let seen = sqlx::query_scalar::<_, i64>(SEEN).bind(tenant).bind(run).bind(task);
        let seen = seen.bind(attempt).fetch_one(to).await?;
        Ok(Ok(u32::try_from(seen).unwrap_or(u32::MAX)))
    }
}
