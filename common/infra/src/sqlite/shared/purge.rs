//! What need not be kept is removed, in small changes between those of others.

use std::collections::{BTreeMap, BTreeSet};

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::intake::beginning;
use crate::payloads::{Owner, PayloadError, Payloads as _};
use crate::retention::{Due, EndedRun, Looked, Month, Purge, Rest, Stock, Swept, Terms};
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::intake::status;
use super::keeping::term;
use super::{SharedFolder, get, list, most as rows, number, text, time, trouble};

/// A folder in the hands of the one who removes what need not be kept. Its process has it alone.
#[derive(Debug)]
pub struct FolderPurge(SharedFolder);

impl SharedFolder {
    /// Takes it in hand.
    pub fn purge(&self) -> FolderPurge {
        FolderPurge(self.clone())
    }
}

const LOOK: &str = "
    WITH looked AS MATERIALIZED (
        SELECT run, tenant, status, finished_at, batch, parent FROM runs
        WHERE run > ?1 AND run < ?2 ORDER BY run LIMIT ?4)
    SELECT l.run, l.tenant, l.status, max(l.finished_at, coalesce(b.finished_at, 0)) AS ended_at,
        c.last
    FROM (SELECT max(run) AS last FROM looked) AS c LEFT JOIN (
        looked AS l LEFT JOIN batches AS b ON b.batch = l.batch
    ) ON l.finished_at < ?3 AND (b.batch IS NULL OR b.finished_at IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM runs AS p
            WHERE p.run = l.parent AND p.finished_at IS NULL)
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d
            WHERE d.subject = l.run AND d.state = 'waiting')
    ORDER BY l.run";

/// The list `?2` says before which time what of whom is due.
macro_rules! due {
    ($before:literal, $at:literal, $after:literal) => {
        concat!(
            $before,
            " ",
            $at,
            " < coalesce((
                SELECT value ->> 1 FROM json_each(?2) WHERE value ->> 0 = x.tenant), ?1) ",
            $after
        )
    };
}

const BATCHES: &str = due!(
    "DELETE FROM batches WHERE batch IN (SELECT batch FROM batches AS x WHERE",
    "finished_at",
    "AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.batch = x.batch)
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d
            WHERE d.subject = x.batch AND d.state = 'waiting')
    ORDER BY batch LIMIT ?3) RETURNING tenant, batch AS name"
);

const UPLOADS: &str = due!(
    "DELETE FROM uploads WHERE (tenant, upload) IN (SELECT tenant, upload FROM uploads AS x WHERE",
    "coalesce(used_at, uploaded_at)",
    "AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.tenant = x.tenant
            AND r.finished_at IS NULL
            AND r.accepted_at <= coalesce(x.used_at, x.uploaded_at) + 3600000000)
        AND NOT EXISTS (SELECT 1 FROM batches AS b
            WHERE b.tenant = x.tenant AND b.finished_at IS NULL)
    LIMIT ?3) RETURNING tenant, upload AS name"
);

const CONVERSATIONS: &str = due!(
    "DELETE FROM conversations WHERE (tenant, conversation) IN (
        SELECT tenant, conversation FROM conversations AS x WHERE",
    "used_at",
    "LIMIT ?3) RETURNING tenant, conversation AS name"
);

const VARIABLES: &str =
    "DELETE FROM conversation_variables WHERE tenant = ?1 AND conversation = ?2";

const KEYS: &str = "
    DELETE FROM idempotency WHERE (tenant, key) IN (
        SELECT tenant, key FROM idempotency AS i WHERE used_at < ?1
            AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.run = i.run)
            AND NOT EXISTS (SELECT 1 FROM batches AS b WHERE b.batch = i.run)
        LIMIT ?2)";

const SIGNALS: &str = "
    DELETE FROM signals WHERE id IN (
        SELECT id FROM signals WHERE settled_at < ?1 ORDER BY id LIMIT ?2)";

/// What a tenant had beside runs.
const CLEAR: [&str; 11] = [
    "DELETE FROM batches WHERE tenant = ?",
    "DELETE FROM conversation_variables WHERE tenant = ?",
    "DELETE FROM conversations WHERE tenant = ?",
    "DELETE FROM workflow_names WHERE tenant = ?",
    "DELETE FROM workflows WHERE tenant = ?",
    "DELETE FROM texts WHERE tenant = ?",
    "DELETE FROM checkpoints WHERE tenant = ?",
    "DELETE FROM idempotency WHERE tenant = ?",
    "DELETE FROM webhook_deliveries WHERE tenant = ?",
    "DELETE FROM endpoints WHERE tenant = ?",
    "DELETE FROM shares WHERE tenant = ?",
];

impl Purge for FolderPurge {
    /// Whoever writes waits for this.
    const AT_ONCE: usize = 500;

    async fn stock(&mut self) -> Result<Stock, StoreError> {
        const OWN: &str = "SELECT tenant, kind, keep FROM retention";
        const GONE: &str = "SELECT name FROM removed_tenants";
        const DONE: &str = "SELECT done_at FROM upkeep WHERE what = 'purge'";
        let failed = |error| trouble(&error);
        let readers = &self.0.readers;
        let found = sqlx::query(OWN).fetch_all(readers).await.map_err(failed)?;
        let mut own = BTreeMap::<Name, Terms>::new();
        for row in &found {
            own.entry(text(row, "tenant")?).or_default().extend(term(row)?);
        }
        let gone = sqlx::query_scalar::<_, String>(GONE).fetch_all(readers).await;
        let removed: BTreeSet<Name> = gone.map_err(failed)?.into_iter().map(Name::from).collect();
        let done = sqlx::query_scalar::<_, i64>(DONE).fetch_optional(readers).await;
        let purged_at = done.map_err(failed)?.map(time);
        Ok(Stock { now: self.0.now(), own, removed, purged_at })
    }

    /// All rows lie together here.
    async fn months(&mut self) -> Result<Vec<Month>, StoreError> {
        Ok(Vec::new())
    }

    async fn drop_month(&mut self, _: &Month, _: Time) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn look(
        &mut self,
        after: Option<&Name>,
        until: &str,
        ended_before: Time,
        most: usize,
    ) -> Result<Looked, StoreError> {
        let look = sqlx::query(LOOK).bind(after.map_or("", |run| run)).bind(until);
        let look = look.bind(number(ended_before.0)).bind(rows(most));
        let found = look.fetch_all(&self.0.readers).await.map_err(|error| trouble(&error))?;
        let last = match found.first() {
            Some(row) => get::<Option<&str>>(row, "last")?.map(Name::from),
            None => None,
        };
        let ended = found.iter().filter_map(|row| ended(row).transpose());
        Ok(Looked { ended: ended.collect::<Result<_, _>>()?, last })
    }

    async fn remove(&mut self, runs: &[EndedRun]) -> Result<u64, StoreError> {
        let asked: Vec<(&str, &str)> = runs.iter().map(|run| (&*run.tenant, &*run.run)).collect();
        let gone = self.0.writer.write(Removing(list(&asked)?)).await?;
        for run in &gone {
            self.forget(&Owner::Run(run.clone())).await?;
        }
        Ok(gone.len() as u64)
    }

    async fn sweep(
        &mut self,
        rest: &Rest,
        from: Option<&str>,
        most: usize,
    ) -> Result<Swept, StoreError> {
        match rest {
            Rest::Batches(due) => {
                let gone = self.sweep_due((BATCHES, None), due, most).await?;
                Ok(all(&gone, most))
            }
            Rest::Uploads(due) => {
                let gone = self.sweep_due((UPLOADS, None), due, most).await?;
                for (tenant, upload) in gone.iter().cloned() {
                    self.forget(&Owner::Upload { tenant, upload }).await?;
                }
                Ok(all(&gone, most))
            }
            Rest::Conversations(due) => {
                let gone = self.sweep_due((CONVERSATIONS, Some(VARIABLES)), due, most).await?;
                Ok(all(&gone, most))
            }
            Rest::Keys(before) => self.sweep_old(KEYS, *before, most).await,
            Rest::Signals(before) => self.sweep_old(SIGNALS, *before, most).await,
            Rest::Payloads(before) => self.sweep_payloads(*before, from, most).await,
            // there are none here
            Rest::Letters(_) => Ok(Swept::default()),
        }
    }

    async fn clear_tenant(&mut self, tenant: &Name) -> Result<bool, StoreError> {
        const IS_LEFT: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE tenant = ?)";
        const UPLOADS: &str = "SELECT upload FROM uploads WHERE tenant = ?";
        let failed = |error| trouble(&error);
        let is_left = sqlx::query_scalar::<_, bool>(IS_LEFT).bind(&**tenant);
        if is_left.fetch_one(&self.0.readers).await.map_err(failed)? {
            return Ok(false);
        }
        let uploads = sqlx::query_scalar::<_, String>(UPLOADS).bind(&**tenant);
        for upload in uploads.fetch_all(&self.0.readers).await.map_err(failed)? {
            self.forget(&Owner::Upload { tenant: tenant.clone(), upload: upload.into() }).await?;
        }
        self.forget(&Owner::Workflow { tenant: tenant.clone() }).await?;
        self.0.writer.write(Clearing(tenant.clone())).await.map(|()| true)
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.0.writer.write(Finishing(self.0.now())).await
    }
}

impl FolderPurge {
    /// Removes files; rows that named them are gone already.
    async fn forget(&self, owner: &Owner) -> Result<(), StoreError> {
        let removed = self.0.payloads.remove(owner).await;
        removed.map_err(|error| unavailable(&error))
    }

    async fn sweep_due(
        &self,
        (statement, theirs): (&'static str, Option<&'static str>),
        due: &Due,
        most: usize,
    ) -> Result<Vec<(Name, Name)>, StoreError> {
        let own: Vec<(&str, i64)> =
            due.own.iter().map(|(tenant, at)| (&**tenant, number(at.0))).collect();
        let (usual, own, most) = (number(due.usual.0), list(&own)?, rows(most));
        self.0.writer.write(SweepingDue { statement, theirs, usual, own, most }).await
    }

    async fn sweep_old(
        &self,
        statement: &'static str,
        before: Time,
        most: usize,
    ) -> Result<Swept, StoreError> {
        let sweeping = SweepingOld { statement, before: number(before.0), most: rows(most) };
        let removed = self.0.writer.write(sweeping).await?;
        Ok(Swept { removed, next: (removed >= most as u64).then(String::new) })
    }

    async fn sweep_payloads(
        &self,
        before: Time,
        from: Option<&str>,
        most: usize,
    ) -> Result<Swept, StoreError> {
        const UNKNOWN: &str = "
            SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM runs WHERE run = value)";
        let owners = self.0.payloads.runs(from.unwrap_or_default(), most).await;
        let mut owners = owners.map_err(|error| unavailable(&error))?;
        let next = (owners.len() >= most).then(|| owners.last().cloned()).flatten();
        let until = beginning(before.0);
        owners.retain(|owner| *owner < until);
        let unknown = sqlx::query_scalar::<_, String>(UNKNOWN).bind(list(&owners)?);
        let unknown = unknown.fetch_all(&self.0.readers).await.map_err(|error| trouble(&error))?;
        for owner in &unknown {
            self.forget(&Owner::Run(owner.as_str().into())).await?;
        }
        Ok(Swept { removed: unknown.len() as u64, next })
    }
}

fn unavailable(error: &PayloadError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// What came of a step that removes up to `most`.
fn all<T>(gone: &[T], most: usize) -> Swept {
    Swept { removed: gone.len() as u64, next: (gone.len() >= most).then(String::new) }
}

/// A run of a look; None in the row that only says where it ended.
fn ended(row: &SqliteRow) -> Result<Option<EndedRun>, StoreError> {
    let Some(run) = get::<Option<&str>>(row, "run")? else { return Ok(None) };
    let status = status(run, get(row, "status")?)?;
    let (tenant, ended_at) = (text(row, "tenant")?, time(get(row, "ended_at")?));
    Ok(Some(EndedRun { run: run.into(), tenant, status, ended_at }))
}

/// Runs that ended: a list of their tenants and ids.
#[derive(Debug)]
struct Removing(String);

impl Change for Removing {
    type Answer = Vec<Name>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<Name>, StoreError>, sqlx::Error> {
        const CHECKPOINTS: &str = "
            DELETE FROM checkpoints WHERE (tenant, run) IN (
                SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE EXISTS (
                    SELECT 1 FROM runs WHERE run = value ->> 1 AND finished_at IS NOT NULL))";
        // facts and wishes go with their run
        const RUNS: &str = "
            DELETE FROM runs WHERE finished_at IS NOT NULL
                AND run IN (SELECT value ->> 1 FROM json_each(?)) RETURNING run";
        sqlx::query(CHECKPOINTS).bind(&self.0).execute(&mut *to).await?;
        let gone = sqlx::query_scalar::<_, String>(RUNS).bind(&self.0).fetch_all(&mut *to).await?;
        Ok(Ok(gone.into_iter().map(Name::from).collect()))
    }
}

/// Rows that are due, by tenants.
#[derive(Debug)]
struct SweepingDue {
    statement: &'static str,
    /// What goes with each row.
    theirs: Option<&'static str>,
    usual: i64,
    own: String,
    most: i64,
}

impl Change for SweepingDue {
    type Answer = Vec<(Name, Name)>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Self::Answer, StoreError>, sqlx::Error> {
        let sweep = sqlx::query(self.statement).bind(self.usual).bind(&self.own).bind(self.most);
        let mut gone = Vec::new();
        for row in sweep.fetch_all(&mut *to).await? {
            let (tenant, name): (&str, &str) = (row.try_get("tenant")?, row.try_get("name")?);
            if let Some(theirs) = self.theirs {
                sqlx::query(theirs).bind(tenant).bind(name).execute(&mut *to).await?;
            }
            gone.push((tenant.into(), name.into()));
        }
        Ok(Ok(gone))
    }
}

/// Rows that are older than a time.
#[derive(Debug)]
struct SweepingOld {
    statement: &'static str,
    before: i64,
    most: i64,
}

impl Change for SweepingOld {
    type Answer = u64;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<u64, StoreError>, sqlx::Error> {
        let sweep = sqlx::query(self.statement).bind(self.before).bind(self.most);
        Ok(Ok(sweep.execute(to).await?.rows_affected()))
    }
}

/// A tenant of whom nothing is to be left.
#[derive(Debug)]
struct Clearing(Name);

impl Change for Clearing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        let last = [
            "DELETE FROM uploads WHERE tenant = ?",
            "DELETE FROM retention WHERE tenant = ?",
            "DELETE FROM removed_tenants WHERE name = ?",
        ];
        for clear in CLEAR.into_iter().chain(last) {
            sqlx::query(clear).bind(&*self.0).execute(&mut *to).await?;
        }
        Ok(Ok(()))
    }
}

/// A purge came to its end.
#[derive(Debug)]
struct Finishing(Time);

impl Change for Finishing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const DONE: &str = "
            INSERT INTO upkeep (what, done_at) VALUES ('purge', ?)
            ON CONFLICT (what) DO UPDATE SET done_at = excluded.done_at";
        sqlx::query(DONE).bind(number(self.0.0)).execute(to).await.map(|_| Ok(()))
    }
}
