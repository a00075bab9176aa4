//! What holds for all runs: random graphs, random orders of what arrives, late, twice or never.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod fragments;
mod plans;
mod reference;
mod support;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Dispatch, Options, Reason, Returned, RunFinished, Status, TaskId};
use flowmill_engine::plan::{Plan, Success, TaskClass};
use flowmill_engine::run::{Completion, Fragment, Input, Outcome, Rejected, Start, Wake};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Value, loads};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use plans::{Body, Wanted};
use reference::Reference;
use support::driver::Driver;
use support::notation;

/// The most inputs that any of these runs may need to end.
const MOST_INPUTS: usize = 20_000;

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 4000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/laws.regressions"))),
        ..ProptestConfig::with_cases(200)
    })]

    /// Whatever arrives, the run stays in order and can be brought to its end.
    #[test]
    fn any_run_ends(
        body in plans::plan(Wanted { troubles: true, heavy: false, unhandled: false }),
        actions in vec(any::<(u8, u8)>(), 0..60),
        max_steps in proptest::option::weighted(0.2, 1..30_u64),
        dispatch in dispatch(),
    ) {
        chaos(&body, &actions, max_steps, dispatch);
    }

    /// The same where nodes change their mind about who executes them.
    #[test]
    fn any_run_with_heavy_nodes_ends(
        body in plans::plan(Wanted { troubles: true, heavy: true, unhandled: false }),
        actions in vec(any::<(u8, u8)>(), 0..40),
        dispatch in dispatch(),
    ) {
        chaos(&body, &actions, None, dispatch);
    }

    /// Nothing depends on the order in which independent nodes succeed.
    #[test]
    fn order_does_not_matter(
        body in plans::plan(Wanted { troubles: false, heavy: true, unhandled: false }),
        orders in vec(vec(any::<u8>(), 1..40), 2),
    ) {
        let plan = notation::plan(&body.text());
        let mut ends = orders.iter().map(|order| in_order(&plan, order));
        let (first, second) = (ends.next().unwrap(), ends.next().unwrap());
        prop_assert_eq!(first, second, "{}", body.text());
    }
}

fn dispatch() -> impl Strategy<Value = Dispatch> {
    prop_oneof![
        Just(Dispatch::Hop),
        Just(Dispatch::Fragments),
        Just(Dispatch::Fused),
        Just(Dispatch::Each),
    ]
}

fn chaos(body: &Body, actions: &[(u8, u8)], max_steps: Option<u64>, dispatch: Dispatch) {
    let plan = notation::plan(&body.text());
    let mut chaos = Chaos::start(&plan, max_steps, dispatch);
    for (action, choice) in actions {
        chaos.act(*action, usize::from(*choice));
        chaos.compare();
    }
    chaos.bring_to_its_end();
}

fn start(plan: &Arc<Plan>, max_steps: Option<u64>, dispatch: Dispatch) -> Driver {
    let input = |name: &str, json: &str| (name.into(), loads(json).unwrap());
    let options = Options {
        max_steps,
        deadline_ms: None,
        task_timeout_ms: 60_000,
        dispatch,
        ..Options::default()
    };
    let inputs = vec![input("x", "1"), input("xs", "[1, 2, null]"), input("none", "[]")];
    Driver::start(plan, Start { run: "r".into(), inputs, options, ..Start::default() })
}

struct Chaos {
    driver: Driver,
    /// Answers that were taken, to be given again.
    taken: Vec<Completion>,
}

impl Chaos {
    fn start(plan: &Arc<Plan>, max_steps: Option<u64>, dispatch: Dispatch) -> Self {
        let mut chaos = Self { driver: start(plan, max_steps, dispatch), taken: vec![] };
        chaos.tick(Duration::ZERO);
        chaos
    }

    fn act(&mut self, action: u8, choice: usize) {
        match action % 20 {
            0..4 => {
                let class = TaskClass::ALL[choice % TaskClass::ALL.len()];
                self.tell(Input::Grant { class, count: choice % 3 + 1, number: 0, workers: 1 });
            }
            4..8 => self.answer(choice, true),
            8 => self.answer(choice, false),
            9 => self.repeat(choice),
            10 => self.mislead(choice),
            11 => self.give_back(choice),
            12 => self.tick(Duration::from_millis(500)),
            13 => self.wait(),
            14 => self.tell(Input::Pause { reason: "chaos".into() }),
            15 => self.tell(Input::Resume),
            16 => self.reply(choice),
            17 if choice < 16 => {
                self.tell(Input::Stop { reason: Reason::User, message: "chaos".into() });
            }
            18 => self.tell(Input::TakeUp),
            _ => self.tick(Duration::ZERO),
        }
    }

    fn tell(&mut self, input: Input) {
        let class = match &input {
            Input::Grant { class, count, .. } => Some((*class, *count)),
            _ => None,
        };
        let before = class.map(|(class, _)| self.driver.run.in_flight(class));
        let facts = self.driver.apply(input);
        if let (Some((_, count)), Some(before), Ok(facts)) = (class, before, facts) {
            let sent = facts.iter().filter(|fact| {
                matches!(fact.event, flowmill_engine::fact::Event::TaskDispatched(_))
            });
            assert!(sent.count() <= count, "more was sent than granted, after {before}");
        }
    }

    fn tick(&mut self, wait: Duration) {
        self.driver.tick(wait);
    }

    /// Goes on to the next deadline, which must then be over.
    fn wait(&mut self) {
        let Some((at, why)) = self.driver.run.next_deadline(self.driver.now) else { return };
        let wait = at.since(self.driver.now);
        let facts = self.driver.tick(wait);
        let now = self.driver.now;
        let next = self.driver.run.next_deadline(now);
        let moves = !facts.is_empty() || next.is_none_or(|(next, _)| next > now);
        // work that is left over may be a node that only changes queues
        assert!(moves || why == Wake::Work, "{why:?} at {at} comes again: {next:?}");
    }

    fn out(&self, choice: usize) -> Option<(TaskId, u32, u32)> {
        let out: Vec<_> = self.driver.run.outstanding().collect();
        let sent = out.get(choice % out.len().max(1))?;
        Some((sent.task.clone(), sent.attempt, sent.dispatch))
    }

    fn answer(&mut self, choice: usize, succeeds: bool) {
        let Some((task, attempt, dispatch)) = self.out(choice) else { return };
        let outcome = if succeeds {
            let handle = if choice.is_multiple_of(2) { "1" } else { "2" };
            Ok(success(&self.driver, &task, handle, choice))
        } else {
            Err(NodeError::new("Bad", "bad"))
        };
        // an older sending of the attempt may be the one that answers
        let seed = self.driver.run.seed_of(&task).unwrap();
        let is_first =
            matches!(&seed.fragment, Fragment::Nodes(nodes) if nodes.first() == Some(&task.node));
        let dispatch = if choice.is_multiple_of(5) && is_first { 1 } else { dispatch };
        let started_at = self.driver.now;
        let elapsed_us = 1;
        let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
        let completion = Completion::of(dispatch, outcome);
        self.driver.apply(Input::Completed(completion.clone())).unwrap();
        self.taken.push(completion);
        self.repeat(self.taken.len() - 1);
    }

    /// Says again what was said before: it must be refused.
    fn repeat(&mut self, choice: usize) {
        let Some(said) = self.taken.get(choice % self.taken.len().max(1)).cloned() else { return };
        let refused = self.driver.apply(Input::Completed(said));
        assert!(matches!(refused, Err(Rejected::Stale | Rejected::Finished)), "{refused:?}");
    }

    /// Answers for what was never sent.
    fn mislead(&mut self, choice: usize) {
        let Some((mut task, mut attempt, mut dispatch)) = self.out(choice) else { return };
        match choice % 4 {
            0 => attempt += 1,
            1 => dispatch += 1,
            2 => task.generation += 1,
            _ => dispatch = 0,
        }
        let refused = self.driver.complete(&task, (attempt, dispatch), Ok(Success::default()));
        assert_eq!(refused, Err(Rejected::Stale));
    }

    fn give_back(&mut self, choice: usize) {
        let Some((task, attempt, dispatch)) = self.out(choice) else { return };
        let wait = Duration::from_secs(choice as u64 % 3);
        let not_before = (!wait.is_zero()).then(|| self.driver.now.after(wait));
        let reason = match choice % 5 {
            0 => Returned::Suspected,
            1 => Returned::HandedBack,
            _ => Returned::WorkerLost,
        };
        self.tell(Input::Returned { task, attempt, dispatch, reason, not_before });
    }

    fn reply(&mut self, choice: usize) {
        let waiting = self.driver.run.waiting();
        let Some(node) = waiting.get(choice % waiting.len().max(1)).cloned() else { return };
        let handle = if choice.is_multiple_of(2) { "1" } else { "2" };
        self.tell(Input::Answered {
            frame: node.frame,
            node: node.node,
            action: handle.into(),
            values: vec![],
            by: None,
        });
    }

    /// The states of the root scope are those of the rules, applied from scratch.
    fn compare(&self) {
        let run = &self.driver.run;
        let reference = Reference::new(run.plan(), &self.driver.facts);
        let nodes = run.node_states().map(|(id, state)| (&**id, state));
        assert_eq!(reference.nodes(), nodes.collect::<Vec<_>>());
        let edges = run.edge_states().map(|(id, state)| (&**id, state));
        assert_eq!(reference.edges(), edges.collect::<Vec<_>>());
    }

    /// Once everything goes well, the run ends, and says nothing more.
    fn bring_to_its_end(&mut self) {
        for turn in 0..MOST_INPUTS {
            let run = &self.driver.run;
            if run.outcome().is_some() {
                return self.look_at_the_end();
            }
            let ready =
                TaskClass::ALL.into_iter().find(|class| run.ready(*class, self.driver.now) > 0);
            if run.status() == Status::Paused {
                for choice in 0..run.waiting().len() {
                    self.reply(choice);
                }
                self.tell(Input::Resume);
            } else if self.driver.has_work() {
                self.tick(Duration::ZERO);
            } else if let Some(class) = ready {
                self.tell(Input::Grant { class, count: turn % 4 + 1, number: 0, workers: 1 });
            } else if self.out(turn).is_some() {
                self.answer(turn, true);
            } else {
                let waits = run.next_deadline(self.driver.now).is_some();
                assert!(waits, "stuck\n{}", self.driver.run.fingerprint());
                self.wait();
            }
        }
        panic!("it goes on and on\n{}", self.driver.run.fingerprint());
    }

    fn look_at_the_end(&mut self) {
        self.compare();
        self.driver.check_facts();
        for input in [
            Input::Tick,
            Input::Grant { class: TaskClass::Light, count: 1, number: 0, workers: 1 },
            Input::Resume,
            Input::TakeUp,
            Input::Pause { reason: "late".into() },
            Input::Stop { reason: Reason::User, message: "late".into() },
        ] {
            assert_eq!(self.driver.apply(input), Err(Rejected::Finished));
        }
        for choice in 0..self.taken.len() {
            self.repeat(choice);
        }
    }
}

fn success(driver: &Driver, task: &TaskId, handle: &str, value: usize) -> Success {
    let value = Value::int(i64::try_from(value % 3).unwrap());
    let success = Success::of([("y".into(), value)]);
    let plan = driver.run.plan();
    let kind = plan.find(&task.node).map(|node| plan.node(node).kind.clone());
    match kind.as_deref() {
        Some("choose" | "if") => success.with_handle(handle),
        _ => success,
    }
}

/// Runs a plan whose nodes do what their names say, answering in an order.
fn in_order(plan: &Arc<Plan>, order: &[u8]) -> RunFinished {
    let mut driver = start(plan, None, Dispatch::Hop);
    driver.tick(Duration::ZERO);
    for turn in 0..MOST_INPUTS {
        let run = &driver.run;
        let choice = usize::from(order[turn % order.len()]);
        if let Some(outcome) = run.outcome() {
            let outcome = outcome.clone();
            driver.check_facts();
            return unordered(outcome);
        }
        let ready: Vec<TaskClass> =
            TaskClass::ALL.into_iter().filter(|class| run.ready(*class, driver.now) > 0).collect();
        let out: Vec<_> = run
            .outstanding()
            .map(|sent| (sent.task.clone(), sent.attempt, sent.dispatch))
            .collect();
        if driver.has_work() {
            driver.tick(Duration::ZERO);
        } else if !ready.is_empty() && (out.is_empty() || choice.is_multiple_of(3)) {
            let class = ready[choice % ready.len()];
            driver
                .apply(Input::Grant { class, count: choice % 2 + 1, number: 0, workers: 1 })
                .unwrap();
        } else {
            let (task, attempt, dispatch) = out[choice % out.len()].clone();
            // what a node answers is a matter of the node alone
            let sum: usize =
                task.node.bytes().chain(task.frame.as_str().bytes()).map(usize::from).sum();
            let handle = if sum.is_multiple_of(2) { "1" } else { "2" };
            let outcome = Ok(success(&driver, &task, handle, sum));
            driver.complete(&task, (attempt, dispatch), outcome).unwrap();
        }
    }
    panic!("it goes on and on");
}

/// An outcome without what is a matter of order: the order of keys and errors.
fn unordered(mut outcome: RunFinished) -> RunFinished {
    outcome.outputs.sort_by(|left, right| left.0.cmp(&right.0));
    for error in &mut outcome.errors {
        error.at = Time(0);
        error.caused_by = None;
    }
    outcome.errors.sort_by_key(|error| format!("{error:?}"));
    outcome
}
