//! Encrypted ways to the servers: used when the certificate leads to one that is trusted and names the
//! server, refused when not.

use std::path::PathBuf;
use std::time::Duration;

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
async fn what_may_vanish() {
    let server = std::env::var("FLOWMILL_TEST_REDIS");
    let server = server.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let plain = server.rsplit('@').next().unwrap().trim_start_matches("redis://").to_owned();
    let plain = plain.split('/').next().unwrap().to_owned();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.way_to(plain, false).await;
    let is_there = async |host: &str, ca: PathBuf| {
        let settings = RedisSettings::new(format!("rediss://{host}:{port}"));
        let patience = Duration::from_secs(5);
        let prefix = format!("flowmill-tls-{}", std::process::id());
        let settings = RedisSettings { patience, prefix, ca: Some(ca), ..settings };
        let redis = Redis::new(&settings).unwrap();
        let note = Note { mark: 7, ..Note::default() };
        redis.leave(&[(Shard(1), note.clone())]).await;
        redis.note(Shard(1)).await == Some(note)
    };
    assert!(is_there("localhost", authority.file()).await);
    assert!(!is_there("localhost", stranger.file()).await);
    assert!(!is_there("127.0.0.1", authority.file()).await);
    let missing =
        RedisSettings { ca: Some("/none.pem".into()), ..RedisSettings::new("rediss://h") };
    let refused = Redis::new(&missing).unwrap_err().to_string();
    assert!(refused.contains("/none.pem"), "{refused}");
}

#[tokio::test]
async fn the_broker() {
    let server = std::env::var("FLOWMILL_TEST_RABBITMQ");
    let server = server.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned());
    let (before, plain) = server.split_once('@').unwrap();
    let (plain, vhost) = plain.split_once('/').unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = authority.way_to(plain.to_owned(), false).await;
    let user = before.trim_start_matches("amqp://");
    let connect = async |host: &str, ca: PathBuf| {
        let url = format!("amqps://{user}@{host}:{port}/{vhost}");
        let prefix = format!("flowmill-tls-{}", std::process::id());
        let settings = rabbitmq::Settings {
            prefix,
            queues: Queues::Classic,
            ca: Some(ca),
            ..rabbitmq::Settings::new(url)
        };
        let made = rabbitmq::scheduler(&settings).await.map(drop);
        if made.is_ok() {
            rabbitmq::remove(&settings, 0).await.unwrap();
        }
        made
    };
    connect("localhost", authority.file()).await.unwrap();
    for (host, file) in [("localhost", stranger.file()), ("127.0.0.1", authority.file())] {
        let refused = connect(host, file).await.unwrap_err();
        assert!(matches!(refused, RabbitError::Unreachable { .. }), "{refused}");
    }
    let missing = connect("localhost", "/none.pem".into()).await.unwrap_err().to_string();
    assert!(missing.contains("/none.pem"), "{missing}");
}
