//! What need not be kept is removed, over a connection of its own: nobody who works waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::intake::beginning;
use crate::retention::{Due, EndedRun, Looked, Month, Purge, Rest, Stock, Swept, Terms};
use crate::store::StoreError;

use super::intake::status;
use super::keeping::term;
use super::{OpenError, get, most as count, number, place, read_url, schema, text, time, trouble};

/// What the connection is told. A step is small, a month may take longer.
const SESSION: &str = "
    SET statement_timeout = '10min'; SET idle_in_transaction_session_timeout = '60s';
    SET synchronous_commit = on; SET jit = off; SET plan_cache_mode = force_custom_plan";

/// Whoever waits for a table is waited for by all who come later: rather try it a few times.
const LOCK: &str = "SET LOCAL lock_timeout = '200ms'";
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// A database in the hands of the one who removes what need not be kept.
#[derive(Debug)]
pub struct PostgresPurge {
    connection: PgConnection,
}

impl PostgresPurge {
    /// Takes a database in hand; None while another process has it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(url: &str) -> Result<Option<Self>, OpenError> {
        // the number has no meaning; each installation of a database has its own lock
        const TAKE: &str = "SELECT pg_try_advisory_lock(1718383472, hashtext(current_schema()))";
        let options = read_url(url)?.application_name("flowmill purge");
        schema::check(&options).await?;
        let unreachable =
            |error| OpenError::Unreachable { at: place(&options), why: trouble(&error) };
        let mut connection = options.connect().await.map_err(unreachable)?;
        connection.execute(SESSION).await.map_err(unreachable)?;
        let taken = sqlx::query_scalar::<_, bool>(TAKE).fetch_one(&mut connection).await;
        Ok(taken.map_err(unreachable)?.then_some(Self { connection }))
    }

    /// Removes what people did longer ago than that, or only counts it. It can be done by the owner of
    /// the table alone, for whom the guard of the table is lifted meanwhile.
    ///
    /// # Errors
    /// When the server does not do it.
    pub async fn remove_audit(&mut self, keep: Duration, is_dry: bool) -> Result<u64, StoreError> {
        const COUNT: &str = "SELECT count(*) FROM audit WHERE noted_at < flowmill_now() - $1";
        const REMOVE: &str = "DELETE FROM audit WHERE noted_at < flowmill_now() - $1";
        let failed = |error| trouble(&error);
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        if is_dry {
            let count = sqlx::query_scalar::<_, i64>(COUNT).bind(keep);
            return count.fetch_one(&mut self.connection).await.map(counted).map_err(failed);
        }
        let mut transaction = self.connection.begin().await.map_err(failed)?;
        transaction.execute("ALTER TABLE audit DISABLE TRIGGER USER").await.map_err(failed)?;
        let remove = sqlx::query(REMOVE).bind(keep).execute(&mut *transaction).await;
        let removed = remove.map_err(failed)?.rows_affected();
        transaction.execute("ALTER TABLE audit ENABLE TRIGGER USER").await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(removed)
    }

    /// Gives it back.
    pub async fn close(self) {
        // the server does the same when the connection breaks
        let _ = self.connection.close().await;
    }

    async fn sweep_due(&mut self, statement: &'static str, due: &Due, most: usize) -> Counted {
        let (tenants, times) = lists(due);
        let sweep = sqlx::query_scalar::<_, i64>(statement).bind(number(due.usual.0));
        let sweep = sweep.bind(tenants).bind(times).bind(count(most));
        let removed = sweep.fetch_one(&mut self.connection).await;
        removed.map_err(|error| trouble(&error))
    }

    async fn keys(
        &mut self,
        before: Time,
        from: Option<&str>,
        most: usize,
    ) -> Result<Swept, StoreError> {
        let after: (String, String) =
            from.and_then(|from| serde_json::from_str(from).ok()).unwrap_or_default();
        let sweep = sqlx::query(KEYS).bind(&after.0).bind(&after.1).bind(number(before.0));
        let row = sweep.bind(count(most * LOOKS)).fetch_one(&mut self.connection).await;
        let row = row.map_err(|error| trouble(&error))?;
        let last = get::<Option<Vec<String>>>(&row, "last")?;
        Ok(Swept {
            removed: counted(get(&row, "removed")?),
            next: last.and_then(|last| serde_json::to_string(&last).ok()),
        })
    }

    async fn payloads(
        &mut self,
        before: Time,
        from: Option<&str>,
        most: usize,
    ) -> Result<Swept, StoreError> {
        let until = beginning(before.0);
        let sweep = sqlx::query(PAYLOADS).bind(from.unwrap_or_default()).bind(until);
        let row = sweep.bind(count(most)).fetch_one(&mut self.connection).await;
        let row = row.map_err(|error| trouble(&error))?;
        Ok(Swept { removed: counted(get(&row, "removed")?), next: get(&row, "last")? })
    }

    async fn settled(
        &mut self,
        statement: &'static str,
        before: Time,
        most: usize,
    ) -> Result<Swept, StoreError> {
        let sweep = sqlx::query(statement).bind(number(before.0)).bind(count(most));
        let swept = sweep.execute(&mut self.connection).await.map_err(|error| trouble(&error))?;
        Ok(all_or_more(swept.rows_affected(), most))
    }

    /// Tries once; None when a table was busy.
    async fn try_drop(
        &mut self,
        month: &Month,
        ended_before: Time,
    ) -> Result<Option<Option<i64>>, sqlx::Error> {
        const DROP: &str = "SELECT flowmill_drop_month($1, $2)";
        const BUSY: &str = "55P03";
        let mut transaction = self.connection.begin().await?;
        transaction.execute(LOCK).await?;
        let drop = sqlx::query_scalar::<_, Option<i64>>(DROP).bind(&month.name);
        match drop.bind(number(ended_before.0)).fetch_one(&mut *transaction).await {
            Ok(dropped) => transaction.commit().await.map(|()| Some(dropped)),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(BUSY) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

type Counted = Result<i64, StoreError>;

/// Names that are looked at for each that is removed, at most.
const LOOKS: usize = 10;

/// How many came of a step that removes up to `most`; whether there may be more.
fn all_or_more(removed: u64, most: usize) -> Swept {
    let next = (removed >= most as u64).then(String::new);
    Swept { removed, next }
}

fn counted(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

fn lists(due: &Due) -> (Vec<&str>, Vec<i64>) {
    due.own.iter().map(|(tenant, at)| (&**tenant, number(at.0))).unzip()
}

const LOOK: &str = "
    WITH looked AS MATERIALIZED (
        SELECT run, tenant, status, finished_at, batch, parent FROM runs
        WHERE run > $1 AND run < $2 ORDER BY run LIMIT $4)
    SELECT l.run, l.tenant, l.status, greatest(l.finished_at, b.finished_at) AS ended_at, c.last
    FROM (SELECT max(run) AS last FROM looked) AS c LEFT JOIN (
        looked AS l LEFT JOIN batches AS b ON b.batch = l.batch
    ) ON l.finished_at < $3 AND (b.batch IS NULL OR b.finished_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM runs AS p
            WHERE p.run = l.parent AND p.finished_at IS NULL)
        AND NOT EXISTS (SELECT FROM announcements AS a WHERE a.run = l.run)
        AND NOT EXISTS (SELECT FROM webhook_deliveries AS d
            WHERE d.subject = l.run AND d.state = 'waiting')
    ORDER BY l.run";

/// Runs and all they have beside their row, in one statement: one round trip, and all of it or nothing.
/// What goes by the names of the runs alone is found in the indexes; that the run went too is asked of each
/// row, in a form that the planner takes for a filter. The key of checkpoints begins with the tenant.
const REMOVE: &str = "
    WITH gone AS (
        DELETE FROM runs WHERE run = ANY($1) AND finished_at IS NOT NULL RETURNING run),
    facts AS (
        DELETE FROM journal WHERE run = ANY($1) AND (run IN (SELECT run FROM gone)) IS TRUE),
    told AS (
        DELETE FROM signals WHERE run = ANY($1) AND (run IN (SELECT run FROM gone)) IS TRUE),
    apart AS (
        DELETE FROM payloads WHERE tenant = '' AND owner = ANY($1)
            AND (owner IN (SELECT run FROM gone)) IS TRUE),
    copies AS (
        DELETE FROM checkpoints WHERE tenant = ANY($2) AND run = ANY($1)
            AND (run IN (SELECT run FROM gone)) IS TRUE)
    SELECT count(*) FROM gone";

/// `$1` and the lists `$2` and `$3` say before which time what of whom is due.
macro_rules! due {
    ($before:literal, $at:literal, $after:literal) => {
        concat!(
            $before,
            " ",
            $at,
            " < coalesce((
                SELECT t.due FROM unnest($2::text[], $3::bigint[]) AS t (tenant, due)
                WHERE t.tenant = x.tenant), $1) ",
            $after
        )
    };
}

const BATCHES: &str = due!(
    "WITH gone AS (
        DELETE FROM batches WHERE batch IN (SELECT batch FROM batches AS x WHERE",
    "finished_at",
    "AND NOT EXISTS (SELECT FROM runs AS r WHERE r.batch = x.batch)
            AND NOT EXISTS (SELECT FROM announcements AS a WHERE a.batch = x.batch)
            AND NOT EXISTS (SELECT FROM webhook_deliveries AS d
                WHERE d.subject = x.batch AND d.state = 'waiting')
        ORDER BY batch LIMIT $4) RETURNING batch),
    ends AS (DELETE FROM batch_ends WHERE batch IN (SELECT batch FROM gone))
    SELECT count(*) FROM gone"
);

const UPLOADS: &str = due!(
    "WITH open AS MATERIALIZED (
        SELECT tenant, min(accepted_at) AS since FROM runs
        WHERE wake_at IS NOT NULL OR (wake_at IS NULL AND finished_at IS NULL) GROUP BY tenant),
    gone AS (
        DELETE FROM uploads AS u USING (SELECT tenant, upload FROM uploads AS x WHERE",
    "coalesce(used_at, uploaded_at)",
    "AND NOT EXISTS (SELECT FROM open AS o WHERE o.tenant = x.tenant
                AND o.since <= coalesce(x.used_at, x.uploaded_at) + 3600000000)
            AND NOT EXISTS (SELECT FROM batches AS b
                WHERE b.tenant = x.tenant AND b.finished_at IS NULL)
        LIMIT $4) AS due
        WHERE u.tenant = due.tenant AND u.upload = due.upload RETURNING u.tenant, u.upload),
    bytes AS (DELETE FROM payloads AS p USING gone
        WHERE p.tenant = gone.tenant AND p.owner = 'upload/' || gone.upload)
    SELECT count(*) FROM gone"
);

const CONVERSATIONS: &str = due!(
    "WITH gone AS (
        DELETE FROM conversations AS c USING (SELECT tenant, conversation FROM conversations AS x WHERE",
    "coalesce(used_at, begun_at)",
    "LIMIT $4) AS due
        WHERE c.tenant = due.tenant AND c.conversation = due.conversation
        RETURNING c.tenant, c.conversation),
    variables AS (DELETE FROM conversation_variables AS v USING gone
        WHERE v.tenant = gone.tenant AND v.conversation = gone.conversation)
    SELECT count(*) FROM gone"
);

const KEYS: &str = "
    WITH looked AS MATERIALIZED (
        SELECT tenant, key, run, used_at FROM idempotency
        WHERE (tenant, key) > ($1, $2) ORDER BY tenant, key LIMIT $4),
    gone AS (
        DELETE FROM idempotency AS i USING looked AS l
        WHERE i.tenant = l.tenant AND i.key = l.key AND l.used_at < $3
            AND NOT EXISTS (SELECT FROM runs AS r WHERE r.run = l.run)
            AND NOT EXISTS (SELECT FROM batches AS b WHERE b.batch = l.run)
        RETURNING 1)
    SELECT (SELECT count(*) FROM gone) AS removed,
        (SELECT ARRAY[tenant, key] FROM looked ORDER BY tenant DESC, key DESC LIMIT 1) AS last";

/// Owners are found by skipping from one to the next.
const PAYLOADS: &str = "
    WITH RECURSIVE looked (owner, n) AS (
        (SELECT owner, 1 FROM payloads WHERE tenant = '' AND owner > $1 AND owner < $2
            ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT p.owner FROM payloads AS p
            WHERE p.tenant = '' AND p.owner > l.owner AND p.owner < $2
            ORDER BY p.owner LIMIT 1), n + 1
        FROM looked AS l WHERE l.owner IS NOT NULL AND n < $3),
    forlorn AS MATERIALIZED (
        SELECT owner FROM looked WHERE owner IS NOT NULL
            AND NOT EXISTS (SELECT FROM runs AS r WHERE r.run = looked.owner)),
    gone AS (
        DELETE FROM payloads AS p USING forlorn AS f
        WHERE p.tenant = '' AND p.owner = f.owner RETURNING p.owner)
    SELECT (SELECT count(DISTINCT owner) FROM gone) AS removed,
        (SELECT max(owner) FROM looked) AS last";

const SIGNALS: &str = "
    DELETE FROM signals WHERE id IN (
        SELECT id FROM signals WHERE settled_at < $1 ORDER BY id LIMIT $2)";

const LETTERS: &str = "
    DELETE FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters WHERE settled_at < $1 ORDER BY id LIMIT $2)";

/// What a tenant had beside runs.
const CLEAR: [&str; 15] = [
    "DELETE FROM batch_ends WHERE batch IN (SELECT batch FROM batches WHERE tenant = $1)",
    "DELETE FROM batches WHERE tenant = $1",
    "DELETE FROM uploads WHERE tenant = $1",
    "DELETE FROM conversation_variables WHERE tenant = $1",
    "DELETE FROM conversations WHERE tenant = $1",
    "DELETE FROM workflow_names WHERE tenant = $1",
    "DELETE FROM workflows WHERE tenant = $1",
    "DELETE FROM payloads WHERE tenant = $1",
    "DELETE FROM checkpoints WHERE tenant = $1",
    "DELETE FROM idempotency WHERE tenant = $1",
    "DELETE FROM webhook_deliveries WHERE tenant = $1",
    "DELETE FROM endpoints WHERE tenant = $1",
    "DELETE FROM dead_letters WHERE tenant = $1",
    "DELETE FROM shares WHERE tenant = $1",
    "DELETE FROM retention WHERE tenant = $1",
];

impl Purge for PostgresPurge {
    /// All that were looked at: nobody waits for rows of runs that ended, and each statement costs a
    /// server something besides.
    const AT_ONCE: usize = 2000;

    async fn stock(&mut self) -> Result<Stock, StoreError> {
        const OWN: &str = "SELECT tenant, kind, keep FROM retention";
        const GONE: &str = "SELECT name FROM removed_tenants";
        const TIMES: &str = "
            SELECT flowmill_now() AS now, (SELECT done_at FROM upkeep WHERE what = 'purge') AS done";
        let failed = |error| trouble(&error);
        let times = sqlx::query(TIMES).fetch_one(&mut self.connection).await.map_err(failed)?;
        let rows = sqlx::query(OWN).fetch_all(&mut self.connection).await.map_err(failed)?;
        let mut own = BTreeMap::<Name, Terms>::new();
        for row in &rows {
            let terms = own.entry(text(row, "tenant")?).or_default();
            terms.extend(term(row)?);
        }
        let gone = sqlx::query_scalar::<_, String>(GONE).fetch_all(&mut self.connection).await;
        let removed: BTreeSet<Name> = gone.map_err(failed)?.into_iter().map(Name::from).collect();
        let purged_at = get::<Option<i64>>(&times, "done")?.map(time);
        Ok(Stock { now: time(get(&times, "now")?), own, removed, purged_at })
    }

    async fn months(&mut self) -> Result<Vec<Month>, StoreError> {
        const MONTHS: &str = "
            SELECT name, flowmill_first_id(to_date(name, 'YYYY_MM') + interval '1 month') AS end
            FROM (SELECT substring(c.relname FROM '^runs_(\\d{4}_\\d{2})$') AS name
                FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'runs'::regclass) AS months
            WHERE name IS NOT NULL ORDER BY name";
        let found = sqlx::query(MONTHS).fetch_all(&mut self.connection).await;
        let month = |row: &PgRow| Ok(Month { name: get(row, "name")?, end: get(row, "end")? });
        found.map_err(|error| trouble(&error))?.iter().map(month).collect()
    }

    async fn drop_month(
        &mut self,
        month: &Month,
        ended_before: Time,
    ) -> Result<Option<u64>, StoreError> {
        for _ in 0..TRIES {
            let tried = self.try_drop(month, ended_before).await;
            if let Some(dropped) = tried.map_err(|error| trouble(&error))? {
                return Ok(dropped.map(counted));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        tracing::info!(month = month.name, "a month stays for now: its tables are in use");
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
        let look = look.bind(number(ended_before.0)).bind(count(most));
        let rows = look.fetch_all(&mut self.connection).await.map_err(|error| trouble(&error))?;
        let last = match rows.first() {
            Some(row) => get::<Option<&str>>(row, "last")?.map(Name::from),
            None => None,
        };
        let ended = rows.iter().filter_map(|row| ended(row).transpose());
        Ok(Looked { ended: ended.collect::<Result<_, _>>()?, last })
    }

    async fn remove(&mut self, runs: &[EndedRun]) -> Result<u64, StoreError> {
        let removed = self.try_remove(runs).await;
        removed.map_err(|error| trouble(&error))
    }

    async fn sweep(
        &mut self,
        rest: &Rest,
        from: Option<&str>,
        most: usize,
    ) -> Result<Swept, StoreError> {
        let (statement, due) = match rest {
            Rest::Batches(due) => (BATCHES, due),
            Rest::Uploads(due) => (UPLOADS, due),
            Rest::Conversations(due) => (CONVERSATIONS, due),
            Rest::Keys(before) => return self.keys(*before, from, most).await,
            Rest::Payloads(before) => return self.payloads(*before, from, most).await,
            Rest::Signals(before) => return self.settled(SIGNALS, *before, most).await,
            Rest::Letters(before) => return self.settled(LETTERS, *before, most).await,
        };
        let removed = self.sweep_due(statement, due, most).await?;
        Ok(all_or_more(counted(removed), most))
    }

    async fn clear_tenant(&mut self, tenant: &Name) -> Result<bool, StoreError> {
        let cleared = self.try_clear(tenant).await;
        cleared.map_err(|error| trouble(&error))
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        const DONE: &str = "
            INSERT INTO upkeep (what, done_at) VALUES ('purge', flowmill_now())
            ON CONFLICT (what) DO UPDATE SET done_at = excluded.done_at";
        let done = sqlx::query(DONE).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| trouble(&error))
    }
}

impl PostgresPurge {
    async fn try_remove(&mut self, runs: &[EndedRun]) -> Result<u64, sqlx::Error> {
        let asked: Vec<&str> = runs.iter().map(|run| &*run.run).collect();
        let tenants: BTreeSet<&str> = runs.iter().map(|run| &*run.tenant).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        let remove = sqlx::query_scalar::<_, i64>(REMOVE).bind(asked).bind(tenants);
        remove.fetch_one(&mut self.connection).await.map(counted)
    }

    async fn try_clear(&mut self, tenant: &Name) -> Result<bool, sqlx::Error> {
        const IS_LEFT: &str = "SELECT EXISTS (SELECT FROM runs WHERE tenant = $1)";
        const FREE: &str = "DELETE FROM removed_tenants WHERE name = $1";
        let is_left = sqlx::query_scalar::<_, bool>(IS_LEFT).bind(&**tenant);
        if is_left.fetch_one(&mut self.connection).await? {
            return Ok(false);
        }
        for clear in CLEAR {
            sqlx::query(clear).bind(&**tenant).execute(&mut self.connection).await?;
        }
        sqlx::query(FREE).bind(&**tenant).execute(&mut self.connection).await?;
        Ok(true)
    }
}

/// A run of a look; None in the row that only says where it ended.
fn ended(row: &PgRow) -> Result<Option<EndedRun>, StoreError> {
    let Some(run) = get::<Option<&str>>(row, "run")? else { return Ok(None) };
    let status = status(run, get(row, "status")?)?;
    let (tenant, ended_at) = (text(row, "tenant")?, time(get(row, "ended_at")?));
    Ok(Some(EndedRun { run: run.into(), tenant, status, ended_at }))
}
