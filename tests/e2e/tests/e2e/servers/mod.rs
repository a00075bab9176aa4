//! `PostgreSQL`, `RabbitMQ` and Redis, each with an instance that only this test has.

mod postgres;
mod rabbitmq;
mod redis_server;

pub(crate) use postgres::Postgres;
pub(crate) use rabbitmq::Rabbit;
pub(crate) use redis_server::Redis;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The program of a server, wherever a distribution keeps it; the latest of several.
fn program(patterns: &str) -> PathBuf {
    let look = format!("ls -d {patterns} 2>/dev/null | sort -V | tail -n 1");
    let found = Command::new("sh").args(["-c", &look]).output().unwrap().stdout;
    let path = String::from_utf8(found).unwrap().trim().to_owned();
    assert!(!path.is_empty(), "none of {patterns} is installed; `./dev setup` installs it");
    path.into()
}

/// A folder for all that a test's servers and programs write. Whoever they run as may enter it.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
