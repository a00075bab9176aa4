//! How many runs a second a cluster begins and ends, as whoever submits them sees it.
//!
//!     cargo run --release -p flowmill-scheduler --features service --example load -- \
//!         http://127.0.0.1:8080 WORKFLOW '{"name": "Ada"}' 10000 32
//!
//! With 0 callers one run after the other is submitted and waited for. Nothing else may run there.

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flowmill_nodes::outbound::install_tls_provider;
use reqwest::Client;
use serde_json::{Value, json};

/// How often the server is asked whether runs are left.
const LOOK: Duration = Duration::from_millis(250);

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [server, workflow, inputs, runs, callers] = given.as_slice() else {
        return Err("say SERVER WORKFLOW INPUTS RUNS CALLERS".into());
    };
    let inputs: Value = serde_json::from_str(inputs)?;
    let body = json!({"workflow": workflow, "inputs": inputs}).to_string();
    install_tls_provider();
    let client = Client::builder().no_proxy().build()?;
    let api = Arc::new(Api { client, url: format!("{server}/api/v1/runs"), body });
    let (runs, callers) = (runs.parse()?, callers.parse()?);
    if callers == 0 { one_by_one(&api, runs).await } else { all_at_once(api, runs, callers).await }
}

/// A server's runs.
struct Api {
    client: Client,
    url: String,
    /// What is submitted.
    body: String,
}

impl Api {
    /// Submits a run and tells its id.
    async fn submit(&self) -> Result<String, Failed> {
        let response = self.client.post(&self.url).body(self.body.clone()).send().await?;
        let run: Value = serde_json::from_slice(&response.error_for_status()?.bytes().await?)?;
        Ok(run["id"].as_str().ok_or("the run has no id")?.to_owned())
    }

    async fn get(&self, rest: &str) -> Result<Value, Failed> {
        let response = self.client.get(format!("{}{rest}", self.url)).send().await?;
        Ok(serde_json::from_slice(&response.error_for_status()?.bytes().await?)?)
    }

    /// Whether runs have a status.
    async fn any(&self, status: &str) -> Result<bool, Failed> {
        let page = self.get(&format!("?status={status}&limit=1")).await?;
        Ok(page["data"].as_array().is_some_and(|runs| !runs.is_empty()))
    }
}

async fn one_by_one(api: &Api, runs: usize) -> Result<(), Failed> {
    let mut took = Vec::with_capacity(runs);
    for _ in 0..runs {
        let began = Instant::now();
        let run = api.submit().await?;
        let ended = api.get(&format!("/{run}?wait=30s")).await?;
        if ended["status"] != "succeeded" {
            return Err(format!("run {run} did not succeed: {ended}").into());
        }
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let part = |hundredths: usize| took.get(took.len() * hundredths / 100).copied();
    let part = |hundredths| part(hundredths).unwrap_or_default();
    println!("p50 {:.1?}, p95 {:.1?}, p99 {:.1?}", part(50), part(95), part(99));
    Ok(())
}

async fn all_at_once(api: Arc<Api>, runs: usize, callers: usize) -> Result<(), Failed> {
    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (api, next) = (api.clone(), next.clone());
            tokio::spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < runs {
                    api.submit().await?;
                }
                Ok::<_, Failed>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    say("accepted", runs, began);
    while api.any("queued").await? || api.any("running").await? {
        tokio::time::sleep(LOOK).await;
    }
    say("ended", runs, began);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "numbers of runs are small")]
fn say(what: &str, runs: usize, began: Instant) {
    let took = began.elapsed();
    println!("{what}: {runs} in {took:.1?}, {:.0} a second", runs as f64 / took.as_secs_f64());
}
