//! The store for those who look after endpoints and deliveries.

use flowmill_engine::value::Name;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::codec::write;
use crate::store::StoreError;
use crate::webhooks::{
    Added, Delivery, DeliveryFilter, Endpoint, MOST_ENDPOINTS, Replay, State, Webhooks,
};

use super::super::{PostgresStore, Tries, get, most as rows, number, trouble};
use super::{delivery, delivery_columns, endpoint, endpoint_rows};

impl Webhooks for PostgresStore {
    async fn endpoints(&self, tenant: &Name) -> Result<Vec<Endpoint>, StoreError> {
        const ENDPOINTS: &str = endpoint_rows!("tenant = $1 AND removed_at IS NULL ORDER BY place");
        let found = self.all_of(tenant, sqlx::query(ENDPOINTS).bind(&**tenant)).await?;
        found.iter().map(|row| endpoint(&self.codec, row)).collect()
    }

    async fn endpoint(&self, tenant: &Name, id: &Name) -> Result<Option<Endpoint>, StoreError> {
        const ENDPOINT: &str = endpoint_rows!("tenant = $1 AND id = $2 AND removed_at IS NULL");
        let found = sqlx::query(ENDPOINT).bind(&**tenant).bind(&**id);
        let found = self.first_of(tenant, found).await?;
        found.map(|row| endpoint(&self.codec, &row)).transpose()
    }

    async fn add_endpoint(&self, tenant: &Name, endpoint: &Endpoint) -> Result<Added, StoreError> {
        // one that was removed lives on as another
        const ADD: &str = "
            INSERT INTO endpoints (tenant, id, url, events, is_for_all, description, format,
                status_names, disabled, secrets)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
            WHERE (SELECT count(*) FROM endpoints WHERE tenant = $1 AND removed_at IS NULL) < $11
            ON CONFLICT (tenant, id) DO UPDATE SET url = excluded.url, events = excluded.events,
                is_for_all = excluded.is_for_all, description = excluded.description,
                format = excluded.format, status_names = excluded.status_names,
                disabled = excluded.disabled, secrets = excluded.secrets,
                created_at = flowmill_now(), removed_at = NULL, failures = 0, rests_until = 0,
                revision = endpoints.revision + 1
            WHERE endpoints.removed_at IS NOT NULL";
        let secrets = self.codec.endpoint_secrets(tenant, endpoint)?;
        let status_names = write("names of statuses", &endpoint.status_names)?;
        let events: Vec<&str> = endpoint.events.iter().map(|event| &**event).collect();
        let mut tries = Tries::new();
        let added = loop {
            let add = sqlx::query(ADD)
                .bind(&**tenant)
                .bind(&*endpoint.id)
                .bind(&*endpoint.url)
                .bind(&events)
                .bind(endpoint.is_for_all)
                .bind(&*endpoint.description)
                .bind(endpoint.format.name())
                .bind(&status_names)
                .bind(endpoint.disabled.as_deref())
                .bind(&secrets)
                .bind(rows(MOST_ENDPOINTS));
            match add.execute(&self.writers).await {
                Ok(done) => break done.rows_affected() > 0,
                Err(error) => tries.after(error).await?,
            }
        };
        if added {
            return Ok(Added::New);
        }
        let there = Webhooks::endpoint(self, tenant, &endpoint.id).await?;
        Ok(if there.is_some() { Added::There } else { Added::Full })
    }

    async fn change_endpoint(
        &self,
        tenant: &Name,
        endpoint: &Endpoint,
    ) -> Result<bool, StoreError> {
        const CHANGE: &str = "
            UPDATE endpoints SET url = $3, events = $4, is_for_all = $5, description = $6,
                format = $7, status_names = $8, disabled = $9, secrets = $10,
                revision = revision + 1, failures = 0, rests_until = 0
            WHERE tenant = $1 AND id = $2 AND revision = $11 AND removed_at IS NULL";
        let events: Vec<&str> = endpoint.events.iter().map(|event| &**event).collect();
        let change = sqlx::query(CHANGE)
            .bind(&**tenant)
            .bind(&*endpoint.id)
            .bind(&*endpoint.url)
            .bind(&events)
            .bind(endpoint.is_for_all)
            .bind(&*endpoint.description)
            .bind(endpoint.format.name())
            .bind(write("names of statuses", &endpoint.status_names)?)
            .bind(endpoint.disabled.as_deref())
            .bind(self.codec.endpoint_secrets(tenant, endpoint)?)
            .bind(endpoint.revision);
        let change = change.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        Ok(change.rows_affected() > 0)
    }

    async fn remove_endpoint(&self, tenant: &Name, id: &Name) -> Result<bool, StoreError> {
        const REMOVE: &str = "
            UPDATE endpoints SET removed_at = flowmill_now(), disabled = 'removed', secrets = '[]'
            WHERE tenant = $1 AND id = $2 AND removed_at IS NULL";
        let remove = sqlx::query(REMOVE).bind(&**tenant).bind(&**id).execute(&self.writers).await;
        Ok(remove.map_err(|error| trouble(&error))?.rows_affected() > 0)
    }

    async fn deliveries(
        &self,
        tenant: &Name,
        filter: &DeliveryFilter,
    ) -> Result<Vec<Delivery>, StoreError> {
        const DELIVERIES: &str = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM webhook_deliveries WHERE tenant = $1 AND ($2 IS NULL OR endpoint = $2)
                AND ($3 IS NULL OR state = $3) AND ($4 IS NULL OR subject = $4)
                AND ($5::int8 IS NULL OR id < $5)
            ORDER BY id DESC LIMIT $6"
        );
        let found = sqlx::query(DELIVERIES)
            .bind(&**tenant)
            .bind(filter.endpoint.as_deref())
            .bind(filter.state.map(State::name))
            .bind(filter.subject.as_deref())
            .bind(filter.before)
            .bind(rows(filter.most));
        self.all_of(tenant, found).await?.iter().map(delivery).collect()
    }

    async fn delivery(&self, tenant: &Name, id: i64) -> Result<Option<Delivery>, StoreError> {
        const DELIVERY: &str = concat!(
            "SELECT ",
            delivery_columns!(),
            ", body FROM webhook_deliveries WHERE tenant = $1 AND id = $2"
        );
        let found = sqlx::query(DELIVERY).bind(&**tenant).bind(id);
        let found = self.first_of(tenant, found).await?;
        let whole = |row: PgRow| {
            let body = get::<Option<&str>>(&row, "body")?.map(Name::from);
            Ok(Delivery { body, ..delivery(&row)? })
        };
        found.map(whole).transpose()
    }

    async fn replay(&self, tenant: &Name, which: &Replay) -> Result<Vec<i64>, StoreError> {
        // those that are asked for first, then what becomes of them
        const ONE: &str = "
            UPDATE webhook_deliveries AS d SET state = 'waiting', tries = 0,
                due_at = flowmill_now(), begun_at = flowmill_now(), settled_at = NULL
            FROM endpoints AS e
            WHERE d.tenant = $1 AND d.id = $2
                AND e.tenant = d.tenant AND e.id = d.endpoint AND e.disabled IS NULL
            RETURNING d.id";
        const RANGE: &str = "
            WITH asked AS MATERIALIZED (
                SELECT d.id FROM webhook_deliveries AS d
                JOIN endpoints AS e ON e.tenant = d.tenant AND e.id = d.endpoint
                WHERE d.tenant = $1 AND ($2 IS NULL OR d.endpoint = $2)
                    AND d.state <> 'waiting' AND ($3 IS NULL OR d.state = $3)
                    AND d.noted_at >= $4 AND d.noted_at < $5 AND d.id > $6
                    AND e.disabled IS NULL
                ORDER BY d.id LIMIT $7)
            UPDATE webhook_deliveries AS d SET state = 'waiting', tries = 0,
                due_at = flowmill_now(), begun_at = flowmill_now(), settled_at = NULL
            FROM asked WHERE d.id = asked.id
            RETURNING d.id";
        let begun = match which {
            Replay::One(id) => {
                sqlx::query(ONE).bind(&**tenant).bind(id).fetch_all(&self.writers).await
            }
            Replay::Range { endpoint, state, from, until, after, most } => {
                let range = sqlx::query(RANGE).bind(&**tenant).bind(endpoint.as_deref());
                let range = range.bind(state.map(State::name)).bind(number(from.0));
                let range = range.bind(number(until.0)).bind(after).bind(rows(*most));
                range.fetch_all(&self.writers).await
            }
        };
        let begun = begun.map_err(|error| trouble(&error))?;
        let ids = begun.iter().map(|row| row.try_get("id").map_err(|error| trouble(&error)));
        let mut ids = ids.collect::<Result<Vec<i64>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }
}
