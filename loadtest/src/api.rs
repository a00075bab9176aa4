//! A cluster, as `docs/api.md` has it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, RequestBuilder, header};
use serde_json::{Value, from_slice, json};

use crate::flags::Mode;

/// How long an answer may take; a wait for a run's end is shorter, a large batch takes long.
const ANSWER: Duration = Duration::from_mins(5);

/// A cluster's schedulers.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    servers: Vec<String>,
    /// Who is asked next.
    turn: AtomicUsize,
    key: Option<String>,
}

impl Api {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When an address is none.
    pub(crate) fn new(servers: &[String], key: Option<&str>) -> anyhow::Result<Self> {
        // whoever came first has chosen; there is one only
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(ANSWER).build();
        let client = client.context("failed to make an HTTP client")?;
        let servers: Vec<String> =
            servers.iter().map(|server| server.trim_end_matches('/').to_owned()).collect();
        if let Some(server) = servers.iter().find(|server| !server.contains("://")) {
            bail!("{server:?} is no address of a server: write it as http://host:port");
        }
        Ok(Self { client, servers, turn: AtomicUsize::new(0), key: key.map(str::to_owned) })
    }

    fn url(&self, path: &str) -> String {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        format!("{}/api/v1/{path}", self.servers[turn % self.servers.len()])
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.context("the server does not answer")?;
        let (status, url) = (response.status(), response.url().clone());
        let body = response.bytes().await.context("an answer broke off")?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        from_slice(&body).with_context(|| format!("what {url} answered is no JSON"))
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.client.get(self.url(path))).await
    }

    async fn post(&self, path: &str, kind: &str, body: String) -> anyhow::Result<Value> {
        let request = self.client.post(self.url(path)).header(header::CONTENT_TYPE, kind);
        self.answer(request.body(body)).await
    }

    /// Makes a document known; gives its digest.
    pub(crate) async fn push(&self, document: &str) -> anyhow::Result<String> {
        let version = self.post("workflows", "application/yaml", document.to_owned()).await?;
        text(&version, "id").context("failed to push a workflow")
    }

    /// Has an address told of all runs that succeed; gives the endpoint's id.
    pub(crate) async fn tell(&self, url: &str) -> anyhow::Result<String> {
        let endpoint = json!({"url": url, "events": ["run.succeeded"]}).to_string();
        let added = self.post("webhooks/endpoints", "application/json", endpoint).await?;
        text(&added, "id").context("failed to add an endpoint")
    }

    /// An endpoint is told of nothing any more.
    pub(crate) async fn tell_no_more(&self, endpoint: &str) -> anyhow::Result<()> {
        let path = format!("webhooks/endpoints/{endpoint}");
        self.answer(self.client.delete(self.url(&path))).await.map(drop)
    }

    /// Submits a run; gives its id.
    pub(crate) async fn submit(&self, submission: &Value) -> anyhow::Result<String> {
        let run = self.post("runs", "application/json", submission.to_string()).await?;
        text(&run, "id")
    }

    /// Waits for a run's end.
    ///
    /// # Errors
    /// When it does not succeed, or not within half a minute.
    pub(crate) async fn ended(&self, run: &str) -> anyhow::Result<Value> {
        let ended = self.get(&format!("runs/{run}?wait=30s")).await?;
        if ended["status"] != "succeeded" {
            bail!("run {run} did not succeed: {ended}");
        }
        Ok(ended)
    }

    /// Submits runs as one batch, all with the same inputs; gives its id.
    pub(crate) async fn batch(
        &self,
        workflow: &str,
        mode: Mode,
        inputs: &Value,
        runs: usize,
        concurrency: usize,
    ) -> anyhow::Result<String> {
        let lines = format!("{}\n", json!({"inputs": inputs})).repeat(runs);
        let path = format!("batches?workflow={workflow}&dispatch={mode}&concurrency={concurrency}");
        text(&self.post(&path, "application/jsonl", lines).await?, "id")
    }
}

/// A member that is a text.
pub(crate) fn text(object: &Value, member: &str) -> anyhow::Result<String> {
    let text = object[member].as_str().map(str::to_owned);
    text.with_context(|| format!("the answer has no {member}: {object}"))
}
