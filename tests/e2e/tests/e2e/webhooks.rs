//! Webhooks while those who send them die: row 29 of the fault matrix. Each end is told at least once,
//! under one id, also by a process that does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Cluster;
use crate::documents::two_calls;
use crate::http::Counter;
use crate::process::until;

/// By run, under which ids its end was told, and how often.
type Told = BTreeMap<String, (BTreeSet<String>, usize)>;

/// Somebody who is told of ends.
struct Receiver {
    url: String,
    told: Arc<Mutex<Told>>,
    /// Whether it keeps back its answers.
    holds: Arc<AtomicBool>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ends", listener.local_addr().unwrap());
        let (told, holds) = (Arc::<Mutex<Told>>::default(), Arc::<AtomicBool>::default());
        let shared = (told.clone(), holds.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, shared.0.clone(), shared.1.clone()));
            }
        });
        Self { url, told, holds }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }
}

async fn receive(mut stream: TcpStream, told: Arc<Mutex<Told>>, holds: Arc<AtomicBool>) {
    let mut request = Vec::new();
    let (id, body) = loop {
        if let Some(whole) = read(&request) {
            break whole;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
    };
    let run = body["data"]["run_id"].as_str().unwrap().to_owned();
    {
        let mut told = told.lock().unwrap();
        let (ids, count) = told.entry(run).or_default();
        ids.insert(id);
        *count += 1;
    }
    // whoever asked may be gone by then
    while holds.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = "HTTP/1.1 204 Taken\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.ok();
}

/// The id and the body of a request, once all of it is there.
fn read(request: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(request).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let length: usize = header("content-length")?.parse().ok()?;
    let id = header("webhook-id")?.to_owned();
    (body.len() >= length).then(|| (id, serde_json::from_str(body).unwrap()))
}

async fn listening(cluster: &Cluster, receiver: &Receiver) {
    let body = json!({"url": receiver.url}).to_string();
    let added = cluster.api.ask("POST", "/api/v1/webhooks/endpoints", "", &body).await;
    assert_eq!(added.status, 201, "{added:?}");
}

/// Waits until this many deliveries are in the state.
async fn settled(cluster: &Cluster, count: usize) {
    const LEFT: &str = "SELECT id FROM webhook_deliveries WHERE state <> 'delivered'";
    const DONE: &str = "SELECT id FROM webhook_deliveries WHERE state = 'delivered'";
    until("all deliveries", async || cluster.postgres.ask(DONE).len() >= count).await;
    assert_eq!(cluster.postgres.ask(LEFT), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_told_under_one_id_while_schedulers_die() {
    let calls = Counter::start(Duration::from_millis(20)).await;
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start(2, 1).await;
    listening(&cluster, &receiver).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let mut runs = BTreeSet::new();
    for round in 0..4 {
        for number in 0..15 {
            let who = format!("r{round}-{number}");
            runs.insert(cluster.api.submit(&workflow, json!({ "who": who }), &who).await);
        }
        let victim = &mut cluster.schedulers[round % 2];
        victim.process.kill();
        victim.process.start();
        victim.ready().await;
    }
    settled(&cluster, runs.len()).await;
    let told = receiver.told();
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), runs);
    assert!(told.values().all(|(ids, _)| ids.len() == 1), "{told:?}");
}

/// The receiver has it, and whoever sent it died before that was written down. Then nobody is left
/// who owns runs, and the other who sends does not need one.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_only_sends_goes_on_with_what_a_dead_one_had() {
    let calls = Counter::start(Duration::from_millis(5)).await;
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start(1, 1).await;
    listening(&cluster, &receiver).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    receiver.holds.store(true, Ordering::Relaxed);
    let run = cluster.api.submit(&workflow, json!({"who": "Ada"}), "one").await;
    until("the request", async || receiver.told().contains_key(&run)).await;
    cluster.schedulers[0].process.kill();
    receiver.holds.store(false, Ordering::Relaxed);
    let mut sender = cluster.sender();
    sender.process.start();
    sender.ready().await;
    settled(&cluster, 1).await;
    let counted = sender.metrics().await;
    let delivered = "flowmill_webhook_deliveries_total{outcome=\"delivered\"} 1\n";
    assert!(counted.contains(delivered), "{counted}");
    let told = receiver.told();
    let (ids, count) = &told[&run];
    assert_eq!((ids.len(), *count), (1, 2));
}
