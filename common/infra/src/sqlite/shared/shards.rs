//! The store for owners of shards: who owns what, and what a shard waits for.

use flowmill_engine::fact::RunFinished;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::flow::{self, Flow, WaitingFlow};
use crate::intake::end_of;
use crate::message::Shard;
use crate::shards::{Announcement, Damaged, Held, Journal, Queued, Shards, Signal};
use crate::sqlite::writer::Change;
use crate::store::{StoreError, Tenure};

use super::commit::owns;
use super::intake::plan_key;
use super::{SharedFolder, end, get, list, most as rows, number, reading, text, time, trouble};

impl Shards for SharedFolder {
    async fn hold(&self, me: &Announcement, most: u16) -> Result<Held, StoreError> {
        let mut leases = self.leases.lock().await;
        let now = self.now();
        let until = now.after(self.lease);
        leases.renew(&me.scheduler, now, until);
        let mut tenures = self.tenures().await?;
        let shards: Vec<Shard> = tenures.iter().map(|tenure| tenure.shard).collect();
        let free = leases.free(&me.scheduler, &shards, most, now);
        if !free.is_empty() {
            self.writer.write(Raising(free.clone())).await?;
            leases.take(&me.scheduler, &free, until);
            tenures = self.tenures().await?;
        }
        tenures.retain(|tenure| leases.has(&me.scheduler, tenure.shard, now));
        Ok(Held {
            tenures,
            schedulers: leases.schedulers(now, self.lease),
            shards: u16::try_from(shards.len()).unwrap_or(u16::MAX),
            now,
        })
    }

    async fn release(&self, me: &Announcement, shards: &[Shard]) -> Result<(), StoreError> {
        self.leases.lock().await.release(&me.scheduler, shards);
        Ok(())
    }

    async fn queued(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        const QUEUED: &str = "
            SELECT run, r.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, start
            FROM runs r LEFT JOIN workflows w ON w.tenant = r.tenant AND digest = workflow
            WHERE shard IN (SELECT value FROM json_each(?)) AND status IS NULL AND NOT EXISTS (
                SELECT 1 FROM signals s WHERE s.run = r.run AND s.settled_at IS NULL)
            ORDER BY place LIMIT ?";
        let found = sqlx::query(QUEUED).bind(numbers(shards)?).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        self.read_queued(&found).await
    }

    async fn waiting_flows(&self, shards: &[Shard]) -> Result<Vec<WaitingFlow>, StoreError> {
        // from each flow to the next, past all that waits in it
        const FLOWS: &str = "
            WITH RECURSIVE found (shard, flow) AS (
                SELECT value, (SELECT min(flow) FROM runs WHERE shard = value AND status IS NULL)
                FROM json_each(?)
                UNION ALL
                SELECT shard, (SELECT min(runs.flow) FROM runs
                    WHERE runs.shard = found.shard AND status IS NULL AND runs.flow > found.flow)
                FROM found WHERE flow IS NOT NULL)
            SELECT DISTINCT flow FROM found WHERE flow IS NOT NULL ORDER BY flow";
        const NAME: &str = "SELECT name FROM workflows WHERE tenant = ? AND digest = ?";
        let found = sqlx::query(FLOWS).bind(numbers(shards)?).fetch_all(&self.readers).await;
        let mut flows = Vec::new();
        for row in &found.map_err(|error| trouble(&error))? {
            let key = text(row, "flow")?;
            let flow = flow::of_key(&key);
            let name = sqlx::query_scalar::<_, String>(NAME);
            let name = name.bind(&*flow.tenant).bind(&*flow.workflow);
            let name = name.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
            let workflow = Name::from(name.unwrap_or_default());
            flows.push(WaitingFlow { key, flow: Flow { workflow, ..flow } });
        }
        Ok(flows)
    }

    async fn queued_of(
        &self,
        shards: &[Shard],
        flows: &[(Name, usize)],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        const HEAD: &str = "
            SELECT run, place, r.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks,
                start
            FROM runs r LEFT JOIN workflows w ON w.tenant = r.tenant AND digest = workflow
            WHERE shard = ? AND flow = ? AND status IS NULL AND NOT EXISTS (
                SELECT 1 FROM signals s WHERE s.run = r.run AND s.settled_at IS NULL)
            ORDER BY place LIMIT ?";
        let mut queued = Vec::new();
        for (key, most) in flows {
            // a shard gives its part and one more, so that there is enough where they are few
            let each = most / shards.len().max(1) + 1;
            let mut heads = Vec::new();
            for shard in shards {
                let head = sqlx::query(HEAD).bind(i64::from(shard.0)).bind(&**key);
                let head = head.bind(rows(each)).fetch_all(&self.readers).await;
                heads.append(&mut head.map_err(|error| trouble(&error))?);
            }
            heads.sort_by_cached_key(|row| get::<i64>(row, "place").unwrap_or(i64::MAX));
            heads.truncate(*most);
            queued.append(&mut self.read_queued(&heads).await?);
        }
        Ok(queued)
    }

    async fn queued_runs(&self, runs: &[Name]) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        const QUEUED: &str = "
            SELECT run, r.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, start
            FROM runs r LEFT JOIN workflows w ON w.tenant = r.tenant AND digest = workflow
            WHERE run IN (SELECT value FROM json_each(?)) AND status IS NULL";
        let found = sqlx::query(QUEUED).bind(list(runs)?).fetch_all(&self.readers).await;
        self.read_queued(&found.map_err(|error| trouble(&error))?).await
    }

    async fn unfinished(&self, tenure: Tenure) -> Result<Vec<Name>, StoreError> {
        const UNFINISHED: &str = "
            SELECT run FROM runs
            WHERE shard = ?1 AND (is_ready OR in_flight > 0)
                AND (is_ready OR last_number > ?2) AND finished_at IS NULL
            ORDER BY run";
        let found = sqlx::query(UNFINISHED)
            .bind(i64::from(tenure.shard.0))
            .bind(number(tenure.mark))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| trouble(&error))?;
        found.iter().map(|row| text(row, "run")).collect()
    }

    async fn due(
        &self,
        shards: &[Shard],
        until: Time,
        most: usize,
    ) -> Result<Vec<(Time, Name)>, StoreError> {
        const DUE: &str = "
            SELECT wake_at, run FROM runs
            WHERE shard IN (SELECT value FROM json_each(?)) AND wake_at <= ?
            ORDER BY wake_at, run LIMIT ?";
        let found = sqlx::query(DUE)
            .bind(numbers(shards)?)
            .bind(number(until.0))
            .bind(rows(most))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| trouble(&error))?;
        found.iter().map(|row| Ok((time(get(row, "wake_at")?), text(row, "run")?))).collect()
    }

    async fn signals(&self, shards: &[Shard], most: usize) -> Result<Vec<Signal>, StoreError> {
        const SIGNALS: &str = "
            SELECT id, run, wish, actor FROM signals
            WHERE shard IN (SELECT value FROM json_each(?)) AND settled_at IS NULL
            ORDER BY id LIMIT ?";
        let found = sqlx::query(SIGNALS).bind(numbers(shards)?).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let signal = |row: &SqliteRow| {
            Ok(Signal {
                id: get(row, "id")?,
                run: text(row, "run")?,
                wish: get(row, "wish").and_then(|wish| self.codec.read_wish(wish)),
                actor: text(row, "actor")?,
            })
        };
        found.iter().map(signal).collect()
    }

    async fn journals(&self, runs: &[Name]) -> Result<Vec<Result<Journal, Damaged>>, StoreError> {
        const RUN: &str = "
            SELECT r.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, seq
            FROM runs r LEFT JOIN workflows w ON w.tenant = r.tenant AND digest = workflow
            WHERE run = ? AND seq > 0";
        let mut journals = Vec::with_capacity(runs.len());
        for run in runs {
            let found = sqlx::query(RUN).bind(&**run).fetch_optional(&self.readers).await;
            let Some(row) = found.map_err(|error| trouble(&error))? else { continue };
            match self.read_journal(run, &row).await {
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                read => journals.push(read.map_err(|why| Damaged { run: run.clone(), why })),
            }
        }
        Ok(journals)
    }

    async fn end_of(&self, tenant: &Name, run: &Name) -> Result<Option<RunFinished>, StoreError> {
        end_of(self, tenant, run).await
    }

    async fn end(&self, tenure: Tenure, run: &Name, end: &RunFinished) -> Result<bool, StoreError> {
        end::end(self, tenure, run, end).await
    }

    async fn without_deadline(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Name>, StoreError> {
        const WITHOUT: &str = "
            SELECT run FROM runs
            WHERE shard IN (SELECT value FROM json_each(?)) AND wake_at IS NULL
                AND finished_at IS NULL
            ORDER BY run LIMIT ?";
        let found = sqlx::query(WITHOUT).bind(numbers(shards)?).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        found.iter().map(|row| text(row, "run")).collect()
    }

    async fn doubt(&self, tenure: Tenure) -> Result<(), StoreError> {
        self.writer.write(Doubting(tenure)).await
    }
}

impl SharedFolder {
    async fn tenures(&self) -> Result<Vec<Tenure>, StoreError> {
        const SHARDS: &str = "SELECT shard, epoch, mark, last FROM shards ORDER BY shard";
        let found = sqlx::query(SHARDS).fetch_all(&self.readers).await;
        let count = |row: &SqliteRow, column| get::<i64>(row, column).map(i64::unsigned_abs);
        let tenure = |row: &SqliteRow| {
            let shard = get::<i64>(row, "shard")?;
            let no_shard = |_| StoreError::Corrupt(format!("{shard} is no shard"));
            Ok(Tenure {
                shard: Shard(u16::try_from(shard).map_err(no_shard)?),
                epoch: count(row, "epoch")?,
                mark: count(row, "mark")?,
                last: count(row, "last")?,
            })
        };
        found.map_err(|error| trouble(&error))?.iter().map(tenure).collect()
    }

    async fn read_queued(
        &self,
        found: &[SqliteRow],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        let mut queued = Vec::with_capacity(found.len());
        for row in found {
            let run = text(row, "run")?;
            queued.push(self.queued_run(row).await.map_err(|why| Damaged { run, why }));
        }
        Ok(queued)
    }

    async fn queued_run(&self, row: &SqliteRow) -> Result<Queued, StoreError> {
        let start = self.codec.read_start(get(row, "start")?).await?;
        let (tenant, name) = (text(row, "tenant")?, text(row, "name")?);
        Ok(Queued { plan: plan_key(row)?, tenant, name, start })
    }

    async fn read_journal(&self, run: &Name, row: &SqliteRow) -> Result<Journal, StoreError> {
        let (tenant, name, plan) = (text(row, "tenant")?, text(row, "name")?, plan_key(row)?);
        let mut facts = Vec::new();
        let all = (0, get(row, "seq")?);
        reading::between(&self.readers, &self.codec, run, all, |some| facts.extend(some)).await?;
        Ok(Journal { run: run.clone(), tenant, name, plan, facts })
    }
}

/// Shards that have another owner from now on.
#[derive(Debug)]
struct Raising(Vec<Shard>);

impl Change for Raising {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const RAISE: &str = "UPDATE shards SET epoch = epoch + 1 WHERE shard = ?";
        for shard in &self.0 {
            sqlx::query(RAISE).bind(i64::from(shard.0)).execute(&mut *to).await?;
        }
        Ok(Ok(()))
    }
}

/// A shard whose queues are lost.
#[derive(Debug)]
struct Doubting(Tenure);

impl Change for Doubting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const DOUBT: &str = "UPDATE shards SET mark = 0 WHERE shard = ?";
        let Tenure { shard, .. } = self.0;
        if !owns(self.0, to).await? {
            return Ok(Err(StoreError::Fenced { shard }));
        }
        sqlx::query(DOUBT).bind(i64::from(shard.0)).execute(to).await.map(|_| Ok(()))
    }
}

fn numbers(shards: &[Shard]) -> Result<String, StoreError> {
    list(&shards.iter().map(|shard| shard.0).collect::<Vec<_>>())
}
