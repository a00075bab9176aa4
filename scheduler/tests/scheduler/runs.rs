//! What becomes of runs: they end, wait their turn, are stopped, are on time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Options, Reason, Status};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Input, Rejected};
use flowmill_infra::live::Event;
use flowmill_infra::message::{Control, Shard};
use flowmill_infra::store::Store as _;
use flowmill_scheduler::SubmitError;

use crate::support::plans::{long, wide};
use crate::support::{World, plan, quiet, work};

const CLASSES: [(&str, TaskClass); 4] = [
    ("light", TaskClass::Light),
    ("code", TaskClass::Code),
    ("http", TaskClass::Http),
    ("llm", TaskClass::Llm),
];

fn stop() -> Input {
    Input::Stop { reason: Reason::User, message: "enough".into() }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_to_its_end() {
    let mut world = World::new(2);
    let ended = world.begin("r", &plan("start llm1 inline1 end")).await;
    let task = world.task().await.unwrap();
    assert_eq!((&*task.task.node, task.attempt, task.dispatch), ("llm1", 1, 1));
    world.succeed(&task).await;
    let run = ended.await.unwrap().unwrap().run;
    assert_eq!(run.status(), Status::Succeeded);
    let says = run.outputs().map(|(name, value)| format!("{name}={}", value.to_python()));
    assert_eq!(says.collect::<Vec<_>>(), ["says=done"]);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_shown_before_the_end_is_told() {
    let world = World::new(2);
    let mut watcher = world.live.watch("r".into());
    world.run("r", &plan("start inline1 end")).await.unwrap();
    let mut seqs = Vec::new();
    while let Some(Event::Facts(facts)) = watcher.try_next() {
        assert!(!facts.is_empty());
        seqs.extend(facts.iter().map(|fact| fact.seq));
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn no_more_tasks_are_out_than_the_window_lets() {
    let limits = |class| match class {
        TaskClass::Light => 1,
        TaskClass::Code => 2,
        TaskClass::Http => 3,
        TaskClass::Llm => 5,
    };
    let mut world = World::over(flowmill_infra::memory::MemoryStore::new(), limits);
    let chains = CLASSES
        .iter()
        .flat_map(|(kind, _)| (1..=20).map(move |index| format!("start {kind}{index}")));
    let plan = plan(&chains.collect::<Vec<_>>().join(";"));
    let mut runs = Vec::new();
    for id in ["a", "b", "c"] {
        runs.push(world.begin(id, &plan).await);
    }
    let mut held = Vec::new();
    let mut done = 0;
    loop {
        held.extend(world.tasks().await);
        let mut out: BTreeMap<TaskClass, usize> = BTreeMap::new();
        for task in &held {
            *out.entry(task.class).or_default() += 1;
        }
        for (class, count) in &out {
            assert!(*count <= limits(*class), "{count} {class:?} tasks are out");
        }
        if done == 0 {
            let full = CLASSES.map(|(_, class)| out.get(&class) == Some(&limits(class)));
            assert_eq!(full, [true; 4], "a free place was not used: {out:?}");
        }
        // one fails now and then: what it held is free again
        let Some(task) = held.pop() else { break };
        done += 1;
        world.succeed(&task).await;
    }
    assert_eq!(done, 3 * 80);
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap().run.status(), Status::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_run_does_not_starve_a_small_one() {
    let mut world = World::new(8);
    let large = world.begin("large", &wide("llm", 10_000)).await;
    let mut held: std::collections::VecDeque<_> = world.tasks().await.into();
    assert_eq!(held.len(), 8);
    let small = world.begin("small", &long("llm", 5)).await;
    let mut answered = 0;
    while !small.is_finished() {
        let task = held.pop_front().expect("places are used");
        answered += 1;
        world.succeed(&task).await;
        held.extend(world.tasks().await);
    }
    assert!(answered < 100, "{answered} answers until five tasks were done");
    assert!(!large.is_finished());
}

#[tokio::test(start_paused = true)]
async fn places_are_shared_alike() {
    let mut world = World::new(10);
    let first = wide("llm", 1000);
    let mut runs = Vec::new();
    for id in ["a", "b", "c", "d"] {
        runs.push(world.begin(id, &first).await);
    }
    let mut held: std::collections::VecDeque<_> = world.tasks().await.into();
    let mut turns: BTreeMap<String, u32> = BTreeMap::new();
    for turn in 0..400 {
        let task = held.pop_front().unwrap();
        if turn >= 40 {
            *turns.entry(task.run.to_string()).or_default() += 1;
        }
        world.succeed(&task).await;
        held.extend(world.tasks().await);
    }
    assert!(
        turns.len() == 4 && turns.values().all(|count| (80..=100).contains(count)),
        "{turns:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_needs_no_worker_does_not_hold_the_others() {
    let world = World::new(2);
    let large = world.begin("large", &long("inline", 100_000)).await;
    let small = world.run("small", &long("inline", 1000)).await.unwrap();
    assert_eq!(small.status(), Status::Succeeded);
    assert!(!large.is_finished(), "the small run waited for the large one");
    assert_eq!(large.await.unwrap().unwrap().run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn many_runs_that_wait_cost_nothing() {
    const RUNS: usize = 5000;
    let world = World::new(1);
    let plan = plan("start llm1");
    let mut runs = Vec::new();
    for index in 0..RUNS {
        runs.push(tokio::spawn({
            let handle = world.handle.clone();
            let start = flowmill_engine::run::Start {
                run: format!("r{index}").as_str().into(),
                ..flowmill_engine::run::Start::default()
            };
            let submission = flowmill_scheduler::Submission { plan: plan.clone(), start };
            async move { handle.run(submission).await }
        }));
    }
    quiet().await;
    let World { handle, worker, answers, scheduler, .. } = world;
    let worker = work(worker, answers);
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap().run.status(), Status::Succeeded);
    }
    drop(handle);
    scheduler.await.unwrap();
    assert_eq!(worker.await.unwrap(), RUNS as u64);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_out_at_its_time() {
    let mut world = World::new(1);
    let ended = world.begin("r", &plan("start retry1")).await;
    let first = world.task().await.unwrap();
    let failed_at = world.now();
    world.fail(&first).await;
    assert!(world.task().await.is_none());
    tokio::time::sleep(Duration::from_millis(9_990)).await;
    assert!(world.task().await.is_none(), "too early");
    tokio::time::sleep(Duration::from_millis(11)).await;
    quiet().await;
    let second = world.task().await.expect("it is time");
    let waited = world.now().since(failed_at);
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_millis(10_010));
    assert_eq!((second.attempt, second.dispatch), (2, 1));
    world.succeed(&second).await;
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::PartialSucceeded);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_waits_for_a_place_without_spinning() {
    let mut world = World::new(1);
    let retried = world.begin("retried", &plan("start retry1")).await;
    let first = world.task().await.unwrap();
    let other = world.begin("other", &plan("start llm1")).await;
    world.fail(&first).await;
    let held = world.task().await.expect("the other run takes the place");
    assert_eq!(&*held.run, "other");
    // a paused clock goes on only when nobody has anything to do
    tokio::time::timeout(Duration::from_mins(10), std::future::pending::<()>()).await.unwrap_err();
    assert!(world.task().await.is_none());
    world.succeed(&held).await;
    other.await.unwrap().unwrap();
    let second = world.task().await.unwrap();
    world.succeed(&second).await;
    retried.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_stops_a_run() {
    let mut world = World::new(2);
    let options = Options { deadline_ms: Some(5000), ..Options::default() };
    let began = world.now();
    let ended = world.begin_with("r", &plan("start llm1"), options).await;
    let task = world.task().await.unwrap();
    let run = ended.await.unwrap().unwrap().run;
    let took = world.now().since(began);
    assert!(took >= Duration::from_secs(5) && took < Duration::from_millis(5_010), "{took:?}");
    assert_eq!(run.status(), Status::Stopped);
    assert_eq!(run.outcome().unwrap().reason, Some(Reason::Deadline));
    let before = task.number + 1;
    assert_eq!(world.word().await, Some(Control::Drop { run: "r".into(), task: None, before }));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_out_too_long_fails_and_is_dropped() {
    let mut world = World::new(1);
    let options = Options { task_timeout_ms: 1000, ..Options::default() };
    let ended = world.begin_with("r", &plan("start retry1"), options).await;
    let late = world.task().await.unwrap();
    assert_eq!(late.timeout, Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(1002)).await;
    let task = Some(late.task.clone());
    let before = late.number + 1;
    assert_eq!(world.word().await, Some(Control::Drop { run: "r".into(), task, before }));
    // its place is free meanwhile
    let other = world.begin("other", &plan("start llm1")).await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    other.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.succeed(&late).await;
    assert!(!ended.is_finished(), "an answer to an attempt that had failed counted");
    let again = world.task().await.unwrap();
    assert_eq!(again.attempt, 2);
    assert!(again.number >= before, "the drop concerns it as well");
    world.succeed(&again).await;
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_stopped() {
    let mut world = World::new(2);
    let ended = world.begin("r", &plan("start llm1; start llm2; start llm3")).await;
    let held = world.tasks().await;
    assert_eq!(held.len(), 2);
    world.handle.signal("r".into(), stop()).await.unwrap();
    let run = ended.await.unwrap().unwrap().run;
    assert_eq!(
        (run.status(), run.outcome().unwrap().reason),
        (Status::Stopped, Some(Reason::User))
    );
    let before = held[1].number + 1;
    assert_eq!(world.word().await, Some(Control::Drop { run: "r".into(), task: None, before }));
    assert_eq!(world.handle.signal("r".into(), stop()).await, Err(Rejected::Finished));
    // nobody waits for the answers, and the places are free
    world.succeed(&held[0]).await;
    let next = world.begin("next", &wide("llm", 2)).await;
    let held = world.tasks().await;
    assert_eq!(held.len(), 2);
    for task in &held {
        world.succeed(task).await;
    }
    next.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_count_once() {
    let mut world = World::new(4);
    let ended = world.begin("r", &plan("start llm1; start llm2")).await;
    let held = world.tasks().await;
    let mut unknown = held[0].clone();
    unknown.run = "nobody".into();
    world.succeed(&unknown).await;
    let mut other_attempt = held[0].clone();
    other_attempt.attempt = 2;
    world.succeed(&other_attempt).await;
    let mut other_node = held[0].clone();
    other_node.task.node = "nothing".into();
    world.succeed(&other_node).await;
    assert!(!ended.is_finished());
    world.succeed(&held[0]).await;
    world.fail(&held[0]).await;
    world.succeed(&held[0]).await;
    assert!(!ended.is_finished());
    world.succeed(&held[1]).await;
    let run = ended.await.unwrap().unwrap().run;
    assert_eq!(run.status(), Status::Succeeded);
    world.succeed(&held[1]).await;
    let journal = world.store.journal(&"r".into()).await.unwrap();
    assert_eq!(journal.len() as u64, run.seq(), "something was added after the end");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_back_is_sent_again() {
    let mut world = World::new(1);
    let ended = world.begin("r", &plan("start llm1")).await;
    let first = world.task().await.unwrap();
    world.give_back(&first).await;
    let again = world.task().await.unwrap();
    assert_eq!((&again.task, again.attempt, again.dispatch), (&first.task, 1, 2));
    assert!(again.number > first.number);
    // of a sending that came back nothing else is heard
    world.give_back(&first).await;
    assert!(world.task().await.is_none());
    world.succeed(&again).await;
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn an_id_is_taken_once() {
    let mut world = World::new(1);
    let plan = plan("start llm1");
    let first = world.begin("r", &plan).await;
    assert_eq!(world.run("r", &plan).await.unwrap_err(), SubmitError::Exists);
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    assert_eq!(first.await.unwrap().unwrap().run.status(), Status::Succeeded);
    // the store knows it still
    assert_eq!(world.run("r", &plan).await.unwrap_err(), SubmitError::Exists);
    assert!(world.word().await.is_none());
    world.store.forget(&"r".into()).await.unwrap();
    let again = world.begin("r", &plan).await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    again.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_nobody_waits_for_it() {
    let mut world = World::new(1);
    let plan = plan("start llm1 llm2");
    let ended = world.begin("r", &plan).await;
    ended.abort();
    for _ in 0..2 {
        let task = world.task().await.unwrap();
        world.succeed(&task).await;
    }
    let report = world.store.report(&plan, &"r".into()).await.unwrap().unwrap();
    assert_eq!(report.finished(), 3);
}

#[tokio::test(start_paused = true)]
async fn it_serves_until_nobody_can_ask_and_no_run_is_live() {
    let mut world = World::new(1);
    let ended = world.begin("r", &plan("start llm1")).await;
    let task = world.task().await.unwrap();
    let World { handle, answers, scheduler, mut worker, .. } = world;
    drop(handle);
    quiet().await;
    assert!(!scheduler.is_finished(), "a run is live");
    let outcome = flowmill_engine::run::Outcome {
        task: task.task,
        attempt: 1,
        outcome: Ok(flowmill_engine::plan::Success::default()),
        started_at: flowmill_engine::time::Time(0),
        elapsed_us: 0,
    };
    let completion = flowmill_engine::run::Completion::of(1, outcome);
    let delivery = flowmill_infra::message::Delivery::Completed { run: task.run, completion };
    flowmill_infra::broker::CompletionPublisher::answer(&answers, Shard(0), delivery)
        .await
        .unwrap();
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::Succeeded);
    scheduler.await.unwrap();
    assert!(flowmill_infra::broker::TaskConsumer::next(&mut worker).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_whoever_waits_is_told() {
    let world = World::new(1);
    let plan = plan("start llm1 llm2");
    let ended = world.begin("r", &plan).await;
    let World { handle, worker, answers, scheduler, .. } = world;
    drop((worker, answers));
    assert_eq!(ended.await.unwrap().unwrap_err(), SubmitError::Stopped);
    scheduler.await.unwrap();
    assert_eq!(handle.signal("r".into(), stop()).await, Err(Rejected::Finished));
    let start = flowmill_engine::run::Start::default();
    let submission = flowmill_scheduler::Submission { plan: Arc::clone(&plan), start };
    assert_eq!(handle.run(submission).await.unwrap_err(), SubmitError::Stopped);
}
