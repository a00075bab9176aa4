//! Files that were uploaded, and what is asked of a run whose large values are handed out.

use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variable;
use sqlx::postgres::PgRow;

use crate::contents::{Contents, Upload};
use crate::journal::Part;
use crate::payloads::Payloads;
use crate::stash::Stash;
use crate::store::StoreError;

use super::{PostgresStore, Tries, get, number, text, time, trouble};

impl Contents for PostgresStore {
    async fn keep_upload(&self, tenant: &Name, upload: &Upload) -> Result<(), StoreError> {
        const KEEP: &str = "
            INSERT INTO uploads (tenant, upload, name, extension, mime_type, bytes, digest, uploaded_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let Upload { id, name, extension, mime_type, bytes, digest, uploaded_at, used_at: _ } =
            upload;
        let mut tries = Tries::new();
        loop {
            let keep = sqlx::query(KEEP).bind(&**tenant).bind(&**id).bind(&**name);
            let keep = keep.bind(extension.as_deref()).bind(&**mime_type).bind(number(*bytes));
            let keep = keep.bind(digest.to_string()).bind(number(uploaded_at.0));
            match keep.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Upload>, StoreError> {
        const UPLOADS: &str = "
            SELECT upload, name, extension, mime_type, bytes, digest, uploaded_at,
                coalesce(used_at, uploaded_at) AS used_at
            FROM uploads WHERE tenant = $1 AND upload = ANY($2)";
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let found = sqlx::query(UPLOADS).bind(&**tenant).bind(&ids);
        self.all_of(tenant, found).await?.iter().map(upload).collect()
    }

    async fn use_uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Name>, StoreError> {
        const USE: &str = "
            UPDATE uploads SET used_at = flowmill_now() WHERE tenant = $1 AND upload = ANY($2)
            RETURNING upload";
        let mut ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        // of two that name the same files, one waits for the other and never both
        ids.sort_unstable();
        let there = sqlx::query_scalar::<_, String>(USE).bind(&**tenant).bind(&ids);
        let there = there.fetch_all(&self.writers).await.map_err(|error| trouble(&error))?;
        Ok(there.into_iter().map(Name::from).collect())
    }

    fn content(&self) -> Arc<dyn Payloads> {
        Arc::new(self.payloads())
    }

    fn stash(&self) -> Option<Stash> {
        Some(self.stash())
    }

    async fn secrets(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> Result<Option<Vec<Variable>>, StoreError> {
        const FIRST: &str = "
            SELECT first, last, version, facts FROM journal
            WHERE tenant = $1 AND run = $2 AND first = 1";
        let found = sqlx::query(FIRST).bind(&**tenant).bind(&**run);
        let Some(row) = self.first_of(tenant, found).await? else { return Ok(None) };
        self.codec.read_secrets(run, &part(&row)?).await.map(Some)
    }

    async fn last_fact(&self, tenant: &Name, run: &Name) -> Result<Option<Fact>, StoreError> {
        const LAST: &str = "
            SELECT first, last, version, facts FROM journal
            WHERE tenant = $1 AND run = $2 ORDER BY first DESC LIMIT 1";
        let found = sqlx::query(LAST).bind(&**tenant).bind(&**run);
        let Some(row) = self.first_of(tenant, found).await? else { return Ok(None) };
        self.codec.read_last(run, &part(&row)?)
    }
}

/// The commit that a row holds.
pub(super) fn part(row: &PgRow) -> Result<Part<'_>, StoreError> {
    Ok(Part {
        first: get(row, "first")?,
        last: get(row, "last")?,
        version: i64::from(get::<i32>(row, "version")?),
        facts: get(row, "facts")?,
    })
}

fn upload(row: &PgRow) -> Result<Upload, StoreError> {
    let id = text(row, "upload")?;
    let digest = get::<&str>(row, "digest")?.parse();
    let digest = digest
        .map_err(|error| StoreError::Corrupt(format!("the digest of upload {id}: {error}")))?;
    Ok(Upload {
        id,
        name: text(row, "name")?,
        extension: get::<Option<&str>>(row, "extension")?.map(Name::from),
        mime_type: text(row, "mime_type")?,
        bytes: get::<i64>(row, "bytes")?.unsigned_abs(),
        digest,
        uploaded_at: time(get(row, "uploaded_at")?),
        used_at: time(get(row, "used_at")?),
    })
}
