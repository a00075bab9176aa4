//! Reads on behalf of a tenant, as the role `flowmill_api`: it sees that tenant's rows alone, whatever
//! the statement says. This is the second line; the first is that each statement names the tenant.
//!
//! Where the role may not be taken, the statements do their work as they are.

use std::ops::{Deref, DerefMut};

use flowmill_engine::value::Name;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use crate::store::StoreError;

use super::{PostgresStore, trouble};

/// A statement with what is bound to it.
type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A connection that reads, until it is dropped.
pub(super) enum Reading {
    /// In a transaction of the role. Nobody waits for its end: it is told to the server when the
    /// connection goes back.
    Divided(Transaction<'static, Postgres>),
    /// As whoever the store works as.
    Whole(PoolConnection<Postgres>),
}

impl Deref for Reading {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Divided(transaction) => transaction,
            Self::Whole(connection) => connection,
        }
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Divided(transaction) => transaction,
            Self::Whole(connection) => connection,
        }
    }
}

impl PostgresStore {
    /// Reads of a tenant's, at the cost of one round trip before the first.
    pub(super) async fn of_tenant(&self, tenant: &Name) -> Result<Reading, StoreError> {
        if !self.is_divided {
            let connection = self.readers.acquire().await.map_err(|error| trouble(&error))?;
            return Ok(Reading::Whole(connection));
        }
        // a connection whose beginning nobody waited for would go back within its transaction, and
        // the next one's reads be those of this tenant: it goes on, also when whoever asked is gone
        let (pool, begin) = (self.readers.clone(), begin(tenant));
        let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(begin)).await }).await;
        let begun = begun.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        begun.map(Reading::Divided).map_err(|error| trouble(&error))
    }

    /// The first of a tenant's rows that a statement finds.
    pub(super) async fn first_of(
        &self,
        tenant: &Name,
        query: Query<'_>,
    ) -> Result<Option<PgRow>, StoreError> {
        let mut reading = self.of_tenant(tenant).await?;
        query.fetch_optional(&mut *reading).await.map_err(|error| trouble(&error))
    }

    /// All of a tenant's rows that a statement finds.
    pub(super) async fn all_of(
        &self,
        tenant: &Name,
        query: Query<'_>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut reading = self.of_tenant(tenant).await?;
        query.fetch_all(&mut *reading).await.map_err(|error| trouble(&error))
    }

    /// The same of one tenant's or everybody's.
    pub(super) async fn all_of_some(
        &self,
        tenant: Option<&Name>,
        query: Query<'_>,
    ) -> Result<Vec<PgRow>, StoreError> {
        match tenant {
            Some(tenant) => self.all_of(tenant, query).await,
            None => query.fetch_all(&self.readers).await.map_err(|error| trouble(&error)),
        }
    }
}

/// Begins a tenant's transaction. The last statement makes one of all; when another before it fails, the
/// connection is in none.
fn begin(tenant: &Name) -> String {
    // digits need no quotes, whatever the name is
    let digits: Vec<String> = tenant.bytes().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.concat();
    format!(
        "SET LOCAL ROLE flowmill_api;
        SELECT set_config('flowmill.tenant', convert_from(decode('{digits}', 'hex'), 'UTF8'), true);
        BEGIN READ ONLY"
    )
}

/// Whether a connection may read as the role, and what the role sees is divided. Says so where it is not
/// and somebody could see something.
pub(super) async fn is_divided(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const SEES: &str = "SELECT has_table_privilege('runs', 'SELECT')";
    const DIVIDES: &str = "SELECT row_security_active('runs')";
    // no such role; a role that it may not take; tables in a schema that the role may not use
    const NONE: [&str; 3] = ["22023", "42501", "42P01"];
    if !sqlx::query_scalar::<_, bool>(SEES).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    let divides = async {
        use sqlx::Connection as _;
        let begin = AssertSqlSafe(begin(&Name::default()));
        let mut transaction = connection.begin_with(begin).await?;
        let divides = sqlx::query_scalar::<_, bool>(DIVIDES).fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(divides)
    };
    let why = match divides.await {
        Ok(true) => return Ok(true),
        Ok(false) => "the tables have no policies".to_owned(),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| NONE.contains(&&*code)) =>
        {
            error.to_string()
        }
        Err(error) => return Err(error),
    };
    tracing::warn!(
        why,
        "tenants are held apart by statements alone: this user cannot read as flowmill_api \
         (docs/security.md, least rights)"
    );
    Ok(false)
}
