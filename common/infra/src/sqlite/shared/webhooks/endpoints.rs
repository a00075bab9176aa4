//! The store for those who look after endpoints and deliveries.

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::codec::write;
use crate::sqlite::writer::Change;
use crate::store::StoreError;
use crate::webhooks::{
    Added, Delivery, DeliveryFilter, Endpoint, MOST_ENDPOINTS, Replay, State, Webhooks,
};

use super::super::{SharedFolder, get, most as rows, number, trouble};
use super::{delivery, delivery_columns, endpoint, endpoint_rows};

impl Webhooks for SharedFolder {
    async fn endpoints(&self, tenant: &Name) -> Result<Vec<Endpoint>, StoreError> {
        const ENDPOINTS: &str = endpoint_rows!("tenant = ? AND removed_at IS NULL ORDER BY place");
        let found = sqlx::query(ENDPOINTS).bind(&**tenant).fetch_all(&self.readers).await;
        let found = found.map_err(|error| trouble(&error))?;
        found.iter().map(|row| endpoint(&self.codec, row)).collect()
    }

    async fn endpoint(&self, tenant: &Name, id: &Name) -> Result<Option<Endpoint>, StoreError> {
        const ENDPOINT: &str = endpoint_rows!("tenant = ? AND id = ? AND removed_at IS NULL");
        let found = sqlx::query(ENDPOINT).bind(&**tenant).bind(&**id);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        found.map(|row| endpoint(&self.codec, &row)).transpose()
    }

    async fn add_endpoint(&self, tenant: &Name, endpoint: &Endpoint) -> Result<Added, StoreError> {
        let added = Written::of(self, tenant, endpoint)?;
        self.writer.write(Adding(added, self.now())).await
    }

    async fn change_endpoint(
        &self,
        tenant: &Name,
        endpoint: &Endpoint,
    ) -> Result<bool, StoreError> {
        self.writer.write(Changing(Written::of(self, tenant, endpoint)?)).await
    }

    async fn remove_endpoint(&self, tenant: &Name, id: &Name) -> Result<bool, StoreError> {
        let (tenant, id, now) = (tenant.clone(), id.clone(), self.now());
        self.writer.write(Removing { tenant, id, now }).await
    }

    async fn deliveries(
        &self,
        tenant: &Name,
        filter: &DeliveryFilter,
    ) -> Result<Vec<Delivery>, StoreError> {
        const DELIVERIES: &str = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM webhook_deliveries WHERE tenant = ?1 AND (?2 IS NULL OR endpoint = ?2)
                AND (?3 IS NULL OR state = ?3) AND (?4 IS NULL OR subject = ?4)
                AND (?5 IS NULL OR id < ?5)
            ORDER BY id DESC LIMIT ?6"
        );
        let found = sqlx::query(DELIVERIES)
            .bind(&**tenant)
            .bind(filter.endpoint.as_deref())
            .bind(filter.state.map(State::name))
            .bind(filter.subject.as_deref())
            .bind(filter.before)
            .bind(rows(filter.most))
            .fetch_all(&self.readers)
            .await;
        found.map_err(|error| trouble(&error))?.iter().map(delivery).collect()
    }

    async fn delivery(&self, tenant: &Name, id: i64) -> Result<Option<Delivery>, StoreError> {
        const DELIVERY: &str = concat!(
            "SELECT ",
            delivery_columns!(),
            ", body FROM webhook_deliveries WHERE tenant = ? AND id = ?"
        );
        let found = sqlx::query(DELIVERY).bind(&**tenant).bind(id);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        let whole = |row: SqliteRow| {
            let body = get::<Option<&str>>(&row, "body")?.map(Name::from);
            Ok(Delivery { body, ..delivery(&row)? })
        };
        found.map(whole).transpose()
    }

    async fn replay(&self, tenant: &Name, which: &Replay) -> Result<Vec<i64>, StoreError> {
        let (tenant, which, now) = (tenant.clone(), which.clone(), self.now());
        self.writer.write(Replaying { tenant, which, now }).await
    }
}

/// An endpoint, written out.
#[derive(Debug)]
struct Written {
    tenant: Name,
    endpoint: Endpoint,
    events: String,
    status_names: String,
    secrets: String,
}

impl Written {
    fn of(store: &SharedFolder, tenant: &Name, endpoint: &Endpoint) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: tenant.clone(),
            events: write("events", &endpoint.events)?,
            status_names: write("names of statuses", &endpoint.status_names)?,
            secrets: store.codec.endpoint_secrets(tenant, endpoint)?,
            endpoint: endpoint.clone(),
        })
    }
}

/// An endpoint that is new, and when that is.
#[derive(Debug)]
struct Adding(Written, Time);

impl Change for Adding {
    type Answer = Added;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Added, StoreError>, sqlx::Error> {
        // one that was removed lives on as another
        const ADD: &str = "
            INSERT INTO endpoints (tenant, id, url, events, is_for_all, description, format,
                status_names, disabled, secrets, created_at)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
            WHERE (SELECT count(*) FROM endpoints WHERE tenant = ?1 AND removed_at IS NULL) < ?12
            ON CONFLICT (tenant, id) DO UPDATE SET url = excluded.url, events = excluded.events,
                is_for_all = excluded.is_for_all, description = excluded.description,
                format = excluded.format, status_names = excluded.status_names,
                disabled = excluded.disabled, secrets = excluded.secrets,
                created_at = excluded.created_at, removed_at = NULL, failures = 0,
                rests_until = 0, revision = revision + 1
            WHERE removed_at IS NOT NULL";
        const THERE: &str = "
            SELECT EXISTS (SELECT 1 FROM endpoints
                WHERE tenant = ? AND id = ? AND removed_at IS NULL)";
        let Self(Written { tenant, endpoint, events, status_names, secrets }, now) = self;
        let add = sqlx::query(ADD)
            .bind(&**tenant)
            .bind(&*endpoint.id)
            .bind(&*endpoint.url)
            .bind(events)
            .bind(endpoint.is_for_all)
            .bind(&*endpoint.description)
            .bind(endpoint.format.name())
            .bind(status_names)
            .bind(endpoint.disabled.as_deref())
            .bind(secrets)
            .bind(number(now.0))
            .bind(rows(MOST_ENDPOINTS));
        if add.execute(&mut *to).await?.rows_affected() > 0 {
            return Ok(Ok(Added::New));
        }
        let there = sqlx::query_scalar::<_, bool>(THERE).bind(&**tenant).bind(&*endpoint.id);
        Ok(Ok(if there.fetch_one(to).await? { Added::There } else { Added::Full }))
    }
}

/// An endpoint as it shall be, unless somebody else changed it.
#[derive(Debug)]
struct Changing(Written);

impl Change for Changing {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const CHANGE: &str = "
            UPDATE endpoints SET url = ?3, events = ?4, is_for_all = ?5, description = ?6,
                format = ?7, status_names = ?8, disabled = ?9, secrets = ?10,
                revision = revision + 1, failures = 0, rests_until = 0
            WHERE tenant = ?1 AND id = ?2 AND revision = ?11 AND removed_at IS NULL";
        let Self(Written { tenant, endpoint, events, status_names, secrets }) = self;
        let change = sqlx::query(CHANGE)
            .bind(&**tenant)
            .bind(&*endpoint.id)
            .bind(&*endpoint.url)
            .bind(events)
            .bind(endpoint.is_for_all)
            .bind(&*endpoint.description)
            .bind(endpoint.format.name())
            .bind(status_names)
            .bind(endpoint.disabled.as_deref())
            .bind(secrets)
            .bind(endpoint.revision);
        Ok(Ok(change.execute(to).await?.rows_affected() > 0))
    }
}

/// An endpoint that nobody wants any more.
#[derive(Debug)]
struct Removing {
    tenant: Name,
    id: Name,
    now: Time,
}

impl Change for Removing {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const REMOVE: &str = "
            UPDATE endpoints SET removed_at = ?3, disabled = 'removed', secrets = '[]'
            WHERE tenant = ?1 AND id = ?2 AND removed_at IS NULL";
        let remove = sqlx::query(REMOVE).bind(&*self.tenant).bind(&*self.id);
        let remove = remove.bind(number(self.now.0)).execute(to).await?;
        Ok(Ok(remove.rows_affected() > 0))
    }
}

/// Deliveries that begin anew.
#[derive(Debug)]
struct Replaying {
    tenant: Name,
    which: Replay,
    now: Time,
}

impl Change for Replaying {
    type Answer = Vec<i64>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<i64>, StoreError>, sqlx::Error> {
        const ONE: &str = "
            UPDATE webhook_deliveries SET state = 'waiting', tries = 0,
                due_at = ?3, begun_at = ?3, settled_at = NULL
            WHERE tenant = ?1 AND id = ?2 AND EXISTS (
                SELECT 1 FROM endpoints AS e WHERE e.tenant = ?1
                    AND e.id = webhook_deliveries.endpoint AND e.disabled IS NULL)
            RETURNING id";
        const RANGE: &str = "
            UPDATE webhook_deliveries SET state = 'waiting', tries = 0,
                due_at = ?8, begun_at = ?8, settled_at = NULL
            WHERE id IN (
                SELECT d.id FROM webhook_deliveries AS d
                JOIN endpoints AS e ON e.tenant = d.tenant AND e.id = d.endpoint
                WHERE d.tenant = ?1 AND (?2 IS NULL OR d.endpoint = ?2)
                    AND d.state <> 'waiting' AND (?3 IS NULL OR d.state = ?3)
                    AND d.noted_at >= ?4 AND d.noted_at < ?5 AND d.id > ?6
                    AND e.disabled IS NULL
                ORDER BY d.id LIMIT ?7)
            RETURNING id";
        let Self { tenant, which, now } = self;
        let now = number(now.0);
        let begun = match which {
            Replay::One(id) => {
                let one = sqlx::query_scalar::<_, i64>(ONE).bind(&**tenant).bind(id).bind(now);
                one.fetch_all(to).await?
            }
            Replay::Range { endpoint, state, from, until, after, most } => {
                let range = sqlx::query_scalar::<_, i64>(RANGE).bind(&**tenant);
                let range = range.bind(endpoint.as_deref()).bind(state.map(State::name));
                let range = range.bind(number(from.0)).bind(number(until.0)).bind(after);
                range.bind(rows(*most)).bind(now).fetch_all(to).await?
            }
        };
        let mut begun = begun;
        begun.sort_unstable();
        Ok(Ok(begun))
    }
}
