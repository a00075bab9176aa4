//! What people did.

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::audit::{Audit, Deed, Entry, EntryFilter};
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::{SharedFolder, get, most, number, text, time, trouble};

impl Audit for SharedFolder {
    async fn note_deed(&self, deed: &Deed) -> Result<(), StoreError> {
        self.writer.write(Noting(deed.clone(), self.now())).await
    }

    async fn deeds(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        const DEEDS: &str = "
            SELECT id, noted_at, tenant, actor, key, action, object, outcome, address FROM audit
            WHERE (?1 IS NULL OR tenant = ?1)
                AND (?2 IS NULL OR noted_at >= ?2)
                AND (?3 IS NULL OR actor = ?3 OR key = ?3)
                AND (?4 IS NULL OR action = ?4
                    OR substr(action, 1, length(?4) + 1) = ?4 || '.')
                AND (?5 IS NULL OR id < ?5)
            ORDER BY id DESC LIMIT ?6";
        let found = sqlx::query(DEEDS)
            .bind(filter.tenant.as_deref())
            .bind(filter.since.map(|at| number(at.0)))
            .bind(filter.actor.as_deref())
            .bind(filter.action.as_deref())
            .bind(filter.before)
            .bind(most(filter.most))
            .fetch_all(&self.readers)
            .await;
        found.map_err(|error| trouble(&error))?.iter().map(entry).collect()
    }
}

/// Something that somebody did, and when.
#[derive(Debug)]
struct Noting(Deed, Time);

impl Change for Noting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const NOTE: &str = "
            INSERT INTO audit (tenant, actor, key, action, object, outcome, address, noted_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let Self(deed, now) = self;
        let note = sqlx::query(NOTE)
            .bind(&*deed.tenant)
            .bind(&*deed.actor)
            .bind(deed.key.as_deref())
            .bind(&*deed.action)
            .bind(&*deed.object)
            .bind(&*deed.outcome)
            .bind(deed.address.map(|address| address.to_string()))
            .bind(number(now.0));
        note.execute(to).await?;
        Ok(Ok(()))
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
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
