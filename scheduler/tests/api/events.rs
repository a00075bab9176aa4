//! Runs are watched: every event once, in order, wherever a stream breaks off.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, asking, document, for_ada, greeting};

/// An event, as a client gets it.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: Option<String>,
    data: Json,
}

impl Event {
    fn word(&self) -> &str {
        self.data["event"].as_str().unwrap()
    }
}

/// The events of a text, and what is left of it. Comments are left out.
fn events(text: &str) -> (Vec<Event>, &str) {
    let Some((whole, rest)) = text.rsplit_once("\n\n") else { return (Vec::new(), text) };
    let read = |block: &str| {
        let field = |name: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(name)).map(str::to_owned)
        };
        let data = field("data: ")?;
        Some(Event { id: field("id: "), data: serde_json::from_str(&data).unwrap() })
    };
    (whole.split("\n\n").filter_map(read).collect(), rest)
}

/// A stream that is read event by event.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn of(server: &Server, path: &str) -> Self {
        let response = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next events; None after the last.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let chunk = tokio::time::timeout(Duration::from_mins(1), self.response.chunk());
            self.text.push_str(std::str::from_utf8(&chunk.await.unwrap().unwrap()?).unwrap());
            let (found, rest) = events(&self.text);
            let rest = rest.to_owned();
            if !found.is_empty() {
                self.text = rest;
                return Some(found);
            }
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(some) = self.next().await {
            all.extend(some);
        }
        all
    }
}

async fn all(server: &Server, path: &str) -> Vec<Event> {
    Stream::of(server, path).await.rest().await
}

async fn submitted(server: &Server, body: Json) -> String {
    let run = server.submit(body).await.json(202);
    format!("/api/v1/runs/{}/events", run["id"].as_str().unwrap())
}

fn words(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_watched_from_its_beginning_to_its_end() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let digest = server.push(&greeting()).await;
    let path = submitted(server, for_ada()).await;
    let told = all(server, &path).await;
    assert_eq!(
        words(&told),
        [
            "workflow_started",
            "node_started",
            "node_finished",
            // the text that the end waits for comes before the end of the node that gives it
            "text_chunk",
            "node_started",
            "node_finished",
            "node_started",
            "node_finished",
            "workflow_finished"
        ],
        "{told:#?}"
    );
    let run = path.split('/').nth(4).unwrap();
    assert!(told.iter().all(|event| event.data["workflow_run_id"] == run));
    assert!(told.iter().all(|event| event.data["event_id"].as_str() == event.id.as_deref()));
    let (started, finished) = (&told[0].data["data"], &told.last().unwrap().data["data"]);
    assert_eq!((&started["workflow_id"], &started["reason"]), (&json!(digest), &json!("initial")));
    assert_eq!(
        (&started["inputs"]["who"], &started["inputs"]["sys.user_id"]),
        (&json!("Ada"), &json!("api"))
    );
    assert_eq!(finished["outputs"], json!({"says": "Dear Ada, 2"}));
    assert_eq!((&finished["status"], &finished["total_steps"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(told[3].data["data"]["text"], "Dear Ada, 2");
    assert_eq!(told[0].id.as_deref(), Some("1.0"));

    // it has ended: the same again, in both forms
    assert_eq!(all(server, &path).await, told);
    let lines = server.request(Method::GET, &path).header("accept", "application/x-ndjson");
    let lines = lines.send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let lines: Vec<Json> = lines.filter(|line| line["event"] != "ping").collect();
    assert_eq!(lines, told.iter().map(|event| event.data.clone()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_any_event() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let path = submitted(server, for_ada()).await;
    let told = all(server, &path).await;
    for (at, event) in told.iter().enumerate() {
        let id = event.id.as_deref().unwrap();
        assert_eq!(all(server, &format!("{path}?after={id}")).await, told[at + 1..]);
        // the header is what clients bring up to date
        let resumed = server.request(Method::GET, &format!("{path}?after=0.0"));
        let resumed = resumed.header("last-event-id", id).send().await.unwrap();
        assert_eq!(events(&resumed.text().await.unwrap()).0, told[at + 1..]);
    }
    for wrong in ["x", "1.2.3", "-1"] {
        server.get(&format!("{path}?after={wrong}")).await.problem(422, "invalid_request");
    }
    server.get(&format!("{path}?since=1")).await.problem(422, "invalid_request");
    let unknown = "/api/v1/runs/00000000-0000-7000-8000-000000000000/events";
    server.get(unknown).await.problem(404, "run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_seen_while_it_is_written_and_once() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    let mocks = json!({"m": {"outputs": {"text": "Hello, world."}, "delay_ms": 900,
        "chunks": ["Hel", "lo, ", "wor"]}});
    let path = submitted(server, json!({"workflow": "asking", "mocks": mocks})).await;
    let (first, second) = tokio::join!(all(server, &path), async {
        // one that comes while the text is written has all of it, too
        tokio::time::sleep(Duration::from_millis(500)).await;
        all(server, &path).await
    });
    for told in [&first, &second] {
        let texts = told.iter().filter(|event| event.word() == "text_chunk");
        let mut text = String::new();
        for event in texts {
            let data = &event.data["data"];
            assert_eq!(data["offset"], text.len(), "{told:#?}");
            text.push_str(data["text"].as_str().unwrap());
        }
        assert_eq!(text, "Hello, world.");
    }
    let early = first.iter().filter(|event| event.id.is_none()).count();
    assert!(early >= 3, "it was written in pieces: {first:#?}");
    let certain = |told: &[Event]| {
        told.iter().filter(|event| event.word() != "text_chunk").cloned().collect::<Vec<_>>()
    };
    // the places are those that the journal alone gives
    let again = all(server, &path).await;
    assert_eq!(certain(&again), certain(&first));
    assert!(again.iter().all(|event| event.id.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_feed_does_not_show_is_read_in_the_journal() {
    // the scheduler and the worker show what happens to somebody else
    let cluster = Cluster::unseen(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    let mocks = json!({"m": {"outputs": {"text": "hi"}, "delay_ms": 300}});
    let path = submitted(server, json!({"workflow": "asking", "mocks": mocks})).await;
    let told = all(server, &path).await;
    assert_eq!(told.last().unwrap().word(), "workflow_finished");
    assert_eq!(all(server, &path).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watch_one_run_and_see_the_same() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let passes = document(
        "passes",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: m, data: {type: llm, title: Ask, model: {provider: acme/ai/ai, name: big, mode: chat}, prompt_template: [], context: {enabled: false}}}",
            "{id: c, data: {type: code, title: List, code_language: javascript, code: 'function main() { return {list: [...Array(40).keys()]} }', variables: [], outputs: {list: {type: 'array[number]'}}}}",
            "{id: it, data: {type: iteration, title: Each, start_node_id: is, iterator_selector: [c, list], output_selector: [t, output]}}",
            "{id: is, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}",
            "{id: t, parentId: it, data: {type: template-transform, title: Show, template: '{{ x }}!', variables: [{variable: x, value_selector: [it, item]}], isInIteration: true, iteration_id: it}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: all, value_selector: [it, output]}]}}",
        ],
        &[
            "{source: s, target: m}",
            "{source: m, target: c}",
            "{source: c, target: it}",
            "{source: is, target: t}",
            "{source: it, target: e}",
        ],
    );
    server.post("/api/v1/workflows?mocked=true", passes).await.json(201);
    let mocks = json!({"m": {"outputs": {"text": "go"}, "delay_ms": 500}});
    let path = submitted(server, json!({"workflow": "passes", "mocks": mocks})).await;
    let readers = (0..20).map(|_| all(server, &path));
    let told = futures::future::join_all(readers).await;
    let first = &told[0];
    assert_eq!(first.iter().filter(|event| event.word() == "iteration_next").count(), 40);
    assert_eq!(first.last().unwrap().word(), "workflow_finished");
    assert!(told.iter().all(|other| other == first));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_hidden_from_those_who_watch() {
    let keys = flowmill_infra::seal::Keys::parse(&"7".repeat(64)).unwrap();
    let cluster = Cluster::sealing(keys, |settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let secret = "{kind: app, version: 0.6.0, app: {name: secret, mode: workflow}, workflow: {
        environment_variables: [{id: k, name: key, value: hunter2222, value_type: secret}],
        graph: {nodes: [
            {id: s, data: {type: start, title: Begin, variables: []}},
            {id: m, data: {type: llm, title: Ask, model: {provider: acme/ai/ai, name: big, mode: chat}, prompt_template: [], context: {enabled: false}}},
            {id: e, data: {type: end, title: End, outputs: [{variable: says, value_selector: [m, text]}]}}],
        edges: [{source: s, target: m}, {source: m, target: e}]}}}";
    server.push(secret).await;
    let mocks = json!({"m": {"outputs": {"text": "it is hunter2222."}, "delay_ms": 300,
        "chunks": ["it is hunt", "er22", "22", "."]}});
    let path = submitted(server, json!({"workflow": "secret", "mocks": mocks})).await;
    let told = all(server, &path).await;
    let texts = told.iter().filter(|event| event.word() == "text_chunk");
    let texts = texts.map(|event| event.data["data"]["text"].as_str().unwrap());
    assert_eq!(texts.collect::<String>(), "it is ***.");
    assert_eq!(told.last().unwrap().data["data"]["outputs"]["says"], "it is ***.");
    assert!(!format!("{told:?}").contains("hunter2"));
}
