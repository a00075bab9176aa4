//! The owner of a shard: the driver around its runs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{CancelMode, Event, Fact, Status, TaskDispatched};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Input, Rejected, Run};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{Inbox, TaskPublisher};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::{self, Live};
use flowmill_infra::message::{Control, Delivery, Task};
use flowmill_infra::store::{Commit, Store};
use tokio::sync::{mpsc, oneshot};

use crate::gate::Window;
use crate::handle::{Finished, Handle, Request, Submission, SubmitError};

/// The most messages taken at once. A batch is one commit; it is as large as what has arrived.
const BATCH: usize = 256;

/// Requests waiting for the owner; submitters wait beyond it.
const REQUESTS: usize = 1024;

/// A scheduler over its ports.
#[derive(Debug)]
pub struct Service<S, P, I, L, C> {
    store: Arc<S>,
    publisher: P,
    inbox: I,
    live: L,
    clock: C,
    requests: mpsc::Receiver<Request>,
    owner: Owner,
}

/// The runs of a shard and what they wait for.
#[derive(Debug)]
struct Owner {
    runs: HashMap<Name, Active>,
    window: Window,
    /// Runs with ready nodes, each in its turn.
    hungry: VecDeque<Name>,
    /// Runs that have more to do at once.
    busy: VecDeque<Name>,
    timers: BTreeSet<(Time, Name)>,
    /// Runs with facts to commit.
    changed: Vec<Name>,
}

#[derive(Debug)]
struct Active {
    run: Run,
    done: Option<oneshot::Sender<Result<Finished, SubmitError>>>,
    /// Facts that are not committed yet.
    fresh: Vec<Fact>,
    wake_at: Option<Time>,
    is_hungry: bool,
    is_busy: bool,
    is_changed: bool,
}

/// What a committed batch calls for.
#[derive(Debug, Default)]
struct Effects {
    tasks: Vec<Task>,
    controls: Vec<Control>,
    ended: Vec<Name>,
}

impl<S: Store, P: TaskPublisher, I: Inbox, L: Live, C: Clock> Service<S, P, I, L, C> {
    /// A scheduler and the way into it.
    pub fn new(
        store: Arc<S>,
        (publisher, inbox): (P, I),
        live: L,
        clock: C,
        window: Window,
    ) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let owner = Owner {
            runs: HashMap::new(),
            window,
            hungry: VecDeque::new(),
            busy: VecDeque::new(),
            timers: BTreeSet::new(),
            changed: Vec::new(),
        };
        let service = Self { store, publisher, inbox, live, clock, requests, owner };
        (service, Handle { requests: sender })
    }

    /// Serves until every [`Handle`] is gone and no run is live.
    pub async fn run(mut self) {
        let mut requests = Vec::new();
        let mut open = true;
        while open || !self.owner.runs.is_empty() {
            let wake_at = self.owner.next_wake(self.clock.now());
            let mut deliveries = Vec::new();
            tokio::select! {
                biased;
                received = self.inbox.receive(BATCH) => {
                    if received.is_empty() {
                        tracing::error!("the broker closed while runs were live");
                        return;
                    }
                    deliveries = received;
                }
                count = self.requests.recv_many(&mut requests, BATCH), if open => open = count > 0,
                () = wait(&self.clock, wake_at) => {}
            }
            let now = self.clock.now();
            for delivery in deliveries {
                self.owner.deliver(now, delivery);
            }
            for request in requests.drain(..) {
                self.owner.request(now, request);
            }
            self.owner.wake(now);
            self.owner.grant(now);
            self.commit().await;
        }
    }

    /// Commits what became true, then does what it calls for.
    async fn commit(&mut self) {
        let commits = self.owner.take_facts();
        if commits.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit(&commits).await {
            tracing::error!(%error, "facts were not committed; their runs stop here");
            for commit in &commits {
                self.owner.lose(&commit.run);
            }
            return;
        }
        let effects = self.owner.effects(&commits);
        for commit in &commits {
            self.live.publish(&commit.run, live::Event::Facts(commit.facts.clone())).await;
        }
        for control in effects.controls {
            // no worker left means nobody holds a task
            let _ = self.publisher.control(control).await;
        }
        if self.publisher.publish(effects.tasks).await.is_err() {
            tracing::error!("the broker closed while tasks were published");
        }
        for run in effects.ended {
            self.owner.end(&run);
        }
    }
}

async fn wait<C: Clock>(clock: &C, at: Option<Time>) {
    match at {
        // a timer, however short, would wait for the next millisecond
        Some(at) if at <= clock.now() => {}
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Owner {
    fn next_wake(&self, now: Time) -> Option<Time> {
        if !self.busy.is_empty() {
            return Some(now);
        }
        self.timers.first().map(|(at, _)| *at)
    }

    fn request(&mut self, now: Time, request: Request) {
        match request {
            Request::Submit(submission, done) => self.submit(now, *submission, done),
            Request::Signal(run, input, answer) => {
                // whoever asked may be gone
                let _ = answer.send(self.apply(now, &run, input));
            }
        }
    }

    fn submit(
        &mut self,
        now: Time,
        submission: Submission,
        done: oneshot::Sender<Result<Finished, SubmitError>>,
    ) {
        let id = submission.start.run.clone();
        if self.runs.contains_key(&id) {
            let _ = done.send(Err(SubmitError::Exists));
            return;
        }
        let (run, fresh) = Run::start(submission.plan, submission.start, now);
        let active = Active {
            run,
            done: Some(done),
            fresh,
            wake_at: None,
            is_hungry: false,
            is_busy: false,
            is_changed: false,
        };
        self.runs.insert(id.clone(), active);
        let _ = self.apply(now, &id, Input::Tick);
    }

    fn deliver(&mut self, now: Time, delivery: Delivery) {
        let (run, input, task) = match delivery {
            Delivery::Completed { run, completion } => {
                let task = completion.task.clone();
                (run, Input::Completed(completion), task)
            }
            Delivery::Returned { run, task, attempt, dispatch, reason } => {
                let not_before = None;
                let id = task.clone();
                (run, Input::Returned { task, attempt, dispatch, reason, not_before }, id)
            }
        };
        if let Err(reason) = self.apply(now, &run, input) {
            tracing::debug!(run.id = %run, node.id = %task.node, %reason, "an answer came too late");
        }
    }

    fn apply(&mut self, now: Time, id: &Name, input: Input) -> Result<(), Rejected> {
        let active = self.runs.get_mut(id).ok_or(Rejected::Finished)?;
        let before = Window::classes().map(|class| active.run.in_flight(class));
        let mut facts = active.run.apply(now, input)?;
        for (class, before) in Window::classes().into_iter().zip(before) {
            self.window.moved(class, before, active.run.in_flight(class));
        }
        active.fresh.append(&mut facts);
        if !active.is_changed {
            active.is_changed = true;
            self.changed.push(id.clone());
        }
        self.look_after(now, id);
        Ok(())
    }

    /// Notes what a run waits for after it changed.
    fn look_after(&mut self, now: Time, id: &Name) {
        let Some(active) = self.runs.get_mut(id) else { return };
        if let Some(at) = active.wake_at.take() {
            self.timers.remove(&(at, id.clone()));
        }
        match active.run.next_deadline(now) {
            Some((at, _)) if at <= now && active.is_busy => {}
            Some((at, _)) if at <= now => {
                active.is_busy = true;
                self.busy.push_back(id.clone());
            }
            Some((at, _)) => {
                active.wake_at = Some(at);
                self.timers.insert((at, id.clone()));
            }
            None => {}
        }
        let ready = Window::classes().iter().any(|class| active.run.ready(*class, now) > 0);
        if ready && !active.is_hungry {
            active.is_hungry = true;
            self.hungry.push_back(id.clone());
        }
    }

    fn wake(&mut self, now: Time) {
        while let Some((at, id)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, id.clone()));
            let Some(active) = self.runs.get_mut(&id) else { continue };
            active.wake_at = None;
            if !active.is_busy {
                active.is_busy = true;
                self.busy.push_back(id);
            }
        }
        // one slice each: what is left over comes round again after the others
        for id in std::mem::take(&mut self.busy) {
            if let Some(active) = self.runs.get_mut(&id) {
                active.is_busy = false;
            }
            // a run that ended meanwhile needs no time
            let _ = self.apply(now, &id, Input::Tick);
        }
    }

    /// Shares the free places of the window among the runs that want some, one each in turn.
    fn grant(&mut self, now: Time) {
        let mut rest = self.hungry.len();
        while rest > 0 {
            rest -= 1;
            let Some(id) = self.hungry.pop_front() else { return };
            let Some(active) = self.runs.get_mut(&id) else { continue };
            active.is_hungry = false;
            let wants: Vec<(TaskClass, usize)> = Window::classes()
                .into_iter()
                .map(|class| {
                    let share = self.window.free(class).div_ceil(rest + 1);
                    (class, active.run.ready(class, now).min(share))
                })
                .filter(|(_, count)| *count > 0)
                .collect();
            for (class, count) in wants {
                let _ = self.apply(now, &id, Input::Grant { class, count });
            }
            self.look_after(now, &id);
        }
    }

    fn take_facts(&mut self) -> Vec<Commit> {
        let mut commits = Vec::with_capacity(self.changed.len());
        for id in std::mem::take(&mut self.changed) {
            let Some(active) = self.runs.get_mut(&id) else { continue };
            active.is_changed = false;
            let facts = std::mem::take(&mut active.fresh).into();
            commits.push(Commit { run: id, plan: active.run.plan().clone(), facts });
        }
        commits
    }

    fn effects(&self, commits: &[Commit]) -> Effects {
        let mut effects = Effects::default();
        for commit in commits {
            let Some(active) = self.runs.get(&commit.run) else { continue };
            for fact in commit.facts.iter() {
                effects.add(&active.run, fact);
            }
        }
        effects
    }

    /// A run that ended, or waits for a person, leaves memory.
    fn end(&mut self, id: &Name) {
        let Some(mut active) = self.runs.remove(id) else { return };
        if active.run.status() == Status::Running {
            // it was resumed in the same batch
            self.runs.insert(id.clone(), active);
            return;
        }
        if let Some(at) = active.wake_at {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some(done) = active.done.take() {
            let _ = done.send(Ok(Finished { run: active.run }));
        }
    }

    fn lose(&mut self, id: &Name) {
        let wake_at = self.runs.remove(id).and_then(|active| active.wake_at);
        if let Some(at) = wake_at {
            self.timers.remove(&(at, id.clone()));
        }
    }
}

impl Effects {
    fn add(&mut self, run: &Run, fact: &Fact) {
        match &fact.event {
            Event::TaskDispatched(sent) => self.tasks.extend(task(run, sent, fact.at)),
            Event::TaskCancelled { task, mode: CancelMode::Drop } => {
                let run = run.id().clone();
                self.controls.push(Control::Drop { run, task: task.clone() });
            }
            Event::RunFinished(_) | Event::RunPaused => self.ended.push(run.id().clone()),
            _ => {}
        }
    }
}

/// The message for a task. None when the run has no use for it any more.
fn task(run: &Run, sent: &TaskDispatched, at: Time) -> Option<Task> {
    let variables = run.task_variables(&sent.task)?;
    Some(Task {
        run: run.id().clone(),
        workflow: run.workflow().clone(),
        task: sent.task.clone(),
        attempt: sent.attempt,
        dispatch: sent.dispatch,
        class: sent.class,
        variables,
        timeout: sent.due.since(at).max(Duration::from_millis(1)),
    })
}
