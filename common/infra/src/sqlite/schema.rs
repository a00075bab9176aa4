//! The form of the database, and how an older one comes to it.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::{OpenError, trouble};

/// A kind of database.
#[derive(Debug)]
pub(super) struct Form {
    /// Its file in the folder.
    pub(super) file: &'static str,
    /// What marks a database as one of it (`application_id`).
    mark: i64,
    /// What leads from each version of it to the next; each sets its own number as `user_version`.
    /// They are never changed once a release has them.
    migrations: &'static [&'static str],
    /// How an older one is brought up to date.
    advice: &'static str,
}

/// Single runs: "fllm".
pub(super) const RUNS: Form = Form {
    file: "runs.db",
    mark: 0x666c_6c6d,
    migrations: &[
        include_str!("../../../../migrations/sqlite/0001_runs.sql"),
        include_str!("../../../../migrations/sqlite/0002_writer.sql"),
    ],
    advice: "`flowmill resume` or `flowmill run --store`",
};

/// A shared store: "flsh".
pub(super) const SHARED: Form = Form {
    file: "serve.db",
    mark: 0x666c_7368,
    migrations: &[
        include_str!("../../../../migrations/sqlite/shared/0001_runs.sql"),
        include_str!("../../../../migrations/sqlite/shared/0002_uploads.sql"),
        include_str!("../../../../migrations/sqlite/shared/0003_batches.sql"),
        include_str!("../../../../migrations/sqlite/shared/0004_webhooks.sql"),
        include_str!("../../../../migrations/sqlite/shared/0005_tenants.sql"),
        include_str!("../../../../migrations/sqlite/shared/0006_shares.sql"),
        include_str!("../../../../migrations/sqlite/shared/0007_children.sql"),
        include_str!("../../../../migrations/sqlite/shared/0008_keys.sql"),
        include_str!("../../../../migrations/sqlite/shared/0009_audit.sql"),
        include_str!("../../../../migrations/sqlite/shared/0010_retention.sql"),
    ],
    advice: "`flowmill serve`",
};

/// Brings a database of an older form to the present one.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    form: &Form,
    version: usize,
    file: &Path,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::Database { file: file.to_owned(), why: trouble(&error) };
    for script in form.migrations.iter().skip(version) {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        sqlx::raw_sql(*script).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Whether a database has the present form.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    form: &Form,
    file: &Path,
) -> Result<(), OpenError> {
    let version = version(connection, form, file).await?;
    if version == form.migrations.len() {
        return Ok(());
    }
    let why = format!("has an older form; {} on its folder brings it up to date", form.advice);
    Err(OpenError::Foreign { file: file.to_owned(), why })
}

/// Its form's number; 0 when it is empty.
pub(super) async fn version(
    connection: &mut SqliteConnection,
    form: &Form,
    file: &Path,
) -> Result<usize, OpenError> {
    let failed = |error| OpenError::Database { file: file.to_owned(), why: trouble(&error) };
    let number = |pragma: &'static str| sqlx::query_scalar::<_, i64>(pragma);
    let version = number("PRAGMA user_version").fetch_one(&mut *connection).await;
    let version = version.map_err(failed)?;
    let application = number("PRAGMA application_id").fetch_one(&mut *connection).await;
    let application = application.map_err(failed)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await;
    let tables = tables.map_err(failed)?;
    let why = match usize::try_from(version) {
        Ok(0) if tables == 0 => return Ok(0),
        Ok(version) if version > 0 && application == form.mark => {
            if version <= form.migrations.len() {
                return Ok(version);
            }
            "was written by a later release of flowmill; use that one"
        }
        _ => "is a database of another program",
    };
    Err(OpenError::Foreign { file: file.to_owned(), why: why.to_owned() })
}
