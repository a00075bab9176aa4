//! A dump of the database is all of a cluster: restored under other servers, its runs go on.

use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, SLOTS};
use crate::documents::{approvals_of_list, calls_of_list, large_text};
use crate::http::Counter;
use crate::process::until;

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_from_a_dump_that_was_made_while_they_ran() {
    let calls = Counter::start(Duration::from_millis(200)).await;
    let mut cluster = Cluster::start(2, 2).await;
    let api = cluster.api.clone();
    let large = api.push(&large_text(30_000)).await;
    let done = api.submit(&large, json!({"who": "0123456789"}), "done").await;
    let outputs = api.end(&done).await["outputs"].clone();
    let asks = api.push(&approvals_of_list(calls.port)).await;
    let waits = api.submit(&asks, json!({"data": {"list": ["w"]}}), "waits").await;
    until("its pause", async || api.run(&waits).await["status"] == "paused").await;
    let works = api.push(&calls_of_list(calls.port, "")).await;
    let items: Vec<String> = (0..20 * SLOTS).map(|at| format!("i-{at}")).collect();
    let runs = api.submit(&works, json!({"data": {"list": items}}), "runs").await;
    until("some calls", async || calls.total() > 3 * SLOTS).await;

    let dump = cluster.postgres.save(cluster.folder());
    let until_then = calls.total();
    // then all is lost: processes, the broker with its messages, Redis
    for program in cluster.schedulers.iter_mut().chain(&mut cluster.workers) {
        program.process.kill();
    }
    cluster.rabbit.crash();
    cluster.rabbit.wipe();
    cluster.rabbit.go_on().await;
    cluster.redis.flush().await;
    let restored = cluster.postgres.restore(&dump, "restored");
    cluster.move_to(&restored).await;
    let api = cluster.api.clone();

    // what had ended is as it was, large values with it
    assert_eq!(api.run(&done).await["outputs"], outputs);
    let href = outputs["says"]["href"].as_str().unwrap_or_default().to_owned();
    assert!(!href.is_empty(), "{outputs}");
    assert_eq!(api.ask("GET", &href, "", "").await.status, 200);
    // what was under way ends; of its calls those are made again that the dump knew nothing of
    let end = api.end(&runs).await;
    assert_eq!(end["status"], "succeeded", "{end}");
    let seen = calls.seen();
    let missing: Vec<&String> =
        items.iter().filter(|item| !seen.keys().any(|call| call.contains(item.as_str()))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let again = calls.total() - items.len() - 1;
    assert!(again <= until_then, "{again} calls were made again, of {until_then}");
    eprintln!("{until_then} calls when it was dumped; {again} were made again");
    // what waits for a person still does
    let form = api.open_forms(&waits).await.remove(0);
    let answer = api.answer(&waits, &form, "yes").await;
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(api.end(&waits).await["status"], "succeeded");
    // and the same submission is still the same run
    assert_eq!(api.submit(&large, json!({"who": "0123456789"}), "done").await, done);
}
