//! The programs as they are installed, over servers of their own that are killed, wiped and frozen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod chaos;
mod cluster;
mod documents;
mod http;
mod process;
mod random;
mod servers;

#[tokio::test]
async fn servers_come_and_go() {
    let folder = servers::folder();
    let mut postgres = servers::Postgres::start(folder.path()).await;
    let mut rabbit = servers::Rabbit::start(folder.path()).await;
    let mut redis = servers::Redis::start(folder.path()).await;
    postgres.ask("CREATE TABLE t AS SELECT 1");
    postgres.crash().await;
    rabbit.crash();
    rabbit.wipe();
    redis.crash();
    postgres.go_on().await;
    rabbit.go_on().await;
    redis.go_on().await;
    redis.flush().await;
    assert_eq!(postgres.ask("SELECT count(*) FROM t"), ["1"]);
}
