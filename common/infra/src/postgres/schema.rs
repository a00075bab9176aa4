//! The form of the database, and how it comes to the present one.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqlSafeStr as _};

use super::{OpenError, divided, place, read_url, trouble};

/// What leads from each form to the next, in order. They are never changed once a release has
/// them; and while a release runs that reads an older form, they only add.
const MIGRATIONS: [(&str, &str); 18] = [
    ("runs", include_str!("../../../../migrations/postgres/0001_runs.sql")),
    ("faults", include_str!("../../../../migrations/postgres/0002_faults.sql")),
    ("payloads", include_str!("../../../../migrations/postgres/0003_payloads.sql")),
    ("conversations", include_str!("../../../../migrations/postgres/0004_conversations.sql")),
    ("dead letters", include_str!("../../../../migrations/postgres/0005_dead_letters.sql")),
    ("uploads", include_str!("../../../../migrations/postgres/0006_uploads.sql")),
    ("batches", include_str!("../../../../migrations/postgres/0007_batches.sql")),
    ("webhooks", include_str!("../../../../migrations/postgres/0008_webhooks.sql")),
    ("tenants", include_str!("../../../../migrations/postgres/0009_tenants.sql")),
    ("shares", include_str!("../../../../migrations/postgres/0010_shares.sql")),
    ("ends of batches", include_str!("../../../../migrations/postgres/0011_batch_ends.sql")),
    ("children", include_str!("../../../../migrations/postgres/0012_children.sql")),
    ("keys", include_str!("../../../../migrations/postgres/0013_keys.sql")),
    ("audit", include_str!("../../../../migrations/postgres/0014_audit.sql")),
    ("rights of schedulers", include_str!("../../../../migrations/postgres/0015_scheduler.sql")),
    ("retention", include_str!("../../../../migrations/postgres/0016_retention.sql")),
    ("programs", include_str!("../../../../migrations/postgres/0017_programs.sql")),
    ("row security", include_str!("../../../../migrations/postgres/0018_row_security.sql")),
];

/// Months ahead for which there are partitions.
const MONTHS: i32 = 3;

/// How many shards a store gets that has none yet.
pub const SHARDS: u16 = 16;

/// The number of the present form.
fn present() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn migrator() -> Migrator {
    let migrations = (1..).zip(MIGRATIONS).map(|(number, (name, script))| {
        let script = script.into_sql_str();
        Migration::new(number, name.into(), MigrationType::Simple, script, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Brings a database to the present form, one process at a time, and answers how many shards it
/// has: `shards` when it had none yet. The number never changes after that, because runs lie by it.
///
/// # Errors
/// [`OpenError`]; a database of a later release is left as it is.
pub async fn migrate(url: &str, shards: u16) -> Result<u16, OpenError> {
    let options = read_url(url)?;
    let unreachable = |error| OpenError::Unreachable { at: place(&options), why: trouble(&error) };
    let mut connection = options.connect().await.map_err(unreachable)?;
    let done = migrator().run_direct(None, &mut connection, false).await;
    done.map_err(|why| OpenError::Migration { at: place(&options), why: why.to_string() })?;
    let shards = fill(&mut connection, shards).await.map_err(unreachable)?;
    partition(&mut connection).await.map_err(unreachable)?;
    // all that was asked for is there, however the connection ends
    let _ = connection.close().await;
    Ok(shards)
}

/// Makes the shards of a new store, and answers how many there are.
async fn fill(connection: &mut PgConnection, shards: u16) -> Result<u16, sqlx::Error> {
    const SHARDS: &str = "
        INSERT INTO shards (shard)
        SELECT generate_series(0, $1 - 1) WHERE NOT EXISTS (SELECT FROM shards)
        ON CONFLICT DO NOTHING";
    const LEASES: &str =
        "INSERT INTO leases (shard) SELECT shard FROM shards ON CONFLICT DO NOTHING";
    let mut transaction = connection.begin().await?;
    // two that come at the same time shall not both find nothing
    sqlx::query("LOCK TABLE shards IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    sqlx::query(SHARDS).bind(i32::from(shards.max(1))).execute(&mut *transaction).await?;
    sqlx::query(LEASES).execute(&mut *transaction).await?;
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM shards");
    let count = count.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    u16::try_from(count).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Makes the partitions of the next months.
async fn partition(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // who waits for a table is waited for by all who come later: rather try again another day
    sqlx::query("SET LOCAL lock_timeout = '2s'").execute(&mut *transaction).await?;
    // one at a time: of two, the second finds what the first made
    let lock = sqlx::query("LOCK TABLE shards IN SHARE ROW EXCLUSIVE MODE");
    lock.execute(&mut *transaction).await?;
    let make = sqlx::query_scalar("SELECT flowmill_make_partitions($1)").bind(MONTHS);
    let made = make.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(made)
}

/// Makes a schema for one installation among several of a database, unless it is there. Answers the
/// address that leads to it.
///
/// # Errors
/// [`OpenError`].
pub async fn make_schema(url: &str, name: &str) -> Result<String, OpenError> {
    change_schema(url, name, "CREATE SCHEMA IF NOT EXISTS").await?;
    let sign = if url.contains('?') { '&' } else { '?' };
    Ok(format!("{url}{sign}options=-c%20search_path%3D{name}"))
}

/// Removes a schema with all that is in it; no process may use it.
///
/// # Errors
/// [`OpenError`].
pub async fn remove_schema(url: &str, name: &str) -> Result<(), OpenError> {
    change_schema(url, name, "DROP SCHEMA IF EXISTS").await
}

async fn change_schema(url: &str, name: &str, change: &str) -> Result<(), OpenError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_plain) {
        let why = format!("{name:?} is no name of a schema: use letters a to z, digits and _");
        return Err(OpenError::Url { why });
    }
    let options = read_url(url)?;
    let unreachable = |error| OpenError::Unreachable { at: place(&options), why: trouble(&error) };
    let mut connection = options.connect().await.map_err(unreachable)?;
    let cascade = if change.starts_with("DROP") { " CASCADE" } else { "" };
    let change = sqlx::AssertSqlSafe(format!("{change} \"{name}\"{cascade}"));
    sqlx::raw_sql(change).execute(&mut connection).await.map_err(unreachable)?;
    // all that was asked for is there, however the connection ends
    let _ = connection.close().await;
    Ok(())
}

/// Makes what a store needs from time to time: the partitions of the months to come. Once a day is
/// often enough. Answers how many it made.
///
/// # Errors
/// [`OpenError`], also when a table was busy for too long; nothing depends on it for weeks.
pub async fn maintain(url: &str) -> Result<u32, OpenError> {
    let options = read_url(url)?;
    let unreachable = |error| OpenError::Unreachable { at: place(&options), why: trouble(&error) };
    let mut connection = options.connect().await.map_err(unreachable)?;
    let made = partition(&mut connection).await.map_err(unreachable)?;
    // all that was asked for is there, however the connection ends
    let _ = connection.close().await;
    Ok(u32::try_from(made).unwrap_or_default())
}

/// The number of a database's form; None when it has none of flowmill's tables, or was not brought
/// to the end of one.
///
/// # Errors
/// [`OpenError`] when it cannot be read.
pub async fn version(url: &str) -> Result<Option<i64>, OpenError> {
    let options = read_url(url)?;
    let found = form(&options).await;
    let found =
        found.map_err(|error| OpenError::Unreachable { at: place(&options), why: trouble(&error) });
    Ok(found?.version)
}

/// Whether this release can work on a database. Forms only grow, so a newer one will do, unless it
/// says that it will not.
/// Answers whether the database divides what is read on behalf of tenants.
pub(super) async fn check(options: &PgConnectOptions) -> Result<bool, OpenError> {
    let at = place(options);
    let unreachable = |error| OpenError::Unreachable { at: place(options), why: trouble(&error) };
    let mut connection = options.connect().await.map_err(unreachable)?;
    let found = match read_form(&mut connection).await.map_err(unreachable)? {
        Form { oldest, .. } if oldest > present() => Err(OpenError::Later { at }),
        Form { version: Some(found), .. } if found >= present() => {
            divided::is_divided(&mut connection).await.map_err(unreachable)
        }
        Form { version: Some(_), .. } => Err(OpenError::Outdated { at, form: "an older form" }),
        Form { version: None, .. } => {
            Err(OpenError::Outdated { at, form: "none of flowmill's tables" })
        }
    };
    // it has done its work, however it ends
    let _ = connection.close().await;
    found
}

/// A database's form.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    /// Its number; None when there is none, or it was not made to its end.
    version: Option<i64>,
    /// The oldest form that a service must know to work on it.
    oldest: i64,
}

async fn form(options: &PgConnectOptions) -> Result<Form, sqlx::Error> {
    let mut connection = options.connect().await?;
    let form = read_form(&mut connection).await;
    // it has done its work, however it ends
    let _ = connection.close().await;
    form
}

async fn read_form(connection: &mut PgConnection) -> Result<Form, sqlx::Error> {
    const VERSION: &str =
        "SELECT CASE WHEN bool_and(success) THEN max(version) END FROM _sqlx_migrations";
    const OLDEST: &str = "SELECT oldest::bigint FROM readers";
    let version = there(sqlx::query_scalar(VERSION).fetch_one(&mut *connection).await)?.flatten();
    // the first form has no such table
    let oldest = there(sqlx::query_scalar(OLDEST).fetch_one(&mut *connection).await)?;
    Ok(Form { version, oldest: oldest.unwrap_or_default() })
}

/// None when the table is not there.
fn there<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    const UNDEFINED_TABLE: &str = "42P01";
    match answer {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Ok(None)
        }
        answer => answer.map(Some),
    }
}
