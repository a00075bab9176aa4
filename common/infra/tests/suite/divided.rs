//! The second line between tenants: what is read on behalf of one is read as `flowmill_api`, which sees
//! that one's rows, whatever the statement says.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::audit::{Audit as _, EntryFilter};
use flowmill_infra::batches::{Batches as _, NewBatch, Which};
use flowmill_infra::contents::Contents as _;
use flowmill_infra::dead_letters::{LetterBox as _, LetterFilter};
use flowmill_infra::intake::{Document, Filter, Intake, Submission};
use flowmill_infra::payloads::Digest;
use flowmill_infra::postgres::{PostgresStore, Settings, migrate};
use flowmill_infra::retention::Keeping as _;
use flowmill_infra::shards::Shards as _;
use flowmill_infra::shares::Shares as _;
use flowmill_infra::store::{Store as _, Tenure};
use flowmill_infra::tenants::Tenants as _;
use flowmill_infra::webhooks::{DeliveryFilter, Webhooks as _};
use sqlx::{AssertSqlSafe, PgConnection};

use super::batches::batch;
use super::server::Schema;
use super::shards::{begin, by, me, of, submission, tenure};

/// Tables that have a column `tenant`, but for payloads, and those whose rows belong to a batch.
const DIVIDED: &str = "
    SELECT relname::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
        AND NOT relispartition AND relname <> 'payloads'
        AND (relname ~ '^batch_' OR EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant'))
    ORDER BY relname";

/// Rows of each table for a tenant T that are not made by the store.
const ROWS: &str = "
    INSERT INTO tenants (name) VALUES ('T');
    INSERT INTO api_keys (id, tenant, name, scope, hash)
        VALUES ('key-T', 'T', 'n', 'read', decode(repeat('00', 32), 'hex'));
    INSERT INTO checkpoints VALUES ('T', 'run-T', 'task', 1, 0, NULL);
    INSERT INTO signals (tenant, run, shard, wish, actor) VALUES ('T', 'run-T', 3, '\"stop\"', 'ada');
    INSERT INTO idempotency (tenant, key, fingerprint, run) VALUES ('T', 'k', 'f', 'run-T');
    INSERT INTO dead_letters (tenant, run, queue, reason, message)
        VALUES ('T', 'run-T', 'q', 'odd', 'x');
    INSERT INTO conversations (tenant, conversation, app) VALUES ('T', 'talk-T', 'doc');
    INSERT INTO conversation_variables (tenant, conversation, name, run, variable)
        VALUES ('T', 'other-T', 'v', 'run-T', 'odd');
    INSERT INTO uploads (tenant, upload, name, mime_type, bytes, digest, uploaded_at)
        VALUES ('T', 'file-T', 'n', 'text/plain', 1, 'DIGEST', 1);
    INSERT INTO batch_lines VALUES ('batch-T', 1, '{}');
    INSERT INTO batch_rejects VALUES ('batch-T', 1, NULL, 'odd');
    INSERT INTO batch_ends (batch, shard) VALUES ('batch-T', 3);
    UPDATE batches SET fed = 1, rejected = 1 WHERE batch = 'batch-T';
    INSERT INTO endpoints (tenant, id, url, events, is_for_all, description, format, status_names,
        secrets) VALUES ('T', 'hook-T', 'https://x', '{}', true, '', 'standard', '[]', '[]');
    INSERT INTO webhook_deliveries (tenant, endpoint, message, event, subject, seq)
        VALUES ('T', 'hook-T', 'm', 'run.failed', 'run-T', 1);
    INSERT INTO retention VALUES ('T', 'failed', 1);
    INSERT INTO shares VALUES ('T', 'tenant', 'T', 1, NULL, NULL);
    INSERT INTO share_parts VALUES ('T', 'tenant', 'T', 'a', 1, 1, 0, 0, 0, 0);
    INSERT INTO audit (tenant, actor, action, object, outcome)
        VALUES ('T', 'api', 'keys.create', 'key-T', 'done')";

/// Gives a tenant something of everything.
async fn fill(schema: &Schema, store: &PostgresStore, tenure: Tenure, tenant: &str) {
    let name = Name::from(tenant);
    let document = Document {
        digest: format!("digest-{tenant}").into(),
        name: "doc".into(),
        text: "text".into(),
        has_secrets: false,
        pushed_at: Time(1),
    };
    store.push(&name, &document).await.unwrap();
    let run = format!("run-{tenant}");
    store.submit(&[Submission { tenant: name.clone(), ..submission(&run, 3) }]).await.unwrap();
    store.commit(&by(tenure, &run, begin(&run).1, of(3))).await.unwrap();
    let batch = NewBatch { tenant: name, ..batch(&format!("batch-{tenant}")) };
    store.create_batch(&batch).await.unwrap();
    let rows = ROWS.replace("DIGEST", &Digest::of(b"x").to_string());
    let rows = rows.replace("'T'", &format!("'{tenant}'")).replace("-T'", &format!("-{tenant}'"));
    let fill = sqlx::raw_sql(AssertSqlSafe(rows));
    fill.execute(&mut schema.connection().await).await.unwrap();
}

/// A store with something of everything for the tenants `a` and `b`.
async fn filled(schema: &Schema) -> PostgresStore {
    let store = schema.store().await;
    let held = store.hold(&me("a"), 16).await.unwrap();
    for tenant in ["a", "b"] {
        fill(schema, &store, tenure(&held, 3), tenant).await;
    }
    store
}

async fn names(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// How many rows of a table this connection sees: all, and those of the tenant `a`.
async fn counts(connection: &mut PgConnection, table: &str) -> (i64, i64) {
    let ours = if table.starts_with("batch_") { "batch = 'batch-a'" } else { "tenant = 'a'" };
    let sql = format!("SELECT count(*), count(*) FILTER (WHERE {ours}) FROM {table}");
    sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_statement_without_a_tenant_gives_that_of_its_transaction() {
    const PARTITIONS: &str = "
        SELECT relname::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relispartition
            AND relkind = 'r' AND has_table_privilege('flowmill_api', oid, 'SELECT')";
    const CHANGEABLE: &str = "
        SELECT relname::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
            AND has_table_privilege('flowmill_api', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')";
    // those that are of no tenant, and texts of documents, which a view divides
    const OTHERS: &str = "
        SELECT relname::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
            AND NOT relrowsecurity AND has_table_privilege('flowmill_api', oid, 'SELECT')
        ORDER BY relname";
    let schema = Schema::migrated().await;
    filled(&schema).await;
    let mut owner = schema.connection().await;
    let tables = names(&mut owner, DIVIDED).await;
    assert!(tables.len() > 20, "{tables:?}");
    let mut api = schema.connection().await;
    sqlx::raw_sql("SET ROLE flowmill_api").execute(&mut api).await.unwrap();
    for table in &tables {
        let (all, ours) = counts(&mut owner, table).await;
        assert!(0 < ours && ours < all, "{table} has {all} rows, {ours} of tenant a");
        assert_eq!(counts(&mut api, table).await.0, 0, "{table} is seen for nobody");
    }
    sqlx::raw_sql("SET flowmill.tenant = 'a'").execute(&mut api).await.unwrap();
    for table in &tables {
        let (seen, ours) = counts(&mut api, table).await;
        assert!(0 < seen && seen == ours, "{table} shows {seen} rows, {ours} of tenant a");
    }
    let texts = names(&mut api, "SELECT tenant FROM document_texts").await;
    assert_eq!(texts, ["a"]);
    assert_eq!(names(&mut owner, "SELECT tenant FROM document_texts").await.len(), 2);
    for closed in ["SELECT FROM payloads", "SELECT FROM runs_default", "SELECT FROM leases"] {
        let refused = sqlx::query(closed).execute(&mut api).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{closed}: {refused}");
    }
    let none: [&str; 0] = [];
    assert_eq!(names(&mut owner, PARTITIONS).await, none);
    assert_eq!(names(&mut owner, CHANGEABLE).await, none);
    assert_eq!(names(&mut owner, OTHERS).await, ["document_texts", "schedulers"]);
    assert_eq!(schema.number("SELECT flowmill_divide_tenants()::bigint").await, 0);
}

/// What each read on behalf of tenant `a` finds.
async fn found(store: &PostgresStore) -> Vec<(&'static str, bool)> {
    let (a, run, batch) = (Name::from("a"), Name::from("run-a"), Name::from("batch-a"));
    let some = Some(&a);
    let all = Filter { most: 9, ..Filter::default() };
    let letters = LetterFilter { most: 9, ..LetterFilter::default() };
    let sent = DeliveryFilter { most: 9, ..DeliveryFilter::default() };
    let deeds = EntryFilter { tenant: Some(a.clone()), most: 9, ..EntryFilter::default() };
    // of both tenants, the first letter and delivery are a's
    let (letter, delivery) = (1, 1);
    vec![
        ("document", store.document(&a, "doc").await.unwrap().is_some()),
        ("terms", !store.terms(&a).await.unwrap().is_empty()),
        ("versions", Intake::versions(store, &a, &["doc".into()]).await.unwrap()[0].is_some()),
        ("documents", !store.documents(&a).await.unwrap().is_empty()),
        ("conversation", store.conversation(&a, &"talk-a".into()).await.unwrap().is_some()),
        ("run", store.run(&a, &run).await.unwrap().is_some()),
        ("runs", !store.runs(&a, &all).await.unwrap().is_empty()),
        ("facts", store.facts(&a, &run, 0).await.unwrap().is_some()),
        ("batch", store.batch(&a, &batch).await.unwrap().is_some()),
        ("batches", !store.batches(&a, None, 9).await.unwrap().is_empty()),
        ("results", !store.results(&a, &batch, 0, 9, Which::Bad).await.unwrap().is_empty()),
        ("uploads", !store.uploads(&a, &["file-a".into()]).await.unwrap().is_empty()),
        ("secrets", store.secrets(&a, &run).await.unwrap().is_some()),
        ("last fact", store.last_fact(&a, &run).await.unwrap().is_some()),
        ("letters", !store.letters(&a, &letters).await.unwrap().is_empty()),
        ("letter", store.letter(&a, letter).await.unwrap().is_some()),
        ("endpoints", !store.endpoints(&a).await.unwrap().is_empty()),
        ("endpoint", store.endpoint(&a, &"hook-a".into()).await.unwrap().is_some()),
        ("deliveries", !store.deliveries(&a, &sent).await.unwrap().is_empty()),
        ("delivery", store.delivery(&a, delivery).await.unwrap().is_some()),
        ("shares", !store.shares(some).await.unwrap().is_empty()),
        ("usages", !store.usages(some).await.unwrap().is_empty()),
        ("keys", !store.keys(some).await.unwrap().is_empty()),
        ("deeds", !store.deeds(&deeds).await.unwrap().is_empty()),
    ]
}

#[tokio::test]
async fn every_read_on_behalf_of_a_tenant_is_divided() {
    let schema = Schema::migrated().await;
    let store = filled(&schema).await;
    assert!(store.is_divided());
    for (read, finds) in found(&store).await {
        assert!(finds, "{read} finds nothing");
    }
    // its statements are as they were; the policies let nothing through any more
    let mut connection = schema.connection().await;
    for table in names(&mut connection, DIVIDED).await {
        let close = format!("DROP POLICY tenant ON {table}");
        sqlx::query(AssertSqlSafe(close)).execute(&mut connection).await.unwrap();
    }
    for (read, finds) in found(&store).await {
        assert!(!finds, "{read} does not go by the policies");
    }
    // whoever owns shards sees as much as ever
    assert!(!store.journal(&"run-a".into()).await.unwrap().is_empty());
    assert_eq!(store.shares(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_leaves_a_connection_as_it_was() {
    let schema = Schema::migrated().await;
    let store = PostgresStore::open(&Settings { readers: 1, ..schema.settings() }).await.unwrap();
    let (tenant, run) = (Name::from("a"), Name::from("r"));
    for polls in 1..8 {
        let mut read = pin!(store.run(&tenant, &run));
        for _ in 0..polls {
            if poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_ready())).await {
                break;
            }
            // what the server answers meanwhile is there for the next look
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        read.set(store.run(&tenant, &run));
        // the role may not read this
        assert_eq!(store.shards().await, Ok(16), "after {polls} looks");
    }
}

#[tokio::test]
async fn who_may_not_take_the_role_works_as_before() {
    let schema = Schema::new().await;
    let user = format!("flowmill_test_user_{}", std::process::id());
    let mut connection = schema.connection().await;
    let make = format!(
        "DROP ROLE IF EXISTS {user}; CREATE USER {user} PASSWORD 'test';
         DO $$ BEGIN EXECUTE format('GRANT ALL ON SCHEMA %I TO {user}
            WITH GRANT OPTION', current_schema()); END $$"
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.unwrap();
    // it makes the tables, and no roles; the role is there, of other databases
    let url = format!("{}&user={user}&password=test", schema.url());
    assert_eq!(migrate(&url, 16).await.unwrap(), 16);
    let settings = Settings { url, ..schema.settings() };
    let reads = async |is_divided| {
        let store = PostgresStore::open(&settings).await.unwrap();
        assert_eq!(store.is_divided(), is_divided);
        assert!(store.run(&"default".into(), &"r".into()).await.unwrap().is_some());
        assert_eq!(store.run(&"other".into(), &"r".into()).await.unwrap(), None);
        store.close().await;
    };
    let store = PostgresStore::open(&settings).await.unwrap();
    store.submit(&[submission("r", 3)]).await.unwrap();
    store.close().await;
    reads(false).await;
    let admit = format!("GRANT flowmill_api TO {user}");
    sqlx::query(AssertSqlSafe(admit)).execute(&mut connection).await.unwrap();
    reads(true).await;
    let remove = format!("DROP OWNED BY {user} CASCADE; DROP ROLE {user}");
    sqlx::raw_sql(AssertSqlSafe(remove)).execute(&mut connection).await.unwrap();
}
