//! What need not be kept is removed while a cluster serves, and while nothing does.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Terms, ours};
use crate::documents::{approvals_of_list, greeting, large_text};
use crate::http::Counter;
use crate::process::until;

/// Lets all that ended have been made and ended two years earlier, and the last purge be long ago.
fn age(cluster: &Cluster) {
    // the ids of runs begin with the time at which they are made
    let older = |column: &str| format!("'018' || substring({column} FROM 4)");
    let ended = "run IN (SELECT run FROM runs WHERE finished_at IS NOT NULL)";
    let mut changes = Vec::new();
    for table in ["journal", "checkpoints", "signals"] {
        changes.push(format!("UPDATE {table} SET run = {} WHERE {ended}", older("run")));
    }
    let owner = ended.replacen("run", "owner", 1);
    changes.push(format!("UPDATE payloads SET owner = {} WHERE {owner}", older("owner")));
    changes.push(format!(
        "UPDATE runs SET run = {}, finished_at = finished_at - 63072000000000
         WHERE finished_at IS NOT NULL",
        older("run")
    ));
    let two_years = "uploaded_at = uploaded_at - 63072000000000";
    changes.push(format!("UPDATE uploads SET {two_years}, used_at = NULL"));
    // whoever takes a row for a new one notes its end once more
    changes.push("DELETE FROM announcements".to_owned());
    changes.push("DELETE FROM upkeep".to_owned());
    cluster.postgres.ask(&format!("BEGIN; {}; COMMIT", changes.join("; ")));
}

fn count(cluster: &Cluster, table: &str) -> usize {
    let rows = cluster.postgres.ask(&format!("SELECT count(*) FROM {table}"));
    rows[0].parse().unwrap()
}

/// What `flowmill purge` says.
fn purge(cluster: &Cluster, arguments: &[&str]) -> Value {
    let url = cluster.postgres.url();
    let mut command = ours("flowmill");
    command.args(["purge", "--json", "--url", &url]).args(arguments);
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_removed_while_others_go_on() {
    let calls = Counter::start(Duration::from_millis(20)).await;
    let settings = vec![
        ("FLOWMILL_RETENTION__SUCCEEDED", "1h".to_owned()),
        ("FLOWMILL_RETENTION__UPLOADS", "1h".to_owned()),
        ("FLOWMILL_RETENTION__EVERY", "1m".to_owned()),
    ];
    let terms = Terms { settings, ..Terms::default() };
    let mut cluster = Cluster::make(2, 1, terms).await;
    let api = cluster.api.clone();
    let greets = api.push(&greeting()).await;
    let large = api.push(&large_text(30_000)).await;
    let asks = api.push(&approvals_of_list(calls.port)).await;
    let waits = api.submit(&asks, json!({"data": {"list": ["a"]}}), "waits").await;
    until("its pause", async || api.run(&waits).await["status"] == "paused").await;
    for number in 0..20 {
        let key = format!("old-{number}");
        let run = if number % 2 == 0 {
            api.submit(&greets, json!({"who": "Ada"}), &key).await
        } else {
            api.submit(&large, json!({"who": "0123456789"}), &key).await
        };
        assert_eq!(api.end(&run).await["status"], "succeeded");
    }
    let file =
        api.ask("POST", "/api/v1/files?name=a.txt", "content-type: text/plain\r\n", "x").await;
    assert_eq!(file.status, 201, "{file:?}");
    until("all ends to be announced", async || count(&cluster, "announcements") == 0).await;
    age(&cluster);
    let young = api.submit(&greets, json!({"who": "Bo"}), "young").await;
    assert_eq!(api.end(&young).await["status"], "succeeded");

    // whoever begins looks whether it is time
    cluster.schedulers[0].process.end(Signal::SIGTERM).await;
    cluster.schedulers[0].process.start();
    until("what ended long ago to be gone", async || count(&cluster, "runs") == 2).await;
    until("the purge to end", async || count(&cluster, "upkeep") == 1).await;
    assert_eq!(
        count(&cluster, "uploads"),
        0,
        "it was of no use since long before the run that waits"
    );
    let left = cluster.postgres.ask("SELECT DISTINCT run FROM journal ORDER BY run");
    assert_eq!(left, [waits.clone(), young.clone()]);
    let owners = cluster.postgres.ask(
        "SELECT count(*) FROM payloads WHERE tenant = '' AND owner NOT IN (SELECT run FROM runs)",
    );
    assert_eq!(owners, ["0"]);
    cluster.schedulers[0].ready().await;
    let metrics = async || cluster.schedulers[0].metrics().await;
    until("it to be counted", async || {
        metrics().await.contains("flowmill_purged_total{kind=\"runs\"} 20")
    })
    .await;
    assert!(!metrics().await.contains("flowmill_purged_timestamp_seconds 0\n"));
    // what waits goes on to its end
    let form = api.open_forms(&waits).await.remove(0);
    let answer = api.answer(&waits, &form, "yes").await;
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(api.end(&waits).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_removes_it_while_nothing_serves() {
    let mut cluster = Cluster::start(1, 1).await;
    let api = cluster.api.clone();
    let made = api.ask("POST", "/api/v1/tenants", "", &json!({"name": "acme"}).to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let of_acme = "flowmill-tenant: acme\r\n";
    let pushed = api.ask("POST", "/api/v1/workflows", of_acme, &greeting()).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let greets = api.push(&greeting()).await;
    for key in ["a", "b", "c"] {
        let run = api.submit(&greets, json!({"who": "Ada"}), key).await;
        assert_eq!(api.end(&run).await["status"], "succeeded");
    }
    until("all ends to be announced", async || count(&cluster, "announcements") == 0).await;
    let removed = api.ask("DELETE", "/api/v1/tenants/acme", "", "").await;
    assert!(removed.status < 300, "{removed:?}");
    for program in cluster.schedulers.iter_mut().chain(&mut cluster.workers) {
        program.process.end(Signal::SIGTERM).await;
    }
    age(&cluster);
    let none = purge(&cluster, &["--failed", "1h", "--dry-run"]);
    assert_eq!(none["runs"], 0, "{none}");
    let would = purge(&cluster, &["--runs", "1h", "--dry-run"]);
    assert_eq!((&would["runs"], count(&cluster, "runs")), (&json!(3), 3), "{would}");
    assert_eq!(would["runs_of_tenants"], json!({"default": 3}));
    let did = purge(&cluster, &["--runs", "1h", "--audit", "1h"]);
    let found = (&did["runs"], &did["tenants"], &did["audit"]);
    assert_eq!(found, (&json!(3), &json!(1), &json!(0)), "{did}");
    for table in ["runs", "journal", "signals", "removed_tenants"] {
        assert_eq!(count(&cluster, table), 0, "{table}");
    }
    assert_eq!(cluster.postgres.ask("SELECT DISTINCT tenant FROM workflows"), ["default"]);
    // and all works on
    for program in cluster.schedulers.iter_mut().chain(&mut cluster.workers) {
        program.process.start();
        program.ready().await;
    }
    let run = api.submit(&greets, json!({"who": "Bo"}), "d").await;
    assert_eq!(api.end(&run).await["outputs"]["says"], "Hello, Bo!");
}
