//! Runs that come by messages: accepted as over HTTP, each message settled once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_infra::memory::{MemoryBroker, MemoryLive};
use flowmill_infra::postgres::PostgresStore;
use flowmill_infra::seal::Keys;
use flowmill_infra::submissions::{Refusal, SubmissionConsumer, SubmissionReceipt, Submitted};
use flowmill_scheduler::api::{
    Acceptor, Guard, QueueSettings, Settings, take_from_queue, with_acceptor,
};
use flowmill_workflow::Workflows;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::server::{SHARDS, Schema, Server, for_ada, greeting};

/// A queue in memory: what is not settled when its taker rests is there again.
#[derive(Clone, Debug, Default)]
struct Queue(Arc<(Mutex<State>, Notify)>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(usize, Submitted)>,
    held: Vec<(usize, Submitted)>,
    /// What became of each message.
    settled: Vec<(usize, End)>,
    rests: usize,
    most_held: usize,
}

struct Receipt(Queue, usize);

/// What became of a message: its answer, or the code it was refused with and its problem.
type End = Result<Json, (String, Json)>;

impl Queue {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let looked = look(&mut self.0.0.lock().unwrap());
        self.0.1.notify_waiters();
        looked
    }

    /// Publishes messages, numbered in their order.
    fn put(&self, messages: impl IntoIterator<Item = Submitted>) {
        self.state(|state| {
            for message in messages {
                let number = state.waiting.len() + state.held.len() + state.settled.len();
                state.waiting.push_back((number, message));
            }
        });
    }

    /// What became of so many messages, in their order.
    async fn settled(&self, count: usize) -> Vec<End> {
        self.until(|state| state.settled.len() >= count).await;
        let mut settled = self.state(|state| state.settled.clone());
        settled.sort_by_key(|(number, _)| *number);
        let numbers: Vec<usize> = settled.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "each message is settled once");
        settled.into_iter().map(|(_, end)| end).collect()
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let waiting = async {
            while !self.state(|state| is_so(state)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
    }
}

impl SubmissionConsumer for Queue {
    type Receipt = Receipt;

    async fn next(&mut self) -> Option<(Submitted, Receipt)> {
        loop {
            let next = self.0.0.lock().unwrap().take();
            if let Some((number, message)) = next {
                return Some((message, Receipt(self.clone(), number)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn rest(&mut self) {
        self.state(|state| {
            state.rests += 1;
            let mut held = std::mem::take(&mut state.held);
            held.sort_by_key(|(number, _)| *number);
            held.into_iter().rev().for_each(|message| state.waiting.push_front(message));
        });
    }
}

impl State {
    fn take(&mut self) -> Option<(usize, Submitted)> {
        let next = self.waiting.pop_front()?;
        self.held.push(next.clone());
        self.most_held = self.most_held.max(self.held.len());
        Some(next)
    }

    fn settle(&mut self, number: usize, end: End) {
        let held = self.held.iter().position(|(held, _)| *held == number);
        self.held.remove(held.unwrap());
        self.settled.push((number, end));
    }
}

impl SubmissionReceipt for Receipt {
    async fn accept(self, reply: Vec<u8>) {
        let reply = serde_json::from_slice(&reply).unwrap();
        self.0.state(|state| state.settle(self.1, Ok(reply)));
    }

    async fn refuse(self, refusal: Refusal, reply: Vec<u8>) {
        let problem: Json = serde_json::from_slice(&reply).unwrap();
        assert_eq!(
            (&problem["code"], &problem["detail"]),
            (&json!(refusal.code), &json!(refusal.reason))
        );
        self.0.state(|state| state.settle(self.1, Err((refusal.code.to_owned(), problem))));
    }
}

/// Whoever takes from a queue; it is stopped when this is dropped.
struct Taker {
    stop: Option<oneshot::Sender<()>>,
    taking: JoinHandle<()>,
}

impl Taker {
    /// It stops as it should.
    async fn stop(mut self) {
        self.stop.take();
        self.taking.await.unwrap();
    }
}

const USUAL: QueueSettings = QueueSettings { at_once: 8, key_from_body: false };

fn take(queue: &Queue, acceptor: Acceptor<PostgresStore>, settings: QueueSettings) -> Taker {
    let (stop, stopped) = oneshot::channel::<()>();
    let taking = tokio::spawn(take_from_queue(queue.clone(), acceptor, settings, async {
        stopped.await.ok();
    }));
    Taker { stop: Some(stop), taking }
}

fn message(body: &Json) -> Submitted {
    let body = body.to_string().into_bytes();
    Submitted { queue: "q".into(), body, ..Submitted::default() }
}

fn named(id: &str, body: &Json) -> Submitted {
    Submitted { message_id: Some(id.into()), ..message(body) }
}

#[tokio::test]
async fn a_batch_comes_by_one_message() {
    let (server, acceptor) = Server::with_acceptor(|_| {}).await;
    server.push(&greeting()).await;
    let line = json!({"inputs": {"who": "Ada"}}).to_string() + "\n";
    let batch = |id: &str, asked: &str, count| Submitted {
        kind: Some("flowmill.batch.v1".into()),
        content_type: Some("application/jsonl".into()),
        batch: Some(asked.into()),
        message_id: Some(id.into()),
        body: line.repeat(count).into_bytes(),
        ..Submitted::default()
    };
    let queue = Queue::default();
    queue.put([
        batch("a", "workflow=greeting&concurrency=2", 700),
        batch("b", "concurrency=2", 1),
        Submitted { content_type: Some("text/plain".into()), ..batch("c", "workflow=greeting", 1) },
    ]);
    let taker = take(&queue, acceptor, USUAL);
    let settled = queue.settled(3).await;
    let told = settled[0].as_ref().unwrap();
    assert_eq!((&told["lines"]["total"], &told["duplicate"]), (&json!(700), &json!(false)));
    assert_eq!(settled[1].as_ref().unwrap_err().0, "invalid_request");
    assert_eq!(settled[2].as_ref().unwrap_err().0, "unsupported_type");
    queue.put([batch("a", "workflow=greeting&concurrency=2", 700)]);
    let again = queue.settled(4).await;
    let again = again[3].as_ref().unwrap();
    assert_eq!((&again["id"], &again["duplicate"]), (&told["id"], &json!(true)));
    taker.stop().await;
}

#[tokio::test]
async fn a_message_is_accepted_as_over_http() {
    let (server, acceptor) = Server::with_acceptor(|_| {}).await;
    let digest = server.push(&greeting()).await;
    let queue = Queue::default();
    let taker = take(&queue, acceptor, USUAL);
    queue.put([named("order-1", &for_ada()), named("order-1", &for_ada()), message(&for_ada())]);
    let ends = queue.settled(3).await;
    let runs: Vec<&Json> = ends.iter().map(|end| end.as_ref().unwrap()).collect();
    assert_eq!((&runs[0]["status"], &runs[0]["warnings"]), (&json!("queued"), &json!([])));
    assert_eq!(runs[0]["workflow"], json!({"id": digest, "name": "greeting"}));
    assert_eq!(runs[0]["id"], runs[1]["id"]);
    assert_ne!(runs[0]["id"], runs[2]["id"]);
    let duplicates = runs.iter().filter(|run| run["duplicate"] == true).count();
    assert_eq!(duplicates, 1);
    // the name is the key: over HTTP too
    let again = server.submit_as("order-1", &for_ada()).await.json(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&runs[0]["id"], &json!(true)));
    assert_eq!(server.get("/api/v1/runs").await.json(200)["data"].as_array().unwrap().len(), 2);
    taker.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_run_is_refused_and_the_rest_goes_on() {
    let (server, acceptor) =
        Server::with_acceptor(|settings| settings.submission_bytes = 500).await;
    server.push(&greeting()).await;
    let queue = Queue::default();
    let _taker = take(&queue, acceptor, USUAL);
    let good = message(&for_ada());
    let bytes = |body: &[u8]| Submitted { body: body.to_vec(), ..Submitted::default() };
    let of_type = |kind: &str| Submitted { content_type: Some(kind.into()), ..good.clone() };
    let refused = [
        (bytes(b"{"), "invalid_body", "not JSON"),
        (bytes(b"\xff\xfe"), "invalid_body", "not UTF-8"),
        (bytes(b""), "invalid_body", "not JSON"),
        (bytes(&vec![b' '; 501]), "too_large", "501 bytes; at most 500"),
        (message(&json!({"workflow": "farewell"})), "workflow_not_found", "farewell"),
        (message(&json!({"workflow": "greeting"})), "invalid_inputs", "who is required"),
        (message(&json!({"workflow": "greeting", "prio": 1})), "invalid_request", "prio"),
        (message(&json!({"workflow": "greeting", "mocks": {}})), "mocks_refused", "no mocks"),
        (of_type("application/x-protobuf"), "unsupported_type", "application/json"),
        (
            Submitted { content_encoding: Some("gzip".into()), ..good.clone() },
            "unsupported_type",
            "plain text",
        ),
        (
            Submitted { kind: Some("flowmill.submit.v2".into()), ..good.clone() },
            "unsupported_type",
            "flowmill.submit.v1",
        ),
        (Submitted { tenant: Some("others".into()), ..good.clone() }, "tenant_not_found", "others"),
        (named(&"k".repeat(256), &for_ada()), "invalid_request", "message_id"),
        (named("caf\u{e9}", &for_ada()), "invalid_request", "message_id"),
    ];
    queue.put(refused.iter().map(|(message, ..)| message.clone()));
    let taken = [
        of_type("Application/JSON; charset=utf-8"),
        Submitted {
            kind: Some("flowmill.submit.v1".into()),
            tenant: Some("default".into()),
            content_encoding: Some("utf-8".into()),
            ..good.clone()
        },
    ];
    queue.put(taken);
    let ends = queue.settled(refused.len() + 2).await;
    for ((_, code, word), end) in refused.iter().zip(&ends) {
        let (found, problem) = end.as_ref().unwrap_err();
        assert_eq!(found, code, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    assert!(ends[refused.len()..].iter().all(Result::is_ok), "{ends:?}");
    // something else under a name that was used
    let other = json!({"workflow": "greeting", "inputs": {"who": "Bob"}});
    queue.put([named("n", &for_ada()), named("n", &other)]);
    let ends = queue.settled(refused.len() + 4).await;
    let reused =
        ends.iter().filter(|end| matches!(end, Err((code, _)) if code == "idempotency_key_reused"));
    assert_eq!(reused.count(), 1);
    assert_eq!(queue.state(|state| state.rests), 0);
}

#[tokio::test]
async fn a_body_names_its_run_where_that_is_wanted() {
    let (server, acceptor) = Server::with_acceptor(|_| {}).await;
    server.push(&greeting()).await;
    let queue = Queue::default();
    let _taker = take(&queue, acceptor, QueueSettings { key_from_body: true, ..USUAL });
    let other = json!({"workflow": "greeting", "inputs": {"who": "Bob"}});
    let elsewhere = Submitted { queue: "p".into(), ..message(&for_ada()) };
    queue.put([message(&for_ada()), message(&for_ada()), message(&other), elsewhere]);
    let ends = queue.settled(4).await;
    let ids: Vec<&Json> = ends.iter().map(|end| &end.as_ref().unwrap()["id"]).collect();
    assert_eq!(ids[0], ids[1]);
    assert!(ids[2] != ids[0] && ids[3] != ids[0] && ids[3] != ids[2], "{ids:?}");
}

#[tokio::test]
async fn while_the_store_is_away_the_queue_keeps_what_comes() {
    let (schema, store) = Schema::migrated(Keys::default()).await;
    let (_, _, _, nobody) = MemoryBroker::new();
    let workflows = Arc::new(Workflows::new(store.clone()));
    let (live, settings) = (MemoryLive::default(), Settings::new(SHARDS));
    let guard = Guard::new(store.clone(), &settings);
    let (_router, acceptor, _background) =
        with_acceptor(store.clone(), workflows, nobody, live, guard, settings);
    let queue = Queue::default();
    // no connection is given out any more, as if none could be made
    store.close().await;
    let taker = take(&queue, acceptor, USUAL);
    queue.put((0..100).map(|number| named(&format!("m{number}"), &for_ada())));
    queue.until(|state| state.rests > 0).await;
    // no message went round: what is away is asked, not the queue
    tokio::time::sleep(Duration::from_millis(1500)).await;
    queue.state(|state| {
        assert_eq!((state.rests, state.waiting.len(), state.held.len()), (1, 100, 0));
        assert!(state.most_held <= USUAL.at_once + 1 && state.settled.is_empty());
    });
    // it can be told to stop meanwhile
    taker.stop().await;

    // another process, which reaches the store
    let store = schema.store().await;
    let (server, acceptor) = Server::over(schema, store, |_| {}).await;
    server.push(&greeting()).await;
    let _taker = take(&queue, acceptor, USUAL);
    let ends = queue.settled(100).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
}

#[tokio::test]
async fn a_message_says_for_which_tenant_it_is() {
    let (server, acceptor) = Server::with_acceptor(|_| {}).await;
    server.post("/api/v1/tenants", json!({"name": "acme"}).to_string()).await.json(201);
    let as_acme = |request: reqwest::RequestBuilder| request.header("flowmill-tenant", "acme");
    let push = as_acme(server.request(reqwest::Method::POST, "/api/v1/workflows"));
    crate::server::send(push.body(greeting())).await.json(201);
    let queue = Queue::default();
    let _taker = take(&queue, acceptor, USUAL);
    let of = |tenant: Option<&str>| Submitted {
        tenant: tenant.map(Into::into),
        ..named("order-1", &for_ada())
    };
    queue.put([of(Some("acme")), of(Some("nobody")), of(None), of(Some("a\0b"))]);
    let ends = queue.settled(4).await;
    assert_eq!(ends[3].as_ref().unwrap_err().0, "tenant_not_found");
    let run = ends[0].as_ref().unwrap()["id"].as_str().unwrap();
    assert_eq!(ends[1].as_ref().unwrap_err().0, "tenant_not_found");
    assert_eq!(ends[2].as_ref().unwrap_err().0, "workflow_not_found", "default has none");
    let path = format!("/api/v1/runs/{run}");
    crate::server::send(as_acme(server.request(reqwest::Method::GET, &path))).await.json(200);
    server.get(&path).await.problem(404, "run_not_found");
    // the same name is another tenant's own
    server.push(&greeting()).await;
    queue.put([of(Some("default")), of(Some("acme"))]);
    let ends = queue.settled(6).await;
    assert_eq!(ends[4].as_ref().unwrap()["duplicate"], false);
    assert_eq!(ends[5].as_ref().unwrap()["duplicate"], true);
}
