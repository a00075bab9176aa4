//! The owner of a shard: its runs, and what each of them waits for.
//!
//! Nothing here waits or does I/O, and nothing looks at all runs: a message costs what it changes.
//! `requests` is what is asked of it in its own process, `shares` what it has of what is limited.

mod requests;
mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Fact, Returned, Status, TaskId};
use flowmill_engine::plan::{Plan, TaskClass};
use flowmill_engine::run::{Input, Outstanding, Rejected, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::message::{Control, Delivery, Shard};
use flowmill_infra::store::{Commit, StoreError};

use crate::active::{Active, Wants};
use crate::effects::{Effects, Home};
use crate::fence::{crash, fenced};
use crate::gate::{Gate, PerClass, Window};
use crate::handle::{Done, Finished, SubmitError};
use crate::meters::Meters;

/// How long a task waits at first that no queue took.
const WITHOUT_A_QUEUE: Duration = Duration::from_secs(5);

/// How long a task waits at first that comes back again and again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a task may come back and be sent again at once.
const AT_ONCE: u32 = 3;

/// The longest that a task waits that came back.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// The most runs that get a slice of time before messages are looked at again.
const SLICES: usize = 64;

/// The runs of a shard.
#[derive(Debug)]
pub struct Owner {
    runs: HashMap<Name, Active>,
    gate: Gate,
    /// How many runs there are of each flow.
    census: BTreeMap<Arc<Flow>, usize>,
    /// Runs that have more to do at once, each in its turn.
    busy: VecDeque<Name>,
    timers: BTreeSet<(Time, Name)>,
    /// Runs with facts to commit.
    changed: Vec<Name>,
    /// How many shards there are.
    shards: u16,
    /// The highest number that a task of each shard was sent under.
    numbers: BTreeMap<Shard, u64>,
    /// How many workers there are, as far as is known.
    workers: u32,
    /// What runs call for that were taken up.
    again: Effects,
    meters: Arc<Meters>,
}

impl Owner {
    /// An owner of runs of so many shards.
    pub(crate) fn new(window: Window, shards: u16) -> Self {
        Self {
            runs: HashMap::new(),
            gate: Gate::new(window),
            census: BTreeMap::new(),
            busy: VecDeque::new(),
            timers: BTreeSet::new(),
            changed: Vec::new(),
            shards,
            numbers: BTreeMap::new(),
            workers: 1,
            again: Effects::default(),
            meters: Arc::default(),
        }
    }

    /// The same; what happens is counted with these.
    pub(crate) fn with_meters(self, meters: Arc<Meters>) -> Self {
        Self { meters, ..self }
    }

    /// A run in memory.
    pub(crate) fn run(&self, run: &Name) -> Option<&Run> {
        self.runs.get(run).map(|active| &active.run)
    }

    /// There are so many workers, and so many of their slots are for this owner.
    pub(crate) fn count_workers(&mut self, workers: usize, slots: PerClass) {
        self.workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        self.gate.pace().share(slots);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// When it must be woken.
    pub(crate) fn next_wake(&self, now: Time) -> Option<Time> {
        if !self.busy.is_empty() {
            return Some(now);
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// How many runs are in memory.
    pub(crate) fn active(&self) -> usize {
        self.runs.len()
    }

    /// Whether a run is in memory.
    pub(crate) fn holds(&self, run: &Name) -> bool {
        self.runs.contains_key(run)
    }

    /// How many tasks of each class are out, and may be.
    pub(crate) fn places(&self) -> (PerClass, PerClass) {
        self.gate.places()
    }

    /// Whether somebody asked for the pause of a run in memory, which no answer of a person ends.
    pub(crate) fn is_held(&self, run: &Name) -> bool {
        self.runs.get(run).is_some_and(|active| active.run.is_held())
    }

    /// A task of a run in memory, if it is out.
    pub(crate) fn is_out(&self, run: &Name, task: &TaskId) -> Option<Outstanding<'_>> {
        self.runs.get(run)?.run.is_out(task)
    }

    /// The runs are spread over so many shards.
    pub(crate) fn share(&mut self, shards: u16) {
        self.shards = shards;
    }

    /// Where a run belongs.
    pub(crate) fn shard_of(&self, run: &Name) -> Shard {
        Shard::of(run, self.shards)
    }

    /// The tasks of a shard are numbered from after this one.
    pub(crate) fn count_from(&mut self, shard: Shard, last: u64) {
        self.numbers.insert(shard, last);
    }

    /// The highest number that a task of a shard was sent under.
    pub(crate) fn last_number(&self, shard: Shard) -> u64 {
        self.numbers.get(&shard).copied().unwrap_or_default()
    }

    /// Forgets all runs of a shard, with what is not committed of them.
    pub(crate) fn disown(&mut self, shard: Shard) {
        let of_it = |active: &Active| active.home.shard == shard;
        let gone: Vec<Name> = self
            .runs
            .iter()
            .filter(|(_, active)| of_it(active))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id);
        }
        self.numbers.remove(&shard);
    }

    /// Forgets runs that nothing moves and that have nothing to commit.
    pub(crate) fn put_aside(&mut self) {
        let is_idle =
            |active: &Active| active.run.status() != Status::Running && !active.is_changed;
        let idle: Vec<Name> = self
            .runs
            .iter()
            .filter(|(_, active)| is_idle(active))
            .map(|(id, _)| id.clone())
            .collect();
        for id in idle {
            self.remove(&id);
        }
    }

    /// Begins a run of a tenant and of a document of this name, for which nobody waits here.
    ///
    /// # Errors
    /// How it broke the core; then it did not begin.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        plan: Arc<Plan>,
        (tenant, name): (Name, Name),
        start: Start,
    ) -> Result<(), String> {
        let (run, facts) = fenced(|| Run::start(plan, start, now))?;
        self.hold(now, run, (tenant, name), facts, None);
        Ok(())
    }

    /// Takes up a run as the store has it; whatever is out of it stays out.
    pub(crate) fn take_up(&mut self, now: Time, run: Run, (tenant, name): (Name, Name)) {
        self.hold(now, run, (tenant, name), Vec::new(), None);
    }

    /// Tells a run something.
    ///
    /// # Errors
    /// [`Rejected`] when it does not apply; also when the run is not in memory.
    pub(crate) fn tell(&mut self, now: Time, run: &Name, input: Input) -> Result<(), Rejected> {
        self.apply(now, run, input)
    }

    fn hold(
        &mut self,
        now: Time,
        run: Run,
        (tenant, workflow): (Name, Name),
        fresh: Vec<Fact>,
        done: Option<Done>,
    ) {
        let id = run.id().clone();
        let batch = run.line().map(|line| line.batch.clone());
        let flow = Flow { lane: run.options().lane, tenant: tenant.clone(), workflow, batch };
        let flow = Arc::new(flow);
        if run.parent().is_none() {
            // its parent is counted for it
            *self.census.entry(flow.clone()).or_default() += 1;
        }
        let home = Home { tenant, shard: Shard::of(&id, self.shards) };
        self.again.again(&run, &home);
        let active = Active {
            home,
            flow,
            run,
            done,
            taken: Vec::new(),
            effects: Effects::default(),
            out: PerClass::default(),
            wake_at: None,
            is_hungry: Default::default(),
            ready_since: Default::default(),
            is_busy: false,
            is_changed: !fresh.is_empty(),
            fresh,
        };
        if active.is_changed {
            self.changed.push(id.clone());
        }
        self.runs.insert(id.clone(), active);
        // a run that ended as it was told what it missed needs no time
        let _ = self.apply(now, &id, Input::Tick);
    }

    /// What came from a worker.
    pub(crate) fn deliver(&mut self, now: Time, delivery: Delivery) {
        let (run, task, input) = match delivery {
            Delivery::Completed { run, completion } => {
                self.note_wait(now, &run, &completion);
                (run, completion.task.clone(), Input::Completed(completion))
            }
            Delivery::Returned { run, task, attempt, dispatch, reason } => {
                let id = task.clone();
                let not_before = rest(reason, dispatch).map(|rest| now.after(rest));
                (run, id, Input::Returned { task, attempt, dispatch, reason, not_before })
            }
            // whoever owns shards looks after these
            Delivery::Poke { .. } | Delivery::Beat(_) | Delivery::Lost { .. } => return,
        };
        let returned = match &input {
            Input::Returned { reason, .. } => Some(*reason),
            _ => None,
        };
        if returned == Some(Returned::Unroutable) {
            self.meters.unroutable();
        }
        let told = self.apply(now, &run, input);
        self.meters.answered(returned.is_some(), &told);
        if let Err(reason) = told {
            tracing::debug!(run.id = %run, node.id = %task.node, %reason, "an answer does not apply");
        }
    }

    fn apply(&mut self, now: Time, id: &Name, input: Input) -> Result<(), Rejected> {
        let active = self.runs.get_mut(id).ok_or(Rejected::Finished)?;
        let last = self.numbers.entry(active.home.shard).or_default();
        let (mut facts, wants) = active.step(now, input, last)?;
        self.gate.moved(&active.flow, active.out, wants.out);
        active.out = wants.out;
        active.fresh.append(&mut facts);
        if !active.is_changed && !active.fresh.is_empty() {
            active.is_changed = true;
            self.changed.push(id.clone());
        }
        self.look_after(now, id, &wants);
        Ok(())
    }

    /// Notes what a run waits for after it changed.
    fn look_after(&mut self, now: Time, id: &Name, wants: &Wants) {
        let Some(active) = self.runs.get_mut(id) else { return };
        let is_due = wants.wake_at.is_some_and(|at| at <= now);
        if is_due && !active.is_busy {
            active.is_busy = true;
            self.busy.push_back(id.clone());
        }
        let wake_at = wants.wake_at.filter(|_| !is_due);
        if wake_at != active.wake_at {
            if let Some(at) = active.wake_at {
                self.timers.remove(&(at, id.clone()));
            }
            if let Some(at) = wake_at {
                self.timers.insert((at, id.clone()));
            }
            active.wake_at = wake_at;
        }
        for class in TaskClass::ALL {
            let ready_since = &mut active.ready_since[class as usize];
            *ready_since = wants.ready[class as usize].then(|| ready_since.unwrap_or(now));
            let is_hungry = &mut active.is_hungry[class as usize];
            if wants.ready[class as usize] && !*is_hungry {
                *is_hungry = true;
                self.gate.queue(class, &active.flow, id.clone());
            }
        }
    }

    /// Gives time to the runs that are due, a slice each: what is left over comes round again
    /// after the others.
    pub(crate) fn wake(&mut self, now: Time) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.timers.pop_first() else { break };
            let Some(active) = self.runs.get_mut(&id) else { continue };
            active.wake_at = None;
            if !active.is_busy {
                active.is_busy = true;
                self.busy.push_back(id);
            }
        }
        for _ in 0..self.busy.len().min(SLICES) {
            let Some(id) = self.busy.pop_front() else { break };
            if let Some(active) = self.runs.get_mut(&id) {
                active.is_busy = false;
            }
            // a run that ended meanwhile needs no time
            let _ = self.apply(now, &id, Input::Tick);
        }
    }

    /// Shares the free places of the window among the runs that want some, in turns.
    pub(crate) fn grant(&mut self, now: Time) {
        for class in TaskClass::ALL {
            let Some(mut round) = self.gate.round(class) else { continue };
            while let Some((id, count)) = self.gate.next(&mut round) {
                let Some(active) = self.runs.get_mut(&id) else { continue };
                active.is_hungry[class as usize] = false;
                let before = active.run.seq();
                let number = self.numbers.get(&active.home.shard).map_or(1, |last| last + 1);
                // a run that ended meanwhile needs no place
                let workers = self.workers;
                let _ = self.apply(now, &id, Input::Grant { class, count, number, workers });
                let active = self.runs.get(&id);
                // passes without a task in them end as soon as they may begin
                let took = active.is_some_and(|active| active.run.seq() > before);
                let wants_more = active.is_some_and(|active| active.is_hungry[class as usize]);
                if wants_more && !took {
                    tracing::warn!(run.id = %id, "a run wanted a place and did not take it");
                    break;
                }
            }
        }
    }

    /// The facts to commit.
    pub(crate) fn take_commits(&mut self) -> Vec<Commit> {
        let mut commits = Vec::with_capacity(self.changed.len());
        for id in std::mem::take(&mut self.changed) {
            let Some(active) = self.runs.get_mut(&id) else { continue };
            active.is_changed = false;
            if active.fresh.is_empty() {
                continue; // it was forgotten and taken up anew
            }
            let facts: Arc<[Fact]> = std::mem::take(&mut active.fresh).into();
            let standing = active.standing(&facts);
            commits.push(Commit { run: id, plan: active.run.plan().clone(), facts, standing });
        }
        commits
    }

    /// What the facts just committed of a run call for.
    pub(crate) fn take_effects(&mut self, id: &Name) -> Effects {
        let active = self.runs.get_mut(id);
        active.map(|active| std::mem::take(&mut active.effects)).unwrap_or_default()
    }

    /// What runs call for that were taken up since this was asked last.
    pub(crate) fn take_again(&mut self) -> Effects {
        std::mem::take(&mut self.again)
    }

    /// Whose a run in memory is.
    pub(crate) fn tenant_of(&self, run: &Name) -> Option<&Name> {
        self.runs.get(run).map(|active| &active.home.tenant)
    }

    /// The effects of a run's facts have happened. A run that nothing moves leaves memory.
    pub(crate) fn settle(&mut self, id: &Name) {
        let Some(active) = self.runs.get_mut(id) else { return };
        for taken in active.taken.drain(..) {
            let _ = taken.send(Ok(()));
        }
        if active.run.status() == Status::Running {
            return;
        }
        if let Some(Active { run, done: Some(done), .. }) = self.remove(id) {
            let _ = done.send(Ok(Finished { run }));
        }
    }

    /// Facts of a run can never be stored: it ends, as if they had never been. Gives its end, to be
    /// stored in their place; None when nothing of the run is stored.
    pub(crate) fn condemn(&mut self, now: Time, commit: &Commit, why: &str) -> Option<Commit> {
        let stored = commit.facts.first().map(|fact| fact.seq - 1).filter(|seq| *seq > 0)?;
        let active = self.runs.get_mut(&commit.run)?;
        let facts = crash(&mut active.run, stored, true, now, why);
        let last = self.numbers.entry(active.home.shard).or_default();
        active.effects = Effects::default();
        active.effects.add(&active.run, &active.home, &facts, last);
        self.gate.moved(&active.flow, active.out, PerClass::default());
        active.out = PerClass::default();
        let standing = active.standing(&facts);
        let (run, plan) = (commit.run.clone(), commit.plan.clone());
        Some(Commit { run, plan, facts: facts.into(), standing })
    }

    /// Facts of a run could not be stored: it leaves memory as if they had never been. What
    /// workers hold of it is of no more use.
    pub(crate) fn lose(&mut self, commit: &Commit, error: StoreError) -> Option<Control> {
        tracing::error!(run.id = %commit.run, %error, "facts were not stored; their run stops here");
        let active = self.remove(&commit.run)?;
        for taken in active.taken {
            let _ = taken.send(Err(Rejected::Finished));
        }
        let is_new = commit.facts.first().is_some_and(|fact| fact.seq == 1);
        let error = match error {
            StoreError::Conflict { .. } if is_new => SubmitError::Exists,
            error => SubmitError::NotStored(error),
        };
        if let Some(done) = active.done {
            let _ = done.send(Err(error));
        }
        let run = commit.run.clone();
        let before = self.numbers.get(&active.home.shard).map_or(1, |last| last + 1);
        (!is_new).then_some(Control::Drop { run, task: None, before })
    }

    fn remove(&mut self, id: &Name) -> Option<Active> {
        let active = self.runs.remove(id)?;
        if let Some(at) = active.wake_at {
            self.timers.remove(&(at, id.clone()));
        }
        self.gate.moved(&active.flow, active.out, PerClass::default());
        let counts = active.run.parent().is_none();
        if let Some(runs) = self.census.get_mut(&active.flow).filter(|_| counts) {
            *runs -= 1;
            if *runs == 0 {
                self.census.remove(&active.flow);
            }
        }
        Some(active)
    }
}

/// How long a task that came back rests before it is sent again: longer each time, so that what
/// nobody can take does not go round and round.
fn rest(reason: Returned, dispatch: u32) -> Option<Duration> {
    let (first, free) = match reason {
        Returned::Unroutable => (WITHOUT_A_QUEUE, 0),
        Returned::HandedBack | Returned::WorkerLost | Returned::Suspected => (AGAIN, AT_ONCE),
    };
    let doublings = dispatch.checked_sub(free + 1)?.min(10);
    Some((first * (1 << doublings)).min(LONGEST_REST))
}

#[cfg(test)]
#[path = "../../tests/scheduler/support/plans.rs"]
pub(crate) mod plans;

#[cfg(test)]
mod tests {
    use flowmill_engine::error::NodeError;
    use flowmill_engine::fact::{Options, Reason};
    use flowmill_engine::plan::{Plan, Success};
    use flowmill_engine::run::{Completion, Outcome, Start};
    use flowmill_infra::message::Task;
    use tokio::sync::oneshot;

    use super::plans::{long, plan, wide};
    use super::*;
    use crate::handle::{Request, Submission};

    fn submit(owner: &mut Owner, id: &str, plan: &Arc<Plan>) {
        let options = Options { deadline_ms: Some(60_000), ..Options::default() };
        let start = Start { run: id.into(), options, ..Start::default() };
        let submission = Submission { plan: plan.clone(), start };
        owner.request(Time(0), Request::Submit(Box::new(submission), oneshot::channel().0));
    }

    /// What the loop around it does, once; gives the tasks that were made.
    fn turn(owner: &mut Owner, now: Time, stored: bool) -> Vec<Task> {
        owner.wake(now);
        owner.grant(now);
        let mut tasks = Vec::new();
        for commit in owner.take_commits() {
            if stored {
                tasks.append(&mut owner.take_effects(&commit.run).tasks);
                owner.settle(&commit.run);
            } else {
                owner.lose(&commit, StoreError::Unavailable("it is away".into()));
            }
        }
        tasks
    }

    fn answer(owner: &mut Owner, now: Time, task: Task, outcome: Result<Success, NodeError>) {
        let Task { run, task, attempt, dispatch, .. } = task;
        let (started_at, elapsed_us) = (now, 0);
        let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
        let completion = Completion::of(dispatch, outcome);
        owner.deliver(now, Delivery::Completed { run, completion });
    }

    fn assert_empty(owner: &Owner) {
        assert!(owner.is_idle());
        assert!(owner.timers.is_empty(), "{:?}", owner.timers);
        assert!(owner.busy.is_empty(), "{:?}", owner.busy);
        assert!(owner.changed.is_empty(), "{:?}", owner.changed);
        assert!(owner.gate.is_empty(), "{:?}", owner.gate);
        assert!(owner.census.is_empty(), "{:?}", owner.census);
        assert_eq!(owner.next_wake(Time(0)), None);
    }

    #[test]
    fn nothing_is_left_of_runs_that_ended() {
        let mut owner = Owner::new(Window::new(|_| 3), 1);
        let plans = [
            plan("start llm1; start code1 inline1; start inline2"),
            plan("start retry1"),
            plan("start llm1 panic1"),
            plan("start light1 pause1; start light2"),
            plan("start panic1"),
            wide("http", 5),
            long("inline", 1000),
        ];
        for round in 0_u64..50 {
            for (number, plan) in plans.iter().enumerate() {
                submit(&mut owner, &format!("{round}-{number}"), plan);
            }
            let stop = Input::Stop { reason: Reason::User, message: "enough".into() };
            let stopped = format!("{}-0", round.saturating_sub(1)).as_str().into();
            owner.request(Time(round), Request::Signal(stopped, stop, oneshot::channel().0));
        }
        let mut now = Time(100);
        for step in 0_u64.. {
            if owner.is_idle() {
                break;
            }
            assert!(step < 10_000, "runs go on for ever");
            let tasks = turn(&mut owner, now, step % 7 != 3);
            if let Some(at) = owner.next_wake(now).filter(|_| tasks.is_empty()) {
                now = now.max(at);
            }
            for (index, task) in (0_u64..).zip(tasks) {
                let outcome = match (step + index) % 3 {
                    0 => Err(NodeError::new("Bad", "it failed")),
                    _ => Ok(Success::default()),
                };
                answer(&mut owner, now, task, outcome);
            }
        }
        // names of runs that ended in a queue go when their turn comes
        turn(&mut owner, now, true);
        assert_empty(&owner);
    }
}
