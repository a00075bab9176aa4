//! A task that carries more than one node: the worker drives a core of its own through it, as the
//! scheduler would, and answers with what became of each node.
//!
//! Whatever cost something is durable before its slot is free again, with what it rests on, so that
//! a lost worker repeats no more than what was running. At any boundary between nodes the rest may
//! go back.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Event, Fact, FramePath, Returned};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{
    Completion, End, Fragment, Input, LANE_WAIT_MS, Outcome, Run, Seed, Wake,
};
use flowmill_engine::time::Time;
use flowmill_infra::broker::{CompletionPublisher, Receipt};
use flowmill_infra::checkpoints::{Checkpoint, Scope, is_step};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::Live;
use flowmill_infra::message::{Delivery, Task};
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bench::{Bench, Execution, Past, Slot, checkpoint_key, is_call, key_of, unloadable};
use crate::claims;
use crate::execute::{Library, Missing};
use crate::held::Order;
use crate::meters::Over;
use crate::recall::Recall;

/// How often a fragment may be lost before its parts go out one by one.
const SUSPECT: u32 = 2;

/// How long a worker keeps a fragment before it begins nothing more of it. It lies below the time
/// after which a broker takes back what was not acknowledged.
const SLICE: Duration = Duration::from_mins(10);

/// After how many bytes, and how long, outcomes are told while others are still to come.
const TELL_BYTES: usize = 128 * 1024;
const TELL_AFTER: Duration = Duration::from_secs(2);

/// What happened inside. `K` is a claim to a costly attempt.
enum Step<K> {
    /// A node was executed; if it cost something, its slot is still taken, and it is claimed.
    Executed { outcome: Outcome, dispatch: u32, held: Option<(Slot, K)> },
    /// It ran elsewhere meanwhile, and this came of it.
    Elsewhere { outcome: Outcome, dispatch: u32 },
    /// Its outcome, and what it rests on, are durable; these came second.
    Kept { outcome: Outcome, dispatch: u32, earlier: Vec<Checkpoint> },
    /// It could not be begun here.
    Missing(Missing),
    /// It must not be begun: the process stood still, and others may have it by now.
    Overslept,
}

/// The part of a fragment whose outcomes rest on each other: a chain, or one pass.
type Part = Option<u64>;

/// A fragment in work.
struct Inside<'a, K> {
    task: &'a Task,
    past: Past,
    core: Run,
    /// Outcomes that were not told yet, with about how many bytes.
    untold: Vec<Outcome>,
    bytes: usize,
    told_at: Instant,
    /// Outcomes of free nodes that are not durable, by part.
    unkept: HashMap<Part, Vec<Outcome>>,
    running: FuturesUnordered<BoxFuture<'a, Step<K>>>,
    /// Nothing more begins.
    is_halted: bool,
}

impl<A: CompletionPublisher, V: Live, L: Library, C: Clock, R: Recall> Bench<A, V, L, C, R> {
    /// Works on a fragment until nothing of it is left to do here, or it is told to stop.
    pub(crate) async fn hold_fragment<E: Receipt>(
        self: Arc<Self>,
        task: Task,
        receipt: E,
        order: watch::Receiver<Order>,
    ) {
        let since = Instant::now();
        let past = Past::of(&task, &receipt, self.clock.now());
        let completion = match self.begin(&task, past).await {
            Ok(Some(inside)) => inside.finish(&self, order).await,
            Ok(None) => Some(returned(&task, Vec::new(), Returned::Suspected)),
            Err(why) => return self.release(&task, (receipt, since), &why).await,
        };
        let Some(completion) = completion else {
            self.meters.over(&task, since, Over::Dropped);
            receipt.settle().await;
            return;
        };
        let delivery = Delivery::Completed { run: task.run.clone(), completion };
        self.reply(&task, (receipt, since), delivery).await;
    }

    /// A core that knows what was done before. None when the task goes back to be sent in parts.
    async fn begin<'a>(
        &self,
        task: &'a Task,
        past: Past,
    ) -> Result<Option<Inside<'a, R::Claim>>, Missing> {
        let mut known = Vec::new();
        if past.may_be_known {
            let scope = Scope::of(task);
            let found = self.recall.again(&checkpoint_key(task), &scope, past.is_lost).await;
            if found.redeliveries >= SUSPECT {
                return Ok(None);
            }
            known = found.outcomes;
            known.retain(|outcome| !is_step(&outcome.task));
            if !known.is_empty() {
                let nodes = known.len();
                tracing::info!(run.id = %task.run, nodes, "some of a task was done before");
            }
        }
        let loading = AssertUnwindSafe(self.library.plan(&task.tenant, &task.plan));
        let loaded =
            loading.catch_unwind().await.unwrap_or_else(|_| Err(Missing::Bad("it broke".into())));
        let plan = match loaded {
            Ok(plan) => plan,
            // the first of its parts says what is wrong
            Err(Missing::Bad(_)) => return Ok(None),
            Err(missing) => return Err(missing),
        };
        let Task { task: id, attempt, fragment, variables, .. } = task.clone();
        let seed = Seed { task: id, attempt, fragment, variables };
        let Some(core) = Run::fragment(plan, seed, self.clock.now()) else { return Ok(None) };
        let mut inside = Inside {
            task,
            past,
            core,
            untold: Vec::new(),
            bytes: 0,
            told_at: Instant::now(),
            unkept: HashMap::new(),
            running: FuturesUnordered::new(),
            is_halted: false,
        };
        inside.go_over(known, self.clock.now());
        Ok(Some(inside))
    }

    /// Executes a node of a fragment once there is a slot of its class.
    async fn inner(
        &self,
        (task, past): (&Task, Past),
        one: Execution,
        sent: (u32, usize),
    ) -> Step<R::Claim> {
        let (dispatch, class) = sent;
        let standstills = self.pulse.standstills();
        let slot = self.turn(TaskClass::ALL[class]).come().await;
        if self.pulse.standstills() > standstills {
            return Step::Overslept;
        }
        match self.load(task, &one.place).await {
            Ok(loaded) if loaded.is_costly => {
                let key = key_of(task, &one.place, one.attempt);
                let row = self.slots[class].clone();
                let held = match claims::begin(&self.recall, &key, slot, row).await {
                    Ok(held) => Some(held),
                    Err(outcome) => return Step::Elsewhere { outcome, dispatch },
                };
                let then = async |outcome| Step::Executed { outcome, dispatch, held };
                self.execute((task, past), one, loaded, then).await
            }
            Ok(loaded) => {
                let then = async |outcome| {
                    drop(slot);
                    Step::Executed { outcome, dispatch, held: None }
                };
                self.execute((task, past), one, loaded, then).await
            }
            Err(Missing::Bad(_)) => {
                let outcome = self.outcome(one, self.clock.now(), Err(unloadable()));
                Step::Executed { outcome, dispatch, held: None }
            }
            Err(missing) => Step::Missing(missing),
        }
    }
}

impl<'a, K: Send + 'static> Inside<'a, K> {
    /// Takes what was kept of earlier sendings for done.
    fn go_over(&mut self, mut known: Vec<Outcome>, now: Time) {
        self.tell_core(now, Input::Tick);
        loop {
            let before = known.len();
            known.retain(|outcome| !self.accept(now, outcome.clone(), 1));
            if known.len() == before {
                return;
            }
        }
    }

    /// Drives the core until nothing of it is left to do here. None when nobody waits for it.
    async fn finish<A, V, L, C, R>(
        mut self,
        bench: &'a Bench<A, V, L, C, R>,
        mut order: watch::Receiver<Order>,
    ) -> Option<Completion>
    where
        A: CompletionPublisher,
        V: Live,
        L: Library,
        C: Clock,
        R: Recall<Claim = K>,
    {
        let ends_at = Instant::now() + SLICE;
        let standstills = bench.pulse.standstills();
        loop {
            let now = bench.clock.now();
            self.tell_core(now, Input::Tick);
            match *order.borrow_and_update() {
                Order::Work => {}
                Order::Halt => self.is_halted = true,
                Order::HandBack => return Some(self.end(Returned::HandedBack)),
                Order::Drop => return None,
            }
            self.is_halted |= Instant::now() >= ends_at;
            // others have it by now
            self.is_halted |= bench.pulse.standstills() > standstills;
            if !self.is_halted {
                self.start_ready(bench, now);
            }
            let wait = match self.core.next_deadline(now) {
                Some((_, Wake::Work)) if !self.core.is_over() => continue,
                Some((at, Wake::Retry)) if !self.core.is_over() && !self.is_halted => {
                    Some(at.since(now)).filter(|wait| *wait <= Duration::from_millis(LANE_WAIT_MS))
                }
                _ => None,
            };
            if self.running.is_empty() && wait.is_none() {
                break;
            }
            if self.bytes >= TELL_BYTES || self.told_at.elapsed() >= TELL_AFTER {
                self.tell(bench).await;
            }
            let tells_at = (!self.untold.is_empty()).then(|| self.told_at + TELL_AFTER);
            tokio::select! {
                biased;
                Ok(()) = order.changed() => {}
                Some(step) = self.running.next() => self.happened(bench, step),
                () = sleep(wait) => {}
                () = sleep_until(tells_at) => {}
            }
        }
        let is_done = !self.is_halted;
        let mut completion = self.end(Returned::HandedBack);
        if is_done {
            completion.end = End::Done;
        }
        Some(completion)
    }

    fn start_ready<A, V, L, C, R>(&mut self, bench: &'a Bench<A, V, L, C, R>, now: Time)
    where
        A: CompletionPublisher,
        V: Live,
        L: Library,
        C: Clock,
        R: Recall<Claim = K>,
    {
        for class in TaskClass::ALL {
            let count = self.core.ready(class, now);
            if count == 0 {
                continue;
            }
            let grant = Input::Grant { class, count, number: 0, workers: 1 };
            for fact in self.tell_core(now, grant) {
                let Event::TaskDispatched(sent) = fact.event else { continue };
                let Some(seed) = self.core.seed_of(&sent.task) else { continue };
                let (place, variables) = (sent.task, seed.variables);
                let one = Execution { place, attempt: sent.attempt, variables };
                let sent = (sent.dispatch, sent.class as usize);
                self.running.push(bench.inner((self.task, self.past), one, sent).boxed());
            }
        }
    }

    fn happened<A, V, L, C, R>(&mut self, bench: &'a Bench<A, V, L, C, R>, step: Step<K>)
    where
        A: CompletionPublisher,
        V: Live,
        L: Library,
        C: Clock,
        R: Recall<Claim = K>,
    {
        let now = bench.clock.now();
        match step {
            Step::Executed { outcome, .. } if is_call(&outcome) => {
                // it goes alone, so nothing else is left of its task
                self.note([outcome]);
                self.is_halted = true;
            }
            Step::Executed { outcome, dispatch, held: None } => {
                let part = self.part(&outcome.task.frame);
                self.unkept.entry(part).or_default().push(outcome.clone());
                self.accept(now, outcome, dispatch);
            }
            Step::Executed { outcome, dispatch, held: Some(held) } => {
                let part = self.part(&outcome.task.frame);
                let before = self.unkept.remove(&part).unwrap_or_default();
                let all = before.into_iter().chain([outcome.clone()]);
                let checkpoints = all.map(|outcome| self.checkpoint(outcome)).collect();
                let keep = async move {
                    let earlier = bench.recall.keep(checkpoints).await;
                    // nothing begins in its slot before it is kept, nor does it begin elsewhere
                    drop(held);
                    Step::Kept { outcome, dispatch, earlier }
                };
                self.running.push(keep.boxed());
            }
            Step::Elsewhere { outcome, dispatch } => {
                self.accept(now, outcome, dispatch);
            }
            Step::Kept { outcome, dispatch, earlier } => {
                let is_own = |first: &Checkpoint| first.outcome.task == outcome.task;
                let differs =
                    |first: &&Checkpoint| !is_own(first) && !self.told_alike(&first.outcome);
                if earlier.iter().any(|first| differs(&first)) {
                    // another worker has the same fragment, and what it has counts
                    self.give_up(&outcome.task.frame);
                    return;
                }
                let first = earlier.into_iter().find(is_own).map(|first| first.outcome);
                self.accept(now, first.unwrap_or(outcome), dispatch);
            }
            Step::Overslept => self.is_halted = true,
            Step::Missing(why) => {
                tracing::warn!(run.id = %self.task.run, %why, "the rest of a task goes back");
                self.is_halted = true;
            }
        }
    }

    /// Whether an outcome is what was found here as well.
    fn told_alike(&self, first: &Outcome) -> bool {
        let same = |ours: &&Outcome| ours.task == first.task && ours.attempt == first.attempt;
        self.untold.iter().find(same).is_none_or(|ours| ours.outcome == first.outcome)
    }

    /// What is said of a part here does not count; whoever goes on with it finds what does.
    fn give_up(&mut self, frame: &FramePath) {
        let part = self.part(frame);
        let untold = std::mem::take(&mut self.untold);
        self.untold =
            untold.into_iter().filter(|held| self.part(&held.task.frame) != part).collect();
        self.is_halted = true;
    }

    fn checkpoint(&self, outcome: Outcome) -> Checkpoint {
        Checkpoint { key: key_of(self.task, &outcome.task, outcome.attempt), outcome }
    }

    /// Tells the core what became of a node. False when it waits for no such thing.
    fn accept(&mut self, now: Time, outcome: Outcome, dispatch: u32) -> bool {
        let completion = Completion::of(dispatch, outcome.clone());
        match self.core.apply(now, Input::Completed(completion)) {
            Ok(facts) => {
                if !self.task.is_fused {
                    self.note([outcome]);
                }
                self.note_fused(&facts);
                true
            }
            Err(_) => false,
        }
    }

    fn tell_core(&mut self, now: Time, input: Input) -> Vec<Fact> {
        let facts = self.core.apply(now, input).unwrap_or_default();
        self.note_fused(&facts);
        facts
    }

    /// What the core evaluated itself is told to a scheduler that leaves that to workers.
    fn note_fused(&mut self, facts: &[Fact]) {
        if self.task.is_fused {
            let outcomes: Vec<Outcome> = self.core.outcomes(facts).collect();
            self.note(outcomes);
        }
    }

    fn note(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for outcome in outcomes {
            self.bytes += outcome.weight();
            self.untold.push(outcome);
        }
    }

    /// Tells what happened so far; more follows.
    async fn tell<A, V, L, C, R>(&mut self, bench: &Bench<A, V, L, C, R>)
    where
        A: CompletionPublisher,
    {
        self.told_at = Instant::now();
        self.bytes = 0;
        let outcomes = std::mem::take(&mut self.untold);
        if outcomes.is_empty() {
            return;
        }
        let completion =
            Completion { end: End::More, ..returned(self.task, outcomes, Returned::HandedBack) };
        let delivery = Delivery::Completed { run: self.task.run.clone(), completion };
        if bench.answers.answer(self.task.shard, delivery).await.is_err() {
            tracing::debug!(node.id = %self.task.task.node, "the broker closed before an answer");
        }
    }

    fn end(&mut self, reason: Returned) -> Completion {
        returned(self.task, std::mem::take(&mut self.untold), reason)
    }

    /// The part that a frame belongs to.
    fn part(&self, frame: &FramePath) -> Part {
        if let Fragment::Nodes(_) = self.task.fragment {
            return None;
        }
        let (outer, ..) = self.task.task.frame.split()?;
        let mut at = frame.clone();
        while let Some((around, _, index)) = at.split() {
            if around == outer {
                return Some(index);
            }
            at = around;
        }
        None
    }
}

fn returned(task: &Task, outcomes: Vec<Outcome>, reason: Returned) -> Completion {
    let Task { task, attempt, dispatch, .. } = task.clone();
    Completion { task, attempt, dispatch, outcomes, end: End::Returned(reason) }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
