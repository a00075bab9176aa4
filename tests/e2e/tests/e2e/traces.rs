//! One run, one trace: from whoever submitted it to whoever is told of its end, as an OTLP endpoint receives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use flowmill_scripted_provider::{Answer, Provider, Rule, Script};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::{Api, Asked, Cluster, Terms};
use crate::http::Counter;
use crate::models::services;
use crate::process::until;
use crate::servers::folder;

const CLIENT: &str = "b7ad6b7169203331";

/// A span as it was received.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    details: BTreeMap<String, Value>,
    is_error: bool,
    times: (u64, u64),
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    /// What webhooks said of their place in a trace.
    told: Vec<Option<String>>,
}

/// Where spans and webhooks go.
struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    async fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/traces", post(spans))
            .route("/told", post(told))
            .with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, received }
    }

    /// All spans of a trace.
    fn of(&self, trace: &str) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        received.spans.iter().filter(|span| span.trace == trace).cloned().collect()
    }

    fn told(&self) -> Vec<Option<String>> {
        self.received.lock().unwrap().told.clone()
    }

    /// A trace that has this span. Spans come some seconds after what they tell of.
    async fn with(&self, trace: &str, name: &str) -> Trace {
        until(name, async || self.of(trace).iter().any(|span| span.name == name)).await;
        // those of other programs may be later
        tokio::time::sleep(Duration::from_secs(6)).await;
        Trace(self.of(trace))
    }
}

async fn spans(State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-project"], "flowmill");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut all = Vec::new();
    for resource in request.resource_spans {
        let of = details(resource.resource.unwrap_or_default().attributes);
        let service = of["service.name"].as_str().unwrap().to_owned();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            all.push(Span {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                details: details(span.attributes),
                is_error: span.status.is_some_and(|status| status.code == 2),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
            });
        }
    }
    received.lock().unwrap().spans.append(&mut all);
}

async fn told(State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap) {
    let place = headers.get("traceparent").map(|place| place.to_str().unwrap().to_owned());
    received.lock().unwrap().told.push(place);
}

fn details(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let detail = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => json!(text),
            Some(any_value::Value::IntValue(number)) => json!(number),
            other => json!(format!("{other:?}")),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(detail).collect()
}

fn hex(bytes: &[u8]) -> String {
    let written = bytes.iter().map(|byte| format!("{byte:02x}"));
    written.collect::<Vec<_>>().concat()
}

/// All spans of one trace.
#[derive(Debug)]
struct Trace(Vec<Span>);

impl Trace {
    /// The only one with this name.
    fn one(&self, name: &str) -> &Span {
        let mut all = self.all(name);
        let span = all.next().unwrap_or_else(|| panic!("no span {name} among {self:#?}"));
        assert!(all.next().is_none(), "{name} is there twice: {self:#?}");
        span
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Span> {
        self.0.iter().filter(move |span| span.name == name)
    }

    /// What a span hangs below.
    fn parent(&self, span: &Span) -> &Span {
        let found = self.0.iter().find(|other| other.id == span.parent);
        found.unwrap_or_else(|| panic!("the parent of {span:#?} is not among {self:#?}"))
    }

    /// From the outermost to this one.
    fn path<'a>(&'a self, span: &'a Span) -> Vec<&'a str> {
        let mut path = vec![span];
        while let Some(above) = self.0.iter().find(|other| other.id == path[path.len() - 1].parent)
        {
            path.push(above);
        }
        path.iter().rev().map(|span| &*span.name).collect()
    }
}

/// start, a model, a request that fails, an end.
fn document(port: u16) -> String {
    format!(
        "\
kind: app
version: 0.6.0
app: {{name: traced, mode: workflow}}
workflow:
  graph:
    nodes:
    - id: s
      data: {{type: start, title: S, variables: []}}
    - id: m
      data:
        type: llm
        title: M
        model: {{provider: langgenius/openai/openai, name: gpt-4o, mode: chat, completion_params: {{}}}}
        prompt_template: [{{role: user, text: Hello}}]
        context: {{enabled: false}}
    - id: h
      data:
        type: http-request
        title: H
        method: get
        url: http://127.0.0.1:{port}/called
        authorization: {{type: no-auth}}
        headers: ''
        params: ''
        body: {{type: none, data: []}}
        timeout: {{}}
    - id: e
      data:
        type: end
        title: E
        outputs: [{{variable: text, value_selector: [m, text]}}]
    edges:
    - {{source: s, target: m}}
    - {{source: m, target: h}}
    - {{source: h, target: e}}
"
    )
}

/// Submits a run in a trace, or in none; its id.
async fn submit(api: &Api, workflow: &str, dispatch: &str, place: Option<&str>) -> String {
    let body = json!({"workflow": workflow, "inputs": {}, "options": {"dispatch": dispatch}});
    let place = place.map(|place| format!("traceparent: {place}\r\n")).unwrap_or_default();
    let headers = format!("content-type: application/json\r\n{place}");
    let taken = api.ask("POST", "/api/v1/runs", &headers, &body.to_string()).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    taken.body["id"].as_str().unwrap().to_owned()
}

struct World {
    cluster: Cluster,
    collector: Collector,
    workflow: String,
    _provider: Provider,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let collector = Collector::start().await;
        let folder = folder();
        let script = Script::of([Rule::always(Answer::text("Hello you."))]);
        let provider = Provider::start(script).await.unwrap();
        let counter = Counter::start(Duration::ZERO).await;
        let asked: Asked = services(folder.path(), &provider, counter.port);
        let more = [
            ("FLOWMILL_OTLP__ENDPOINT", collector.url.clone()),
            ("FLOWMILL_OTLP__SAMPLE", "1".to_owned()),
            ("FLOWMILL_OTLP__HEADERS", "x-project=flowmill".to_owned()),
            ("FLOWMILL_LOG__FORMAT", "json".to_owned()),
            ("FLOWMILL_LOG__FILTER", "info,flowmill_worker=debug,lapin=off".to_owned()),
        ];
        let terms = Terms { services: Some(asked), settings: more.to_vec(), ..Terms::default() };
        let cluster = Cluster::make(1, 1, terms).await;
        let workflow = cluster.api.push(&document(counter.port)).await;
        let endpoint = json!({"url": format!("{}/told", collector.url)}).to_string();
        let added = cluster.api.ask("POST", "/api/v1/webhooks/endpoints", "", &endpoint).await;
        assert_eq!(added.status, 201, "{added:?}");
        Self { cluster, collector, workflow, _provider: provider, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_its_submitter_to_its_webhook() {
    let world = World::start().await;
    let (api, collector) = (&world.cluster.api, &world.collector);
    let given = "0af7651916cd43dd8448eb211c80319c";
    let place = format!("00-{given}-{CLIENT}-01");
    let run = submit(api, &world.workflow, "hop", Some(&place)).await;
    assert_eq!(api.end(&run).await["status"], "succeeded");
    let trace = collector.with(given, "deliver webhook").await;

    let submitted = trace.one("submit run");
    assert_eq!(submitted.parent, CLIENT);
    let whole = trace.one("run");
    assert_eq!(trace.parent(whole), submitted);
    assert_eq!(
        (&whole.details["flowmill.status"], &whole.details["flowmill.run.id"]),
        (&json!("succeeded"), &json!(run))
    );
    let model = trace.one("chat gpt-4o");
    let way = ["submit run", "run", "send tasks.llm", "process tasks.llm", "node", "chat gpt-4o"];
    assert_eq!(trace.path(model), way);
    let said = ["gen_ai.provider.name", "gen_ai.request.model", "gen_ai.operation.name"];
    assert_eq!(said.map(|name| &model.details[name]), ["openai", "gpt-4o", "chat"]);
    assert!(model.details["gen_ai.usage.output_tokens"].as_u64() > Some(0), "{model:?}");
    let request = trace.one("process tasks.http");
    assert_eq!(trace.path(request), ["submit run", "run", "send tasks.http", "process tasks.http"]);
    assert_eq!(trace.all("node").count(), 2);
    let services = [submitted, whole, model, request].map(|span| &*span.service);
    let [scheduler, worker] = ["flowmill-scheduler", "flowmill-worker"];
    assert_eq!(services, [scheduler, scheduler, worker, worker]);
    // all that belongs to the run itself happened while there was one
    for span in trace.0.iter().filter(|span| span.service == worker) {
        assert!(whole.times.0 <= span.times.0, "{span:?} began before {whole:?}");
        assert!(!span.is_error, "{span:?}");
    }
    // whoever is told goes on from there
    let delivered = trace.one("deliver webhook");
    assert_eq!(trace.parent(delivered), whole);
    assert_eq!(collector.told(), [Some(format!("00-{given}-{}-01", delivered.id))]);
    // nothing hangs in the air
    for span in trace.0.iter().filter(|span| *span != submitted) {
        trace.parent(span);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_in_no_trace_have_their_own_and_those_that_are_not_sampled_none() {
    let world = World::start().await;
    let (api, collector) = (&world.cluster.api, &world.collector);
    let left_out = "1af7651916cd43dd8448eb211c80319c";
    let place = format!("00-{left_out}-{CLIENT}-00");
    let unsampled = submit(api, &world.workflow, "default", Some(&place)).await;
    assert_eq!(api.end(&unsampled).await["status"], "succeeded");
    let run = submit(api, &world.workflow, "default", None).await;
    assert_eq!(api.end(&run).await["status"], "succeeded");

    // it is called as its run is
    let own = run.replace('-', "");
    let trace = collector.with(&own, "deliver webhook").await;
    assert_eq!(trace.one("submit run").parent, "");
    // both nodes went out in one task
    assert_eq!(trace.all("node").count(), 2);
    assert_eq!(trace.path(trace.one("chat gpt-4o")).len(), 6);
    assert_eq!(api.run(&run).await["traceparent"].as_str().unwrap()[3..35], own);
    assert_eq!(collector.of(left_out), []);
    assert_eq!(collector.of(&unsampled.replace('-', "")), []);
    // a line of a batch is a run like any other
    let path = format!("/api/v1/batches?workflow={}", world.workflow);
    let headers = "content-type: application/jsonl\r\n";
    let batch = api.ask("POST", &path, headers, "{\"inputs\": {}}\n").await;
    assert_eq!(batch.status, 202, "{batch:?}");
    let path = format!("/api/v1/runs?batch={}", batch.body["id"].as_str().unwrap());
    until("the line to be a run", async || {
        api.ask("GET", &path, "", "").await.body["data"][0]["id"].is_string()
    })
    .await;
    let line = api.ask("GET", &path, "", "").await.body["data"][0]["id"].clone();
    let line = line.as_str().unwrap();
    assert_eq!(api.end(line).await["status"], "succeeded");
    let line = line.replace('-', "");
    let trace = collector.with(&line, "run").await;
    assert_eq!(trace.path(trace.one("chat gpt-4o")).len(), 6);
    // whoever is told of it hears where it came from, and that nobody looks
    let mut told = collector.told();
    // a batch has no trace of its own, and its line was told of as well
    told.retain(|place| place.as_ref().is_some_and(|place| !place.contains(&*line)));
    told.sort();
    let [own_place, given_place] = &told[..] else { panic!("{told:?}") };
    assert!(own_place.as_ref().unwrap().contains(&own), "{told:?}");
    let given_place = given_place.as_ref().unwrap();
    assert!(given_place.contains(left_out) && given_place.ends_with("-00"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_says_so_in_its_trace_and_in_the_log() {
    let world = World::start().await;
    let api = &world.cluster.api;
    let broken = api.push(&document(1).replace("http://127", "gopher://127")).await;
    let run = submit(api, &broken, "hop", None).await;
    assert_eq!(api.end(&run).await["status"], "failed");
    let own = run.replace('-', "");
    let trace = world.collector.with(&own, "run").await;
    assert!(trace.one("run").is_error);
    let failed: Vec<&Span> = trace.all("node").filter(|span| span.is_error).collect();
    let [failed] = failed[..] else { panic!("{trace:#?}") };
    assert_eq!(failed.details["node.id"], "h");
    assert_eq!(failed.details["error.type"], "InvalidURLError");

    let words = world.cluster.workers[0].process.words();
    let lines = words.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_run = lines.filter(|line| line["spans"][0]["run.id"] == json!(run));
    let line = of_run.next().unwrap_or_else(|| panic!("nothing of {run} in {words}"));
    let span = &line["spans"][0];
    assert_eq!((&span["node.id"], &span["attempt"]), (&json!("h"), &json!(1)), "{line}");
    assert_eq!((&span["trace.id"], &line["message"]), (&json!(own), &json!("a node failed")));
}
