//! How long what happens takes to reach those who watch: many readers of a few runs, on connections of
//! their own, over the live feed in Redis. Facts come as from a scheduler, one of each run after the time that is given;
//! readers, API and scheduler share this process, so its processors are all there is.
//!
//!     cargo run --release -p flowmill-scheduler --features service --example watchers -- 1000 10 1000

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowmill_engine::fact::Fact;
use flowmill_engine::run::{Input, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::intake::{Attached, Document, Intake as _, Submission};
use flowmill_infra::live::{Event, Live};
use flowmill_infra::memory::{MemoryBroker, SharedStore};
use flowmill_infra::message::{PlanKey, Shard};
use flowmill_infra::program::Memory;
use flowmill_infra::seal::Keys;
use flowmill_infra::store::{Commit, Standing, Store as _};
use flowmill_nodes::mock::Mocks;
use flowmill_nodes::outbound::install_tls_provider;
use flowmill_scheduler::api::{Settings, router};
use flowmill_workflow::{Reading, Workflow, Workflows, load};
use reqwest::Client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Nodes of each run.
const NODES: usize = 50;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let given = std::env::args().skip(1).map(|given| given.parse::<usize>());
    let given: Vec<usize> = given.collect::<Result<_, _>>()?;
    let [readers, runs, pace_ms] = given.as_slice() else {
        return Err("say READERS RUNS MILLISECONDS".into());
    };
    let pace = Duration::from_millis(*pace_ms as u64);
    let server = std::env::var("FLOWMILL_TEST_REDIS");
    let server = server.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let prefix = format!("watchers-{}", Uuid::now_v7());
    let redis =
        Memory { url: Some(server.as_str().into()), ca: None, certificate: None, key: None }
            .open(&prefix)?;
    let store = Arc::new(SharedStore::new(1, Duration::from_secs(10)));
    let workflows = Arc::new(Workflows::new(store.clone()));
    let (_, _, _, nobody) = MemoryBroker::new();
    let watched = redis.subscriptions(Keys::default());
    let (router, background) = router(store.clone(), workflows, nobody, watched, Settings::new(1));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let base = format!("http://{}/api/v1/runs", listener.local_addr()?);
    let serving = tokio::spawn(async { axum::serve(listener, router).await });
    let workflow = Arc::new(load(&document(), Reading::default(), Mocks::default())?);
    let live = redis.live(Keys::default());
    let mut told = JoinSet::new();
    let mut ids = Vec::new();
    for _ in 0..*runs {
        ids.push(submit(&store, &workflow).await?);
    }
    install_tls_provider();
    let client = Client::builder().no_proxy().build()?;
    for (run, _) in ids.iter().cycle().take(*readers) {
        told.spawn(read(client.clone(), format!("{base}/{run}/events")));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (run, facts) in ids {
        told.spawn(tell(store.clone(), live.clone(), workflow.clone(), run, facts, pace));
    }
    let mut latencies = Vec::new();
    while let Some(some) = told.join_next().await {
        latencies.extend(some??);
    }
    latencies.sort_by(f64::total_cmp);
    let at = |part: usize| latencies.get(latencies.len() * part / 1000).copied().unwrap_or(0.0);
    println!(
        "{readers} readers of {runs} runs, {} events, median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        latencies.len(),
        at(500) * 1000.0,
        at(990) * 1000.0,
        latencies.last().copied().unwrap_or(0.0) * 1000.0,
    );
    serving.abort();
    drop(background);
    Ok(())
}

fn document() -> String {
    let node = |at: usize| {
        format!(
            "{{id: t{at}, data: {{type: template-transform, title: T, template: x, variables: []}}}}, "
        )
    };
    let nodes: String = (0..NODES).map(node).collect();
    let edge = |at: usize| format!("{{source: t{}, target: t{at}}}, ", at - 1);
    let edges: String = (1..NODES).map(edge).collect();
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: w, mode: workflow}}, workflow: {{graph: {{
        nodes: [{nodes}{{id: s, data: {{type: start, title: S, variables: []}}}}],
        edges: [{edges}{{source: s, target: t0}}]}}}}}}"
    )
}

/// A run that is accepted, with all its facts.
async fn submit(store: &SharedStore, workflow: &Workflow) -> Result<(Name, Vec<Fact>), Failed> {
    let (tenant, run) = (Name::from("default"), Name::from(Uuid::now_v7().to_string()));
    let document = Document {
        digest: workflow.digest.clone(),
        name: "w".into(),
        text: workflow.text.clone(),
        has_secrets: false,
        pushed_at: Time(1),
    };
    store.push(&tenant, &document).await?;
    let workflow_digest = workflow.digest.clone();
    let start = Start { run: run.clone(), workflow: workflow_digest, ..Start::default() };
    let (mut told, mut facts) = Run::start(workflow.plan.clone(), start.clone(), Time(1));
    while told.outcome().is_none() {
        facts.extend(told.apply(Time(1), Input::Tick).map_err(|error| format!("{error:?}"))?);
    }
    let plan = PlanKey { workflow: workflow.digest.clone(), ..PlanKey::default() };
    let wake_at = Time(u64::MAX >> 2);
    let (key, turn) = (None, None);
    let (shard, attached) = (Shard(0), Attached::default());
    let submission = Submission { tenant, shard, plan, start, wake_at, key, turn, attached };
    store.submit(&[submission]).await?;
    Ok((run, facts))
}

/// Commits and shows one fact after the other, each as of now.
async fn tell(
    store: Arc<SharedStore>,
    live: impl Live,
    workflow: Arc<Workflow>,
    run: Name,
    facts: Vec<Fact>,
    pace: Duration,
) -> Result<Vec<f64>, Failed> {
    for fact in facts {
        tokio::time::sleep(pace).await;
        let facts: Arc<[Fact]> = Arc::from([Fact { at: now(), ..fact }]);
        let standing = Standing { wake_at: Some(Time(u64::MAX >> 2)), ..Standing::default() };
        let (plan, shown) = (workflow.plan.clone(), facts.clone());
        let commit = Commit { run: run.clone(), plan, facts, standing };
        store.commit(&vec![commit].into()).await?;
        live.publish(&run, Event::Facts(shown)).await;
    }
    Ok(Vec::new())
}

/// How long each end of a node took to come, in seconds.
async fn read(client: Client, url: String) -> Result<Vec<f64>, Failed> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let (mut latencies, mut rest) = (Vec::new(), Vec::new());
    while let Some(bytes) = response.chunk().await? {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Some(event) = line.strip_prefix(b"data: ") else { continue };
            let event: Value = serde_json::from_slice(event)?;
            if event["event"] == "node_finished"
                && let Some(at) = event["data"]["finished_at"].as_f64()
            {
                latencies.push(seconds(now()) - at);
            }
        }
    }
    Ok(latencies)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "exact for the next two hundred years")]
fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1_000_000.0
}
