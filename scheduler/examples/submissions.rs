//! How many runs a second the API accepts: callers on connections of their own submit as fast as they
//! are answered. Nobody runs what is submitted.
//!
//!     cargo run --release -p flowmill-scheduler --features service --example submissions -- 1 32

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_infra::memory::{MemoryBroker, MemoryLive};
use flowmill_infra::postgres::{self, PostgresStore};
use flowmill_nodes::outbound::install_tls_provider;
use flowmill_scheduler::api::{Settings, router};
use flowmill_workflow::Workflows;
use reqwest::Client;
use tokio::net::TcpListener;

const SHARDS: u16 = 16;
const SCHEMA: &str = "flowmill_submissions";
const LASTS: Duration = Duration::from_secs(5);

const DOCUMENT: &str = "{kind: app, version: 0.6.0, app: {name: hello, mode: workflow}, workflow: {graph: {
    nodes: [{id: s, data: {type: start, title: S, variables: [{variable: who, label: Who, type: text-input, required: true}]}},
        {id: e, data: {type: end, title: E, outputs: [{variable: who, value_selector: [s, who]}]}}],
    edges: [{source: s, target: e}]}}}";

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let database = std::env::var("FLOWMILL_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned()
    });
    postgres::remove_schema(&database, SCHEMA).await?;
    let url = postgres::make_schema(&database, SCHEMA).await?;
    postgres::migrate(&url, SHARDS).await?;
    let measured = measure(url).await;
    postgres::remove_schema(&database, SCHEMA).await?;
    measured
}

async fn measure(url: String) -> Result<(), Failed> {
    let store = Arc::new(PostgresStore::open(&postgres::Settings::of(url)).await?);
    let workflows = Arc::new(Workflows::new(store.clone()));
    // whoever would be told has gone
    let (_, _, _, nobody) = MemoryBroker::new();
    let (router, background) =
        router(store, workflows, nobody, MemoryLive::default(), Settings::new(SHARDS));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let base = format!("http://{}/api/v1", listener.local_addr()?);
    let serving = tokio::spawn(async { axum::serve(listener, router).await });
    install_tls_provider();
    let client = Client::builder().no_proxy().build()?;
    let pushed = client.post(format!("{base}/workflows")).body(DOCUMENT).send().await?;
    pushed.error_for_status()?;
    let given = std::env::args().skip(1).map(|given| given.parse::<usize>());
    let given: Vec<usize> = given.collect::<Result<_, _>>()?;
    for callers in if given.is_empty() { vec![1, 8, 32, 128] } else { given } {
        let (count, worst) = load(&client, &format!("{base}/runs"), callers).await?;
        let rate = f64::from(count) / LASTS.as_secs_f64();
        println!("{callers} callers: {rate:.0} a second, the slowest {worst:.0?}");
    }
    serving.abort();
    // what was served last is dropped with it
    let _ = serving.await;
    background.ended().await;
    Ok(())
}

/// How many were accepted, and the longest time that one took.
async fn load(client: &Client, url: &str, callers: usize) -> Result<(u32, Duration), Failed> {
    let until = Instant::now() + LASTS;
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move {
                let (mut count, mut worst) = (0, Duration::ZERO);
                while Instant::now() < until {
                    let began = Instant::now();
                    let body = r#"{"workflow": "hello", "inputs": {"who": "Ada"}}"#;
                    let response = client.post(&url).body(body).send().await?;
                    response.error_for_status()?.bytes().await?;
                    worst = worst.max(began.elapsed());
                    count += 1;
                }
                Ok::<_, reqwest::Error>((count, worst))
            })
        })
        .collect();
    let (mut count, mut worst) = (0, Duration::ZERO);
    for caller in callers {
        let (its, slowest) = caller.await??;
        count += its;
        worst = worst.max(slowest);
    }
    Ok((count, worst))
}
