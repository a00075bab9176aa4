//! What people did.

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;

use crate::audit::{Audit, Deed, Entry, EntryFilter};
use crate::store::StoreError;

use super::{PostgresStore, get, most, number, text, time, trouble};

impl Audit for PostgresStore {
    async fn note_deed(&self, deed: &Deed) -> Result<(), StoreError> {
        const NOTE: &str = "
            INSERT INTO audit (tenant, actor, key, action, object, outcome, address)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let note = sqlx::query(NOTE)
            .bind(&*deed.tenant)
            .bind(&*deed.actor)
            .bind(deed.key.as_deref())
            .bind(&*deed.action)
            .bind(&*deed.object)
            .bind(&*deed.outcome)
            .bind(deed.address.map(|address| address.to_string()));
        note.execute(&self.writers).await.map(drop).map_err(|error| trouble(&error))
    }

    async fn deeds(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        const DEEDS: &str = "
            SELECT id, noted_at, tenant, actor, key, action, object, outcome, address FROM audit
            WHERE ($1::text IS NULL OR tenant = $1)
                AND ($2::bigint IS NULL OR noted_at >= $2)
                AND ($3::text IS NULL OR actor = $3 OR key = $3)
                AND ($4::text IS NULL OR action = $4 OR starts_with(action, $4 || '.'))
                AND ($5::bigint IS NULL OR id < $5)
            ORDER BY id DESC LIMIT $6";
        let found = sqlx::query(DEEDS)
            .bind(filter.tenant.as_deref())
            .bind(filter.since.map(|at| number(at.0)))
            .bind(filter.actor.as_deref())
            .bind(filter.action.as_deref())
            .bind(filter.before)
            .bind(most(filter.most));
        self.all_of_some(filter.tenant.as_ref(), found).await?.iter().map(entry).collect()
    }
}

fn entry(row: &PgRow) -> Result<Entry, StoreError> {
    let given = |column| Ok::<_, StoreError>(get::<Option<&str>>(row, column)?.map(Name::from));
    let address = get::<Option<&str>>(row, "address")?;
    Ok(Entry {
        id: get(row, "id")?,
        noted_at: time(get(row, "noted_at")?),
        deed: Deed {
            tenant: text(row, "tenant")?,
            actor: text(row, "actor")?,
            key: given("key")?,
            action: text(row, "action")?,
            object: text(row, "object")?,
            outcome: text(row, "outcome")?,
            address: address.and_then(|address| address.parse().ok()),
        },
    })
}
