//! All models of a services file behind one contract: finds who is asked, waits for limits, asks,
//! and turns to others where that is wanted.
//!
//! A provider that asks for fewer calls is no error of the node: the call waits and goes again. Once
//! a piece of an answer was handed on, nobody else is asked any more: whoever reads it has it.

mod admission;
mod budget;
mod row;
mod span;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tracing::Instrument as _;

use super::clients::{ClientError, Clients};
use super::limits::{Cost, Limiter, Outcome, Standing};
use super::{
    Ask, Called, Embeddings, ErrorKind, Known, Mode, ModelError, ModelWatch, Models, Offer,
    OnPiece, Piece, Ranked, Reply, Routes, Usage, WaitingCall, Wanted,
};
use crate::caller::Caller;
use admission::Admitted;
use row::{Obstacle, Row};
use span::{note, span};

/// The models of a services file.
#[derive(Debug)]
pub struct Gateway {
    routes: Routes,
    clients: Clients,
    limiter: Arc<dyn Limiter>,
    /// Where calls of one key wait in this process, each behind the other.
    turns: Mutex<HashMap<Name, Arc<Turn>>>,
    /// Those that wait.
    row: Row,
    /// Who hears of calls, if anybody does.
    watch: Option<Arc<dyn ModelWatch>>,
}

/// Where calls of one key wait.
#[derive(Debug, Default)]
struct Turn {
    /// Whoever holds it is asked for next.
    first: tokio::sync::Mutex<()>,
    /// A call ended.
    ended: Notify,
    /// What stands in the way of whoever is first, and so of all others.
    obstacle: Mutex<Option<Obstacle>>,
}

impl Turn {
    fn obstacle(&self) -> Option<Obstacle> {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_held_by(&self, obstacle: Option<Obstacle>) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }
}

impl Gateway {
    /// Models behind limits. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`ClientError`] when a provider can never be connected to.
    pub fn new(routes: Routes, limiter: Arc<dyn Limiter>) -> Result<Self, ClientError> {
        let providers = routes.providers().iter().map(|provider| &**provider);
        let clients = Clients::new(providers, routes.config().times)?;
        let (turns, row) = (Mutex::default(), Row::default());
        Ok(Self { routes, clients, limiter, turns, row, watch: None })
    }

    /// The same; this one hears of its calls.
    #[must_use]
    pub fn watched_by(self, watch: Option<Arc<dyn ModelWatch>>) -> Self {
        Self { watch, ..self }
    }

    /// Who answers what.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// How offers stand: whether they cool or are left alone.
    pub async fn standing(&self, offer: &Offer) -> Standing {
        let keys: Vec<Name> =
            admission::keys(offer).into_iter().map(|limited| limited.key).collect();
        self.limiter.standing(&keys).await.first().copied().unwrap_or_default()
    }

    fn turn(&self, key: &Name) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(key.clone()).or_default().clone()
    }

    /// Asks those of a chain in turns until one answers.
    async fn chain<'a, T>(
        &'a self,
        offers: &'a [&'a Offer],
        call: &'a Call<'a>,
        ask: impl Fn(&'a Offer) -> BoxFuture<'a, Result<(T, Usage), ModelError>>,
    ) -> Result<T, ModelError> {
        let mut last = None;
        for (place, offer) in offers.iter().enumerate() {
            let is_last = place + 1 == offers.len();
            match self.one(offer, call, is_last, || ask(offer)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_last || !call.may_go_on(error.kind) => return Err(error),
                Err(error) => {
                    let next = &offers[place + 1];
                    tracing::warn!(
                        node.id = &*call.caller.node,
                        run.id = &*call.caller.run,
                        from = &*offer.provider.name,
                        to = &*next.provider.name,
                        model = &*next.name,
                        %error,
                        "another model is asked"
                    );
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| ModelError::new(ErrorKind::NotMapped, "nobody is asked")))
    }

    /// Asks one until it answers or fails. Being asked for fewer calls is neither.
    async fn one<'a, T>(
        &'a self,
        offer: &'a Offer,
        call: &'a Call<'a>,
        is_last: bool,
        ask: impl Fn() -> BoxFuture<'a, Result<(T, Usage), ModelError>>,
    ) -> Result<T, ModelError> {
        let waited = tokio::time::Instant::now();
        loop {
            let asked = tokio::time::Instant::now();
            let admitted = self.admit(offer, call, is_last, waited).await;
            self.note_wait(offer, asked.elapsed());
            let mut admitted = admitted?;
            // what is set aside from here on stays spent if the call is cut: it was asked
            let reserved = match self.reserve(offer, call).await {
                Ok(reserved) => reserved,
                Err(error) => {
                    admitted.settle(Outcome::Neither, 0).await;
                    return Err(error);
                }
            };
            let span = span(offer, call);
            let begun = tokio::time::Instant::now();
            let answer = ask().instrument(span.clone()).await;
            note(&span, &answer);
            let (outcome, cost) = judged(&answer, &admitted);
            let usage = answer.as_ref().ok().map(|(_, usage)| usage);
            self.note_call(offer, outcome, begun.elapsed(), usage);
            admitted.settle(outcome, cost.tokens).await;
            self.correct(&reserved, cost).await;
            if outcome == Outcome::Failed {
                self.tell(offer).await;
            }
            match answer {
                Ok((answer, _)) => return Ok(answer),
                Err(error) if error.kind == ErrorKind::RateLimited && !call.was_heard() => {
                    tracing::debug!(
                        node.id = &*call.caller.node,
                        provider = &*offer.provider.name,
                        retry_after = ?error.retry_after,
                        "the provider asks for fewer calls"
                    );
                    if !is_last {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn note_wait(&self, offer: &Offer, waited: Duration) {
        if let Some(watch) = &self.watch {
            watch.waited(&offer.provider.name, waited);
        }
    }

    fn note_call(&self, offer: &Offer, outcome: Outcome, took: Duration, usage: Option<&Usage>) {
        let Some(watch) = &self.watch else { return };
        let provider = &*offer.provider.name;
        let how = match outcome {
            Outcome::Answered => {
                // an answer ends whatever was before it
                watch.stands(provider, &Standing::default());
                Called::Answered
            }
            Outcome::Cooled(_) => Called::Limited,
            Outcome::Failed => Called::Failed,
            Outcome::Neither => Called::Refused,
        };
        watch.called(provider, how, took, usage);
    }

    fn note_standing(&self, offer: &Offer, standing: &Standing) {
        if let Some(watch) = &self.watch {
            watch.stands(&offer.provider.name, standing);
        }
    }

    /// Says that a provider is left alone from now on.
    async fn tell(&self, offer: &Offer) {
        let standing = self.standing(offer).await;
        self.note_standing(offer, &standing);
        let Standing { shut, failures, .. } = standing;
        if let Some(shut) = shut {
            let provider = &*offer.provider.name;
            tracing::warn!(
                provider,
                failures,
                ?shut,
                "the provider failed again and is left alone"
            );
        }
    }

    /// Asks all at the same time: the first good answer counts, and the others are cut.
    async fn race<'a>(
        &'a self,
        offers: Vec<&'a Offer>,
        call: &'a Call<'a>,
        (mode, ask): (Mode, &'a Ask),
    ) -> Result<Reply, ModelError> {
        let silent: OnPiece<'a> = &|_| {};
        let one = |offer: &'a Offer| async move {
            let asking = || self.asking(offer, (mode, ask), silent);
            (offer, self.one(offer, call, true, asking).await)
        };
        let mut running: FuturesUnordered<_> = offers.into_iter().map(one).collect();
        let (mut poor, mut error) = (None, None);
        while let Some((offer, answer)) = running.next().await {
            match answer {
                Ok(reply) if is_good(&reply) => {
                    tracing::debug!(
                        node.id = &*call.caller.node,
                        provider = &*offer.provider.name,
                        model = &*offer.name,
                        cut = running.len(),
                        "won the race"
                    );
                    return Ok(reply);
                }
                Ok(reply) => poor = Some(reply),
                Err(failure) => error = Some(failure),
            }
        }
        match (poor, error) {
            (Some(reply), _) => Ok(reply),
            (None, Some(error)) => Err(error),
            (None, None) => Err(ModelError::new(ErrorKind::NotMapped, "nobody is asked")),
        }
    }

    fn asking<'a>(
        &'a self,
        offer: &'a Offer,
        (mode, ask): (Mode, &'a Ask),
        on_piece: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<(Reply, Usage), ModelError>> {
        Box::pin(async move {
            let reply = self.clients.ask(offer, (mode, ask), on_piece).await?;
            let usage = reply.usage.clone();
            Ok((reply, usage))
        })
    }
}

/// A call, whoever is asked.
struct Call<'a> {
    caller: &'a Caller,
    /// What is asked for, in the words of traces.
    operation: &'static str,
    /// How many tokens are read and written, by estimate.
    tokens: (u64, u64),
    /// Whether a piece of an answer was handed on.
    heard: AtomicBool,
}

impl<'a> Call<'a> {
    fn new(caller: &'a Caller, operation: &'static str, tokens: (u64, u64)) -> Self {
        Self { caller, operation, tokens, heard: AtomicBool::new(false) }
    }

    fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether another may do better.
    fn may_go_on(&self, kind: ErrorKind) -> bool {
        let is_theirs = match kind {
            ErrorKind::NoModel
            | ErrorKind::Connection
            | ErrorKind::Unavailable
            | ErrorKind::RateLimited
            | ErrorKind::Unauthorized
            | ErrorKind::Timeout => true,
            // what is refused here is refused elsewhere, and what is spent is spent
            ErrorKind::NotMapped | ErrorKind::BadRequest | ErrorKind::Budget => false,
        };
        is_theirs && !self.was_heard()
    }
}

fn is_good(reply: &Reply) -> bool {
    !reply.text.is_empty() || !reply.tool_calls.is_empty() || !reply.media.is_empty()
}

/// What a call's end says of the provider, and what it cost.
fn judged<T>(answer: &Result<(T, Usage), ModelError>, admitted: &Admitted<'_>) -> (Outcome, Cost) {
    match answer {
        Ok((_, usage)) => {
            let tokens = usage.prompt_tokens + usage.completion_tokens;
            let money = usage.price.as_ref().map_or(0, |price| price.prompt + price.completion);
            // who does not say what it took is believed the estimate
            let tokens = if tokens == 0 { admitted.tokens() } else { tokens };
            (Outcome::Answered, Cost { tokens, money })
        }
        Err(error) => {
            let outcome = match error.kind {
                ErrorKind::RateLimited => Outcome::Cooled(error.retry_after),
                ErrorKind::Connection | ErrorKind::Unavailable | ErrorKind::Timeout => {
                    Outcome::Failed
                }
                ErrorKind::NotMapped
                | ErrorKind::NoModel
                | ErrorKind::Unauthorized
                | ErrorKind::BadRequest
                | ErrorKind::Budget => Outcome::Neither,
            };
            (outcome, Cost::default())
        }
    }
}

/// About how many tokens a question has, and its answer may have.
fn estimate(ask: &Ask) -> (u64, u64) {
    const LETTERS_A_TOKEN: usize = 4;
    const USUAL_ANSWER: u64 = 500;
    let said = ask.messages.iter().map(|message| message.joined().len()).sum::<usize>();
    let tools = ask
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.memory_bytes() / 2);
    let letters = said + tools.sum::<usize>();
    let most = ask.params.iter().find(|(name, _)| name.starts_with("max_") && name.contains("tok"));
    let most = most.and_then(|(_, value)| value.to_json().as_u64());
    ((letters / LETTERS_A_TOKEN) as u64 + 1, most.unwrap_or(USUAL_ANSWER))
}

fn of_texts<'a>(texts: impl Iterator<Item = &'a Name>) -> (u64, u64) {
    (texts.map(|text| text.len() as u64 / 4 + 1).sum(), 0)
}

impl Models for Gateway {
    fn known(&self, wanted: &Wanted, caller: &Caller) -> Result<Known, ModelError> {
        self.routes.find(wanted, caller).map(|route| route.first.known)
    }

    fn ask<'a>(
        &'a self,
        wanted: &'a Wanted,
        ask: Ask,
        caller: &'a Caller,
        on_piece: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            let route = self.routes.find(wanted, caller)?;
            let operation = match wanted.mode {
                Mode::Chat => "chat",
                Mode::Completion => "text_completion",
            };
            let call = Call::new(caller, operation, estimate(&ask));
            let how = (wanted.mode, &ask);
            let mut offers: Vec<&Offer> = vec![&route.first];
            if !route.race.is_empty() {
                let racers = offers.iter().copied().chain(&route.race).collect();
                match self.race(racers, &call, how).await {
                    Ok(reply) => return Ok(shown(reply, on_piece)),
                    Err(error) if route.fallbacks.is_empty() || !call.may_go_on(error.kind) => {
                        return Err(error);
                    }
                    Err(_) => offers.clear(),
                }
            }
            offers.extend(&route.fallbacks);
            let heard = |piece: Piece<'_>| {
                call.heard.store(true, Ordering::Relaxed);
                on_piece(piece);
            };
            self.chain(&offers, &call, |offer| self.asking(offer, how, &heard)).await
        })
    }

    fn embed<'a>(
        &'a self,
        wanted: &'a Wanted,
        texts: Vec<Name>,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        Box::pin(async move {
            let route = self.routes.find(wanted, caller)?;
            let call = Call::new(caller, "embeddings", of_texts(texts.iter()));
            let (offers, texts) = (in_turns(&route), &texts);
            let ask = |offer| -> BoxFuture<'_, _> {
                Box::pin(async move {
                    let found = self.clients.embed(offer, texts).await?;
                    let usage = found.usage.clone();
                    Ok((found, usage))
                })
            };
            self.chain(&offers, &call, ask).await
        })
    }

    fn rerank<'a>(
        &'a self,
        wanted: &'a Wanted,
        query: Name,
        documents: Vec<Name>,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>> {
        Box::pin(async move {
            let route = self.routes.find(wanted, caller)?;
            let call = Call::new(caller, "rerank", of_texts(documents.iter().chain([&query])));
            let (offers, query, documents) = (in_turns(&route), &query, &documents);
            let ask = |offer| -> BoxFuture<'_, _> {
                Box::pin(async move {
                    let found = self.clients.rerank(offer, query, documents).await?;
                    Ok((found, Usage::default()))
                })
            };
            self.chain(&offers, &call, ask).await
        })
    }

    fn waiting(&self) -> Vec<WaitingCall> {
        self.row.waiting()
    }
}

/// The answer that won, handed on in whole.
fn shown(reply: Reply, on_piece: OnPiece<'_>) -> Reply {
    if !reply.thoughts.is_empty() {
        on_piece(Piece::Thought(&reply.thoughts));
    }
    if !reply.text.is_empty() {
        on_piece(Piece::Text(&reply.text));
    }
    reply
}

fn in_turns(route: &super::Route) -> Vec<&Offer> {
    std::iter::once(&route.first).chain(&route.fallbacks).collect()
}

/// How long a call waits for limits if nobody says it.
const PATIENCE: Duration = Duration::from_mins(10);
