//! What the programs count, over the servers of a cluster: what they tell is what happened, and nothing
//! that `docs/metrics.md` does not list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;

use crate::cluster::{Cluster, Program};
use crate::documents::two_calls;
use crate::http::Counter;
use crate::process::until;

const PAGE: &str = include_str!("../../../../docs/metrics.md");

/// How many shards a cluster has.
const SHARDS: usize = 16;

/// How many runs end well; one more fails, and one is submitted twice.
const GOOD: usize = 3;

/// What the scheduler tells of that.
const OF_SCHEDULER: [(&str, f64); 27] = [
    ("runs_started_total", 4.0),
    ("runs_ended_total{status=\"succeeded\"}", 3.0),
    ("runs_ended_total{status=\"failed\"}", 1.0),
    ("runs_ended_total{status=\"stopped\"}", 0.0),
    ("runs_held", 0.0),
    ("runs_without_deadline", 0.0),
    ("nodes_ended_total{outcome=\"succeeded\",type=\"http-request\"}", 6.0),
    ("nodes_ended_total{outcome=\"failed\",type=\"http-request\"}", 1.0),
    ("nodes_ended_total{outcome=\"succeeded\",type=\"start\"}", 4.0),
    ("nodes_ended_total{outcome=\"succeeded\",type=\"end\"}", 3.0),
    ("node_seconds_count{type=\"http-request\"}", 7.0),
    ("submissions_total{entry=\"http\",outcome=\"accepted\"}", 4.0),
    ("submissions_total{entry=\"http\",outcome=\"known\"}", 1.0),
    ("http_requests_total{code=\"202\",method=\"POST\",route=\"/api/v1/runs\"}", 5.0),
    ("tasks_in_flight{class=\"http\"}", 0.0),
    ("ready_tasks{class=\"http\"}", 0.0),
    ("ready_oldest_seconds{class=\"http\"}", 0.0),
    ("epoch_lost_total", 0.0),
    ("dead_letters_total{kind=\"message\"}", 1.0),
    ("dead_letters_total{kind=\"task\"}", 0.0),
    ("messages_parked_total", 1.0),
    ("unroutable_total", 0.0),
    ("dependency_up{dependency=\"postgres\"}", 1.0),
    ("dependency_up{dependency=\"rabbitmq\"}", 1.0),
    ("dependency_up{dependency=\"redis\"}", 1.0),
    ("pool_size{pool=\"writers\"}", 4.0),
    ("webhooks_pending", 0.0),
];

/// What the worker tells of it.
const OF_WORKER: [(&str, f64); 7] = [
    ("worker_slots{class=\"http\"}", 4.0),
    ("worker_busy{class=\"http\"}", 0.0),
    ("worker_draining", 0.0),
    ("outbound_requests_total{outcome=\"answered\"}", 6.0),
    ("outbound_requests_total{outcome=\"denied\"}", 1.0),
    ("redeliveries_total{queue=\"tasks\"}", 0.0),
    ("dependency_up{dependency=\"postgres\"}", 1.0),
];

/// What a program tells: series with their values.
#[derive(Debug)]
struct Told {
    series: BTreeMap<String, f64>,
    families: BTreeSet<String>,
}

impl Told {
    async fn by(program: &Program) -> Self {
        Self::read(&program.metrics().await)
    }

    fn read(text: &str) -> Self {
        let (mut series, mut families) = (BTreeMap::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                families.insert(family.split(' ').next().unwrap().to_owned());
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                series.insert(name.to_owned(), value.parse().unwrap());
            }
        }
        Self { series, families }
    }

    /// A series, by its name with labels, without what all names begin with.
    fn value(&self, name: &str) -> f64 {
        let found = self.series.get(&format!("flowmill_{name}"));
        *found.unwrap_or_else(|| panic!("{name} is not told: {:?}", self.series.keys()))
    }

    /// These series have these values.
    fn are(&self, wanted: &[(&str, f64)]) {
        for (name, wanted) in wanted {
            let value = self.value(name);
            assert!((value - wanted).abs() < 0.5, "{name}: {value} instead of {wanted}");
        }
    }

    /// The sum of all series of a name that have this label.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let name = format!("flowmill_{name}{{");
        let of_it = |key: &str| key.starts_with(&name) && key.contains(label);
        self.series.iter().filter(|(key, _)| of_it(key)).map(|(_, value)| value).sum()
    }
}

/// Metrics of a program by the page: their names, and whether they have labels.
fn listed(program: &str) -> BTreeMap<String, bool> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `flowmill_"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let of_it = cells.filter(|cells| cells[3].split(", ").any(|name| name == program));
    let name = |cell: &str| format!("flowmill_{}", cell.trim_end_matches('`'));
    of_it.map(|cells| (name(cells[0]), !cells[2].trim().is_empty())).collect()
}

/// What is told is listed, and what is listed without labels is told.
fn fits(program: &str, told: &Told) {
    let listed = listed(program);
    assert!(listed.len() > 10, "{listed:?}");
    let unlisted: Vec<&String> =
        told.families.iter().filter(|family| !listed.contains_key(*family)).collect();
    assert!(unlisted.is_empty(), "{program} tells what docs/metrics.md does not: {unlisted:?}");
    let plain = listed.iter().filter(|(_, has_labels)| !**has_labels);
    let untold: Vec<&String> =
        plain.map(|(name, _)| name).filter(|name| !told.families.contains(*name)).collect();
    assert!(untold.is_empty(), "{program} does not tell {untold:?}");
}

/// Puts something into a queue.
async fn put(cluster: &Cluster, queue: &str, body: &[u8]) {
    let (url, properties) = (cluster.rabbit.url(), ConnectionProperties::default());
    let broker = Connection::connect(&url, properties).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let (options, nothing) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), queue.into(), options, body, nothing).await.unwrap();
    broker.close(200, "done".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_happened() {
    let cluster = Cluster::start(1, 1).await;
    let counter = Counter::start(Duration::ZERO).await;
    let api = &cluster.api;
    let good = api.push(&two_calls(counter.port)).await;
    // no node may reach that
    let denied = two_calls(counter.port).replace("127.0.0.1", "10.0.0.1");
    let bad = api.push(&denied.replace("two-calls", "denied")).await;
    for number in 0..GOOD {
        let run = api.submit(&good, json!({ "who": "ada" }), &format!("good-{number}")).await;
        assert_eq!(api.end(&run).await["status"], "succeeded");
    }
    api.submit(&good, json!({ "who": "ada" }), "good-0").await;
    let run = api.submit(&bad, json!({ "who": "ada" }), "bad").await;
    assert_eq!(api.end(&run).await["status"], "failed");
    // no task at all
    put(&cluster, "flowmill.tasks.v1.code.interactive", b"garbage").await;
    let scheduler = &cluster.schedulers[0];
    until("the garbage to be parked", async || {
        Told::by(scheduler).await.value("messages_parked_total") > 0.0
    })
    .await;

    let told = Told::by(scheduler).await;
    fits("scheduler", &told);
    told.are(&OF_SCHEDULER);
    assert!((told.sum("run_seconds_count", "lane") - 4.0).abs() < 0.5);
    assert!((told.sum("run_wait_seconds_count", "lane") - 4.0).abs() < 0.5);
    assert!((told.sum("node_errors_total", "http-request") - 1.0).abs() < 0.5);
    assert!(told.value("shards_owned") > 0.0 && told.value("commits_total") > 4.0);
    assert!(told.sum("tasks_published_total", "http") >= 4.0, "{told:?}");
    assert!(told.sum("results_total", "applied") >= 4.0, "{told:?}");

    let told = Told::by(&cluster.workers[0]).await;
    fits("worker", &told);
    told.are(&OF_WORKER);
    assert!(told.value("worker_tasks_total{class=\"http\",outcome=\"answered\"}") >= 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_worker_held_is_counted_when_another_gets_it() {
    let mut cluster = Cluster::start(1, 1).await;
    let counter = Counter::start(Duration::from_secs(3)).await;
    let api = cluster.api.clone();
    let slow = api.push(&two_calls(counter.port)).await;
    until("all inboxes", async || is_heard(&cluster)).await;
    let run = api.submit(&slow, json!({ "who": "ada" }), "slow").await;
    until("the first call", async || counter.total() > 0).await;
    let busy = Told::by(&cluster.workers[0]).await;
    assert!(busy.value("worker_busy{class=\"http\"}") > 0.5, "{busy:?}");
    // a worker may call before the broker has confirmed to the scheduler that it has the task
    until("the task to be told of", async || {
        let told = Told::by(&cluster.schedulers[0]).await;
        let waiting = told.value("tasks_in_flight{class=\"http\"}");
        told.sum("tasks_published_total", "http") > 0.5 && waiting > 0.5
    })
    .await;
    let worker = &mut cluster.workers[0];
    worker.process.kill();
    worker.process.start();
    worker.ready().await;
    assert_eq!(api.end(&run).await["status"], "succeeded");
    let told = Told::by(&cluster.workers[0]).await;
    assert!(told.value("redeliveries_total{queue=\"tasks\"}") > 0.5, "{told:?}");
    let told = Told::by(&cluster.schedulers[0]).await;
    assert!((told.value("runs_ended_total{status=\"succeeded\"}") - 1.0).abs() < 0.5);
    assert!(
        (told.value("nodes_ended_total{outcome=\"succeeded\",type=\"http-request\"}") - 2.0).abs()
            < 0.5
    );
}

/// Of a broker's queues, what a column of theirs says.
fn of_queues(cluster: &Cluster, column: &str) -> Vec<(String, u64)> {
    let told = cluster.rabbit.order(&["list_queues", "name", column]);
    let row = |line: &str| {
        let (name, number) = line.split_once('\t')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    told.lines().filter_map(row).collect()
}

/// Whether there are messages in queues whose names begin with each of these, whoever has them.
fn are_there(cluster: &Cluster, queues: &[&str]) -> bool {
    let rows = of_queues(cluster, "messages");
    let is_there =
        |queue: &&str| rows.iter().any(|(name, count)| name.starts_with(*queue) && *count > 0);
    queues.iter().all(is_there)
}

/// Whether a scheduler takes from the inbox of every shard.
fn is_heard(cluster: &Cluster) -> bool {
    let rows = of_queues(cluster, "consumers");
    let is_inbox = |row: &&(String, u64)| row.0.starts_with("flowmill.results.") && row.1 > 0;
    rows.iter().filter(is_inbox).count() == SHARDS
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_scheduler_had_is_counted_when_the_next_one_gets_it() {
    const SUBMIT: &str = "flowmill.runs.v1.submit";
    const CALL: Duration = Duration::from_secs(2);
    let mut cluster = Cluster::start(1, 1).await;
    let counter = Counter::start(CALL).await;
    let api = cluster.api.clone();
    let slow = api.push(&two_calls(counter.port)).await;
    until("all inboxes", async || is_heard(&cluster)).await;
    let run = api.submit(&slow, json!({ "who": "ada" }), "slow").await;
    until("the first call", async || counter.total() > 0).await;
    // it has what arrives now, and does nothing with it
    cluster.schedulers[0].process.freeze();
    let submission = json!({ "workflow": slow, "inputs": { "who": "eve" } }).to_string();
    put(&cluster, SUBMIT, submission.as_bytes()).await;
    // beats lie there as well: the calls have been answered by then
    tokio::time::sleep(4 * CALL).await;
    let queues = ["flowmill.results.", SUBMIT];
    until("an answer and a submission", async || are_there(&cluster, &queues)).await;
    let scheduler = &mut cluster.schedulers[0];
    scheduler.process.kill();
    scheduler.process.start();
    scheduler.ready().await;
    assert_eq!(api.end(&run).await["status"], "succeeded");
    until("both to be counted", async || {
        let told = Told::by(&cluster.schedulers[0]).await;
        let again = |queue: &str| told.value(&format!("redeliveries_total{{queue=\"{queue}\"}}"));
        assert!(again("tasks") < 0.5, "workers count those: {told:?}");
        again("results") > 0.5 && again("submissions") > 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lacks_memory_is_told_of() {
    let cluster = Cluster::start(1, 1).await;
    let counter = Counter::start(Duration::ZERO).await;
    let api = &cluster.api;
    let workflow = api.push(&two_calls(counter.port)).await;
    let scheduler = &cluster.schedulers[0];
    let is_blocked = async || Told::by(scheduler).await.value("broker_blocked") > 0.5;
    assert!(!is_blocked().await);
    let most = |part: &str| cluster.rabbit.order(&["set_vm_memory_high_watermark", part]);
    most("0.0001");
    until("the alarm", async || {
        cluster.rabbit.order(&["eval", "rabbit_alarm:get_alarms()."]).contains("memory")
    })
    .await;
    // whoever publishes now is told
    let run = api.submit(&workflow, json!({ "who": "ada" }), "blocked").await;
    until("the scheduler to be blocked", is_blocked).await;
    assert_eq!(counter.total(), 0, "no task went out");
    most("0.9");
    assert_eq!(api.end(&run).await["status"], "succeeded");
    until("the scheduler to go on", async || !is_blocked().await).await;
}
