//! `flowmill migrate`, on a real server.

use std::process::Command;

use super::flowmill;

/// A schema of its own on the server of the tests; removed when it is dropped.
struct Schema(&'static str);

fn server() -> String {
    std::env::var("FLOWMILL_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned()
    })
}

fn sql(statement: &str) {
    let ran = Command::new("psql").args(["-Xqw", &server(), "-c", statement]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "no PostgreSQL for the tests: {said}; `./dev setup` starts one");
}

impl Schema {
    fn new(name: &'static str) -> Self {
        sql(&format!("DROP SCHEMA IF EXISTS {name} CASCADE"));
        sql(&format!("CREATE SCHEMA {name}"));
        Self(name)
    }

    fn url(&self) -> String {
        let server = server();
        let sign = if server.contains('?') { '&' } else { '?' };
        format!("{server}{sign}options=-c%20search_path%3D{}", self.0)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        sql(&format!("DROP SCHEMA {} CASCADE", self.0));
    }
}

#[test]
fn a_database_is_made_ready_once_and_stays_so() {
    let schema = Schema::new("flowmill_cli_migrate");
    let url = schema.url();
    let first = flowmill(&["migrate", "--url", &url, "--shards", "3"]).expect(0);
    assert!(
        first.out.starts_with("the database is ready: form ") && first.out.contains("3 shards")
    );
    let again = flowmill(&["migrate", "--url", &url]).expect(0);
    assert!(again.out.contains("was up to date") && again.out.contains("3 shards"), "{again}");
    let other = flowmill(&["migrate", "--url", &url, "--shards", "5"]).expect(0);
    assert!(other.out.contains("the number of shards stays as it was"), "{other}");
}

#[test]
fn what_cannot_be_reached_or_is_no_address_is_said() {
    let nobody = "postgres://me:hidden@127.0.0.1:9/nowhere";
    let away = flowmill(&["migrate", "--url", nobody]).expect(1);
    assert!(away.err.contains("127.0.0.1:9/nowhere") && !away.err.contains("hidden"), "{away}");
    let wrong = flowmill(&["migrate", "--url", "mysql://here"]).expect(2);
    assert!(wrong.err.contains("postgres://user:password@host"), "{wrong}");
    let none = flowmill(&["migrate", "--url", nobody, "--shards", "0"]).expect(2);
    assert!(none.err.contains("--shards"), "{none}");
}
