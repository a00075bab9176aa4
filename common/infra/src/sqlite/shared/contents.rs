//! Files that were uploaded, and what is asked of a run whose large values are handed out.

use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variable;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::contents::{Contents, Upload};
use crate::journal::Part;
use crate::payloads::Payloads;
use crate::sqlite::writer::Change;
use crate::stash::Stash;
use crate::store::StoreError;

use super::{SharedFolder, get, list, number, text, time, trouble};

impl Contents for SharedFolder {
    async fn keep_upload(&self, tenant: &Name, upload: &Upload) -> Result<(), StoreError> {
        let (tenant, upload) = (tenant.clone(), upload.clone());
        self.writer.write(Keeping { tenant, upload }).await
    }

    async fn uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Upload>, StoreError> {
        const UPLOADS: &str = "
            SELECT upload, name, extension, mime_type, bytes, digest, uploaded_at,
                coalesce(used_at, uploaded_at) AS used_at
            FROM uploads WHERE tenant = ? AND upload IN (SELECT value FROM json_each(?))";
        let found = sqlx::query(UPLOADS).bind(&**tenant).bind(list(ids)?);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        found.iter().map(upload).collect()
    }

    async fn use_uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Name>, StoreError> {
        let (tenant, ids) = (tenant.clone(), list(ids)?);
        self.writer.write(Using { tenant, ids, now: self.now() }).await
    }

    fn content(&self) -> Arc<dyn Payloads> {
        self.payloads()
    }

    fn stash(&self) -> Option<Stash> {
        Some(self.codec.stash.clone())
    }

    async fn secrets(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> Result<Option<Vec<Variable>>, StoreError> {
        const FIRST: &str = "
            SELECT first, last, version, facts FROM journal
            WHERE run = ?2 AND first = 1
                AND EXISTS (SELECT 1 FROM runs WHERE tenant = ?1 AND runs.run = ?2)";
        let found = sqlx::query(FIRST).bind(&**tenant).bind(&**run);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        let Some(row) = found else { return Ok(None) };
        self.codec.read_secrets(run, &part(&row)?).await.map(Some)
    }

    async fn last_fact(&self, tenant: &Name, run: &Name) -> Result<Option<Fact>, StoreError> {
        const LAST: &str = "
            SELECT first, last, version, facts FROM journal
            WHERE run = ?2 AND EXISTS (SELECT 1 FROM runs WHERE tenant = ?1 AND runs.run = ?2)
            ORDER BY first DESC LIMIT 1";
        let found = sqlx::query(LAST).bind(&**tenant).bind(&**run);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        let Some(row) = found else { return Ok(None) };
        self.codec.read_last(run, &part(&row)?)
    }
}

/// The commit that a row holds.
pub(super) fn part(row: &SqliteRow) -> Result<Part<'_>, StoreError> {
    Ok(Part {
        first: get(row, "first")?,
        last: get(row, "last")?,
        version: get(row, "version")?,
        facts: get(row, "facts")?,
    })
}

/// A file whose content is kept.
#[derive(Debug)]
struct Keeping {
    tenant: Name,
    upload: Upload,
}

impl Change for Keeping {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const KEEP: &str = "
            INSERT INTO uploads (tenant, upload, name, extension, mime_type, bytes, digest, uploaded_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let Upload { id, name, extension, mime_type, bytes, digest, uploaded_at, used_at: _ } =
            &self.upload;
        let keep = sqlx::query(KEEP).bind(&*self.tenant).bind(&**id).bind(&**name);
        let keep = keep.bind(extension.as_deref()).bind(&**mime_type).bind(number(*bytes));
        let keep = keep.bind(digest.to_string()).bind(number(uploaded_at.0));
        keep.execute(to).await.map(|_| Ok(()))
    }
}

/// Files that are used, a list of their ids.
#[derive(Debug)]
struct Using {
    tenant: Name,
    ids: String,
    now: Time,
}

impl Change for Using {
    type Answer = Vec<Name>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<Name>, StoreError>, sqlx::Error> {
        const USE: &str = "
            UPDATE uploads SET used_at = ?1
            WHERE tenant = ?2 AND upload IN (SELECT value FROM json_each(?3)) RETURNING upload";
        let there = sqlx::query_scalar::<_, String>(USE).bind(number(self.now.0));
        let there = there.bind(&*self.tenant).bind(&self.ids).fetch_all(to).await?;
        Ok(Ok(there.into_iter().map(Name::from).collect()))
    }
}

fn upload(row: &SqliteRow) -> Result<Upload, StoreError> {
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
