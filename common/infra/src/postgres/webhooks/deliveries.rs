//! The store for whoever sends.

use std::collections::BTreeMap;
use std::time::Duration;

use flowmill_engine::value::Name;

use crate::store::StoreError;
use crate::webhooks::{
    Answer, Backlog, Claim, Claimed, Deliveries, Delivery, Endpoint, Failure, MOST_COUNTED,
    SUSPECT, forlorn,
};

use super::super::{PostgresStore, Tries, get, most as rows, number, text, trouble};
use super::{delivery, delivery_columns, endpoint, endpoint_rows};

/// Deliveries that are given up, or forgotten, at once.
const SOME: i64 = 1000;

impl Deliveries for PostgresStore {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
        // those that have least under way come first, so that nobody waits for who is slow
        const CLAIM: &str = concat!(
            "WITH clock AS MATERIALIZED (SELECT flowmill_now() AS now),
            open AS MATERIALIZED (
                SELECT e.tenant, e.id, coalesce(held.n, 0) AS held, clock.now,
                    CASE WHEN failures >= $5 THEN 1 ELSE $2 END - coalesce(held.n, 0) AS room
                FROM clock CROSS JOIN endpoints AS e
                LEFT JOIN unnest($3::text[], $4::int8[]) AS held (id, n) ON held.id = e.id
                WHERE disabled IS NULL AND rests_until <= clock.now
                    AND EXISTS (SELECT FROM webhook_deliveries AS d
                        WHERE d.tenant = e.tenant AND d.endpoint = e.id AND state = 'waiting'
                            AND due_at <= clock.now)
                ORDER BY coalesce(held.n, 0), random() LIMIT $1
            ), due AS MATERIALIZED (
                SELECT d.id FROM open CROSS JOIN LATERAL (
                    SELECT id FROM webhook_deliveries AS d
                    WHERE d.tenant = open.tenant AND d.endpoint = open.id AND state = 'waiting'
                        AND due_at <= open.now
                    ORDER BY due_at LIMIT greatest(open.room, 0) FOR UPDATE SKIP LOCKED) AS d
                LIMIT $1)
            UPDATE webhook_deliveries AS d
            SET due_at = flowmill_now() + $6, tries = tries + 1, tried_at = flowmill_now()
            FROM due WHERE d.id = due.id
            RETURNING tenant, body, d.",
            delivery_columns!()
        );
        let (held, counts): (Vec<&str>, Vec<i64>) =
            claim.held.iter().map(|(endpoint, count)| (&**endpoint, rows(*count))).unzip();
        let claimed = sqlx::query(CLAIM)
            .bind(rows(claim.most))
            .bind(rows(claim.each))
            .bind(&held)
            .bind(&counts)
            .bind(i64::from(SUSPECT))
            .bind(micros(claim.lease))
            .fetch_all(&self.writers)
            .await;
        let mut deliveries = Vec::new();
        for row in &claimed.map_err(|error| trouble(&error))? {
            let body = get::<Option<&str>>(row, "body")?.map(Name::from);
            deliveries.push((text(row, "tenant")?, Delivery { body, ..delivery(row)? }));
        }
        self.with_endpoints(deliveries).await
    }

    async fn freeze(&self, id: i64, body: &Name) -> Result<Name, StoreError> {
        const FREEZE: &str = "
            UPDATE webhook_deliveries SET body = coalesce(body, $2) WHERE id = $1 RETURNING body";
        let mut tries = Tries::new();
        loop {
            let freeze = sqlx::query_scalar::<_, String>(FREEZE).bind(id).bind(&**body);
            match freeze.fetch_one(&self.writers).await {
                Ok(kept) => return Ok(kept.into()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn delivered(&self, id: i64, answer: &Answer) -> Result<(), StoreError> {
        const DELIVERED: &str = "
            WITH done AS (
                UPDATE webhook_deliveries SET state = 'delivered', settled_at = flowmill_now(),
                    last_status = $2, last_text = $3, last_error = $4, last_ms = $5
                WHERE id = $1 AND state <> 'delivered'
                RETURNING tenant, endpoint)
            UPDATE endpoints SET failures = 0, rests_until = 0
            FROM done
            WHERE endpoints.tenant = done.tenant AND endpoints.id = done.endpoint AND failures > 0";
        let mut tries = Tries::new();
        loop {
            let delivered = sqlx::query(DELIVERED)
                .bind(id)
                .bind(answer.status.map(i32::from))
                .bind(plain(&answer.text))
                .bind(answer.error.as_deref().map(plain))
                .bind(number(answer.elapsed_ms));
            match delivered.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn failed(&self, id: i64, tries: u32, failure: &Failure) -> Result<(), StoreError> {
        const FAILED: &str = "
            WITH done AS (
                UPDATE webhook_deliveries SET
                    state = CASE WHEN $6 IS NULL THEN 'exhausted' ELSE state END,
                    settled_at = CASE WHEN $6 IS NULL THEN flowmill_now() END,
                    due_at = flowmill_now() + coalesce($6, 0),
                    last_status = $2, last_text = $3, last_error = $4, last_ms = $5
                WHERE id = $1 AND tries = $9 AND state = 'waiting'
                RETURNING tenant, endpoint)
            UPDATE endpoints SET failures = failures + CASE WHEN $7 IS NULL THEN 0 ELSE 1 END,
                rests_until = greatest(rests_until, flowmill_now() + $7),
                disabled = coalesce(disabled, $8),
                revision = revision + CASE WHEN $8 IS NULL THEN 0 ELSE 1 END
            FROM done
            WHERE endpoints.tenant = done.tenant AND endpoints.id = done.endpoint";
        let Failure { answer, again, rest, disables } = failure;
        // when the answer is lost and it is asked again, another try is none of ours
        let failed = sqlx::query(FAILED)
            .bind(id)
            .bind(answer.status.map(i32::from))
            .bind(plain(&answer.text))
            .bind(answer.error.as_deref().map(plain))
            .bind(number(answer.elapsed_ms))
            .bind(again.map(micros))
            .bind(rest.map(micros))
            .bind(disables.as_deref().map(plain))
            .bind(i64::from(tries));
        failed.execute(&self.writers).await.map(|_| ()).map_err(|error| trouble(&error))
    }

    async fn tidy(&self, patience: Duration, keep: Duration) -> Result<u64, StoreError> {
        const GIVE_UP: &str = "
            WITH clock AS MATERIALIZED (SELECT flowmill_now() AS now),
            forlorn AS MATERIALIZED (
                SELECT d.id, CASE WHEN removed_at IS NOT NULL THEN $3
                    WHEN disabled IS NOT NULL THEN $4 ELSE $5 END AS why
                FROM clock CROSS JOIN endpoints AS e CROSS JOIN LATERAL (
                    SELECT id, begun_at FROM webhook_deliveries AS d
                    WHERE d.tenant = e.tenant AND d.endpoint = e.id AND state = 'waiting'
                    ORDER BY due_at LIMIT $1) AS d
                WHERE disabled IS NOT NULL OR d.begun_at <= clock.now - $2
                LIMIT $1)
            UPDATE webhook_deliveries AS d SET state = 'exhausted', settled_at = flowmill_now(),
                last_error = why
            FROM forlorn WHERE d.id = forlorn.id AND state = 'waiting'";
        const REMOVE: &str = "
            DELETE FROM endpoints AS e WHERE removed_at IS NOT NULL AND NOT EXISTS (
                SELECT FROM webhook_deliveries AS d
                WHERE d.tenant = e.tenant AND d.endpoint = e.id AND state = 'waiting')";
        // the oldest come first; what waits among them is settled before long
        const FORGET: &str = "
            DELETE FROM webhook_deliveries WHERE settled_at <= flowmill_now() - $2 AND id IN (
                SELECT id FROM webhook_deliveries ORDER BY id LIMIT $1)";
        let given_up = sqlx::query(GIVE_UP)
            .bind(SOME)
            .bind(micros(patience))
            .bind(forlorn(None, false))
            .bind(forlorn(Some(true), false))
            .bind(forlorn(Some(false), true))
            .execute(&self.writers)
            .await
            .map_err(|error| trouble(&error))?;
        let remove = sqlx::query(REMOVE).execute(&self.writers).await;
        remove.map_err(|error| trouble(&error))?;
        let forgotten = sqlx::query(FORGET).bind(SOME).bind(micros(keep)).execute(&self.writers);
        let forgotten = forgotten.await.map_err(|error| trouble(&error))?;
        Ok(given_up.rows_affected() + forgotten.rows_affected())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        const BACKLOG: &str = "
            SELECT count(*), coalesce(flowmill_now() - min(begun_at), 0) FROM (
                SELECT begun_at FROM webhook_deliveries WHERE state = 'waiting' LIMIT $1) AS waiting";
        let backlog = sqlx::query_as::<_, (i64, i64)>(BACKLOG).bind(rows(MOST_COUNTED));
        let found = backlog.fetch_one(&self.readers).await.map_err(|error| trouble(&error))?;
        let waiting = usize::try_from(found.0).unwrap_or(usize::MAX);
        Ok(Backlog { waiting, oldest: Duration::from_micros(found.1.max(0).unsigned_abs()) })
    }
}

impl PostgresStore {
    /// Deliveries with their endpoints. Of one that was removed meanwhile they are left out; they
    /// are given up before long.
    async fn with_endpoints(
        &self,
        deliveries: Vec<(Name, Delivery)>,
    ) -> Result<Vec<Claimed>, StoreError> {
        const ENDPOINTS: &str = endpoint_rows!(
            "(tenant, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
                AND disabled IS NULL"
        );
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            deliveries.iter().map(|(tenant, it)| (&**tenant, &*it.endpoint)).unzip();
        let found = sqlx::query(ENDPOINTS).bind(&tenants).bind(&ids).fetch_all(&self.writers).await;
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

/// A text of the database holds no NUL.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
