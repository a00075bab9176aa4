//! The scheduler's loop: takes what arrives, commits what follows, does what that calls for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::plan::Plan;
use flowmill_engine::run::{Input, Run};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{Closed, Inbox, TaskPublisher};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::{Event, Live};
use flowmill_infra::message::Delivery;
use flowmill_infra::store::{Batch, Commit, Store, StoreError};
use flowmill_infra::traces;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::Instant;

use crate::children::{Children, News};
use crate::duties::{Alone, Duties};
use crate::effects::Effects;
use crate::gate::Window;
use crate::handle::{Handle, Request};
use crate::meters::Meters;
use crate::outbox::Outbox;
use crate::owner::Owner;

/// The most messages taken at once. A batch is one commit; it is as large as what has arrived.
const BATCH: usize = 256;

/// Requests waiting for the owner; submitters wait beyond it.
const REQUESTS: usize = 1024;

/// How long a store that is unavailable is left alone before each new try. After the last, about
/// six seconds in all, the runs concerned stop here.
const PATIENCE: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// A scheduler over its ports.
#[derive(Debug)]
pub struct Service<S, P, I, L, C, D = Alone> {
    store: Arc<S>,
    publisher: P,
    inbox: I,
    live: L,
    clock: C,
    duties: D,
    requests: mpsc::Receiver<Request>,
    /// Whether a [`Handle`] is left.
    is_open: bool,
    owner: Owner,
    /// Where runs are begun that nodes wait for; None where there is nobody.
    children: Option<Children>,
    meters: Arc<Meters>,
}

/// A run as the store's journal has it. None when the store holds no journal of it.
///
/// # Errors
/// When the journal cannot be read.
pub async fn load<S: Store>(
    store: &S,
    plan: Arc<Plan>,
    run: &Name,
) -> Result<Option<Run>, StoreError> {
    let journal = store.journal(run).await?;
    Ok((!journal.is_empty()).then(|| Run::replay(plan, &journal)))
}

impl<S: Store, P: TaskPublisher, I: Inbox, L: Live, C: Clock> Service<S, P, I, L, C> {
    /// A scheduler that owns all runs there are, and the way into it.
    pub fn new(store: Arc<S>, ends: (P, I), live: L, clock: C, window: Window) -> (Self, Handle) {
        Self::sharing(store, ends, live, clock, window, Alone)
    }
}

impl<S: Store, P: TaskPublisher, I: Inbox, L: Live, C: Clock, D: Duties> Service<S, P, I, L, C, D> {
    /// A scheduler with duties besides its runs, and the way into it.
    pub fn sharing(
        store: Arc<S>,
        (publisher, inbox): (P, I),
        live: L,
        clock: C,
        window: Window,
        duties: D,
    ) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let owner = Owner::new(window, 1);
        let is_open = true;
        let children = None;
        let service = Self {
            store,
            publisher,
            inbox,
            live,
            clock,
            duties,
            requests,
            is_open,
            owner,
            children,
            meters: Arc::default(),
        };
        (service, Handle { requests: sender })
    }

    /// The same; whoever hears of `children` begins the runs that nodes wait for. Without anybody such
    /// nodes fail.
    #[must_use]
    pub fn with_children(self, children: Children) -> Self {
        Self { children: Some(children), ..self }
    }

    /// The same; what happens is counted with these.
    #[must_use]
    pub fn with_meters(self, meters: Arc<Meters>) -> Self {
        Self { owner: self.owner.with_meters(meters.clone()), meters, ..self }
    }

    /// Serves until every [`Handle`] is gone and no run is live, unless others take over what is.
    /// Without a broker it stops at once; whoever waits for a run is told.
    pub async fn run(self) {
        let Self {
            store,
            publisher,
            inbox,
            live,
            clock,
            duties,
            requests,
            is_open,
            owner,
            children,
            meters,
        } = self;
        let outbox = Outbox::start(publisher);
        let is_restless = false;
        let mut serving = Serving {
            store,
            outbox,
            inbox,
            live,
            clock,
            duties,
            requests,
            is_open,
            owner,
            children,
            meters,
            is_restless,
        };
        if let Err(Closed) = serving.serve().await {
            tracing::error!("the broker closed before the scheduler stopped");
        }
        let Serving { outbox, mut duties, mut owner, mut inbox, .. } = serving;
        outbox.end().await;
        duties.leave(&mut owner, &mut inbox).await;
    }
}

/// A service that runs.
#[derive(Debug)]
struct Serving<S, I, L, C, D> {
    store: Arc<S>,
    outbox: Outbox,
    inbox: I,
    live: L,
    clock: C,
    duties: D,
    requests: mpsc::Receiver<Request>,
    is_open: bool,
    owner: Owner,
    children: Option<Children>,
    meters: Arc<Meters>,
    /// Runs were told something after the last look at them.
    is_restless: bool,
}

impl<S: Store, I: Inbox, L: Live, C: Clock, D: Duties> Serving<S, I, L, C, D> {
    async fn serve(&mut self) -> Result<(), Closed> {
        let mut requests = Vec::new();
        while self.is_open || !(self.owner.is_idle() || self.duties.may_leave()) {
            let deliveries = self.arrived(&mut requests).await?;
            let now = self.clock.now();
            let sent = self.outbox.confirmed();
            if !sent.is_empty() {
                self.meters.published(&sent);
                self.duties.published(now, sent);
            }
            let (duties, owner, inbox) = (&mut self.duties, &mut self.owner, &mut self.inbox);
            for control in duties.attend(owner, inbox, &deliveries, now).await? {
                self.outbox.say(control);
            }
            for delivery in deliveries {
                self.owner.deliver(now, delivery);
            }
            for request in requests.drain(..) {
                self.owner.request(now, request);
            }
            self.owner.wake(now);
            self.owner.grant(now);
            self.settle(now).await;
            let owner = &self.owner;
            self.meters.stand(now, owner.active(), owner.places(), || owner.ready_tasks(now));
        }
        Ok(())
    }

    /// Waits until something arrives or is due, and takes at most a batch of each.
    async fn arrived(&mut self, requests: &mut Vec<Request>) -> Result<Vec<Delivery>, Closed> {
        let now = self.clock.now();
        let is_restless = std::mem::take(&mut self.is_restless);
        let wake_at = if is_restless { Some(now) } else { self.owner.next_wake(now) };
        let mut deliveries = Vec::new();
        tokio::select! {
            biased;
            received = self.inbox.receive(BATCH) => {
                if received.is_empty() {
                    return Err(Closed);
                }
                deliveries = received;
            }
            count = self.requests.recv_many(requests, BATCH), if self.is_open => {
                self.is_open = count > 0;
            }
            () = self.duties.due() => {}
            closed = self.outbox.closed() => return Err(closed),
            () = wait(&self.clock, now, wake_at) => {}
        }
        // answers that never cease must not keep requests waiting, nor the end of all handles
        while requests.len() < BATCH {
            match self.requests.try_recv() {
                Ok(request) => requests.push(request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_open = false;
                    break;
                }
            }
        }
        Ok(deliveries)
    }

    /// Stores what became true, then does what it calls for.
    async fn settle(&mut self, now: Time) {
        let commits = self.owner.take_commits();
        let signals = self.duties.take_settled();
        if !commits.is_empty() || !signals.is_empty() {
            let mut effects = Effects::default();
            let batch = Batch { commits, tenures: self.duties.tenures(), signals };
            let commits = self.commit(now, batch, &mut effects).await;
            for commit in &commits {
                effects.append(self.owner.take_effects(&commit.run));
                self.meters.stored(commit, self.owner.run(&commit.run));
                self.live.publish(&commit.run, Event::Facts(commit.facts.clone())).await;
            }
            effects.ended.drain(..).for_each(|run| traces::ended(&run));
            self.call(now, std::mem::take(&mut effects.children));
            self.outbox.put(effects);
            for commit in &commits {
                self.owner.settle(&commit.run);
            }
        }
        let again = self.owner.take_again();
        self.call(now, again.children);
        self.inbox.settle().await;
    }

    /// Passes on what concerns children. What nobody may begin is refused at once.
    fn call(&mut self, now: Time, news: Vec<News>) {
        for news in news {
            let refusal = match (&news, &self.children) {
                (News::Called(called), None) => {
                    Some((called.order.clone(), "no workflows can be called here".into()))
                }
                (News::Called(called), Some(_)) => {
                    called.order.refusal().map(|why| (called.order.clone(), why))
                }
                (News::Ended { .. }, _) => None,
            };
            if let Some((order, why)) = refusal {
                let run = order.parent.run.clone();
                let refused = Input::ChildEnded(Box::new(order.refused(why)));
                self.is_restless |= self.owner.tell(now, &run, refused).is_ok();
            } else if let Some(children) = &self.children {
                children.tell(news);
            }
        }
    }

    /// Stores facts and answers which were stored. What the store refuses for a reason of its data
    /// is halved until the guilty run is alone: that one ends. Facts that cannot be stored for
    /// another reason stop their run here and no other; where others may take it up, its whole
    /// shard does.
    async fn commit(&mut self, now: Time, batch: Batch, effects: &mut Effects) -> Vec<Commit> {
        let mut stored = Vec::new();
        let mut patience = PATIENCE.iter();
        let mut condemned = BTreeSet::new();
        let mut open = vec![batch];
        while let Some(mut batch) = open.pop() {
            if batch.commits.is_empty() && batch.signals.is_empty() {
                continue;
            }
            let begun = Instant::now();
            let tried = self.store.commit(&batch).await;
            self.meters.committed(begun.elapsed(), tried.is_ok());
            let Err(error) = tried else {
                stored.append(&mut batch.commits);
                continue;
            };
            match &error {
                StoreError::Unavailable(_) => {
                    if let Some(wait) = patience.next() {
                        tracing::warn!(%error, ?wait, "the store does not answer");
                        self.clock.sleep_until(self.clock.now().after(*wait)).await;
                        open.push(batch);
                        continue;
                    }
                }
                StoreError::Corrupt(_) | StoreError::Sealed(_) | StoreError::Later(_) => {
                    if let Some(rest) = halve(&mut batch) {
                        open.extend([rest, batch]);
                        continue;
                    }
                    let end = self.judge(now, &batch, &error, &mut condemned);
                    match end {
                        Some(end) => open.push(Batch { commits: vec![end], ..batch }),
                        None => self.lose(&mut batch, &error, effects),
                    }
                    continue;
                }
                StoreError::Conflict { .. } | StoreError::Fenced { .. } => {}
            }
            batch.signals.clear();
            let before = (batch.commits.len(), batch.tenures.len());
            if let Some(shards) = self.duties.failed(&self.owner, &error) {
                tracing::error!(%error, shards = shards.len(), "shards are given up");
                self.duties.forget(&mut self.owner, &mut self.inbox, &shards).await;
                for batch in open.iter_mut().chain([&mut batch]) {
                    batch.commits.retain(|commit| !shards.contains(&commit.standing.shard));
                    batch.tenures.retain(|tenure| !shards.contains(&tenure.shard));
                }
            }
            if (batch.commits.len(), batch.tenures.len()) == before {
                self.lose(&mut batch, &error, effects);
            }
            open.push(batch);
        }
        stored
    }

    /// The end of the only run of a batch, in the place of facts that can never be stored. None
    /// when it has no end to store, or that was refused as well.
    fn judge(
        &mut self,
        now: Time,
        batch: &Batch,
        error: &StoreError,
        condemned: &mut BTreeSet<Name>,
    ) -> Option<Commit> {
        let [commit] = &batch.commits[..] else { return None };
        // whoever has no key for its secrets, or is too old, is not to judge it
        let StoreError::Corrupt(why) = error else { return None };
        if !condemned.insert(commit.run.clone()) {
            return None;
        }
        let why = format!("its facts cannot be stored: {why}");
        let end = self.owner.condemn(now, commit, &why);
        if end.is_none() {
            self.duties.condemn(&commit.run, &why);
        }
        end
    }

    /// Runs whose facts were not stored leave memory: the one that is in the way, or all of them.
    fn lose(&mut self, batch: &mut Batch, error: &StoreError, effects: &mut Effects) {
        let lost = match error {
            StoreError::Conflict { run, .. } => {
                batch.commits.iter().position(|commit| commit.run == *run)
            }
            _ => None,
        };
        let lost = match lost {
            Some(position) => vec![batch.commits.remove(position)],
            None => std::mem::take(&mut batch.commits),
        };
        if lost.is_empty() {
            tracing::error!(%error, signals = batch.signals.len(), "signals are not settled");
        }
        for commit in lost {
            effects.controls.extend(self.owner.lose(&commit, error.clone()));
        }
    }
}

/// Takes the second half of a batch out of it. None when there is only one thing in it.
fn halve(batch: &mut Batch) -> Option<Batch> {
    let tenures = batch.tenures.clone();
    match batch.commits.len() {
        0 => None,
        // signals may be what is wrong
        1 if batch.signals.is_empty() => None,
        1 => {
            let signals = std::mem::take(&mut batch.signals);
            Some(Batch { commits: Vec::new(), tenures, signals })
        }
        count => {
            let commits = batch.commits.split_off(count / 2);
            Some(Batch { commits, tenures, signals: Vec::new() })
        }
    }
}

/// Waits for a time. When it has come already, the other tasks of the process come first: a run
/// that is busy for long leaves them theirs.
async fn wait<C: Clock>(clock: &C, now: Time, at: Option<Time>) {
    match at {
        Some(at) if at <= now => tokio::task::yield_now().await,
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
