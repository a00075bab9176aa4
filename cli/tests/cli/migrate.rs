//! `flowmill migrate`, on a real server.

use flowmill_infra::postgres::{make_schema, remove_schema};

use super::flowmill;

/// A schema of its own on the server of the tests; removed when it is dropped.
struct Schema {
    name: &'static str,
    url: String,
}

fn server() -> String {
    std::env::var("FLOWMILL_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned()
    })
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

impl Schema {
    fn new(name: &'static str) -> Self {
        let url = on_runtime(async {
            remove_schema(&server(), name)
                .await
                .unwrap_or_else(|error| panic!("{error}; `./dev setup` starts a server"));
            make_schema(&server(), name).await.unwrap()
        });
        Self { name, url }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // a schema that stays harms nobody, and the test has its own result
        let _ = on_runtime(remove_schema(&server(), self.name));
    }
}

#[test]
fn a_database_is_made_ready_once_and_stays_so() {
    let schema = Schema::new("flowmill_cli_migrate");
    let url = &schema.url;
    let first = flowmill(&["migrate", "--url", url, "--shards", "3"]).expect(0);
    assert!(
        first.out.starts_with("the database is ready: form ") && first.out.contains("3 shards")
    );
    let again = flowmill(&["migrate", "--url", url]).expect(0);
    assert!(again.out.contains("was up to date") && again.out.contains("3 shards"), "{again}");
    let other = flowmill(&["migrate", "--url", url, "--shards", "5"]).expect(0);
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
