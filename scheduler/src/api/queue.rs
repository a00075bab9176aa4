//! Runs that are submitted by messages: the same way in as over HTTP, with a broker before it.
//!
//! A message is settled once its run is durable, or it lies among the dead letters with the reason.
//! While the store is away nothing is taken: the queue keeps what comes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::submissions::{Refusal, SubmissionConsumer, SubmissionReceipt, Submitted};
use flowmill_infra::tenants::DEFAULT_TENANT;
use flowmill_workflow::digest;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use super::access::Session;
use super::announce::EndsHeard;
use super::entries::Entry;
use super::problem::{Code, Problem};
use super::submit::{accept, key_of};
use super::{Api, ApiStore, batches};

/// What a message may say it is, if it says so.
const KIND: &str = "flowmill.submit.v1";

/// What it says if it is a batch.
const BATCH: &str = "flowmill.batch.v1";

/// The header of a place in a trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Who wants what a message asks for.
const PUBLISHER: &str = "queue";

/// The waits before a store that was away is asked again; the last repeats.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How runs are taken from the queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// The most messages that are dealt with at a time; what is durable at the same time shares a
    /// transaction.
    pub at_once: usize,
    /// Whether the same body without a `message_id` is the same run.
    pub key_from_body: bool,
}

/// The way in for submissions that do not come over HTTP.
#[derive(Debug)]
pub struct Acceptor<S>(Arc<Api<S>>);

impl<S> Clone for Acceptor<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Acceptor<S> {
    pub(super) fn of(api: &Arc<Api<S>>) -> Self {
        Self(api.clone())
    }

    pub(super) fn api(&self) -> &Arc<Api<S>> {
        &self.0
    }

    /// Where it is told that runs ended, so that whoever waits for one hears of it at once.
    pub fn ends(&self) -> EndsHeard {
        EndsHeard(self.0.ends.clone())
    }

    /// What is notified when a batch ended in this process.
    pub fn batch_ends(&self) -> Arc<Notify> {
        self.0.feeding.ends()
    }
}

impl<S: ApiStore> Acceptor<S> {
    /// Makes durable what a message asks for: a run, or a batch. Answers what its submitter is told.
    async fn take(&self, message: &Submitted, key_from_body: bool) -> Result<Value, Problem> {
        is_understood(message)?;
        let api = self.session(message).await?;
        let most = self.0.settings.submission_bytes;
        if message.body.len() > most {
            let detail = format!("it has {} bytes; at most {most} are taken", message.body.len());
            return Err(Problem::new(Code::TooLarge, detail));
        }
        let named = match &message.message_id {
            Some(id) => Some(key_of("message_id", id)?),
            None => None,
        };
        if message.kind.as_deref() == Some(BATCH) {
            let query = message.batch.as_deref().unwrap_or_default();
            let kind = message.content_type.as_deref().unwrap_or("application/jsonl");
            return batches::take(&api, query, named, kind, &message.body).await;
        }
        let body = std::str::from_utf8(&message.body)
            .map_err(|_| Problem::new(Code::InvalidBody, "it is not UTF-8 text"))?;
        let key = named.or_else(|| key_from_body.then(|| key_of_body(message, body)));
        let trace = message.traceparent.as_deref().map(HeaderValue::from_str);
        let trace = trace.and_then(Result::ok).map(|trace| (TRACEPARENT, trace));
        let headers: HeaderMap = trace.into_iter().collect();
        let taken = accept(&api, body, key, &headers).await;
        api.entries.note(Entry::Queue, &taken);
        Ok(taken?.shown())
    }

    /// For whom a message is: whoever may publish is believed.
    async fn session(&self, message: &Submitted) -> Result<Session<Api<S>>, Problem> {
        let tenant = message.tenant.clone().unwrap_or_else(|| DEFAULT_TENANT.into());
        if !self.0.guard.knows(&tenant).await? {
            return Err(Problem::no_tenant(&tenant));
        }
        Ok(Session::of(self.0.clone(), tenant, PUBLISHER))
    }

    /// Whether the store answers.
    async fn is_there(&self) -> bool {
        // the one that nobody has will do
        let nobodys = [Name::from("")];
        match self.0.store.versions(&DEFAULT_TENANT.into(), &nobodys).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "no submissions are taken from the queue yet");
                false
            }
        }
    }
}

/// Whether a message says of itself what can be understood.
fn is_understood(message: &Submitted) -> Result<(), Problem> {
    let unsupported = |what: &str, found: &str, known: &str| {
        let detail = format!("its {what} is {found:?}; {known}");
        Err(Problem::new(Code::UnsupportedType, detail))
    };
    let is_known = |kind: &&str| [KIND, BATCH].contains(kind);
    if let Some(kind) = message.kind.as_deref().filter(|kind| !is_known(kind)) {
        let known = format!("this release takes {KIND:?}, {BATCH:?}, or none");
        return unsupported("type", kind, &known);
    }
    let is_batch = message.kind.as_deref() == Some(BATCH);
    let essence = |kind: &str| kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    let is_json = |kind: &&str| essence(kind) == "application/json";
    let odd = |kind: &&str| !is_batch && !is_json(kind);
    if let Some(kind) = message.content_type.as_deref().filter(odd) {
        return unsupported("content type", kind, "it must be application/json, or none");
    }
    let is_plain = |packed: &&str| ["utf-8", "utf8", "identity"].contains(&&*essence(packed));
    if let Some(packed) = message.content_encoding.as_deref().filter(|packed| !is_plain(packed)) {
        return unsupported("content encoding", packed, "it must be plain text");
    }
    Ok(())
}

/// What the same body in the same queue is called.
fn key_of_body(message: &Submitted, body: &str) -> Name {
    format!("{}:{}", message.queue, digest(body)).into()
}

/// What became of a message.
enum End {
    /// It is settled.
    Settled,
    /// It is the broker's still: the store is away.
    Left,
}

/// Takes submissions from the queue until it is told to stop, or the broker can never be used; what
/// is in hand then is dealt with.
pub async fn take_from_queue<Q, S>(
    mut queue: Q,
    acceptor: Acceptor<S>,
    settings: QueueSettings,
    stop: impl Future<Output = ()> + Send,
) where
    Q: SubmissionConsumer,
    S: ApiStore,
{
    let mut stop = std::pin::pin!(stop);
    let mut held: JoinSet<End> = JoinSet::new();
    let mut patience = Patience::default();
    loop {
        let has_room = held.len() < settings.at_once.max(1);
        let is_away = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = held.join_next() => patience.note(&ended),
            message = queue.next(), if has_room => {
                let Some((message, receipt)) = message else { break };
                let acceptor = acceptor.clone();
                held.spawn(deal(acceptor, message, receipt, settings.key_from_body));
                false
            }
        };
        if !is_away {
            continue;
        }
        // what is durable by now is settled before the rest goes back
        while let Some(ended) = held.join_next().await {
            patience.note(&ended);
        }
        tracing::warn!("the store is away: no submissions are taken from the queue");
        queue.rest().await;
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = patience.wait(&acceptor) => {}
        }
        tracing::info!("submissions are taken from the queue again");
    }
    while held.join_next().await.is_some() {}
}

/// How long the store is left alone.
#[derive(Debug, Default)]
struct Patience {
    tries: usize,
}

impl Patience {
    /// Notes what became of a message; whether the store is away.
    fn note(&mut self, ended: &Result<End, JoinError>) -> bool {
        match ended {
            Ok(End::Settled) => {
                self.tries = 0;
                false
            }
            Ok(End::Left) => true,
            Err(error) => {
                // it is delivered again once we rest
                tracing::error!(%error, "a submission broke what dealt with it");
                true
            }
        }
    }

    /// Returns once the store answers.
    async fn wait<S: ApiStore>(&mut self, acceptor: &Acceptor<S>) {
        loop {
            let wait = PATIENCE[self.tries.min(PATIENCE.len() - 1)];
            self.tries += 1;
            tokio::time::sleep(wait).await;
            if acceptor.is_there().await {
                return;
            }
        }
    }
}

async fn deal<S: ApiStore, R: SubmissionReceipt>(
    acceptor: Acceptor<S>,
    message: Submitted,
    receipt: R,
    key_from_body: bool,
) -> End {
    match acceptor.take(&message, key_from_body).await {
        Ok(taken) => {
            let taken = dumps(&taken, Style::Finite);
            tracing::debug!(taken, "the queue was taken from");
            receipt.accept(taken.into_bytes()).await;
            End::Settled
        }
        Err(problem) if matches!(problem.code(), Code::Unavailable | Code::NotReady) => End::Left,
        Err(problem) => {
            let (code, reason) = (problem.code().name(), problem.detail().to_owned());
            let id = message.message_id.as_deref().unwrap_or_default();
            tracing::warn!(message.id = id, code, %reason, "a submission is refused");
            let refusal = Refusal { code, reason };
            receipt.refuse(refusal, problem.written().into_bytes()).await;
            End::Settled
        }
    }
}
