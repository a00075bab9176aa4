//! Encrypted ways to the servers: used when the certificate leads to one that is trusted and names the
//! server, refused when not.

use std::path::PathBuf;
use std::time::Duration;

use flowmill_infra::identity::Identity;
use flowmill_infra::message::Shard;
use flowmill_infra::notes::{Note, Notes as _};
use flowmill_infra::postgres::{OpenError, PostgresStore};
use flowmill_infra::rabbitmq::{self, Queues, RabbitError};
use flowmill_infra::redis::{Redis, Settings as RedisSettings};

use super::certificates::Authority;
use super::server::{Schema, address};

#[tokio::test]
async fn the_database() {
    let schema = Schema::migrated().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.way_to(address(), true).await;
    let open = async |host: &str, file: PathBuf| {
        let through = format!("{host}:{port}");
        let url = schema.url().replacen(&address(), &through, 1);
        let ca = file.display();
        let url = format!("{url}&sslmode=verify-full&sslrootcert={ca}");
        let settings = flowmill_infra::postgres::Settings { url, ..schema.settings() };
        PostgresStore::open(&settings).await
    };
    let store = open("localhost", authority.file()).await.unwrap();
    store.ping().await.unwrap();
    for (host, file) in [("localhost", stranger.file()), ("127.0.0.1", authority.file())] {
        let refused = open(host, file).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_database_that_wants_certificates() {
    let schema = Schema::migrated().await;
    let (authority, people, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let port = authority.way_of_known(address(), true, &people).await;
    let open = async |more: String| {
        let through = format!("localhost:{port}");
        let url = schema.url().replacen(&address(), &through, 1);
        let ca = authority.file();
        let url = format!("{url}&sslmode=verify-full&sslrootcert={}{more}", ca.display());
        let settings = flowmill_infra::postgres::Settings { url, ..schema.settings() };
        PostgresStore::open(&settings).await
    };
    let by = |who: &Authority| {
        let [certificate, key] = who.pair("scheduler");
        format!("&sslcert={}&sslkey={}", certificate.display(), key.display())
    };
    open(by(&people)).await.unwrap().ping().await.unwrap();
    for odd in [by(&stranger), String::new()] {
        let refused = open(odd).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    }
}

/// The host and the port of the Redis that the tests use.
fn redis() -> String {
    let server = std::env::var("FLOWMILL_TEST_REDIS");
    let server = server.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let plain = server.rsplit('@').next().unwrap().trim_start_matches("redis://").to_owned();
    plain.split('/').next().unwrap().to_owned()
}

/// Whether Redis keeps a note by an encrypted way.
async fn keeps_a_note(host: &str, port: u16, ca: PathBuf, identity: Option<Identity>) -> bool {
    let settings = RedisSettings::new(format!("rediss://{host}:{port}"));
    let patience = Duration::from_secs(5);
    let prefix = format!("flowmill-tls-{}", std::process::id());
    let settings = RedisSettings { patience, prefix, ca: Some(ca), identity, ..settings };
    let redis = Redis::new(&settings).unwrap();
    let note = Note { mark: 7, ..Note::default() };
    redis.leave(&[(Shard(1), note.clone())]).await;
    redis.note(Shard(1)).await == Some(note)
}

#[tokio::test]
async fn what_may_vanish() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.way_to(redis(), false).await;
    assert!(keeps_a_note("localhost", port, authority.file(), None).await);
    assert!(!keeps_a_note("localhost", port, stranger.file(), None).await);
    assert!(!keeps_a_note("127.0.0.1", port, authority.file(), None).await);
    let missing =
        RedisSettings { ca: Some("/none.pem".into()), ..RedisSettings::new("rediss://h") };
    let refused = Redis::new(&missing).unwrap_err().to_string();
    assert!(refused.contains("/none.pem"), "{refused}");
}

#[tokio::test]
async fn what_may_vanish_and_wants_certificates() {
    let (authority, people, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let port = authority.way_of_known(redis(), false, &people).await;
    let keeps = async |identity| keeps_a_note("localhost", port, authority.file(), identity).await;
    assert!(keeps(Some(people.identity("scheduler"))).await);
    assert!(!keeps(Some(stranger.identity("scheduler"))).await);
    assert!(!keeps(None).await);
    let identity = Identity { certificate: "/none.pem".into(), key: "/none.key".into() };
    let missing = RedisSettings { identity: Some(identity), ..RedisSettings::new("rediss://h") };
    let refused = Redis::new(&missing).unwrap_err().to_string();
    assert!(refused.contains("/none.pem"), "{refused}");
}

/// A connection to `RabbitMQ` by an encrypted way.
async fn connect(
    (host, port): (&str, u16),
    ca: PathBuf,
    identity: Option<Identity>,
) -> Result<(), RabbitError> {
    let (user, _, vhost) = broker();
    let url = format!("amqps://{user}@{host}:{port}/{vhost}");
    let prefix = format!("flowmill-tls-{}-{port}", std::process::id());
    let settings = rabbitmq::Settings {
        prefix,
        queues: Queues::Classic,
        ca: Some(ca),
        identity,
        ..rabbitmq::Settings::new(url)
    };
    let made = rabbitmq::scheduler(&settings).await.map(drop);
    if made.is_ok() {
        rabbitmq::remove(&settings, 0).await.unwrap();
    }
    made
}

/// The user, the host and port, and the virtual host of the `RabbitMQ` that the tests use.
fn broker() -> (String, String, String) {
    let server = std::env::var("FLOWMILL_TEST_RABBITMQ");
    let server = server.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned());
    let (before, plain) = server.split_once('@').unwrap();
    let (plain, vhost) = plain.split_once('/').unwrap();
    let user = before.trim_start_matches("amqp://");
    (user.to_owned(), plain.to_owned(), vhost.to_owned())
}

#[tokio::test]
async fn the_broker() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.way_to(broker().1, false).await;
    connect(("localhost", port), authority.file(), None).await.unwrap();
    for (host, file) in [("localhost", stranger.file()), ("127.0.0.1", authority.file())] {
        let refused = connect((host, port), file, None).await.unwrap_err();
        assert!(matches!(refused, RabbitError::Unreachable { .. }), "{refused}");
    }
    let missing = connect(("localhost", port), "/none.pem".into(), None).await;
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("/none.pem"), "{missing}");
}

#[tokio::test]
async fn a_broker_that_wants_certificates() {
    let (authority, people, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let port = authority.way_of_known(broker().1, false, &people).await;
    let shows = async |identity| connect(("localhost", port), authority.file(), identity).await;
    shows(Some(people.identity("scheduler"))).await.unwrap();
    for odd in [Some(stranger.identity("scheduler")), None] {
        let refused = shows(odd).await.unwrap_err();
        assert!(matches!(refused, RabbitError::Unreachable { .. }), "{refused}");
    }
    let identity = Identity { certificate: "/none.pem".into(), key: "/none.key".into() };
    let missing = shows(Some(identity)).await.unwrap_err().to_string();
    assert!(missing.contains("rabbitmq.certificate: /none.pem"), "{missing}");
}
