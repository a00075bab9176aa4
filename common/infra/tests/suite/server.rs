//! The `PostgreSQL` server that the tests use, and a schema of it for each store.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flowmill_infra::postgres::{PostgresPurge, PostgresStore, Settings, migrate};
use flowmill_infra::seal::Keys;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A schema of the test server that ends with this value.
#[derive(Debug)]
pub(crate) struct Schema {
    name: String,
}

/// The address of the server.
fn server() -> String {
    let own = std::env::var("FLOWMILL_TEST_POSTGRES");
    own.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned())
}

/// Its host and port.
pub(crate) fn address() -> String {
    let options = PgConnectOptions::from_str(&server()).unwrap();
    format!("{}:{}", options.get_host(), options.get_port())
}

async fn connect(url: &str) -> PgConnection {
    match PgConnection::connect(url).await {
        Ok(connection) => connection,
        Err(error) => panic!(
            "these tests need a PostgreSQL server, and {} gives: {error}. `./dev setup` starts \
             one; FLOWMILL_TEST_POSTGRES names another, whose user may make schemas and roles.",
            server()
        ),
    }
}

impl Schema {
    /// An empty one.
    pub(crate) async fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("flowmill_test_{}_{made}", std::process::id());
        let mut connection = connect(&server()).await;
        // an earlier process of this number may have been killed
        let make = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.unwrap();
        Self { name }
    }

    /// One with flowmill's tables, and 16 shards.
    pub(crate) async fn migrated() -> Self {
        let schema = Self::new().await;
        assert_eq!(migrate(&schema.url(), 16).await.unwrap(), 16);
        schema
    }

    /// Empties its tables, so that the next test finds it new; that is much quicker than another.
    pub(crate) async fn cleared(&self) -> &Self {
        const CLEAR: &str = "
            DELETE FROM runs; DELETE FROM journal; DELETE FROM checkpoints; DELETE FROM signals;
            DELETE FROM workflows; DELETE FROM workflow_names; DELETE FROM payloads;
            DELETE FROM idempotency; DELETE FROM schedulers; DELETE FROM dead_letters;
            DELETE FROM announcements; DELETE FROM endpoints; DELETE FROM webhook_deliveries;
            DELETE FROM batches; DELETE FROM batch_ends; DELETE FROM shares;
            DELETE FROM share_parts; DELETE FROM programs;
            DELETE FROM conversations; DELETE FROM conversation_variables;
            ALTER TABLE audit DISABLE TRIGGER USER; DELETE FROM audit;
            ALTER TABLE audit ENABLE TRIGGER USER;
            DELETE FROM uploads; DELETE FROM retention; DELETE FROM removed_tenants;
            DELETE FROM upkeep;
            DELETE FROM api_keys; DELETE FROM tenants WHERE name <> 'default';
            UPDATE leases SET owner = NULL, expires_at = 0;
            UPDATE shards SET epoch = 0, mark = 0, last = 0, version = 1";
        self.meddle(CLEAR).await.unwrap();
        self
    }

    pub(crate) fn url(&self) -> String {
        self.url_with("")
    }

    /// The address with more settings of the session, as in `-c role=someone`.
    pub(crate) fn url_with(&self, more: &str) -> String {
        let server = server();
        let sign = if server.contains('?') { '&' } else { '?' };
        let options = format!("-c search_path={} {more}", self.name);
        let options = options.replace('=', "%3D").replace(' ', "%20");
        format!("{server}{sign}options={options}")
    }

    /// The address by way of another port of this machine.
    pub(crate) fn url_by(&self, port: u16) -> String {
        let through = format!("127.0.0.1:{port}");
        // what is encrypted could not be recognised on the way; the last setting counts
        self.url().replacen(&address(), &through, 1) + "&sslmode=disable"
    }

    /// Few connections: many tests share the server.
    pub(crate) fn settings(&self) -> Settings {
        Settings { writers: 3, readers: 2, ..Settings::of(self.url()) }
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.settings()).await.unwrap()
    }

    /// A store that seals.
    pub(crate) async fn store_with_keys(&self) -> PostgresStore {
        let keys = Keys::parse(&"a".repeat(64)).unwrap();
        PostgresStore::open(&Settings { keys, ..self.settings() }).await.unwrap()
    }

    /// A store whose leases end before long.
    pub(crate) async fn hasty(&self) -> PostgresStore {
        let settings = Settings { lease: Duration::from_millis(20), ..self.settings() };
        PostgresStore::open(&settings).await.unwrap()
    }

    /// A store, in the hands of the one who purges it.
    pub(crate) async fn purged(&self) -> (PostgresStore, PostgresPurge) {
        let store = self.store().await;
        // whoever had it in hand before gives it back in a moment
        for _ in 0..500 {
            if let Some(hand) = PostgresPurge::open(&self.url()).await.unwrap() {
                return (store, hand);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("somebody purges it and does not end");
    }

    /// A connection behind the store's back.
    pub(crate) async fn connection(&self) -> PgConnection {
        connect(&self.url()).await
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn meddle(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(&mut self.connection().await).await.map(|_| ())
    }

    /// All rows of all its tables, as the server writes them.
    pub(crate) async fn dump(&self) -> String {
        const DUMP: &str = "
            SELECT coalesce(string_agg(query_to_xml(
                format('SELECT * FROM %I.%I', schemaname, tablename), true, false, '')::text, ''), '')
            FROM pg_tables WHERE schemaname = current_schema()";
        const AS_HEX: &str = "SET xmlbinary = hex";
        let mut connection = self.connection().await;
        sqlx::raw_sql(AS_HEX).execute(&mut connection).await.unwrap();
        let dump: String = sqlx::query_scalar(DUMP).fetch_one(&mut connection).await.unwrap();
        dump.to_lowercase()
    }

    /// What a query of one number gives.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.connection().await).await.unwrap()
    }
}

impl Drop for Schema {
    /// Also of a test that failed. Nothing can be awaited here, so another thread does it.
    fn drop(&mut self) {
        let remove = format!("DROP SCHEMA {} CASCADE", self.name);
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut connection = PgConnection::connect(&server()).await?;
                sqlx::raw_sql(AssertSqlSafe(remove)).execute(&mut connection).await
            })
        });
        // a schema that stays harms nobody, and the test has its own result
        let _ = removed.join();
    }
}
