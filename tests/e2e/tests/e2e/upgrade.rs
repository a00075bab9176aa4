//! A rolling upgrade under load: the programs of the present release are replaced one by one by those
//! of the next, over a database that has grown meanwhile. Then one of the present comes back by
//! mistake.

use std::collections::BTreeMap;
use std::time::Duration;

use flowmill_e2e_tests::NEXT;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Api, Cluster, Program};
use crate::documents::{calls_of_items, two_calls};
use crate::http::{Counter, Seen, ask};
use crate::process::until;

/// How many runs are submitted, and how long after each other.
const RUNS: usize = 400;
const APART: Duration = Duration::from_millis(100);

/// How many elements the iterations have.
const ITEMS: usize = 8;

/// What the next release's migration adds.
const GROW: &str = "
    ALTER TABLE runs ADD COLUMN of_next text NOT NULL DEFAULT '';
    CREATE TABLE of_next (name text PRIMARY KEY);
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT max(version) + 1, 'next', true, '', 0 FROM _sqlx_migrations";

/// Every fourth run is an iteration.
fn is_wide(number: usize) -> bool {
    number % 4 == 3
}

async fn submit(api: &Api, workflows: [String; 2]) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    for number in 0..RUNS {
        let (workflow, inputs) = if is_wide(number) {
            (&workflows[1], json!({ "who": format!("w{number}"), "count": ITEMS }))
        } else {
            (&workflows[0], json!({ "who": format!("r{number}") }))
        };
        let id = api.submit(workflow, inputs, &number.to_string()).await;
        assert_eq!(runs.insert(id, number), None, "two submissions became one run");
        tokio::time::sleep(APART).await;
    }
    runs
}

/// What a run gives, and the calls that it takes.
fn expectation(number: usize) -> (Value, Vec<String>) {
    if is_wide(number) {
        let items: Vec<String> = (0..ITEMS).map(|item| format!("w{number}-{item}")).collect();
        return (json!({ "items": items }), items.iter().map(|item| format!("/{item}")).collect());
    }
    let says = format!("r{number}-a-b");
    (json!({ "says": says }), vec![format!("/r{number}-a"), format!("/{says}")])
}

/// Ends a program and starts that of the next release in its place.
async fn upgrade(program: &mut Program, to: &'static str) {
    program.process.end(Signal::SIGTERM).await;
    program.replace(to);
    program.process.start();
    program.ready().await;
}

/// The highest version among facts.
fn written(cluster: &Cluster) -> u8 {
    let highest = cluster.postgres.ask("SELECT max(version) FROM journal");
    highest[0].parse().unwrap()
}

/// A scheduler of the present release among those of the next: it says what is wrong, and takes
/// nothing that it does not read.
async fn stray(cluster: &Cluster) {
    let mut stray = cluster.stray();
    stray.process.start();
    let mut told = Value::Null;
    until("a scheduler that says what it does not read", async || {
        assert!(stray.process.runs());
        let answer = ask(stray.port(), "GET", "/readyz", "", "").await;
        let Some(answer) = answer else { return false };
        told = answer.body;
        let checks = told["checks"].as_array().unwrap();
        checks.iter().any(|check| check["name"] == "versions" && check["ok"] == false)
    })
    .await;
    assert_eq!(told["ready"], false, "{told}");
    assert!(told.to_string().contains("end this one"), "{told}");
    let metrics = stray.metrics().await;
    let later = metrics.lines().find_map(|line| line.strip_prefix("flowmill_shards_later "));
    assert!(later.unwrap().parse::<f64>().unwrap() > 0.0, "{metrics}");
    assert!(stray.process.words().contains("shards are left to schedulers of a later release"));
    let run =
        cluster.postgres.ask(&format!("SELECT run FROM journal WHERE version = {NEXT} LIMIT 1"));
    let path = format!("/api/v1/runs/{}/explain", run[0]);
    let why = ask(stray.port(), "GET", &path, "", "").await.unwrap();
    // of one that has ended there is nothing to explain
    assert!(why.status == 200 || why.text.contains("a later release is needed"), "{why:?}");
    let nodes = ask(stray.port(), "GET", &format!("/api/v1/runs/{}/nodes", run[0]), "", "").await;
    let nodes = nodes.unwrap();
    assert_eq!(nodes.status, 503, "{nodes:?}");
    assert!(nodes.text.contains("a later release is needed"), "{nodes:?}");
    let taken = format!(
        "SELECT shard FROM shards JOIN leases USING (shard)
         WHERE owner = '{}' AND version > {}",
        stray.process.name,
        NEXT - 1
    );
    for _ in 0..20 {
        assert_eq!(cluster.postgres.ask(&taken), [""; 0]);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stray.process.end(Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_mixed_under_load_and_nothing_is_lost_or_done_twice() {
    let calls = Counter::start(Duration::from_millis(50)).await;
    let mut cluster = Cluster::start(2, 2).await;
    let api = cluster.api.clone();
    let workflows =
        [api.push(&two_calls(calls.port)).await, api.push(&calls_of_items(calls.port, "")).await];
    let submitting = {
        let api = api.clone();
        tokio::spawn(async move { submit(&api, workflows).await })
    };
    let ended = "SELECT count(*) FROM runs WHERE finished_at IS NOT NULL";
    let some = async |cluster: &Cluster, more: usize| {
        let count = || cluster.postgres.ask(ended)[0].parse::<usize>().unwrap();
        let before = count();
        until("runs that end", async || count() >= before + more).await;
    };
    some(&cluster, 20).await;
    cluster.postgres.ask(GROW);
    some(&cluster, 20).await;
    for worker in &mut cluster.workers {
        upgrade(worker, "flowmill-next-worker").await;
    }
    for number in 0..cluster.schedulers.len() {
        // as long as one of the present release lives, all write what it reads
        assert_eq!(written(&cluster), NEXT - 1);
        upgrade(&mut cluster.schedulers[number], "flowmill-next-scheduler").await;
        if number == 0 {
            some(&cluster, 20).await;
        }
    }
    until("facts of the next version", async || written(&cluster) == NEXT).await;
    some(&cluster, 20).await;
    stray(&cluster).await;
    let is_loaded = !submitting.is_finished();
    let runs = submitting.await.unwrap();
    assert!(is_loaded, "all was over before the load was: submit more");
    let mut expected = Seen::new();
    for (id, number) in &runs {
        let run = api.end(id).await;
        assert_eq!(run["status"], "succeeded", "{run}");
        let (outputs, paths) = expectation(*number);
        assert_eq!(run["outputs"], outputs);
        expected.extend(paths.into_iter().map(|path| (path, 1)));
    }
    assert_eq!(calls.seen(), expected, "each call is made once");
    let ends = "SELECT count(*), count(DISTINCT run) FROM journal WHERE facts LIKE '%\"fact\":\"run_finished\"%'";
    assert_eq!(cluster.postgres.ask(ends), [format!("{RUNS}|{RUNS}")]);
    assert_eq!(cluster.postgres.ask("SELECT queue, reason FROM dead_letters"), [""; 0]);
    let left = "SELECT run FROM runs WHERE finished_at IS NULL OR wake_at IS NOT NULL";
    assert_eq!(cluster.postgres.ask(left), [""; 0]);
    // facts of both versions are read together
    assert_eq!(cluster.postgres.ask("SELECT DISTINCT version FROM journal ORDER BY 1"), ["1", "2"]);
}
