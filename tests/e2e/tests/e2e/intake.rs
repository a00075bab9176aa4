//! Runs that are submitted by messages while processes and servers die: rows 2, 3 and 18 of the fault
//! matrix. A message is one run, and nothing that was published is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::cluster::{Cluster, SLOTS};
use crate::documents::two_calls;
use crate::http::Counter;
use crate::process::until;

const SUBMIT: &str = "flowmill.runs.v1.submit";
/// As many as a cluster gets.
const SHARDS: u16 = 16;
const REFUSED: &str = "flowmill.dlq.v1.intake";

/// A client that only speaks to the broker.
struct Client {
    connection: Connection,
    channel: Channel,
}

impl Client {
    async fn of(cluster: &Cluster) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&cluster.rabbit.url(), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { connection, channel }
    }

    /// Publishes a submission; the broker has it when this returns.
    async fn submit(&self, workflow: &str, who: &str) {
        let body = json!({"workflow": workflow, "inputs": {"who": who}}).to_string();
        self.put(body.as_bytes(), BasicProperties::default().with_message_id(who.into())).await;
    }

    async fn put(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let put =
            self.channel.basic_publish("".into(), SUBMIT.into(), options, body, properties).await;
        assert!(put.unwrap().await.unwrap().is_ack());
    }

    /// A queue for answers to submissions.
    async fn answers(&self) -> String {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare("".into(), options, FieldTable::default());
        queue.await.unwrap().name().to_string()
    }

    /// Submits, and wants each delivery to be answered.
    async fn submit_for(&self, answers: &str, workflow: &str, who: &str) {
        let body = json!({"workflow": workflow, "inputs": {"who": who}}).to_string();
        let properties = BasicProperties::default().with_message_id(who.into());
        self.put(body.as_bytes(), properties.with_reply_to(answers.into())).await;
    }

    /// How many messages wait in a queue that nobody has in hand.
    async fn waiting(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        asked.await.unwrap().message_count()
    }

    /// Returns once every shard has an owner who hears what is answered.
    async fn until_owned(&self) {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        for shard in 0..SHARDS {
            until("a shard's owner", async || {
                // asking for a queue that is missing ends the channel
                let channel = self.connection.create_channel().await.unwrap();
                let name = format!("flowmill.results.v1.{shard}");
                let asked = channel.queue_declare(name.into(), passive, FieldTable::default());
                asked.await.is_ok_and(|queue| queue.consumer_count() > 0)
            })
            .await;
        }
    }

    /// A queue of this name with all ends of runs, or of batches, that are announced from now on.
    async fn listen(&self, name: &str, keys: &str) -> String {
        let durable = QueueDeclareOptions::durable();
        let queue = self.channel.queue_declare(name.into(), durable, FieldTable::default());
        let name = queue.await.unwrap().name().to_string();
        let (options, nothing) = (QueueBindOptions::default(), FieldTable::default());
        let exchange = "flowmill.events.v1".into();
        let bound =
            self.channel.queue_bind(name.as_str().into(), exchange, keys.into(), options, nothing);
        bound.await.unwrap();
        name
    }

    async fn take(&self, queue: &str) -> Option<Value> {
        let got =
            self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?;
        got.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        Some(serde_json::from_slice(&got.delivery.data).unwrap())
    }

    /// Waits until the ends of all these runs were announced.
    async fn ends(&self, queue: &str, runs: &BTreeSet<String>) {
        let mut missing = runs.clone();
        until("all announcements", async || {
            while let Some(told) = self.take(queue).await {
                assert_eq!(
                    (&told["type"], &told["status"]),
                    (&json!("run.ended"), &json!("succeeded"))
                );
                assert_eq!(told["workflow"]["name"], "two-calls", "{told}");
                missing.remove(told["id"].as_str().unwrap());
            }
            missing.is_empty()
        })
        .await;
    }
}

/// All runs there are, when so many have succeeded.
async fn succeeded(cluster: &Cluster, count: usize) -> BTreeSet<String> {
    const DONE: &str = "SELECT run FROM runs WHERE status = 'succeeded'";
    until("the runs", async || cluster.postgres.ask(DONE).len() >= count).await;
    let all = cluster.postgres.ask("SELECT run FROM runs");
    assert_eq!(all.len(), count, "each message is one run");
    all.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_die_while_messages_come() {
    let calls = Counter::start(Duration::from_millis(20)).await;
    let mut cluster = Cluster::start(2, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let client = Client::of(&cluster).await;
    let ends = client.listen("ends", "run.#").await;
    for round in 0..4 {
        for number in 0..25 {
            client.submit(&workflow, &format!("m{round}-{number}")).await;
        }
        // some are durable by now and not acknowledged
        let scheduler = &mut cluster.schedulers[round % 2];
        scheduler.process.kill();
        scheduler.process.start();
    }
    // the same again, as a client does that is not sure
    for number in 0..25 {
        client.submit(&workflow, &format!("m0-{number}")).await;
    }
    let runs = succeeded(&cluster, 100).await;
    until("an empty queue", async || client.waiting(SUBMIT).await == 0).await;
    assert_eq!(client.waiting(REFUSED).await, 0);
    assert_eq!(cluster.postgres.ask("SELECT count(*) FROM dead_letters"), ["0"]);
    let repeated = calls.total() - 200;
    assert!(repeated <= SLOTS, "{repeated} calls were repeated");
    client.ends(&ends, &runs).await;
    until("no notes", async || cluster.postgres.ask("SELECT id FROM announcements").is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_batch_is_announced_whoever_ends_it() {
    let calls = Counter::start(Duration::from_millis(50)).await;
    let mut cluster = Cluster::start(2, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let client = Client::of(&cluster).await;
    let ends = client.listen("batches", "batch.#").await;
    let mut headers = FieldTable::default();
    let asked = format!("workflow={workflow}&concurrency=4");
    headers.insert("flowmill-batch".into(), AMQPValue::LongString(asked.into()));
    let lines: Vec<String> =
        (0..20).map(|nth| json!({"inputs": {"who": format!("w{nth}")}}).to_string()).collect();
    let properties = BasicProperties::default()
        .with_type("flowmill.batch.v1".into())
        .with_message_id("import-1".into())
        .with_headers(headers);
    client.put(format!("{}\n{{\"input\": 1}}\n", lines.join("\n")).as_bytes(), properties).await;
    until("some runs", async || calls.total() > 4).await;
    cluster.schedulers[0].process.kill();
    cluster.schedulers[0].process.start();
    let mut told = None;
    until("the announcement", async || {
        told = client.take(&ends).await;
        told.is_some()
    })
    .await;
    let told = told.unwrap();
    assert_eq!(
        (&told["type"], &told["status"], &told["workflow"]["name"]),
        (&json!("batch.ended"), &json!("partial"), &json!("two-calls"))
    );
    assert_eq!((&told["lines"]["succeeded"], &told["lines"]["rejected"]), (&json!(20), &json!(1)));
    until("no notes", async || cluster.postgres.ask("SELECT id FROM announcements").is_empty())
        .await;
    // the same end may be told again, and no other
    while let Some(again) = client.take(&ends).await {
        assert_eq!(again, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_away_while_messages_come() {
    let calls = Counter::start(Duration::ZERO).await;
    let mut cluster = Cluster::start(1, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let client = Client::of(&cluster).await;
    let ends = client.listen("ends", "run.#").await;
    client.submit(&workflow, "before").await;
    succeeded(&cluster, 1).await;
    cluster.postgres.crash().await;
    for number in 0..40 {
        client.submit(&workflow, &format!("m{number}")).await;
    }
    // it gives back what it had in hand, and takes nothing more: the queue is the buffer
    until("all in the queue", async || client.waiting(SUBMIT).await == 40).await;
    cluster.postgres.go_on().await;
    // a message that nobody can use, in the middle
    client.put(b"nonsense", BasicProperties::default()).await;
    let runs = succeeded(&cluster, 41).await;
    client.ends(&ends, &runs).await;
    until("the letter", async || {
        cluster.postgres.ask("SELECT queue FROM dead_letters") == [REFUSED]
    })
    .await;
    until("an empty queue", async || client.waiting(SUBMIT).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_put_back_once() {
    let calls = Counter::start(Duration::ZERO).await;
    let cluster = Cluster::start(2, 1).await;
    let client = Client::of(&cluster).await;
    // the workflow comes later
    client.submit("two-calls", "early").await;
    let api = &cluster.api;
    let letters = async |query: &str| {
        let answer = api.ask("GET", &format!("/api/v1/dead-letters{query}"), "", "").await;
        answer.body["data"].as_array().unwrap().clone()
    };
    until("the letter", async || !letters("").await.is_empty()).await;
    let [letter] = &letters("?queue=flowmill.dlq.v1.intake&state=waiting").await[..] else {
        panic!("{:?}", letters("").await)
    };
    assert_eq!(
        (&letter["code"], &letter["origin"]),
        (&json!("workflow_not_found"), &json!(SUBMIT))
    );
    let path = format!("/api/v1/dead-letters/{}", letter["id"].as_str().unwrap());
    let shown = api.ask("GET", &path, "", "").await.body;
    assert!(shown["body"].as_str().unwrap().contains("two-calls"), "{shown}");
    assert_eq!(shown["properties"]["message_id"], "early");
    api.push(&two_calls(calls.port)).await;
    let replay = format!("{path}/replay");
    let answer = api.ask("POST", &replay, "", "").await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("replayed")), "{answer:?}");
    let again = api.ask("POST", &replay, "", "").await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("letter_settled")), "{again:?}");
    succeeded(&cluster, 1).await;
    assert_eq!(letters("?state=waiting").await.len(), 0);
    assert_eq!(calls.total(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_who_has_it_in_hand() {
    let calls = Counter::start(Duration::from_secs(40)).await;
    let mut cluster = Cluster::start(1, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let run = cluster.api.submit(&workflow, json!({"who": "ada"}), "ada").await;
    let api = cluster.api.clone();
    let explained = async || {
        let answer = api.ask("GET", &format!("/api/v1/runs/{run}/explain"), "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    until("its worker", async || explained().await["nodes"][0]["code"] == "held_by_worker").await;
    let why = explained().await;
    let node = &why["nodes"][0];
    assert_eq!((&node["gate"], &node["worker"]), (&json!("running"), &json!("worker-0")), "{why}");
    assert_eq!(why["owner"]["scheduler"], "scheduler-0");
    // what the journal tells is told without Redis
    cluster.redis.crash();
    until("nobody to know", async || explained().await["owner"].is_null()).await;
    let why = explained().await;
    let node = &why["nodes"][0];
    assert_eq!((&node["node"], &node["code"]), (&json!("a"), &json!("holder_unknown")), "{why}");
    assert!(node["since"].is_string() && node["until"].is_string(), "{why}");
    let cancelled = api.ask("POST", &format!("/api/v1/runs/{run}/cancel"), "", "").await;
    assert_eq!(cancelled.status, 202);
}

/// Row 2 at its very moment: a scheduler is killed once a run is durable, and before the broker knows
/// that its message is dealt with.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_dies_between_a_run_and_its_receipt() {
    let calls = Counter::start(Duration::ZERO).await;
    let mut cluster = Cluster::with_ways(1, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let client = Client::of(&cluster).await;
    let answers = client.answers().await;
    let [schedulers, _workers] = cluster.ways.take().unwrap();
    // queues are there, and consumed
    client.until_owned().await;
    client.submit_for(&answers, &workflow, "before").await;
    succeeded(&cluster, 1).await;
    let mut first = None;
    until("an answer", async || {
        first = client.take(&answers).await;
        first.is_some()
    })
    .await;
    assert_eq!(first.unwrap()["duplicate"], false);

    schedulers.hold_receipts();
    client.submit_for(&answers, &workflow, "ada").await;
    let runs = succeeded(&cluster, 2).await;
    assert_eq!(client.waiting(SUBMIT).await, 0, "it is in hand");
    cluster.schedulers[0].process.kill();
    schedulers.cut().await;
    until("the message in the queue", async || client.waiting(SUBMIT).await == 1).await;
    cluster.schedulers[0].process.start();
    let mut told = Vec::new();
    until("the second answer", async || {
        told.extend(client.take(&answers).await);
        told.iter().any(|answer| answer["duplicate"] == true)
    })
    .await;
    assert!(told.iter().all(|answer| runs.contains(answer["id"].as_str().unwrap())), "{told:?}");
    until("an empty queue", async || client.waiting(SUBMIT).await == 0).await;
    assert_eq!(succeeded(&cluster, 2).await, runs);
    assert_eq!(calls.total(), 4, "nothing was done twice");
}

/// Row 3: the same message again and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_a_hundred_times_is_one_run() {
    const TIMES: usize = 100;
    let calls = Counter::start(Duration::ZERO).await;
    let cluster = Cluster::start(2, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let client = Client::of(&cluster).await;
    let answers = client.answers().await;
    for _ in 0..TIMES {
        client.submit_for(&answers, &workflow, "ada").await;
    }
    let runs = succeeded(&cluster, 1).await;
    let mut told = Vec::new();
    until("all answers", async || {
        while let Some(answer) = client.take(&answers).await {
            told.push(answer);
        }
        told.len() >= TIMES
    })
    .await;
    let new = told.iter().filter(|answer| answer["duplicate"] == false).count();
    assert_eq!((told.len(), new), (TIMES, 1));
    assert!(told.iter().all(|answer| runs.contains(answer["id"].as_str().unwrap())));
    assert_eq!(succeeded(&cluster, 1).await, runs);
    assert_eq!((calls.total(), client.waiting(REFUSED).await), (2, 0));
}

/// A queue of tasks is removed: whoever asks is told, until there is one again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_that_its_task_has_no_queue() {
    let calls = Counter::start(Duration::ZERO).await;
    let mut cluster = Cluster::start(1, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    // queues are there, and known to be
    let first = cluster.api.submit(&workflow, json!({"who": "eve"}), "eve").await;
    cluster.api.end(&first).await;
    // its worker would make it again
    cluster.workers[0].process.kill();
    let client = Client::of(&cluster).await;
    let queue = "flowmill.tasks.v1.http.interactive";
    let deleted = client.channel.queue_delete(queue.into(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    let run = cluster.api.submit(&workflow, json!({"who": "ada"}), "ada").await;
    let mut node = Value::Null;
    until("its return", async || {
        let path = format!("/api/v1/runs/{run}/explain");
        node = cluster.api.ask("GET", &path, "", "").await.body["nodes"][0].clone();
        node["code"] == "unroutable"
    })
    .await;
    assert_eq!((&node["gate"], &node["node"]), (&json!("broker"), &json!("a")), "{node}");
    assert!(node["until"].is_string(), "{node}");
    cluster.workers[0].process.start();
    assert_eq!(cluster.api.end(&run).await["status"], "succeeded");
    assert_eq!(calls.total(), 4);
}
