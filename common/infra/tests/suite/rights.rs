//! What a scheduler may do that works as `flowmill_scheduler`: all that it does, and nothing to tables.

use std::time::Duration;

use flowmill_infra::audit::{Audit as _, Deed};
use flowmill_infra::postgres::{PostgresPurge, PostgresStore, Settings, maintain};
use flowmill_infra::seal::Keys;
use sqlx::{Connection as _, PgConnection};

use super::server::Schema;
use crate::suite;

#[tokio::test]
async fn a_scheduler_does_its_work_with_rights_on_rows_alone() {
    let schema = Schema::migrated().await;
    let url = schema.url_with("-c role=flowmill_scheduler");
    let store = async || {
        schema.cleared().await;
        let keys = Keys::parse(&"a".repeat(64)).unwrap();
        let settings = Settings { url: url.clone(), keys, ..schema.settings() };
        PostgresStore::open(&settings).await.unwrap()
    };
    suite::store::all(store, true).await;
    suite::intake::all(store).await;
    suite::batches::all(store).await;
    suite::shares::all(store).await;
    suite::conversations::all(store).await;
    suite::contents::all(store).await;
    suite::letters::all(store).await;
    suite::tenants::all(store).await;
    suite::audit::all(store).await;
    let in_hand = async || {
        schema.cleared().await;
        let hand = loop {
            // whoever had it in hand before gives it back in a moment
            match PostgresPurge::open(&url).await.unwrap() {
                Some(hand) => break hand,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        (store().await, hand)
    };
    suite::retention::all(in_hand, suite::retention::tell).await;
    suite::webhooks::all(store).await;
    assert!(store().await.is_divided());
    maintain(&url).await.unwrap();
    let deed = Deed {
        tenant: "default".into(),
        actor: "api".into(),
        key: None,
        action: "keys.create".into(),
        object: "".into(),
        outcome: "done".into(),
        address: None,
    };
    store().await.note_deed(&deed).await.unwrap();
    for change in [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "ALTER TABLE audit DISABLE TRIGGER USER",
        "TRUNCATE runs",
        "DROP TABLE journal",
        "ALTER TABLE runs ADD COLUMN more text",
        "CREATE TABLE more (a text)",
        "UPDATE readers SET oldest = 0",
        "DELETE FROM _sqlx_migrations",
    ] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let refused = sqlx::query(change).execute(&mut connection).await.unwrap_err().to_string();
        let is_refused =
            ["permission denied", "must be owner"].iter().any(|why| refused.contains(why));
        assert!(is_refused, "{change}: {refused}");
    }
}
