//! How long tenants want what they have to be kept.

use std::time::Duration;

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;

use crate::retention::{Keeping, Kind, Terms};
use crate::store::StoreError;

use super::{PostgresStore, get, trouble};

impl Keeping for PostgresStore {
    async fn terms(&self, tenant: &Name) -> Result<Terms, StoreError> {
        const TERMS: &str = "SELECT kind, keep FROM retention WHERE tenant = $1";
        let found = self.all_of(tenant, sqlx::query(TERMS).bind(&**tenant)).await?;
        found.iter().filter_map(|row| term(row).transpose()).collect()
    }

    async fn set_terms(&self, tenant: &Name, terms: &Terms) -> Result<(), StoreError> {
        const SET: &str = "
            WITH wanted AS (SELECT * FROM unnest($2::text[], $3::bigint[]) AS t (kind, keep)),
            gone AS (
                DELETE FROM retention
                WHERE tenant = $1 AND kind NOT IN (SELECT kind FROM wanted))
            INSERT INTO retention (tenant, kind, keep) SELECT $1, kind, keep FROM wanted
            ON CONFLICT (tenant, kind) DO UPDATE SET keep = excluded.keep";
        let kinds: Vec<&str> = terms.keys().map(|kind| kind.name()).collect();
        let keeps: Vec<Option<i64>> = terms.values().map(|keep| keep.map(micros)).collect();
        let set = sqlx::query(SET).bind(&**tenant).bind(kinds).bind(keeps).execute(&self.writers);
        set.await.map(drop).map_err(|error| trouble(&error))
    }
}

/// A row of terms; None of a kind that a later release has.
pub(super) fn term(row: &PgRow) -> Result<Option<(Kind, Option<Duration>)>, StoreError> {
    let keep = get::<Option<i64>>(row, "keep")?;
    let keep = keep.map(|keep| Duration::from_micros(u64::try_from(keep).unwrap_or_default()));
    Ok(Kind::of(get(row, "kind")?).map(|kind| (kind, keep)))
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
