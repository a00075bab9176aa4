//! A cluster of its own on the servers of this machine: a schema and queues that nobody else has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Dispatch, Event, Fact, Options, Reason, RunFinished, Status};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::broker::CompletionPublisher as _;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::intake::{Accepted, Attached, Document, Intake as _, Submission};
use flowmill_infra::memory::MemoryLive;
use flowmill_infra::message::{Delivery, PlanKey, Shard};
use flowmill_infra::postgres::{PostgresStore, Settings as Database, migrate};
use flowmill_infra::rabbitmq::{self, RabbitCompletions, RabbitWorker, Settings as Broker};
use flowmill_infra::redis::{Redis, Settings as Memory};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Announcement;
use flowmill_infra::shares::{Party, Share, Shares as _};
use flowmill_infra::wire::Transit;
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::{HttpOptions, NetworkClient};
use flowmill_nodes::outbound::{self, OutboundPolicy};
use flowmill_scheduler::{Handle, Service as Scheduler, Sharded, Window, deal_with_dead_letters};
use flowmill_worker::{Checkpointed, Claiming, Recall, Service as Worker, Settings, Slots};
use flowmill_workflow::{Workflows, digest};
use lapin::types::ShortString;
use lapin::{Channel, Connection, ConnectionProperties};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

const SHARDS: u16 = 4;

pub(crate) const SLOTS: Slots = Slots { light: 4, code: 2, http: 8, llm: 8 };

/// The servers, and what is ours on them.
pub(crate) struct Cluster {
    database: Database,
    broker: Broker,
    schema: String,
    store: Arc<PostgresStore>,
    pokes: RabbitCompletions,
    // its consumer is never asked: it keeps the publisher company
    _silent: rabbitmq::RabbitWorker,
}

/// A scheduler. When it is dropped it dies without a word.
pub(crate) struct Owner {
    service: JoinHandle<()>,
    letters: JoinHandle<()>,
    handle: Option<Handle>,
}

/// A worker. When it is dropped it dies without a word.
pub(crate) struct Hand {
    service: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

/// A run as its journal has it at the end.
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) outputs: BTreeMap<String, String>,
    /// How many tasks were sent.
    pub(crate) tasks: usize,
    /// How many attempts of each node ended.
    pub(crate) attempts: BTreeMap<String, usize>,
    /// How often a task came back without an answer.
    pub(crate) returned: usize,
    pub(crate) reason: Option<Reason>,
    pub(crate) error: Option<Name>,
    /// What went wrong: Dify's `error_type` of each error.
    pub(crate) errors: Vec<String>,
}

/// A network that reaches this machine, and code in the sandbox.
fn outside() -> NodeContext {
    let policy =
        OutboundPolicy { allow: vec!["127.0.0.1".parse().unwrap()], ..OutboundPolicy::default() };
    let reach = outbound::Options { policy, ..outbound::Options::default() };
    let client = outbound::Client::new(reach).unwrap();
    NodeContext {
        attempt: 1,
        timeout: Duration::from_mins(1),
        code: Arc::new(CodeRunner::new(&CodeSettings::default())),
        http: Arc::new(NetworkClient::new(HttpOptions::default(), Arc::new(client))),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::default(),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    }
}

fn server(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

impl Cluster {
    /// `name` is the test's own: what an earlier one of this name left behind is removed.
    pub(crate) async fn new(name: &str) -> Self {
        let schema = format!("flowmill_cluster_{name}");
        let base = server(
            "FLOWMILL_TEST_POSTGRES",
            "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable",
        );
        let mut connection = PgConnection::connect(&base).await.unwrap_or_else(|error| {
            panic!("no PostgreSQL for the tests: {error}; `./dev setup` starts one")
        });
        let make = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.unwrap();
        let sign = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{sign}options=-c%20search_path%3D{schema}");
        migrate(&url, SHARDS).await.unwrap();
        let keys = Keys::parse(&"5".repeat(64)).unwrap();
        let database = Database {
            writers: 3,
            readers: 2,
            lease: Duration::from_secs(4),
            keys,
            ..Database::of(url)
        };
        let url = server("FLOWMILL_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/%2f");
        let broker = Broker { prefix: schema.clone(), ..Broker::new(url) };
        rabbitmq::remove(&broker, SHARDS).await.unwrap_or_else(|error| {
            panic!("no RabbitMQ for the tests: {error}; `./dev setup` starts one")
        });
        let store = Arc::new(PostgresStore::open(&database).await.unwrap());
        let (silent, pokes) = rabbitmq::worker(&broker, [0; 4]).await.unwrap();
        Self { database, broker, schema, store, pokes, _silent: silent }
    }

    /// The broker for a process with this store.
    fn broker_of(&self, store: &PostgresStore) -> Broker {
        let transit = Transit::new(self.database.keys.clone()).with_stash(store.stash());
        Broker { transit, ..self.broker.clone() }
    }

    pub(crate) async fn owner(&self, name: &str) -> Owner {
        let store = Arc::new(PostgresStore::open(&self.database).await.unwrap());
        let ends = rabbitmq::scheduler(&self.broker_of(&store)).await.unwrap();
        let workflows = Arc::new(Workflows::new(store.clone()));
        let me = Announcement { scheduler: name.into(), reads: 1 };
        let duties = Sharded::new(store.clone(), workflows, me);
        let window = Window::for_slots(|class: TaskClass| SLOTS.of(class) * 2);
        let (live, clock) = (MemoryLive::default(), SystemClock::new());
        let (letters, answers) = rabbitmq::dead_letters(&self.broker).await.unwrap();
        let dealing = deal_with_dead_letters(
            (letters, answers),
            store.clone(),
            clock.clone(),
            Arc::default(),
        );
        let (service, handle) = Scheduler::sharing(store, ends, live, clock, window, duties);
        Owner {
            service: tokio::spawn(service.run()),
            letters: tokio::spawn(dealing),
            handle: Some(handle),
        }
    }

    pub(crate) async fn hand(&self, name: &str) -> Hand {
        self.hand_in(name, outside()).await
    }

    /// A worker whose nodes find this outside of themselves.
    pub(crate) async fn hand_in(&self, name: &str, outside: NodeContext) -> Hand {
        let store = Arc::new(PostgresStore::open(&self.database).await.unwrap());
        let recall = Checkpointed::new(store.clone());
        self.start(name, store, (outside, recall)).await
    }

    /// A worker that shares claims with all others of this cluster.
    pub(crate) async fn hand_with_claims(&self, name: &str) -> Hand {
        let url = server("FLOWMILL_TEST_REDIS", "redis://127.0.0.1:6379");
        // keys expire by themselves, and no two runs have the same id
        let patience = Duration::from_secs(5);
        let prefix = self.schema.clone();
        let redis = Redis::new(&Memory { prefix, patience, ..Memory::new(url) }).unwrap();
        let store = Arc::new(PostgresStore::open(&self.database).await.unwrap());
        let recall = Checkpointed::new(store.clone());
        let recall = Claiming::new(recall, redis.claims(), &name.into());
        self.start(name, store, (outside(), recall)).await
    }

    async fn start<R: Recall>(
        &self,
        name: &str,
        store: Arc<PostgresStore>,
        nodes: (NodeContext, R),
    ) -> Hand {
        let slots = TaskClass::ALL.map(|class| u16::try_from(SLOTS.of(class)).unwrap());
        let ends = rabbitmq::worker(&self.broker_of(&store), slots).await.unwrap();
        let workflows = Arc::new(Workflows::new(store));
        let settings = Settings {
            name: name.into(),
            slots: SLOTS,
            drain: Duration::from_secs(5),
            beat: Some(Duration::from_secs(1)),
        };
        let (live, clock) = (MemoryLive::default(), SystemClock::new());
        let service = Worker::remembering(ends, live, workflows, clock, settings, nodes);
        let (stop, stopped) = oneshot::channel();
        let service = tokio::spawn(service.run_until(async {
            stopped.await.ok();
        }));
        Hand { service, stop: Some(stop) }
    }

    /// The queue of a class's tasks, and a channel that knows nothing of flowmill.
    pub(crate) async fn outside(&self, class: &str) -> (Connection, Channel, ShortString) {
        let connection =
            Connection::connect(&self.broker.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let queue = format!("{}.tasks.v1.{class}.interactive", self.schema);
        (connection, channel, queue.into())
    }

    /// A worker's consumer, with nobody behind it.
    pub(crate) async fn consumer(&self) -> RabbitWorker {
        rabbitmq::worker(&self.broker, [8; 4]).await.unwrap().0
    }

    /// How many dead letters there are with a reason like this.
    pub(crate) async fn parked(&self, reason: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let count = "SELECT count(*) FROM dead_letters WHERE reason LIKE '%' || $1 || '%'";
        let count = sqlx::query_scalar(count).bind(reason);
        count.fetch_one(&mut connection).await.unwrap()
    }

    /// Makes a document known.
    pub(crate) async fn push(&self, text: &str) -> PlanKey {
        self.push_of("default", text).await
    }

    /// The same for a tenant.
    pub(crate) async fn push_of(&self, tenant: &str, text: &str) -> PlanKey {
        let document = Document {
            digest: digest(text),
            name: "test".into(),
            text: text.into(),
            has_secrets: text.contains("value_type: secret"),
            pushed_at: SystemClock::new().now(),
        };
        self.store.push(&tenant.into(), &document).await.unwrap();
        PlanKey { workflow: document.digest, ..PlanKey::default() }
    }

    /// Submits a run as an API would; it is accepted when this returns.
    pub(crate) async fn submit(&self, plan: &PlanKey, inputs: &[(&str, Value)]) -> Name {
        let dispatch = Dispatch::Fragments;
        let options = Options { task_timeout_ms: 60_000, dispatch, ..Options::default() };
        self.submit_with(plan, inputs, options).await
    }

    pub(crate) async fn submit_with(
        &self,
        plan: &PlanKey,
        inputs: &[(&str, Value)],
        options: Options,
    ) -> Name {
        self.accept(plan, inputs, options, Duration::from_hours(24)).await
    }

    /// Submits a run that must begin within this time.
    pub(crate) async fn submit_until(&self, plan: &PlanKey, wait: Duration) -> Name {
        self.accept(plan, &[], Options::default(), wait).await
    }

    async fn accept(
        &self,
        plan: &PlanKey,
        inputs: &[(&str, Value)],
        options: Options,
        wait: Duration,
    ) -> Name {
        let named = |(name, value): &(&str, Value)| (Name::from(*name), value.clone());
        let inputs = inputs.iter().map(named).collect();
        self.begin(plan, Start { inputs, options, ..Start::default() }, wait).await
    }

    /// Submits a run that begins with all of this; it gets an id.
    pub(crate) async fn begin(&self, plan: &PlanKey, start: Start, wait: Duration) -> Name {
        let run: Name = Uuid::now_v7().to_string().as_str().into();
        let shard = Shard::of(&run, SHARDS);
        let start = Start { run: run.clone(), workflow: plan.workflow.clone(), ..start };
        let submission = Submission {
            tenant: "default".into(),
            shard,
            plan: plan.clone(),
            start,
            wake_at: SystemClock::new().now().after(wait),
            key: None,
            turn: None,
            attached: Attached::default(),
        };
        assert_eq!(self.store.submit(&[submission]).await.unwrap(), [Accepted::New]);
        self.pokes.answer(shard, Delivery::Poke { run: run.clone() }).await.unwrap();
        run
    }

    /// Submits runs of a tenant together.
    pub(crate) async fn submit_of(&self, tenant: &str, plan: &PlanKey, count: usize) -> Vec<Name> {
        let wake_at = SystemClock::new().now().after(Duration::from_hours(24));
        let new = |_| {
            let run: Name = Uuid::now_v7().to_string().as_str().into();
            let workflow = plan.workflow.clone();
            Submission {
                tenant: tenant.into(),
                shard: Shard::of(&run, SHARDS),
                plan: plan.clone(),
                start: Start { run, workflow, ..Start::default() },
                wake_at,
                key: None,
                turn: None,
                attached: Attached::default(),
            }
        };
        let submissions: Vec<Submission> = (0..count).map(new).collect();
        self.store.submit(&submissions).await.unwrap();
        let runs: Vec<Name> =
            submissions.into_iter().map(|submission| submission.start.run).collect();
        // one for each shard says it all
        let shards: BTreeMap<Shard, &Name> =
            runs.iter().map(|run| (Shard::of(run, SHARDS), run)).collect();
        for (shard, run) in shards {
            self.pokes.answer(shard, Delivery::Poke { run: run.clone() }).await.unwrap();
        }
        runs
    }

    /// The status of a tenant's run; None while it is queued.
    pub(crate) async fn status_of(&self, tenant: &str, run: &Name) -> Option<Status> {
        self.store.run(&tenant.into(), run).await.unwrap().unwrap().status
    }

    /// Sets a share.
    pub(crate) async fn limit(&self, tenant: &str, party: &Party, share: &Share) {
        self.store.set_share(&tenant.into(), party, Some(share)).await.unwrap();
    }

    /// How many runs of a tenant began.
    pub(crate) async fn begun(&self, tenant: &str) -> usize {
        self.count("SELECT count(*) FROM runs WHERE tenant = $1 AND status IS NOT NULL", tenant)
            .await
    }

    /// How many of them ended.
    pub(crate) async fn ended(&self, tenant: &str) -> usize {
        self.count(
            "SELECT count(*) FROM runs WHERE tenant = $1 AND finished_at IS NOT NULL",
            tenant,
        )
        .await
    }

    /// How many schedulers have shards.
    pub(crate) async fn owners(&self) -> usize {
        self.count("SELECT count(DISTINCT owner) FROM leases WHERE owner <> $1", "").await
    }

    async fn count(&self, sql: &'static str, of: &str) -> usize {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let count = sqlx::query_scalar::<_, i64>(sql).bind(of).fetch_one(&mut connection).await;
        usize::try_from(count.unwrap()).unwrap()
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what} did not come");
    }

    /// All rows of all tables, as the server writes them; bytes as hexadecimal digits.
    pub(crate) async fn dump(&self) -> String {
        const DUMP: &str = "
            SELECT string_agg(query_to_xml(
                format('SELECT * FROM %I.%I', schemaname, tablename), true, false, '')::text, '')
            FROM pg_tables WHERE schemaname = current_schema()";
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::raw_sql("SET xmlbinary = hex").execute(&mut connection).await.unwrap();
        sqlx::query_scalar::<_, String>(DUMP).fetch_one(&mut connection).await.unwrap()
    }

    /// How many payloads there are.
    pub(crate) async fn payloads(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM payloads");
        count.fetch_one(&mut connection).await.unwrap()
    }

    /// A run's status; None while it is queued.
    pub(crate) async fn status(&self, run: &Name) -> Option<Status> {
        self.store.run(&"default".into(), run).await.unwrap().unwrap().status
    }

    /// How often a task of a run came back so far.
    pub(crate) async fn returned(&self, run: &Name) -> usize {
        let read = self.store.facts(&"default".into(), run, 0).await.unwrap().unwrap();
        let came_back = |fact: &&Fact| matches!(fact.event, Event::TaskReturned { .. });
        read.1.iter().filter(came_back).count()
    }

    /// Changes what is kept of a run behind everybody's back.
    pub(crate) async fn meddle(&self, sql: &'static str, run: &Name) {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::query(sql).bind(&**run).execute(&mut connection).await.unwrap();
    }

    /// All facts of a run when it has ended.
    pub(crate) async fn story(&self, run: &Name) -> Vec<Fact> {
        self.until("a run's end", async || {
            let status = self.status(run).await;
            !matches!(status, None | Some(Status::Running | Status::Paused))
        })
        .await;
        let (_, facts) = self.store.facts(&"default".into(), run, 0).await.unwrap().unwrap();
        let seqs: Vec<u64> = facts.iter().map(|fact| fact.seq).collect();
        assert_eq!(seqs, (1..=facts.len() as u64).collect::<Vec<_>>());
        facts
    }

    /// A run when it has ended.
    pub(crate) async fn end(&self, run: &Name) -> Ended {
        let facts = self.story(run).await;
        let mut attempts = BTreeMap::new();
        let mut returned = 0;
        let mut tasks = 0;
        let mut ends = Vec::new();
        for fact in facts {
            match fact.event {
                Event::NodeSucceeded(node) => {
                    *attempts.entry(format!("{}{}", node.frame, node.node)).or_default() += 1;
                }
                Event::NodeFailed(node) => {
                    *attempts.entry(format!("{}{}", node.frame, node.node)).or_default() += 1;
                }
                Event::TaskReturned { .. } => returned += 1,
                Event::TaskDispatched(_) => tasks += 1,
                Event::RunFinished(finished) => ends.push(finished),
                _ => {}
            }
        }
        let [end] = &ends[..] else { panic!("{} ends", ends.len()) };
        let shown = |(name, value): &(Name, Value)| (name.to_string(), value.to_python());
        let outputs = end.outputs.iter().map(shown).collect();
        let errors = end.errors.iter().map(|error| error.error_type.to_string()).collect();
        let RunFinished { status, reason, error, .. } = (**end).clone();
        Ended { status, outputs, tasks, attempts, returned, reason, error, errors }
    }

    /// Removes what is ours.
    pub(crate) async fn leave(self) {
        let base = self.database.url.split("options=").next().unwrap().to_owned();
        let mut connection =
            PgConnection::connect(base.trim_end_matches(['?', '&'])).await.unwrap();
        let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
        let Self { broker, pokes, _silent: silent, .. } = self;
        std::mem::drop((pokes, silent));
        rabbitmq::remove(&broker, SHARDS).await.unwrap();
    }
}

impl Owner {
    /// It stops as it should.
    pub(crate) async fn stop(mut self) {
        self.handle.take();
        assert!(tokio::time::timeout(PATIENCE, &mut self.service).await.is_ok(), "it stays");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.letters.abort();
        self.service.abort();
    }
}

impl Hand {
    /// It is told to stop, as by an operator.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        assert!(tokio::time::timeout(PATIENCE, &mut self.service).await.is_ok(), "it stays");
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.service.abort();
    }
}

/// A document of these nodes and edges.
pub(crate) fn document(nodes: &[&str], edges: &[&str]) -> String {
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: test, mode: workflow}}, workflow: {{graph: {{nodes: [{}], edges: [{}]}}}}}}",
        nodes.join(", "),
        edges.join(", "),
    )
}
