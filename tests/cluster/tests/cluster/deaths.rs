//! Schedulers and workers die: no run is lost, and nothing is paid for twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_engine::value::Value;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Cluster, SLOTS, document};

/// How often each path was asked for.
type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server that counts the requests for each path, and takes its time.
pub(crate) struct Counting {
    pub(crate) port: u16,
    seen: Seen,
}

/// The path that a request asks for; None when whoever asks is gone.
pub(crate) async fn asked(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
    let line = String::from_utf8_lossy(&request);
    Some(line.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Says that it is done.
pub(crate) async fn done(mut stream: TcpStream) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
    stream.write_all(answer.as_bytes()).await.ok();
}

async fn answer(mut stream: TcpStream, seen: Seen, wait: Duration) {
    let Some(path) = asked(&mut stream).await else { return };
    *seen.lock().unwrap().entry(path).or_default() += 1;
    tokio::time::sleep(wait).await;
    done(stream).await;
}

impl Counting {
    pub(crate) async fn new(wait: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone(), wait));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn total(&self) -> usize {
        self.seen.lock().unwrap().values().sum()
    }

    /// start -> first call -> second call -> end
    fn document(&self) -> String {
        let call = |id: &str| {
            format!(
                "{{id: {id}, data: {{type: http-request, title: {id}, method: get, url: 'http://127.0.0.1:{}/{{{{#s.who#}}}}-{id}', headers: '', params: '', authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}",
                self.port
            )
        };
        let start = "{id: s, data: {type: start, title: S, variables: [{variable: who, label: who, type: text-input}]}}";
        let end = "{id: e, data: {type: end, title: E, outputs: [{variable: says, value_selector: [b, body]}]}}";
        document(
            &[start, &call("a"), &call("b"), end],
            &["{source: s, target: a}", "{source: a, target: b}", "{source: b, target: e}"],
        )
    }
}

const RUNS: usize = 40;

async fn submit(cluster: &Cluster, calls: &Counting) -> Vec<flowmill_engine::value::Name> {
    let plan = cluster.push(&calls.document()).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let who = Value::from(&*format!("r{number}"));
        runs.push(cluster.submit(&plan, &[("who", who)]).await);
    }
    runs
}

async fn all_end_well(cluster: &Cluster, runs: &[flowmill_engine::value::Name]) {
    for run in runs {
        let ended = cluster.end(run).await;
        assert_eq!(ended.status, Status::Succeeded);
        assert_eq!(ended.outputs["says"], "done");
        assert_eq!((ended.attempts["a"], ended.attempts["b"]), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_scheduler_goes_on_when_one_dies() {
    let cluster = Cluster::new("scheduler").await;
    let calls = Counting::new(Duration::from_millis(100)).await;
    let first = cluster.owner("first").await;
    let hand = cluster.hand("hand").await;
    let runs = submit(&cluster, &calls).await;
    cluster.until("a third of the calls", async || calls.total() > RUNS * 2 / 3).await;
    drop(first);
    let second = cluster.owner("second").await;
    all_end_well(&cluster, &runs).await;
    assert_eq!(calls.total(), RUNS * 2, "{:?}", calls.seen.lock().unwrap());
    hand.stop().await;
    second.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_repeats_at_most_what_it_had_in_hand() {
    let cluster = Cluster::new("worker").await;
    let calls = Counting::new(Duration::from_millis(100)).await;
    let owner = cluster.owner("owner").await;
    let doomed = cluster.hand("doomed").await;
    let runs = submit(&cluster, &calls).await;
    cluster.until("a third of the calls", async || calls.total() > RUNS * 2 / 3).await;
    drop(doomed);
    let heir = cluster.hand("heir").await;
    all_end_well(&cluster, &runs).await;
    let again = calls.total() - RUNS * 2;
    assert!(again <= SLOTS.http, "{again} calls were made again");
    heir.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_repeats_nothing() {
    let cluster = Cluster::new("drain").await;
    let calls = Counting::new(Duration::from_millis(100)).await;
    let owner = cluster.owner("owner").await;
    let leaving = cluster.hand("leaving").await;
    let runs = submit(&cluster, &calls).await;
    cluster.until("a third of the calls", async || calls.total() > RUNS * 2 / 3).await;
    let heir = cluster.hand("heir").await;
    leaving.stop().await;
    all_end_well(&cluster, &runs).await;
    assert_eq!(calls.total(), RUNS * 2, "{:?}", calls.seen.lock().unwrap());
    heir.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_delivered_twice_is_paid_for_once() {
    let cluster = Cluster::new("twice").await;
    let calls = Counting::new(Duration::from_secs(1)).await;
    let owner = cluster.owner("owner").await;
    let (connection, channel, queue) = cluster.outside("http").await;
    let plan = cluster.push(&calls.document()).await;
    let run = cluster.submit(&plan, &[("who", "ada".into())]).await;
    // while there is no worker, the task lies in its queue
    let taken = Mutex::new(None);
    let options = BasicGetOptions::default();
    cluster
        .until("the task", async || {
            let found = channel.basic_get(queue.clone(), options).await.unwrap();
            let is_there = found.is_some();
            *taken.lock().unwrap() = found;
            is_there
        })
        .await;
    let task = taken.into_inner().unwrap().unwrap().delivery;
    let left = cluster.hand_with_claims("left").await;
    let right = cluster.hand_with_claims("right").await;
    for _ in 0..2 {
        let (options, properties) = (BasicPublishOptions::default(), task.properties.clone());
        let put = channel.basic_publish("".into(), queue.clone(), options, &task.data, properties);
        put.await.unwrap().await.unwrap();
    }
    task.acker.ack(BasicAckOptions::default()).await.unwrap();
    all_end_well(&cluster, &[run]).await;
    // both have ended what they held
    left.stop().await;
    right.stop().await;
    assert_eq!(calls.total(), 2, "{:?}", calls.seen.lock().unwrap());
    connection.close(200, "done".into()).await.unwrap();
    owner.stop().await;
    cluster.leave().await;
}
