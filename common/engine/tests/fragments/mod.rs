//! Chains and chunks change nothing but messages: whatever part of a fragment a worker does,
//! however often, and wherever it is lost or gives back, the run ends as it would node by node.

mod hands;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Dispatch, Event, Options, Returned, RunFinished, Status};
use flowmill_engine::plan::{Plan, TaskClass};
use flowmill_engine::run::{Completion, End, Input, Run, Start};
use flowmill_engine::value::loads;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::plans::{self, Wanted};
use crate::support::driver::Driver;
use crate::support::notation;
use crate::unordered;
use hands::{Hand, Temper};

/// The most inputs that any of these runs may need to end.
const MOST_INPUTS: usize = 20_000;

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    })]

    /// Outputs, states, errors and counts are those of single nodes.
    #[test]
    fn fragments_end_as_single_nodes_do(
        body in plans::plan(Wanted { troubles: false, heavy: true, unhandled: false }),
        choices in vec(any::<u8>(), 1..60),
        way in 0..3_usize,
    ) {
        let plan = notation::plan(&body.text());
        let dispatch = [Dispatch::Fragments, Dispatch::Fused, Dispatch::Each][way];
        let alone = run(&plan, Dispatch::Hop, &[0], Temper::Steady);
        let (even, wild) = (run(&plan, dispatch, &[3, 1, 2], Temper::Steady),
            run(&plan, dispatch, &choices, Temper::Wild));
        prop_assert_eq!(&unordered(alone.clone()), &unordered(even), "{}", body.text());
        prop_assert_eq!(unordered(alone), unordered(wild), "{}", body.text());
    }

    /// Where failures that nothing handles make the order matter, the status is the same.
    #[test]
    fn fragments_fail_as_single_nodes_do(
        body in plans::plan(Wanted { troubles: false, heavy: true, unhandled: true }),
        choices in vec(any::<u8>(), 1..60),
    ) {
        let plan = notation::plan(&body.text());
        let alone = run(&plan, Dispatch::Hop, &[0], Temper::Steady);
        let wild = run(&plan, Dispatch::Fragments, &choices, Temper::Wild);
        prop_assert_eq!(alone.status, wild.status, "{}", body.text());
    }
}

/// What a round writes counts once, although its scheduler and its worker both evaluate what needs
/// no worker.
#[test]
fn a_worker_begins_rounds_with_what_was_there_before_them() {
    let body = "start -> lp -> end\nlp: loop count=3 n=0 { i -> w -> t; w: inline lp.n:=$lp.n+1; t: task v=$lp.n }";
    let plan = notation::plan(body);
    let mut driver = start(&plan, Dispatch::Fragments);
    driver.tick(Duration::ZERO);
    let grant = |number| Input::Grant { class: TaskClass::ALL[0], count: 1, number, workers: 1 };
    let facts = driver.apply(grant(1)).unwrap();
    let Some(Event::TaskDispatched(sent)) = facts.first().map(|fact| &fact.event) else {
        panic!("{facts:?}")
    };
    assert_eq!(sent.passes.map(|passes| passes.count), Some(3));
    let seed = driver.run.seed_of(&sent.task).unwrap();
    let mut core = Run::fragment(plan, seed, driver.now).unwrap();
    core.apply(driver.now, Input::Tick).unwrap();
    let facts = core.apply(driver.now, grant(0)).unwrap();
    let Some(Event::TaskDispatched(sent)) = facts.first().map(|fact| &fact.event) else {
        panic!("{facts:?}")
    };
    let read = core.seed_of(&sent.task).unwrap().variables;
    let held = read.variable("lp", "n").unwrap();
    assert_eq!(held.value().to_python(), "1");
}

fn start(plan: &Arc<Plan>, dispatch: Dispatch) -> Driver {
    let input = |name: &str, json: &str| (name.into(), loads(json).unwrap());
    let options =
        Options { deadline_ms: None, task_timeout_ms: 600_000, dispatch, ..Options::default() };
    let inputs = vec![input("x", "1"), input("xs", "[1, 2, null, 4, 5, 6]"), input("none", "[]")];
    Driver::start(plan, Start { run: "r".into(), inputs, options, ..Start::default() })
}

/// Runs a plan with workers that choose by `choices` what comes next.
fn run(plan: &Arc<Plan>, dispatch: Dispatch, choices: &[u8], temper: Temper) -> RunFinished {
    let mut driver = start(plan, dispatch);
    let mut hands: Vec<Hand> = Vec::new();
    let mut said: Vec<Completion> = Vec::new();
    driver.tick(Duration::ZERO);
    for turn in 0..MOST_INPUTS {
        let choice = usize::from(choices[turn % choices.len()]) + turn / choices.len();
        if let Some(outcome) = driver.run.outcome() {
            let outcome = outcome.clone();
            driver.check_facts();
            return outcome;
        }
        let now = driver.now;
        if driver.has_work() {
            driver.tick(Duration::ZERO);
            continue;
        }
        if temper == Temper::Wild && disturb(&mut driver, &mut hands, &said, choice) {
            continue;
        }
        let ready: Vec<_> =
            TaskClass::ALL.into_iter().filter(|of| driver.run.ready(*of, now) > 0).collect();
        if !ready.is_empty() && (hands.is_empty() || choice.is_multiple_of(3)) {
            let class = ready[choice % ready.len()];
            let workers = u32::try_from(choice % 3 + 1).unwrap();
            let grant = Input::Grant { class, count: choice % 2 + 1, number: 0, workers };
            let facts = driver.apply(grant).unwrap();
            for fact in &facts {
                let Event::TaskDispatched(sent) = &fact.event else { continue };
                let seed = driver.run.seed_of(&sent.task);
                // a fact may have ended what was just granted
                hands.extend(seed.map(|seed| Hand::take(plan, sent, seed, dispatch, now)));
            }
            continue;
        }
        if hands.is_empty() {
            let Some((at, _)) = driver.run.next_deadline(now) else {
                panic!("stuck\n{}", driver.run.fingerprint());
            };
            driver.tick(at.since(now));
            continue;
        }
        let which = choice % hands.len();
        let completion = hands[which].go_on(&mut driver.now, choice, temper);
        if completion.end != End::More {
            hands.swap_remove(which);
        }
        if temper == Temper::Wild {
            said.push(completion.clone());
        }
        let _ = driver.apply(Input::Completed(completion));
    }
    panic!("it goes on and on\n{}", driver.run.fingerprint());
}

/// Something that can happen at any time. False when nothing did.
fn disturb(driver: &mut Driver, hands: &mut Vec<Hand>, said: &[Completion], choice: usize) -> bool {
    match choice % 17 {
        // a worker is gone, and with it what it did not say
        3 if !hands.is_empty() => {
            let hand = hands.swap_remove(choice % hands.len());
            give_back(driver, &hand, Returned::WorkerLost);
        }
        // it is believed to be gone, and is not
        5 if !hands.is_empty() => {
            let reason =
                if choice.is_multiple_of(2) { Returned::Suspected } else { Returned::WorkerLost };
            let hand = &hands[choice % hands.len()];
            give_back(driver, hand, reason);
        }
        7 if !said.is_empty() => {
            let again = said[choice % said.len()].clone();
            let _ = driver.apply(Input::Completed(again));
        }
        9 if choice < 40 => {
            let _ = driver.apply(Input::Pause { reason: "any".into() });
        }
        _ if driver.run.status() == Status::Paused => {
            driver.apply(Input::Resume).unwrap();
        }
        11 if choice < 60 => {
            driver.apply(Input::TakeUp).unwrap();
        }
        _ => return false,
    }
    true
}

fn give_back(driver: &mut Driver, hand: &Hand, reason: Returned) {
    let (task, attempt, dispatch) = hand.sending();
    let _ = driver.apply(Input::Returned { task, attempt, dispatch, reason, not_before: None });
}
