//! What holds for all runs that take over what an earlier one did.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod plans;
mod reference;
mod support;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{
    Event, Fact, FramePath, Kept, Options, Pass, RunFinished, Status, TaskId,
};
use flowmill_engine::plan::{Plan, Success, TaskClass};
use flowmill_engine::rerun::{self, Refused, What};
use flowmill_engine::run::{Start, Wake};
use flowmill_engine::value::{Name, Value, loads};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use plans::Wanted;
use reference::Reference;
use support::driver::Driver;
use support::notation;

/// The most inputs that any of these runs may need to end.
const MOST_INPUTS: usize = 20_000;

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 4000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/reruns.regressions"))),
        ..ProptestConfig::with_cases(100)
    })]

    /// Begun again at the node that ended last, a run executes this node and gives the same.
    #[test]
    fn the_last_node_alone(
        body in plans::plan(Wanted { troubles: false, heavy: false, unhandled: false }),
        order in vec(any::<u8>(), 1..40),
    ) {
        let plan = notation::plan(&body.text());
        let first = run(&plan, None, &order, &never);
        let last = first.facts.iter().rev().find_map(done).unwrap();
        let again = run(&plan, Some((&first, &What::From(last.clone()))), &order, &never);
        for fact in &again.facts {
            if let Some(node) = done(fact) {
                prop_assert_eq!(node, last.clone(), "{}", body.text());
            }
        }
        prop_assert_eq!(outputs(&first), outputs(&again), "{}", body.text());
    }

    /// Begun again anywhere, also inside of containers, it gives the same.
    #[test]
    fn from_any_node(
        body in plans::plan(Wanted { troubles: false, heavy: true, unhandled: false }),
        order in vec(any::<u8>(), 1..40),
        choice in any::<prop::sample::Index>(),
    ) {
        let plan = notation::plan(&body.text());
        let first = run(&plan, None, &order, &never);
        let nodes: Vec<Name> = plan.nodes().iter().map(|node| node.id.clone()).collect();
        let what = What::From(choice.get(&nodes).clone());
        if let Err(refused) = rerun::plan(&plan, &first.facts, &what, &[]) {
            prop_assert!(matches!(refused, Refused::NotRun(_)), "{}", refused);
            return Ok(());
        }
        let again = run(&plan, Some((&first, &what)), &order, &never);
        prop_assert_eq!(outputs(&first), outputs(&again), "{}", body.text());
        prop_assert!(sent(&again) <= sent(&first), "{}", body.text());
    }

    /// Once nothing fails any more, running again what failed ends as if nothing ever had, however
    /// often it failed before, and pays for nothing twice that was kept.
    #[test]
    fn as_if_nothing_had_failed(
        body in plans::plan(Wanted { troubles: false, heavy: true, unhandled: true }),
        order in vec(any::<u8>(), 1..40),
        bad in vec(vec(any::<u8>(), 1..6), 1..4),
    ) {
        let plan = notation::plan(&body.text());
        let clean = run(&plan, None, &order, &never);
        // nodes that fail whatever happens fail again; what a container gave before it failed
        // depends on which of its passes was done by then
        prop_assume!(end(&clean).status != Status::Failed && !has_failed_container(&clean));
        let fails = |bad: &[u8], task: &TaskId| {
            bad.iter().any(|bad| (sum(task) + usize::from(*bad)).is_multiple_of(3))
        };
        let mut last = run(&plan, None, &order, &|task| fails(&bad[0], task));
        for bad in &bad[1..] {
            if rerun::plan(&plan, &last.facts, &What::Failed, &[]).is_err() {
                break;
            }
            last = run(&plan, Some((&last, &What::Failed)), &order, &|task| fails(bad, task));
        }
        match rerun::plan(&plan, &last.facts, &What::Failed, &[]) {
            Ok(_) => last = run(&plan, Some((&last, &What::Failed)), &order, &never),
            Err(refused) => prop_assert_eq!(refused, Refused::NothingFailed),
        }
        prop_assert_eq!(outputs(&clean), outputs(&last), "{}", body.text());
    }

    /// Running again the failed elements ends as well, whatever else failed.
    #[test]
    fn failed_elements_can_always_run_again(
        body in plans::plan(Wanted { troubles: false, heavy: false, unhandled: true }),
        order in vec(any::<u8>(), 1..40),
        bad in any::<u8>(),
    ) {
        let plan = notation::plan(&body.text());
        let fails = |task: &TaskId| (sum(task) + usize::from(bad)).is_multiple_of(3);
        let first = run(&plan, None, &order, &fails);
        match rerun::plan(&plan, &first.facts, &What::FailedItems, &[]) {
            Ok(_) => {
                let again = run(&plan, Some((&first, &What::FailedItems)), &order, &never);
                prop_assert!(opened_anew(&first, &again), "{}", body.text());
            }
            Err(refused) => prop_assert_eq!(refused, Refused::NoFailedItems),
        }
    }
}

fn has_failed_container(driver: &Driver) -> bool {
    let is_container = |node: &str| {
        let plan = driver.run.plan();
        plan.find(node).is_some_and(|index| plan.node(index).body.is_some())
    };
    driver.facts.iter().any(|fact| match &fact.event {
        Event::NodeFailed(failed) => is_container(&failed.node),
        _ => false,
    })
}

fn never(_: &TaskId) -> bool {
    false
}

/// Whether of the root's iterations in which something failed only other elements opened than
/// those that gave a value and in which nothing failed.
fn opened_anew(first: &Driver, again: &Driver) -> bool {
    let kept = first.facts.iter().filter_map(|fact| match &fact.event {
        Event::FrameClosed { frame, result: Pass::Value(_) } => Some(frame),
        _ => None,
    });
    let has_failed = |path: &FramePath| {
        first.facts.iter().any(|fact| match &fact.event {
            Event::NodeFailed(failed) => failed.frame.as_str().starts_with(path.as_str()),
            _ => false,
        })
    };
    let container =
        |path: &FramePath| path.split().map(|(outer, node, _)| (outer, node.to_string()));
    let adopted = |path: &FramePath| {
        again.facts.iter().any(|fact| match &fact.event {
            Event::Adopted(taken) => {
                let keeps = matches!(taken.kept, Kept::Elements(_));
                keeps && Some((taken.frame.clone(), taken.node.to_string())) == container(path)
            }
            _ => false,
        })
    };
    kept.filter(|path| adopted(path) && !has_failed(path)).all(|path| {
        !again
            .facts
            .iter()
            .any(|fact| matches!(&fact.event, Event::FrameOpened { frame, .. } if frame == path))
    })
}

/// The root node that a fact ends.
fn done(fact: &Fact) -> Option<Name> {
    match &fact.event {
        Event::NodeSucceeded(done) if done.frame.is_root() => Some(done.node.clone()),
        Event::NodeFailed(failed) if failed.frame.is_root() => Some(failed.node.clone()),
        _ => None,
    }
}

fn sent(driver: &Driver) -> usize {
    let sent = driver.facts.iter();
    sent.filter(|fact| matches!(fact.event, Event::TaskDispatched(_))).count()
}

fn outputs(driver: &Driver) -> (&'static str, Vec<(Name, Value)>) {
    let end = end(driver);
    (end.status.name(), end.outputs)
}

fn end(driver: &Driver) -> RunFinished {
    let mut end = driver.run.outcome().unwrap().clone();
    end.outputs.sort_by(|left, right| left.0.cmp(&right.0));
    end
}

fn sum(task: &TaskId) -> usize {
    task.node.bytes().chain(task.frame.as_str().bytes()).map(usize::from).sum()
}

/// Runs a plan to its end, perhaps on top of what another run did. What a node answers is a matter
/// of the node alone.
fn run(
    plan: &Arc<Plan>,
    of: Option<(&Driver, &What)>,
    order: &[u8],
    fails: &dyn Fn(&TaskId) -> bool,
) -> Driver {
    let mut driver = Driver::start(plan, start(plan, of));
    driver.tick(Duration::ZERO);
    for turn in 0..MOST_INPUTS {
        let run = &driver.run;
        let choice = usize::from(order[turn % order.len()]);
        if run.outcome().is_some() {
            driver.check_facts();
            let reference = Reference::new(plan, &driver.facts);
            let nodes = driver.run.node_states().map(|(id, state)| (&**id, state));
            assert_eq!(reference.nodes(), nodes.collect::<Vec<_>>());
            let edges = driver.run.edge_states().map(|(id, state)| (&**id, state));
            assert_eq!(reference.edges(), edges.collect::<Vec<_>>());
            return driver;
        }
        let ready: Vec<TaskClass> =
            TaskClass::ALL.into_iter().filter(|class| run.ready(*class, driver.now) > 0).collect();
        let out: Vec<_> = run
            .outstanding()
            .map(|sent| (sent.task.clone(), sent.attempt, sent.dispatch))
            .collect();
        let wake = run.next_deadline(driver.now);
        if driver.has_work() {
            driver.tick(Duration::ZERO);
        } else if !ready.is_empty() && (out.is_empty() || choice.is_multiple_of(3)) {
            let class = ready[choice % ready.len()];
            let grant = flowmill_engine::run::Input::Grant {
                class,
                count: choice % 2 + 1,
                number: 0,
                workers: 1,
            };
            driver.apply(grant).unwrap();
        } else if let Some((task, attempt, dispatch)) = out.get(choice % out.len().max(1)) {
            let outcome = if fails(task) {
                Err(NodeError::new("Bad", "bad"))
            } else {
                Ok(success(plan, task))
            };
            driver.complete(task, (*attempt, *dispatch), outcome).unwrap();
        } else if let Some((at, Wake::Retry)) = wake {
            driver.tick(at.since(driver.now));
        } else {
            panic!("stuck\n{}", driver.run.fingerprint());
        }
    }
    panic!("it goes on and on");
}

fn start(plan: &Arc<Plan>, of: Option<(&Driver, &What)>) -> Start {
    if let Some((earlier, what)) = of {
        let adoption = rerun::plan(plan, &earlier.facts, what, &[]).unwrap();
        let run = format!("{}+", earlier.run.id()).into();
        return rerun::start(&earlier.facts, run, "".into(), adoption).unwrap();
    }
    let input = |name: &str, json: &str| (name.into(), loads(json).unwrap());
    let options = Options { deadline_ms: None, task_timeout_ms: 60_000, ..Options::default() };
    let inputs = vec![input("x", "1"), input("xs", "[1, 2, null]"), input("none", "[]")];
    Start { run: "r".into(), inputs, options, ..Start::default() }
}

fn success(plan: &Plan, task: &TaskId) -> Success {
    let value = Value::int(i64::try_from(sum(task) % 3).unwrap());
    let success = Success::of([("y".into(), value)]);
    let kind = plan.find(&task.node).map(|node| plan.node(node).kind.clone());
    let handle = if sum(task).is_multiple_of(2) { "1" } else { "2" };
    match kind.as_deref() {
        Some("choose") => success.with_handle(handle),
        _ => success,
    }
}
