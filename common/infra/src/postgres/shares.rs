//! The store for whoever shares things out.
//!
//! What a scheduler may have of a party is decided while the party's row is locked: of two that ask at
//! the same time, the second sees what the first was told.

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::shares::{Allotted, Amount, Part, Party, Quota, Share, Shares, Usage, quota};
use crate::store::StoreError;

use super::{PostgresStore, Tries, get, text, time};

impl Shares for PostgresStore {
    async fn set_share(
        &self,
        tenant: &Name,
        party: &Party,
        share: Option<&Share>,
    ) -> Result<(), StoreError> {
        const SET: &str = "
            INSERT INTO shares (tenant, kind, name, weight, runs, tasks)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (tenant, kind, name) DO UPDATE
            SET weight = excluded.weight, runs = excluded.runs, tasks = excluded.tasks";
        const CLEAR: &str = "DELETE FROM shares WHERE tenant = $1 AND kind = $2 AND name = $3";
        let mut tries = Tries::new();
        loop {
            let change = sqlx::query(if share.is_some() { SET } else { CLEAR });
            let change = change.bind(&**tenant).bind(party.kind()).bind(party.name());
            let change = match share {
                Some(share) => change
                    .bind(i32::try_from(share.weight).unwrap_or(i32::MAX))
                    .bind(share.runs.map(i64::from))
                    .bind(share.tasks.map(i64::from)),
                None => change,
            };
            match change.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn shares(&self, tenant: Option<&Name>) -> Result<Vec<Allotted>, StoreError> {
        const SHARES: &str = "
            SELECT tenant, kind, name, weight, runs, tasks FROM shares
            WHERE $1 IS NULL OR tenant = $1";
        let found = sqlx::query(SHARES).bind(tenant.map(|tenant| &**tenant));
        let found = self.all_of_some(tenant, found).await?;
        let held = |row: &PgRow| {
            Ok(Allotted { tenant: text(row, "tenant")?, party: party(row)?, share: share(row)? })
        };
        let mut held: Vec<Allotted> = found.iter().map(held).collect::<Result<_, StoreError>>()?;
        held.sort_by(|one, other| (&one.tenant, &one.party).cmp(&(&other.tenant, &other.party)));
        Ok(held)
    }

    async fn quotas(&self, scheduler: &Name, usages: &[Usage]) -> Result<Vec<Quota>, StoreError> {
        let lease = i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX);
        let mut tries = Tries::new();
        loop {
            let mut transaction = match self.writers.begin().await {
                Ok(transaction) => transaction,
                Err(error) => {
                    tries.after(error).await?;
                    continue;
                }
            };
            let said = say(&mut transaction, scheduler, usages, lease).await?;
            let quotas = match said {
                Ok(quotas) => quotas,
                Err(error) => {
                    tries.after(error).await?;
                    continue;
                }
            };
            match transaction.commit().await {
                Ok(()) => return Ok(quotas),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn usages(&self, tenant: Option<&Name>) -> Result<Vec<Usage>, StoreError> {
        const USAGES: &str = "
            SELECT tenant, kind, name, sum(runs)::int8 AS runs, sum(tasks)::int8 AS tasks,
                sum(more_runs)::int8 AS more_runs, sum(more_tasks)::int8 AS more_tasks
            FROM share_parts JOIN schedulers USING (scheduler)
            WHERE ($1 IS NULL OR tenant = $1) AND seen_at > flowmill_now() - $2
            GROUP BY tenant, kind, name";
        let lease = i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX);
        let found = sqlx::query(USAGES).bind(tenant.map(|tenant| &**tenant)).bind(lease);
        let found = self.all_of_some(tenant, found).await?;
        let usage = |row: &PgRow| {
            let used = amount(row, ["runs", "tasks"])?;
            let wanted = amount(row, ["more_runs", "more_tasks"])?;
            let held = Amount::default();
            Ok(Usage { tenant: text(row, "tenant")?, party: party(row)?, used, wanted, held })
        };
        let mut usages: Vec<Usage> = found.iter().map(usage).collect::<Result<_, StoreError>>()?;
        usages.sort_by(|one, other| (&one.tenant, &one.party).cmp(&(&other.tenant, &other.party)));
        Ok(usages)
    }
}

/// What a connection gave, what it could not, and what was wrong with what it gave.
type Said<T> = Result<Result<T, sqlx::Error>, StoreError>;

async fn say(
    to: &mut PgConnection,
    scheduler: &Name,
    usages: &[Usage],
    lease: i64,
) -> Said<Vec<Quota>> {
    const SHARES: &str = "
        SELECT nth, weight, shares.runs, shares.tasks
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
            AS asked (tenant, kind, name, nth)
        JOIN shares USING (tenant, kind, name)
        ORDER BY tenant, kind, name FOR UPDATE OF shares";
    const OTHERS: &str = "
        SELECT nth, scheduler, runs, tasks, more_runs, more_tasks, quota_runs, quota_tasks
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
            AS asked (tenant, kind, name, nth)
        JOIN share_parts USING (tenant, kind, name) JOIN schedulers USING (scheduler)
        WHERE scheduler <> $4 AND seen_at > flowmill_now() - $5";
    let form = Form::of(usages);
    let asked = |query| {
        let query = sqlx::query(query).bind(&form.tenants).bind(&form.kinds);
        query.bind(&form.names)
    };
    let shares = match asked(SHARES).fetch_all(&mut *to).await {
        Ok(shares) => shares,
        Err(error) => return Ok(Err(error)),
    };
    let others = asked(OTHERS).bind(&**scheduler).bind(lease).fetch_all(&mut *to).await;
    let now = sqlx::query_scalar::<_, i64>("SELECT flowmill_now()").fetch_one(&mut *to).await;
    let (others, now) = match (others, now) {
        (Ok(others), Ok(now)) => (others, now),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    let mut quotas = Vec::with_capacity(usages.len());
    let mut told = Vec::with_capacity(usages.len());
    for (nth, usage) in (1..).zip(usages) {
        let is_nth = |row: &&PgRow| row.try_get::<i64, _>("nth").is_ok_and(|of| of == nth);
        let share = match shares.iter().find(is_nth) {
            Some(row) => share(row)?,
            None => Share::default(),
        };
        let parts = others.iter().filter(is_nth).map(part).collect::<Result<Vec<_>, _>>()?;
        let (quota, amount) = quota(scheduler, usage, &share, &parts, time(now));
        quotas.push(quota);
        told.push(amount);
    }
    Ok(note(to, scheduler, &form, &told, lease).await.map(|()| quotas))
}

/// Writes down what a scheduler said and was told, and nothing else of it.
async fn note(
    to: &mut PgConnection,
    scheduler: &Name,
    form: &Form<'_>,
    told: &[Amount],
    lease: i64,
) -> Result<(), sqlx::Error> {
    const NOTE: &str = "
        WITH said AS MATERIALIZED (
            SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::int8[], $6::int8[],
                $7::int8[], $8::int8[], $9::int8[], $10::int8[])
                AS said (tenant, kind, name, runs, tasks, more_runs, more_tasks, quota_runs,
                    quota_tasks)
        ), unsaid AS (
            DELETE FROM share_parts AS part
            WHERE scheduler = $1 AND NOT EXISTS (
                SELECT FROM said WHERE (said.tenant, said.kind, said.name)
                    = (part.tenant, part.kind, part.name))
        ), gone AS (
            DELETE FROM share_parts WHERE ctid IN (
                SELECT part.ctid FROM share_parts AS part
                WHERE scheduler <> $1 AND scheduler NOT IN (
                    SELECT scheduler FROM schedulers WHERE seen_at > flowmill_now() - $11)
                FOR UPDATE SKIP LOCKED))
        INSERT INTO share_parts (tenant, kind, name, scheduler, runs, tasks, more_runs,
            more_tasks, quota_runs, quota_tasks)
        SELECT tenant, kind, name, $1, runs, tasks, more_runs, more_tasks, quota_runs, quota_tasks
        FROM said
        ON CONFLICT (tenant, kind, name, scheduler) DO UPDATE
        SET runs = excluded.runs, tasks = excluded.tasks, more_runs = excluded.more_runs,
            more_tasks = excluded.more_tasks, quota_runs = excluded.quota_runs,
            quota_tasks = excluded.quota_tasks";
    let runs = |of: &[Amount]| -> Vec<i64> { of.iter().map(|of| of.runs.into()).collect() };
    let tasks = |of: &[Amount]| -> Vec<i64> { of.iter().map(|of| of.tasks.into()).collect() };
    sqlx::query(NOTE)
        .bind(&**scheduler)
        .bind(&form.tenants)
        .bind(&form.kinds)
        .bind(&form.names)
        .bind(runs(&form.used))
        .bind(tasks(&form.used))
        .bind(runs(&form.wanted))
        .bind(tasks(&form.wanted))
        .bind(runs(told))
        .bind(tasks(told))
        .bind(lease)
        .execute(to)
        .await
        .map(|_| ())
}

/// What a scheduler says, a column each.
struct Form<'a> {
    tenants: Vec<&'a str>,
    kinds: Vec<&'a str>,
    names: Vec<&'a str>,
    used: Vec<Amount>,
    wanted: Vec<Amount>,
}

impl<'a> Form<'a> {
    fn of(usages: &'a [Usage]) -> Self {
        Self {
            tenants: usages.iter().map(|usage| &*usage.tenant).collect(),
            kinds: usages.iter().map(|usage| usage.party.kind()).collect(),
            names: usages.iter().map(|usage| usage.party.name()).collect(),
            used: usages.iter().map(|usage| usage.used).collect(),
            wanted: usages.iter().map(|usage| usage.wanted).collect(),
        }
    }
}

fn party(row: &PgRow) -> Result<Party, StoreError> {
    let (kind, name) = (get::<&str>(row, "kind")?, get::<&str>(row, "name")?);
    Party::of(kind, name).ok_or_else(|| StoreError::Corrupt(format!("a share is of a {kind}")))
}

fn share(row: &PgRow) -> Result<Share, StoreError> {
    let most = |column| {
        let found = get::<Option<i64>>(row, column)?;
        Ok::<_, StoreError>(found.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    };
    let weight = u32::try_from(get::<i32>(row, "weight")?).unwrap_or(1);
    Ok(Share { weight, runs: most("runs")?, tasks: most("tasks")? })
}

fn amount(row: &PgRow, [runs, tasks]: [&str; 2]) -> Result<Amount, StoreError> {
    let count =
        |column| Ok::<_, StoreError>(u32::try_from(get::<i64>(row, column)?).unwrap_or(u32::MAX));
    Ok(Amount { runs: count(runs)?, tasks: count(tasks)? })
}

fn part(row: &PgRow) -> Result<Part, StoreError> {
    Ok(Part {
        scheduler: text(row, "scheduler")?,
        used: amount(row, ["runs", "tasks"])?,
        wanted: amount(row, ["more_runs", "more_tasks"])?,
        quota: amount(row, ["quota_runs", "quota_tasks"])?,
    })
}
