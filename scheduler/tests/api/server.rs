//! A server of the test's own, over a schema that nobody else has.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use flowmill_infra::broker::{Closed, CompletionPublisher};
use flowmill_infra::dead_letters::{DeadLetter, PutBack};
use flowmill_infra::memory::{MemoryBroker, MemoryLimiter, MemoryLive, MemoryNotes};
use flowmill_infra::postgres::{self, PostgresStore};
use flowmill_infra::seal::Keys;
use flowmill_infra::versions::Versions;
use flowmill_nodes::outbound::{Options, OutboundPolicy, install_tls_provider};
use flowmill_scheduler::api::{
    Acceptor, Background, Broker, Courier, Guard, Schedule, Settings, WebhookSettings, explain,
    letters, models, webhooks, with_acceptor,
};
use flowmill_services::models::limits::Limiter;
use flowmill_workflow::Workflows;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const SHARDS: u16 = 4;

/// A schema of the test server that ends with this value.
pub(crate) struct Schema {
    name: String,
    url: String,
    keys: Keys,
}

fn database() -> String {
    let own = std::env::var("FLOWMILL_TEST_POSTGRES");
    own.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned())
}

impl Schema {
    /// One with flowmill's tables, and a store over it.
    pub(crate) async fn migrated(keys: Keys) -> (Self, Arc<PostgresStore>) {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("flowmill_api_{}_{made}", std::process::id());
        // an earlier process of this number may have been killed
        postgres::remove_schema(&database(), &name)
            .await
            .unwrap_or_else(|error| panic!("{error}; `./dev setup` starts a server for the tests"));
        let url = postgres::make_schema(&database(), &name).await.unwrap();
        assert_eq!(postgres::migrate(&url, SHARDS).await.unwrap(), SHARDS);
        let schema = Self { name, url, keys };
        let store = schema.store().await;
        (schema, store)
    }

    /// Stores over it have these keys from now on.
    pub(crate) fn seal_with(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Another store over it.
    pub(crate) async fn store(&self) -> Arc<PostgresStore> {
        let settings = postgres::Settings::of(&self.url);
        let keys = self.keys.clone();
        let settings = postgres::Settings { writers: 3, readers: 3, keys, ..settings };
        Arc::new(PostgresStore::open(&settings).await.unwrap())
    }
}

impl Drop for Schema {
    /// Also of a test that failed. Nothing can be awaited here, so another thread does it.
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(postgres::remove_schema(&database(), &name))
        });
        // a schema that stays harms nobody, and the test has its own result
        let _ = removed.join();
    }
}

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A problem of this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Json {
        let problem = self.json(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:flowmill:problem:{code}"));
        problem
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }
}

/// Where letters go back to, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Back(Arc<Mutex<(Vec<DeadLetter>, String)>>);

impl Back {
    /// What was put back so far.
    pub(crate) fn sent(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().0.clone()
    }

    /// From now on there is no queue of this name.
    pub(crate) fn lose(&self, queue: &str) {
        queue.clone_into(&mut self.0.lock().unwrap().1);
    }
}

impl PutBack for Back {
    async fn put_back(&self, letter: &DeadLetter) -> Result<bool, Closed> {
        // others come in the meantime
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut state = self.0.lock().unwrap();
        let is_there = letter.origin.as_deref().is_some_and(|origin| origin != state.1);
        if is_there {
            state.0.push(letter.clone());
        }
        Ok(is_there)
    }
}

/// A server that listens.
pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) workflows: Arc<Workflows<PostgresStore>>,
    pub(crate) live: MemoryLive,
    pub(crate) back: Back,
    pub(crate) notes: MemoryNotes,
    pub(crate) limiter: MemoryLimiter,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    background: Option<Background>,
    schema: Schema,
}

impl Server {
    /// One without anybody who runs what is submitted.
    pub(crate) async fn alone() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        // whoever would be told has gone
        let (_, _, _, nobody) = MemoryBroker::new();
        Self::telling(nobody, change).await
    }

    /// One that tells owners by this publisher.
    pub(crate) async fn telling<P: CompletionPublisher>(
        pokes: P,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::sealing(Keys::default(), pokes, change).await
    }

    /// The same with keys for secrets.
    pub(crate) async fn sealing<P: CompletionPublisher>(
        keys: Keys,
        pokes: P,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let made = Schema::migrated(keys).await;
        Self::made(made, pokes, change).await.0
    }

    /// One with the way in for submissions that come by other ways.
    pub(crate) async fn with_acceptor(
        change: impl FnOnce(&mut Settings),
    ) -> (Self, Acceptor<PostgresStore>) {
        let (schema, store) = Schema::migrated(Keys::default()).await;
        Self::over(schema, store, change).await
    }

    /// The same over a store that is there.
    pub(crate) async fn over(
        schema: Schema,
        store: Arc<PostgresStore>,
        change: impl FnOnce(&mut Settings),
    ) -> (Self, Acceptor<PostgresStore>) {
        let (_, _, _, nobody) = MemoryBroker::new();
        Self::made((schema, store), nobody, change).await
    }

    async fn made<P: CompletionPublisher>(
        (schema, store): (Schema, Arc<PostgresStore>),
        pokes: P,
        change: impl FnOnce(&mut Settings),
    ) -> (Self, Acceptor<PostgresStore>) {
        let workflows = Arc::new(Workflows::new(store.clone()));
        let mut settings = Settings::new(SHARDS);
        change(&mut settings);
        let live = MemoryLive::default();
        let (back, notes) = (Back::default(), MemoryNotes::default());
        let guard = Guard::new(store.clone(), &settings);
        let letter_box = letters(store.clone(), back.clone(), guard.clone());
        let (all, of_owners) = (workflows.clone(), notes.clone());
        let limiter = MemoryLimiter::default();
        let limits: Arc<dyn Limiter> = Arc::new(limiter.clone());
        let told = (of_owners, limits.clone(), || Broker::Well);
        let explaining = explain(store.clone(), all, told, settings.shards, guard.clone());
        let hooks = webhooks(store.clone(), courier(100), guard.clone());
        let of_models = models(store.clone(), limits, guard.clone());
        let flows = workflows.clone();
        let (router, acceptor, background) =
            with_acceptor(store.clone(), flows, pokes, live.clone(), guard, settings);
        let router = router.merge(letter_box).merge(explaining).merge(hooks).merge(of_models);
        let (base, stop, serving) = serve(router).await;
        install_tls_provider();
        let client = Client::builder().no_proxy().build().unwrap();
        let (stop, background) = (Some(stop), Some(background));
        let server = Self {
            base,
            store,
            workflows,
            live,
            back,
            notes,
            limiter,
            client,
            stop,
            serving,
            background,
            schema,
        };
        (server, acceptor)
    }

    /// The same store, in a process that knows nothing yet.
    pub(crate) async fn another_store(&self) -> PostgresStore {
        let url = self.schema.url.clone();
        PostgresStore::open(&postgres::Settings::of(url)).await.unwrap()
    }

    /// The same store, for a process that reads and writes these versions.
    pub(crate) async fn store_of(&self, versions: Versions) -> PostgresStore {
        let settings = postgres::Settings::of(&self.schema.url);
        PostgresStore::open(&postgres::Settings { versions, ..settings }).await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(Method::POST, path).body(body)).await
    }

    pub(crate) async fn submit(&self, body: Json) -> Answer {
        self.post("/api/v1/runs", body.to_string()).await
    }

    pub(crate) async fn submit_as(&self, key: &str, body: &Json) -> Answer {
        let request = self.request(Method::POST, "/api/v1/runs").header("idempotency-key", key);
        send(request.body(body.to_string())).await
    }

    /// Pushes a document and answers its digest.
    pub(crate) async fn push(&self, document: &str) -> String {
        let pushed = self.post("/api/v1/workflows", document.to_owned()).await;
        pushed.json(201)["id"].as_str().unwrap().to_owned()
    }

    /// It stops as it should: what it took in is dealt with.
    pub(crate) async fn stop(mut self) {
        self.end().await;
    }

    /// The same, while its store is still there.
    pub(crate) async fn end(&mut self) {
        self.stop.take();
        (&mut self.serving).await.unwrap();
        self.background.take().unwrap().ended().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What sends webhooks in tests: to this machine, too, and without long waits.
pub(crate) fn courier(outputs_bytes: usize) -> Arc<Courier> {
    let short = Duration::from_millis(20);
    let schedule =
        Schedule { again: vec![short; 7], rest: short, longest_rest: short, margin: short };
    let policy = OutboundPolicy { allow_private: true, ..OutboundPolicy::default() };
    let settings = WebhookSettings {
        timeout: Duration::from_secs(1),
        schedule,
        outputs_bytes,
        public_url: "https://flows.example/".to_owned(),
        url_secret: Some(COMMON_SECRET.into()),
        reach: Options { policy, ..Options::default() },
        ..WebhookSettings::default()
    };
    Arc::new(Courier::new(settings).unwrap())
}

/// What signs what is sent to addresses that submissions name.
pub(crate) const COMMON_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Serves on a free port until it is told to stop.
async fn serve(router: Router) -> (String, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async {
        let stopped = async {
            stopped.await.ok();
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).with_graceful_shutdown(stopped).await.unwrap();
    });
    (base, stop, serving)
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// A document of these nodes and edges, each in YAML's flow form.
pub(crate) fn document(name: &str, nodes: &[&str], edges: &[&str]) -> String {
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: {name}, mode: workflow}}, workflow: {{graph: {{nodes: [{}], edges: [{}]}}}}}}",
        nodes.join(", "),
        edges.join(", "),
    )
}

/// start -> template -> end: greets somebody.
pub(crate) fn greeting() -> String {
    document(
        "greeting",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: who, label: Who, type: text-input, required: true, max_length: 10},
                {variable: times, label: Times, type: number, default: 2}]}}",
            "{id: t, data: {type: template-transform, title: Greet, template: 'Dear {{ who }}, {{ times }}',
                variables: [{variable: who, value_selector: [s, who]}, {variable: times, value_selector: [s, times]}]}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: says, value_selector: [t, output]}]}}",
        ],
        &["{source: s, target: t}", "{source: t, target: e}"],
    )
}

/// start -> llm -> end: needs a mock.
pub(crate) fn asking() -> String {
    document(
        "asking",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: m, data: {type: llm, title: Ask, model: {provider: acme/ai/ai, name: big, mode: chat}, prompt_template: [], context: {enabled: false}}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: says, value_selector: [m, text]}]}}",
        ],
        &["{source: s, target: m}", "{source: m, target: e}"],
    )
}

/// Inputs that [`greeting`] takes.
pub(crate) fn for_ada() -> Json {
    json!({"workflow": "greeting", "inputs": {"who": "Ada"}})
}

/// A form with all kinds of entries but files.
const ASK: &str = "{id: h, data: {type: human-input, title: Approve, form_content: 'Buy {{#s.what#}}? {{#$output.note#}}',
    inputs: [
        {type: paragraph, output_variable_name: note, default: {type: variable, selector: [s, what], value: ''}},
        {type: select, output_variable_name: how, option_source: {type: constant, selector: [], value: [cash, card]}}],
    user_actions: [{id: 'yes', title: Buy it}, {id: 'no', title: Leave it, button_style: ghost}],
    timeout: TIME, timeout_unit: hour, delivery_methods: [{type: webapp, enabled: true}]}}";

/// start -> a person -> end, by what was chosen.
pub(crate) fn approval() -> String {
    let end = |id: &str, what: &str| {
        format!(
            "{{id: {id}, data: {{type: end, title: {id}, outputs: [{{variable: {what}, value_selector: [h, note]}}, {{variable: how, value_selector: [h, how]}}]}}}}"
        )
    };
    document(
        "approval",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [{variable: what, label: What, type: text-input, required: true}]}}",
            &ASK.replace("TIME", "36"),
            &end("bought", "bought"),
            &end("left", "left"),
        ],
        &[
            "{source: s, target: h}",
            "{source: h, target: bought, sourceHandle: 'yes'}",
            "{source: h, target: left, sourceHandle: 'no'}",
        ],
    )
}
