//! The store for whoever sends.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::sqlite::writer::Change;
use crate::store::StoreError;
use crate::webhooks::{
    Answer, Backlog, Claim, Claimed, Deliveries, Delivery, Endpoint, Failure, MOST_COUNTED,
    SUSPECT, forlorn,
};

use super::super::{SharedFolder, get, list, most as rows, number, text, trouble};
use super::{delivery, delivery_columns, endpoint, endpoint_rows};

/// Deliveries that are given up, or forgotten, at once.
const SOME: i64 = 1000;

impl Deliveries for SharedFolder {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
        const DUE: &str = "
            SELECT EXISTS (SELECT 1 FROM webhook_deliveries
                WHERE state = 'waiting' AND due_at <= ?)";
        // the way to the disk is not taken for nothing
        let now = self.now();
        let due = sqlx::query_scalar::<_, bool>(DUE).bind(number(now.0));
        if !due.fetch_one(&self.readers).await.map_err(|error| trouble(&error))? {
            return Ok(Vec::new());
        }
        let claimed = self.writer.write(Claiming { claim: claim.clone(), now }).await?;
        let mut deliveries = Vec::with_capacity(claimed.len());
        for row in &claimed {
            let body = get::<Option<&str>>(row, "body")?.map(Name::from);
            deliveries.push((text(row, "tenant")?, Delivery { body, ..delivery(row)? }));
        }
        self.with_endpoints(deliveries).await
    }

    async fn freeze(&self, id: i64, body: &Name) -> Result<Name, StoreError> {
        self.writer.write(Freezing { id, body: body.clone() }).await
    }

    async fn delivered(&self, id: i64, answer: &Answer) -> Result<(), StoreError> {
        let (answer, now) = (answer.clone(), self.now());
        self.writer.write(Delivered { id, answer, now }).await
    }

    async fn failed(&self, id: i64, tries: u32, failure: &Failure) -> Result<(), StoreError> {
        let (failure, now) = (failure.clone(), self.now());
        self.writer.write(Failed { id, tries, failure, now }).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        const BACKLOG: &str = "
            SELECT count(*), coalesce(min(begun_at), ?2) FROM (
                SELECT begun_at FROM webhook_deliveries WHERE state = 'waiting' LIMIT ?1)";
        let now = number(self.now().0);
        let backlog = sqlx::query_as::<_, (i64, i64)>(BACKLOG).bind(rows(MOST_COUNTED)).bind(now);
        let found = backlog.fetch_one(&self.readers).await.map_err(|error| trouble(&error))?;
        let waiting = usize::try_from(found.0).unwrap_or(usize::MAX);
        let oldest = Duration::from_micros(now.saturating_sub(found.1).max(0).unsigned_abs());
        Ok(Backlog { waiting, oldest })
    }

    async fn tidy(&self, patience: Duration, keep: Duration) -> Result<u64, StoreError> {
        let now = self.now();
        let before = |time: Duration| Time(now.0.saturating_sub(micros(time).unsigned_abs()));
        let (begun_before, settled_before) = (before(patience), before(keep));
        self.writer.write(Tidying { now, begun_before, settled_before }).await
    }
}

impl SharedFolder {
    /// Deliveries with their endpoints. Of one that was removed meanwhile they are left out; they
    /// are given up before long.
    async fn with_endpoints(
        &self,
        deliveries: Vec<(Name, Delivery)>,
    ) -> Result<Vec<Claimed>, StoreError> {
        const ENDPOINTS: &str =
            endpoint_rows!("id IN (SELECT value FROM json_each(?)) AND disabled IS NULL");
        let ids: Vec<&str> = deliveries.iter().map(|(_, delivery)| &*delivery.endpoint).collect();
        let found = sqlx::query(ENDPOINTS).bind(list(&ids)?).fetch_all(&self.readers).await;
        let mut endpoints: BTreeMap<(Name, Name), Endpoint> = BTreeMap::new();
        for row in &found.map_err(|error| trouble(&error))? {
            let endpoint = endpoint(&self.codec, row)?;
            endpoints.insert((text(row, "tenant")?, endpoint.id.clone()), endpoint);
        }
        let claimed = deliveries.into_iter().filter_map(|(tenant, delivery)| {
            let key = (tenant, delivery.endpoint.clone());
            let endpoint = endpoints.get(&key)?.clone();
            Some(Claimed { tenant: key.0, delivery, endpoint })
        });
        Ok(claimed.collect())
    }
}

/// Deliveries that are due, as rows with their tenant and what is sent.
#[derive(Debug)]
struct Claiming {
    claim: Claim,
    now: Time,
}

impl Change for Claiming {
    type Answer = Vec<SqliteRow>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<SqliteRow>, StoreError>, sqlx::Error> {
        const OPEN: &str = "
            SELECT tenant, id, failures FROM endpoints AS e
            WHERE disabled IS NULL AND rests_until <= ?1 AND EXISTS (
                SELECT 1 FROM webhook_deliveries AS d
                WHERE d.tenant = e.tenant AND d.endpoint = e.id AND state = 'waiting'
                    AND due_at <= ?1)
            ORDER BY random()";
        const TAKE: &str = concat!(
            "UPDATE webhook_deliveries SET due_at = ?5, tries = tries + 1, tried_at = ?3
            WHERE id IN (
                SELECT id FROM webhook_deliveries
                WHERE tenant = ?1 AND endpoint = ?2 AND state = 'waiting' AND due_at <= ?3
                ORDER BY due_at LIMIT ?4)
            RETURNING tenant, body, ",
            delivery_columns!()
        );
        let Self { claim, now } = self;
        let held: HashMap<&str, usize> =
            claim.held.iter().map(|(endpoint, count)| (&**endpoint, *count)).collect();
        let mut open = sqlx::query(OPEN).bind(number(now.0)).fetch_all(&mut *to).await?;
        let held_by = |row: &SqliteRow| {
            let id = row.try_get::<&str, _>("id").unwrap_or_default();
            held.get(id).copied().unwrap_or_default()
        };
        // those that have least under way come first, so that nobody waits for who is slow
        open.sort_by_key(held_by);
        let mut claimed = Vec::new();
        for row in &open {
            let is_suspect = row.try_get::<i64, _>("failures")? >= i64::from(SUSPECT);
            let each = if is_suspect { 1 } else { claim.each };
            let room = each.saturating_sub(held_by(row));
            let room = room.min(claim.most.saturating_sub(claimed.len()));
            if room == 0 {
                continue;
            }
            let take = sqlx::query(TAKE)
                .bind(row.try_get::<&str, _>("tenant")?)
                .bind(row.try_get::<&str, _>("id")?)
                .bind(number(now.0))
                .bind(rows(room))
                .bind(number(now.after(claim.lease).0));
            claimed.extend(take.fetch_all(&mut *to).await?);
        }
        Ok(Ok(claimed))
    }
}

/// What is sent, unless that is known.
#[derive(Debug)]
struct Freezing {
    id: i64,
    body: Name,
}

impl Change for Freezing {
    type Answer = Name;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Name, StoreError>, sqlx::Error> {
        const FREEZE: &str = "
            UPDATE webhook_deliveries SET body = coalesce(body, ?2) WHERE id = ?1 RETURNING body";
        let freeze = sqlx::query_scalar::<_, String>(FREEZE).bind(self.id).bind(&*self.body);
        let kept = freeze.fetch_optional(to).await?;
        let lost = || StoreError::Corrupt(format!("there is no delivery {}", self.id));
        Ok(kept.map(Name::from).ok_or_else(lost))
    }
}

/// A delivery that its endpoint has.
#[derive(Debug)]
struct Delivered {
    id: i64,
    answer: Answer,
    now: Time,
}

impl Change for Delivered {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const DELIVERED: &str = "
            UPDATE webhook_deliveries SET state = 'delivered', settled_at = ?6, last_status = ?2,
                last_text = ?3, last_error = ?4, last_ms = ?5
            WHERE id = ?1 AND state <> 'delivered' RETURNING tenant, endpoint";
        const ENDPOINT: &str = "
            UPDATE endpoints SET failures = 0, rests_until = 0
            WHERE tenant = ? AND id = ? AND failures > 0";
        let done = answered(DELIVERED, self.id, &self.answer).bind(number(self.now.0));
        let Some(row) = done.fetch_optional(&mut *to).await? else { return Ok(Ok(())) };
        let endpoint = sqlx::query(ENDPOINT).bind(row.try_get::<&str, _>("tenant")?);
        endpoint.bind(row.try_get::<&str, _>("endpoint")?).execute(to).await.map(|_| Ok(()))
    }
}

/// A try that failed, and its number.
#[derive(Debug)]
struct Failed {
    id: i64,
    tries: u32,
    failure: Failure,
    now: Time,
}

impl Change for Failed {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const FAILED: &str = "
            UPDATE webhook_deliveries SET state = iif(?6 IS NULL, 'exhausted', state),
                settled_at = iif(?6 IS NULL, ?7, NULL), due_at = coalesce(?6, ?7),
                last_status = ?2, last_text = ?3, last_error = ?4, last_ms = ?5
            WHERE id = ?1 AND tries = ?8 AND state = 'waiting' RETURNING tenant, endpoint";
        const ENDPOINT: &str = "
            UPDATE endpoints SET failures = failures + (?3 IS NOT NULL),
                rests_until = max(rests_until, coalesce(?3, 0)),
                disabled = coalesce(disabled, ?4), revision = revision + (?4 IS NOT NULL)
            WHERE tenant = ?1 AND id = ?2";
        let Self { id, tries, failure: Failure { answer, again, rest, disables }, now } = self;
        let again = again.map(|wait| number(now.after(wait).0));
        let done = answered(FAILED, *id, answer).bind(again).bind(number(now.0));
        let done = done.bind(i64::from(*tries)).fetch_optional(&mut *to).await?;
        let Some(row) = done else { return Ok(Ok(())) };
        let endpoint = sqlx::query(ENDPOINT)
            .bind(row.try_get::<&str, _>("tenant")?)
            .bind(row.try_get::<&str, _>("endpoint")?)
            .bind(rest.map(|rest| number(now.after(rest).0)))
            .bind(disables.as_deref());
        endpoint.execute(to).await.map(|_| Ok(()))
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// A statement about a delivery, with what came of a try as its parameters 2 to 5.
fn answered<'q>(sql: &'static str, id: i64, answer: &'q Answer) -> Query<'q> {
    sqlx::query(sql)
        .bind(id)
        .bind(answer.status.map(i64::from))
        .bind(&*answer.text)
        .bind(answer.error.as_deref())
        .bind(number(answer.elapsed_ms))
}

/// What nobody waits for any more.
#[derive(Debug)]
struct Tidying {
    now: Time,
    begun_before: Time,
    settled_before: Time,
}

impl Change for Tidying {
    type Answer = u64;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<u64, StoreError>, sqlx::Error> {
        const GIVE_UP: &str = "
            UPDATE webhook_deliveries SET state = 'exhausted', settled_at = ?2,
                last_error = CASE WHEN e.removed_at IS NOT NULL THEN ?4
                    WHEN e.disabled IS NOT NULL THEN ?5 ELSE ?6 END
            FROM endpoints AS e
            WHERE webhook_deliveries.id IN (
                SELECT d.id FROM webhook_deliveries AS d JOIN endpoints AS e
                    ON e.tenant = d.tenant AND e.id = d.endpoint
                WHERE state = 'waiting' AND (e.disabled IS NOT NULL OR d.begun_at <= ?3)
                LIMIT ?1)
                AND e.tenant = webhook_deliveries.tenant AND e.id = webhook_deliveries.endpoint";
        const REMOVE: &str = "
            DELETE FROM endpoints WHERE removed_at IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM webhook_deliveries AS d
                WHERE d.tenant = endpoints.tenant AND d.endpoint = endpoints.id
                    AND state = 'waiting')";
        // the oldest come first; what waits among them is settled before long
        const FORGET: &str = "
            DELETE FROM webhook_deliveries WHERE settled_at <= ?2 AND id IN (
                SELECT id FROM webhook_deliveries ORDER BY id LIMIT ?1)";
        let given_up = sqlx::query(GIVE_UP)
            .bind(SOME)
            .bind(number(self.now.0))
            .bind(number(self.begun_before.0))
            .bind(forlorn(None, false))
            .bind(forlorn(Some(true), false))
            .bind(forlorn(Some(false), true))
            .execute(&mut *to)
            .await?;
        sqlx::query(REMOVE).execute(&mut *to).await?;
        let forget = sqlx::query(FORGET).bind(SOME).bind(number(self.settled_before.0));
        let forgotten = forget.execute(to).await?;
        Ok(Ok(given_up.rows_affected() + forgotten.rows_affected()))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
