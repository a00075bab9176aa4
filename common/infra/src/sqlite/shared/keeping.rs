//! How long tenants want what they have to be kept.

use std::time::Duration;

use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::retention::{Keeping, Kind, Terms};
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::{SharedFolder, get, trouble};

impl Keeping for SharedFolder {
    async fn terms(&self, tenant: &Name) -> Result<Terms, StoreError> {
        const TERMS: &str = "SELECT kind, keep FROM retention WHERE tenant = ?";
        let found = sqlx::query(TERMS).bind(&**tenant).fetch_all(&self.readers).await;
        let found = found.map_err(|error| trouble(&error))?;
        found.iter().filter_map(|row| term(row).transpose()).collect()
    }

    async fn set_terms(&self, tenant: &Name, terms: &Terms) -> Result<(), StoreError> {
        self.writer.write(Setting { tenant: tenant.clone(), terms: terms.clone() }).await
    }
}

/// A row of terms; None of a kind that a later release has.
pub(super) fn term(row: &SqliteRow) -> Result<Option<(Kind, Option<Duration>)>, StoreError> {
    let keep = get::<Option<i64>>(row, "keep")?;
    let keep = keep.map(|keep| Duration::from_micros(u64::try_from(keep).unwrap_or_default()));
    Ok(Kind::of(get(row, "kind")?).map(|kind| (kind, keep)))
}

/// All terms of a tenant.
#[derive(Debug)]
struct Setting {
    tenant: Name,
    terms: Terms,
}

impl Change for Setting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const CLEAR: &str = "DELETE FROM retention WHERE tenant = ?";
        const SET: &str = "INSERT INTO retention (tenant, kind, keep) VALUES (?, ?, ?)";
        sqlx::query(CLEAR).bind(&*self.tenant).execute(&mut *to).await?;
        for (kind, keep) in &self.terms {
            let keep = keep.map(|keep| i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
            let set = sqlx::query(SET).bind(&*self.tenant).bind(kind.name()).bind(keep);
            set.execute(&mut *to).await?;
        }
        Ok(Ok(()))
    }
}
