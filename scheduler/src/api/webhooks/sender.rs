//! Sends what is due. What one endpoint does delays no other: each has a few places, those that have
//! least under way come first, and one that fails in a row is left alone for a while.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Event, RunFinished, Status};
use flowmill_engine::value::Name;
use flowmill_infra::batches::Batches;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::payloads::Owner;
use flowmill_infra::stash::StashError;
use flowmill_infra::store::StoreError;
use flowmill_infra::webhooks::{Answer, BATCH_COMPLETED, Claim, Claimed, Deliveries, Failure};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::body::{self, End, Terms};
use super::courier::{Courier, GONE, Outcome};
use super::meters::Tried;
use super::schedule::PATIENCE;
use super::signature::luck;

/// How often the store is asked without having been told: for what is tried again, and for events
/// of other processes.
const SWEEP: Duration = Duration::from_secs(1);

/// The shortest time between two questions: what comes meanwhile shares the next. An endpoint gets what
/// it has places for each time, so this is also what bounds its rate.
const GAP: Duration = Duration::from_millis(5);

/// How often what nobody waits for any more is put away.
const TIDY: Duration = Duration::from_mins(1);

/// How often what waits is counted, for whoever looks.
const COUNT: Duration = Duration::from_secs(15);

/// Sends webhooks until it is told to stop; what is under way then is finished. Whoever drops the
/// call leaves that to others, a little later. Several may do this at the same time.
pub async fn send_webhooks<S: Deliveries + Intake + Contents + Batches>(
    store: Arc<S>,
    courier: Arc<Courier>,
    told: Arc<Notify>,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let (under_way, held) = (JoinSet::new(), HashMap::new());
    let mut sender = Sender { store, courier, under_way, held, is_away: false };
    let (mut tidy_at, mut count_at) = (Instant::now(), Instant::now());
    loop {
        if tidy_at <= Instant::now() {
            let is_done = sender.tidy().await;
            tidy_at = Instant::now() + if is_done { TIDY } else { SWEEP };
        }
        if count_at <= Instant::now() {
            sender.count().await;
            count_at = Instant::now() + COUNT;
        }
        sender.take().await;
        let pause = Instant::now() + GAP;
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = sender.under_way.join_next_with_id() => sender.note(ended),
            () = told.notified() => {}
            () = tokio::time::sleep(SWEEP) => {}
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = tokio::time::sleep_until(pause) => {}
        }
        while let Some(ended) = sender.under_way.try_join_next_with_id() {
            sender.note(ended);
        }
    }
    while let Some(ended) = sender.under_way.join_next_with_id().await {
        sender.note(ended);
    }
}

struct Sender<S> {
    store: Arc<S>,
    courier: Arc<Courier>,
    under_way: JoinSet<()>,
    /// The endpoint of each delivery that is under way.
    held: HashMap<Id, Name>,
    /// Whether the store did not answer when it was asked last.
    is_away: bool,
}

impl<S: Deliveries + Intake + Contents + Batches> Sender<S> {
    /// Takes what is due, as far as there are places.
    #[expect(clippy::iter_over_hash_type, reason = "they are only counted")]
    async fn take(&mut self) {
        let settings = self.courier.settings();
        let most = settings.at_once.saturating_sub(self.under_way.len());
        if most == 0 {
            return;
        }
        let mut held: BTreeMap<&Name, usize> = BTreeMap::new();
        for endpoint in self.held.values() {
            *held.entry(endpoint).or_default() += 1;
        }
        let held = held.into_iter().map(|(endpoint, count)| (endpoint.clone(), count)).collect();
        let lease = settings.timeout + settings.schedule.margin;
        let claim = Claim { most, each: settings.each, held, lease };
        let claimed = match self.store.claim(&claim).await {
            Ok(claimed) => claimed,
            Err(error) => {
                if !self.is_away {
                    tracing::warn!(%error, "webhooks are not sent for now");
                }
                self.is_away = true;
                return;
            }
        };
        self.is_away = false;
        for claimed in claimed {
            let (store, courier) = (self.store.clone(), self.courier.clone());
            let endpoint = claimed.endpoint.id.clone();
            let sending = self.under_way.spawn(send(store, courier, claimed));
            self.held.insert(sending.id(), endpoint);
        }
    }

    fn note(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a delivery broke; it is sent again");
                error.id()
            }
        };
        self.held.remove(&id);
    }

    /// Tells how much waits, of all processes.
    async fn count(&self) {
        let meters = self.courier.meters();
        if !meters.is_on {
            return;
        }
        match self.store.backlog().await {
            Ok(backlog) => meters.waits(backlog),
            Err(error) => tracing::debug!(%error, "what waits was not counted"),
        }
    }

    /// Puts away what nobody waits for; whether that is all.
    async fn tidy(&self) -> bool {
        match self.store.tidy(PATIENCE, self.courier.settings().keep).await {
            Ok(count) => count == 0,
            Err(error) => {
                tracing::warn!(%error, "deliveries were not looked after");
                true
            }
        }
    }
}

/// Sends one delivery, and writes down what came of it.
async fn send<S: Deliveries + Intake + Contents + Batches>(
    store: Arc<S>,
    courier: Arc<Courier>,
    claimed: Claimed,
) {
    let id = claimed.delivery.id;
    let written = match prepared(&*store, &courier, &claimed).await {
        Ok(Ok((body, trace))) => {
            let said = (&body, trace.as_deref());
            let outcome = courier.deliver(&claimed.endpoint, &claimed.delivery, said).await;
            record(&*store, &courier, &claimed, outcome).await
        }
        Ok(Err(why)) => {
            courier.meters().tried(Tried::GivenUp);
            give_up(&*store, &claimed, why).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(delivery = id, %error, "a delivery is not written down; it comes again");
    }
}

/// What is sent, and the run's place in a trace; else why that can never be known.
async fn prepared<S: Deliveries + Intake + Contents + Batches>(
    store: &S,
    courier: &Courier,
    claimed: &Claimed,
) -> Result<Result<(Name, Option<Name>), String>, StoreError> {
    let Claimed { tenant, delivery, endpoint } = claimed;
    if let Some(body) = &delivery.body {
        let run = store.run(tenant, &delivery.subject).await?;
        return Ok(Ok((body.clone(), run.and_then(|run| run.attached.traceparent))));
    }
    let settings = courier.settings();
    let terms = Terms { public_url: &settings.public_url, outputs_bytes: settings.outputs_bytes };
    if &*delivery.event == BATCH_COMPLETED {
        let Some(batch) = store.batch(tenant, &delivery.subject).await? else {
            return Ok(Err("the batch is not kept any more".to_owned()));
        };
        let body = body::of_batch(terms, endpoint, delivery, &batch);
        return Ok(Ok((store.freeze(delivery.id, &body).await?, None)));
    }
    let Some(run) = store.run(tenant, &delivery.subject).await? else {
        return Ok(Err("the run is not kept any more".to_owned()));
    };
    let end = match end(store, claimed, settings.outputs_bytes).await {
        Ok(end) => end,
        // another may read it
        Err(error @ (StoreError::Unavailable(_) | StoreError::Later(_))) => return Err(error),
        Err(error) => return Ok(Err(format!("the run's end cannot be read: {error}"))),
    };
    let body = body::of_run(terms, endpoint, delivery, &run, end.as_ref());
    Ok(Ok((store.freeze(delivery.id, &body).await?, run.attached.traceparent)))
}

/// How the run ended, if that is what happened. Outputs of more than `most` bytes are not read.
async fn end<S: Contents>(
    store: &S,
    claimed: &Claimed,
    most: usize,
) -> Result<Option<End>, StoreError> {
    let Claimed { tenant, delivery, .. } = claimed;
    let last = store.last_fact(tenant, &delivery.subject).await?;
    // a run that was paused may have ended since
    let Some(fact) = last.filter(|fact| fact.seq == delivery.seq) else { return Ok(None) };
    let Event::RunFinished(mut finished) = fact.event else { return Ok(None) };
    let has_outputs = had(store, &delivery.subject, &mut finished, most).await?;
    Ok(Some(End { finished, has_outputs }))
}

/// Puts a run's large outputs in the place of their tickets; false when they have more than `most`
/// bytes.
async fn had<S: Contents>(
    store: &S,
    run: &Name,
    finished: &mut RunFinished,
    most: usize,
) -> Result<bool, StoreError> {
    let Some(stash) = store.stash().filter(|_| finished.status != Status::Failed) else {
        return Ok(true);
    };
    let mut bytes: usize = 0;
    for (_, value) in &finished.outputs {
        let ticket = stash.ticket_in(value).map_err(|error| of_stash(&error))?;
        bytes = bytes.saturating_add(ticket.map_or(0, |(_, bytes)| bytes));
    }
    if bytes > most {
        return Ok(false);
    }
    let outputs = finished.outputs.iter_mut().map(|(_, value)| value).collect();
    let redeemed = stash.redeem(&Owner::Run(run.clone()), outputs).await;
    redeemed.map(|_| true).map_err(|error| of_stash(&error))
}

fn of_stash(error: &StashError) -> StoreError {
    if error.is_passing() {
        StoreError::Unavailable(error.to_string())
    } else {
        StoreError::Corrupt(error.to_string())
    }
}

async fn record<S: Deliveries>(
    store: &S,
    courier: &Courier,
    claimed: &Claimed,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let (settings, meters) = (courier.settings(), courier.meters());
    let Claimed { delivery, endpoint, .. } = claimed;
    let Outcome { answer, wish } = outcome;
    meters.took(Duration::from_millis(answer.elapsed_ms));
    let Some(why) = answer.error.clone() else {
        tracing::debug!(delivery = delivery.id, run.id = %delivery.subject, "a webhook is delivered");
        meters.tried(Tried::Delivered);
        return store.delivered(delivery.id, &answer).await;
    };
    let is_gone = answer.status == Some(GONE);
    let again = settings.schedule.again(delivery.tries, wish, luck()).filter(|_| !is_gone);
    let rest = settings.schedule.rest(endpoint.failures.saturating_add(1), wish, luck());
    meters.tried(if again.is_some() { Tried::Again } else { Tried::GivenUp });
    if is_gone {
        meters.disabled();
        tracing::warn!(endpoint = %endpoint.id, "an endpoint answered 410 and is disabled");
    } else if again.is_none() {
        tracing::warn!(delivery = delivery.id, endpoint = %endpoint.id, %why, "a webhook is given up");
    }
    let disables = is_gone.then(|| "it answered 410 Gone".into());
    store
        .failed(delivery.id, delivery.tries, &Failure { answer, again, rest: Some(rest), disables })
        .await
}

/// Nothing will ever be sent.
async fn give_up<S: Deliveries>(
    store: &S,
    claimed: &Claimed,
    why: String,
) -> Result<(), StoreError> {
    let Claimed { delivery, .. } = claimed;
    tracing::warn!(delivery = delivery.id, %why, "a webhook cannot be sent");
    let answer = Answer { error: Some(why.into()), ..Answer::default() };
    let failure = Failure { answer, again: None, rest: None, disables: None };
    store.failed(delivery.id, delivery.tries, &failure).await
}
