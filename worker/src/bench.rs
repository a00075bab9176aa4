//! What every task of a worker shares, and how one node is done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::child;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::payers::Payers;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Completion, End, Fragment, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::variables::Variables;
use flowmill_infra::broker::{CompletionPublisher, Receipt};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Known, Scope};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::Live;
use flowmill_infra::message::{Delivery, Task};
use flowmill_nodes::children::Children;
use flowmill_nodes::context::NodeContext;
use flowmill_services::caller::Caller;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use crate::chunks::feed;
use crate::claims;
use crate::execute::{Library, Loaded, Missing, attempt};
use crate::held::Order;
use crate::meters::{Meters, Over};
use crate::pulse::Pulse;
use crate::recall::Recall;
use crate::steps::KeptSteps;

/// How often a node may be begun again whose worker was lost.
const POISON: u32 = 3;

/// How long a task may be on its way before it is looked whether another sending of it has ended. It
/// lies below a scheduler's lease, with room for clocks that differ.
const OLD: Duration = Duration::from_secs(5);

/// How long a task is kept from others that could not be begun here.
const PAUSE: Duration = Duration::from_secs(1);

/// What every task of the worker shares.
#[derive(Debug)]
pub(crate) struct Bench<A, V, L, C, R> {
    pub(crate) answers: A,
    pub(crate) live: V,
    pub(crate) library: Arc<L>,
    pub(crate) clock: C,
    pub(crate) recall: R,
    /// What every attempt may reach; the rest comes with the task.
    pub(crate) outside: NodeContext,
    pub(crate) slots: [Arc<Semaphore>; 4],
    pub(crate) pulse: Pulse,
    pub(crate) meters: Meters,
}

/// Leave to execute; the semaphore is never closed.
pub(crate) type Slot = Result<OwnedSemaphorePermit, AcquireError>;

/// A node's place in the row for a slot.
pub(crate) enum Turn {
    Now(Slot),
    Later(BoxFuture<'static, Slot>),
}

impl Turn {
    pub(crate) async fn come(self) -> Slot {
        match self {
            Self::Now(slot) => slot,
            Self::Later(slot) => slot.await,
        }
    }
}

/// One attempt of a node.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) place: TaskId,
    pub(crate) attempt: u32,
    pub(crate) variables: Variables,
}

/// What a task may have behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// Whoever had it before was lost, and perhaps by its doing.
    pub(crate) is_lost: bool,
    /// Something of it may have been kept by then.
    pub(crate) may_be_known: bool,
}

impl Past {
    /// What a task may have behind it that arrives now.
    pub(crate) fn of<E: Receipt>(task: &Task, receipt: &E, now: Time) -> Self {
        let is_lost = receipt.is_redelivered();
        let is_double = receipt.may_be_double() || task.dispatch > 1 || is_old(task, now);
        Self { is_lost, may_be_known: is_lost || is_double }
    }
}

/// Whether a task with something costly in it was on its way for so long that its scheduler may have
/// stood still meanwhile, and lost its shard to one that sent it again.
fn is_old(task: &Task, now: Time) -> bool {
    // what costs something is of these classes
    let may_cost = matches!(task.class, TaskClass::Http | TaskClass::Llm);
    may_cost && task.sent_at.is_some_and(|at| now.since(at) >= OLD)
}

/// Whether a node waits for a run of its own, and so did not end yet.
pub(crate) fn is_call(outcome: &Outcome) -> bool {
    outcome.outcome.as_ref().is_ok_and(|success| success.call.is_some())
}

/// Whether a task is for one node that has to be executed: nothing has to be decided for it here.
pub(crate) fn is_alone(task: &Task) -> bool {
    let is_one = matches!(&task.fragment, Fragment::Nodes(nodes) if nodes.len() == 1);
    is_one && !task.is_fused
}

impl<A: CompletionPublisher, V: Live, L: Library, C: Clock, R: Recall> Bench<A, V, L, C, R> {
    /// Takes a place in the row for a slot of a class, at once.
    pub(crate) fn turn(&self, class: TaskClass) -> Turn {
        let mut slot = self.slots[class as usize].clone().acquire_owned().boxed();
        match (&mut slot).now_or_never() {
            Some(slot) => Turn::Now(slot),
            None => Turn::Later(slot),
        }
    }

    /// Works on a node until it has its answer, or is told to stop.
    pub(crate) async fn hold<E: Receipt>(
        self: Arc<Self>,
        task: Task,
        receipt: E,
        turn: Turn,
        mut order: watch::Receiver<Order>,
    ) {
        let since = Instant::now();
        let past = Past::of(&task, &receipt, self.clock.now());
        let stops = |order: &Order| matches!(order, Order::Drop | Order::HandBack);
        let outcome = tokio::select! {
            biased;
            // the line is held for as long as the task is
            Ok(order) = order.wait_for(stops) => Err(*order),
            outcome = self.work(&task, turn, past) => Ok(outcome),
        };
        let delivery = match outcome {
            Ok(Ok(outcome)) => {
                let completion = Completion::of(task.dispatch, outcome);
                Delivery::Completed { run: task.run.clone(), completion }
            }
            Ok(Err(why)) => return self.release(&task, (receipt, since), &why).await,
            Err(Order::HandBack) => handed_back(&task),
            Err(_) => {
                self.meters.over(&task, since, Over::Dropped);
                receipt.settle().await;
                return;
            }
        };
        self.reply(&task, (receipt, since), delivery).await;
    }

    /// Gives a task its answer that came then.
    pub(crate) async fn reply<E: Receipt>(
        &self,
        task: &Task,
        (receipt, since): (E, Instant),
        delivery: Delivery,
    ) {
        let how = over(&delivery);
        if self.answers.answer(task.shard, delivery).await.is_err() {
            tracing::debug!(node.id = %task.task.node, "the broker closed before an answer");
            return;
        }
        self.meters.over(task, since, how);
        receipt.settle().await;
    }

    /// A task that could not be begun here goes to others, after a while.
    pub(crate) async fn release<E: Receipt>(
        &self,
        task: &Task,
        (receipt, since): (E, Instant),
        why: &Missing,
    ) {
        tracing::warn!(run.id = %task.run, node.id = %task.task.node, %why, "a task goes back");
        tokio::time::sleep(PAUSE).await;
        self.meters.over(task, since, Over::Released);
        receipt.release().await;
    }

    /// Executes a node once there is a slot. What is known of it already is not done again.
    async fn work(&self, task: &Task, turn: Turn, past: Past) -> Result<Outcome, Missing> {
        let slot = turn.come().await;
        let key = checkpoint_key(task);
        // others may have it by now if it waited here for long, or the whole process stood still
        if past.may_be_known || is_old(task, self.clock.now()) {
            let known = self.recall.again(&key, &Scope::of(task), past.is_lost).await;
            let mut outcomes = known.outcomes.iter();
            if let Some(known) = outcomes.find(|outcome| outcome.attempt == task.attempt) {
                tracing::info!(run.id = %task.run, node.id = %task.task.node, "was done before");
                return Ok(known.clone());
            }
            if known.redeliveries >= POISON {
                return Ok(self.outcome(task.into(), self.clock.now(), Err(poisoned(&known))));
            }
        }
        let loaded = match self.load(task, &task.task).await {
            Ok(loaded) => loaded,
            Err(Missing::Bad(_)) => {
                return Ok(self.outcome(task.into(), self.clock.now(), Err(unloadable())));
            }
            Err(missing) => return Err(missing),
        };
        let (slot, claim) = if loaded.is_costly {
            let row = self.slots[task.class as usize].clone();
            match claims::begin(&self.recall, &key, slot, row).await {
                Ok((slot, claim)) => (slot, Some(claim)),
                Err(outcome) => return Ok(outcome),
            }
        } else {
            (slot, None)
        };
        let keep = async |outcome: Outcome| {
            // what waits for another run has no outcome yet
            let Some(claim) = claim.filter(|_| !is_call(&outcome)) else {
                drop(slot);
                return outcome;
            };
            // nothing else begins in its slot before it is kept: what a death can repeat are the
            // slots, and no more
            let checkpoint = Checkpoint { key, outcome: outcome.clone() };
            let mut earlier = self.recall.keep(vec![checkpoint]).await;
            drop((slot, claim));
            earlier.pop().map_or(outcome, |first| first.outcome)
        };
        Ok(self.execute((task, past), task.into(), loaded, keep).await)
    }

    /// What executes a node.
    pub(crate) async fn load(&self, task: &Task, place: &TaskId) -> Result<Loaded, Missing> {
        let Task { tenant, plan, .. } = task;
        let loading = AssertUnwindSafe(self.library.node(tenant, plan, &place.node));
        loading.catch_unwind().await.unwrap_or_else(|_| Err(Missing::Bad("it broke".into())))
    }

    /// Executes a node; whatever happens is its outcome. `then` is what follows it, while those who
    /// watch its text are still behind.
    pub(crate) async fn execute<O>(
        &self,
        (task, past): (&Task, Past),
        one: Execution,
        loaded: Loaded,
        then: impl AsyncFnOnce(Outcome) -> O,
    ) -> O {
        let started_at = self.clock.now();
        let (feed, pieces) = feed();
        let (tenant, run) = (task.tenant.clone(), task.run.clone());
        let Payers { root, batch } = Payers::in_variables(&one.variables);
        let (node, number) = (one.place.node.clone(), task.number);
        let caller = Caller { tenant, run, node, root, batch, task: number };
        let mut context = self.outside.for_attempt(caller, one.attempt, task.timeout);
        context.chunks = Some(feed.sink());
        if loaded.waits {
            let end = child::end(&one.variables, &one.place.node, one.attempt);
            context.children = Some(Arc::new(Children::with_end(end)));
        }
        if loaded.is_costly {
            let key = key_of(task, &one.place, one.attempt);
            let may_be_known = past.may_be_known || is_old(task, started_at);
            let since = (self.pulse.watch(), started_at);
            let steps = KeptSteps::new(self.recall.clone(), key, may_be_known, since);
            context.steps = Some(Arc::new(steps));
        }
        let (place, number) = (one.place.clone(), one.attempt);
        let span = tracing::info_span!(
            "node",
            node.id = %place.node,
            attempt = i64::from(number),
            otel.status_code = field::Empty,
            error.r#type = field::Empty,
        );
        let execution = async {
            let at = (&task.run, &place);
            let attempt = attempt(&*loaded.node, at, &one.variables, &context);
            let outcome = attempt.instrument(span.clone()).await;
            if let Err(error) = &outcome {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", &*error.kind);
                // what it says may be the workflow's own business
                tracing::debug!(parent: &span, error.kind = &*error.kind, "a node failed");
            }
            drop(span);
            feed.close();
            then(self.outcome(one, started_at, outcome)).await
        };
        // its text is shown before its end
        let (end, ()) =
            tokio::join!(execution, pieces.show(&self.live, &task.run, (&place, number)));
        end
    }

    pub(crate) fn outcome(
        &self,
        one: Execution,
        started_at: Time,
        outcome: Result<flowmill_engine::plan::Success, NodeError>,
    ) -> Outcome {
        let Execution { place: task, attempt, .. } = one;
        let elapsed_us = self.clock.now().since(started_at).as_micros();
        let elapsed_us = u64::try_from(elapsed_us).unwrap_or(u64::MAX);
        Outcome { task, attempt, outcome, started_at, elapsed_us }
    }
}

impl From<&Task> for Execution {
    fn from(task: &Task) -> Self {
        let Task { task: place, attempt, variables, .. } = task.clone();
        Self { place, attempt, variables }
    }
}

/// What an answer means for a worker.
fn over(delivery: &Delivery) -> Over {
    match delivery {
        Delivery::Returned { .. } => Over::HandedBack,
        Delivery::Completed { completion, .. } => match completion.end {
            End::Returned(Returned::HandedBack) => Over::HandedBack,
            _ => Over::Answered,
        },
        Delivery::Poke { .. } | Delivery::Beat(_) | Delivery::Lost { .. } => Over::Answered,
    }
}

/// What an attempt of a node inside a task is known by.
pub(crate) fn key_of(task: &Task, place: &TaskId, attempt: u32) -> CheckpointKey {
    let (tenant, run) = (task.tenant.clone(), task.run.clone());
    CheckpointKey { tenant, run, task: place.clone(), attempt }
}

pub(crate) fn checkpoint_key(task: &Task) -> CheckpointKey {
    let Task { tenant, run, task, attempt, .. } = task;
    let (tenant, run, task) = (tenant.clone(), run.clone(), task.clone());
    CheckpointKey { tenant, run, task, attempt: *attempt }
}

fn handed_back(task: &Task) -> Delivery {
    let Task { run, task, attempt, dispatch, .. } = task.clone();
    Delivery::Returned { run, task, attempt, dispatch, reason: Returned::HandedBack }
}

/// The outcome of a node whose workflow this release cannot load.
pub(crate) fn unloadable() -> NodeError {
    NodeError::escaped("this worker cannot load the workflow").with_class(ErrorClass::Internal)
}

fn poisoned(known: &Known) -> NodeError {
    let message = format!(
        "its worker was lost {} times while it ran; it is not tried again by itself",
        known.redeliveries
    );
    NodeError::new("Poisoned", message.as_str()).with_class(ErrorClass::Internal)
}
