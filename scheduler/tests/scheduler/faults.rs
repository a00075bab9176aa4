//! What happens when something breaks: a store, the core, a crowd that never ceases.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Options, Reason, Status, TaskId};
use flowmill_engine::run::{Input, Rejected, Run, Start};
use flowmill_infra::broker::{Closed, Inbox, TaskPublisher};
use flowmill_infra::clock::SystemClock;
use flowmill_infra::memory::{MemoryBroker, MemoryLive, MemoryStore};
use flowmill_infra::message::{Control, Delivery, Shard, Task};
use flowmill_infra::store::{Store, StoreError};
use flowmill_scheduler::{Service, Submission, SubmitError, Window};

use crate::support::plans::wide;
use crate::support::store::Faulty;
use crate::support::{World, plan};

fn away() -> StoreError {
    StoreError::Unavailable("it is away".into())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_is_waited_for() {
    let mut world = World::over(Faulty::default(), |_| 2);
    world.store.fail_next(away(), 4);
    let ended = world.begin("r", &plan("start llm1")).await;
    assert!(world.task().await.is_none(), "a task was sent before its fact was stored");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::Succeeded);
    assert_eq!(world.store.tries(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_the_runs_concerned_and_no_other() {
    let mut world = World::over(Faulty::default(), |_| 2);
    let waiting = world.begin("waiting", &plan("start llm1")).await;
    let held = world.task().await.unwrap();
    world.store.fail_next(away(), 7);
    let lost = world.run("lost", &plan("start llm1")).await;
    assert_eq!(lost.unwrap_err(), SubmitError::NotStored(away()));
    // the place it would have taken is free
    let next = world.begin("next", &plan("start llm1")).await;
    let task = world.task().await.unwrap();
    assert_eq!(&*task.run, "next");
    world.succeed(&task).await;
    next.await.unwrap().unwrap();
    world.succeed(&held).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_conflict_ends_its_run_and_no_other_of_the_batch() {
    let mut world = World::over(Faulty::default(), |_| 2);
    let cursed = world.begin("cursed", &plan("start llm1 llm2")).await;
    let other = world.begin("other", &plan("start llm1 llm2")).await;
    let held = world.tasks().await;
    world.store.curse(Some("cursed"));
    // both answers are there before the scheduler looks
    tokio::join!(world.succeed(&held[0]), world.succeed(&held[1]));
    let error = cursed.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, SubmitError::NotStored(StoreError::Conflict { run, .. }) if &**run == "cursed")
    );
    let dropped = world.word().await.expect("workers are told");
    assert!(matches!(&dropped, Control::Drop { run, task: None, .. } if &**run == "cursed"));
    let held = world.tasks().await;
    assert_eq!(held.len(), 1);
    world.succeed(&held[0]).await;
    assert_eq!(other.await.unwrap().unwrap().run.status(), Status::Succeeded);
    // both places are free again
    let wide = world.begin("wide", &wide("llm", 5)).await;
    assert_eq!(world.tasks().await.len(), 2);
    wide.abort();
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_that_can_never_be_stored_only_the_guilty_run_ends() {
    let mut world = World::over(Faulty::default(), |_| 8);
    let shape = plan("start llm1 llm2");
    let guilty = world.begin("guilty", &shape).await;
    let mut others = Vec::new();
    for number in 0..6 {
        others.push(world.begin(&format!("other{number}"), &shape).await);
    }
    let held = world.tasks().await;
    world.store.refuse(Some("guilty"));
    world.succeed_all(&held).await;
    let run = guilty.await.unwrap().unwrap().run;
    let outcome = run.outcome().unwrap();
    assert_eq!((outcome.status, outcome.reason), (Status::Failed, Some(Reason::Internal)));
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains("its facts cannot be stored: it does not fit"), "{error}");
    let dropped = world.word().await.expect("workers are told");
    assert!(matches!(&dropped, Control::Drop { run, task: None, .. } if &**run == "guilty"));
    // its journal is kept up to there, and the end follows it
    let journal = world.store.journal(&"guilty".into()).await.unwrap();
    let replayed = Run::replay(shape, &journal);
    assert_eq!((replayed.outcome(), replayed.seq()), (run.outcome(), run.seq()));
    let held = world.tasks().await;
    assert_eq!(held.len(), others.len());
    for task in &held {
        world.succeed(task).await;
    }
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().run.status(), Status::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_beginning_can_never_be_stored_is_refused() {
    let mut world = World::over(Faulty::default(), |_| 2);
    world.store.refuse(Some("odd"));
    let error = world.run("odd", &plan("start llm1")).await.unwrap_err();
    assert_eq!(error, SubmitError::NotStored(StoreError::Corrupt("it does not fit".into())));
    let next = world.begin("next", &plan("start llm1")).await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    next.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_again_and_again_rests_longer_each_time() {
    let mut world = World::new(2);
    let _ended = world.begin("r", &plan("start llm1")).await;
    let mut rests = Vec::new();
    let mut since = world.now();
    for _ in 0..12 {
        let task = loop {
            match world.task().await {
                Some(task) => break task,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        rests.push(world.now().since(since).as_secs());
        since = world.now();
        world.give_back(&task).await;
    }
    assert_eq!(rests, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_run_lost_by_a_conflict_can_be_taken_up_from_its_journal() {
    let mut world = World::over(Faulty::default(), |_| 2);
    let plan = plan("start llm1 end");
    let ended = world.begin("r", &plan).await;
    let task = world.task().await.unwrap();
    world.store.curse(Some("r"));
    world.succeed(&task).await;
    ended.await.unwrap().unwrap_err();
    world.word().await.unwrap();
    world.store.curse(None);
    let run = flowmill_scheduler::load(&*world.store, plan, &"r".into()).await.unwrap().unwrap();
    // the deadline of a day stands still as long as nobody has the run in hand
    tokio::time::sleep(Duration::from_hours(48)).await;
    let handle = world.handle.clone();
    let ended = tokio::spawn(async move { handle.resume(run, Vec::new()).await });
    crate::support::quiet().await;
    let again = world.task().await.unwrap();
    assert_eq!((again.attempt, again.dispatch), (1, 2));
    world.succeed(&again).await;
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_signal_counts_once_it_is_stored() {
    let mut world = World::over(Faulty::default(), |_| 2);
    let ended = world.begin("r", &plan("start llm1")).await;
    world.task().await.unwrap();
    world.store.curse(Some("r"));
    let stop = Input::Stop { reason: Reason::User, message: "enough".into() };
    assert_eq!(world.handle.signal("r".into(), stop).await, Err(Rejected::Finished));
    assert!(matches!(ended.await.unwrap().unwrap_err(), SubmitError::NotStored(_)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_breaks_the_core_fails_and_no_other() {
    let mut world = World::new(2);
    let broken = plan("start llm1; start light1 panic1");
    let ended = world.begin("broken", &broken).await;
    let other = world.begin("other", &plan("start llm1 end")).await;
    let held = world.tasks().await;
    let light = held.iter().find(|task| &*task.task.node == "light1").unwrap();
    world.succeed(light).await;

    let run = ended.await.unwrap().unwrap().run;
    let outcome = run.outcome().unwrap();
    assert_eq!((outcome.status, outcome.reason), (Status::Failed, Some(Reason::Internal)));
    assert_eq!(outcome.error.as_deref(), Some("internal error: a fault of the core"));
    assert!(matches!(world.word().await, Some(Control::Drop { run, .. }) if &*run == "broken"));
    let journal = world.store.journal(&"broken".into()).await.unwrap();
    assert_eq!(journal.last().unwrap().seq, run.seq());
    let replayed = Run::replay(broken, &journal);
    assert_eq!((replayed.outcome(), replayed.seq()), (run.outcome(), run.seq()));
    assert_eq!(replayed.outstanding().count(), 0);

    for task in held.iter().filter(|task| &*task.task.node == "llm1") {
        world.succeed(task).await;
    }
    assert_eq!(other.await.unwrap().unwrap().run.status(), Status::Succeeded);
    let wide = world.begin("wide", &wide("llm", 5)).await;
    assert_eq!(world.tasks().await.len(), 2, "a place was not given back");
    wide.abort();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_breaks_the_core_at_once_fails() {
    let world = World::new(2);
    let plan = plan("start panic1");
    let run = world.run("r", &plan).await.unwrap();
    assert_eq!(run.outcome().unwrap().reason, Some(Reason::Internal));
    assert!(world.store.report(&plan, &"r".into()).await.unwrap().is_some());
}

/// An inbox in which there is always one more answer.
struct Crowd;

impl Inbox for Crowd {
    async fn receive(&mut self, most: usize) -> Vec<Delivery> {
        // as a channel that is never empty does
        tokio::task::consume_budget().await;
        let junk = |_| Delivery::Returned {
            run: "nobody".into(),
            task: TaskId { frame: "".into(), node: "n".into(), generation: 1 },
            attempt: 1,
            dispatch: 1,
            reason: flowmill_engine::fact::Returned::HandedBack,
        };
        (0..most).map(junk).collect()
    }

    async fn settle(&mut self) {}

    async fn open(&mut self, _: Shard) -> Result<(), Closed> {
        Ok(())
    }

    async fn close(&mut self, _: Shard) {}
}

#[tokio::test]
async fn answers_that_never_cease_do_not_keep_requests_waiting() {
    let (publisher, _inbox, _worker, _answers) = MemoryBroker::new();
    let (service, handle) = Service::new(
        Arc::new(MemoryStore::new()),
        (publisher, Crowd),
        MemoryLive::default(),
        SystemClock::new(),
        Window::new(|_| 1),
    );
    let scheduler = tokio::spawn(service.run());
    let start = Start { run: "r".into(), ..Start::default() };
    let submission = Submission { plan: plan("start inline1 end"), start };
    let ended = tokio::time::timeout(Duration::from_secs(10), handle.run(submission)).await;
    assert_eq!(ended.unwrap().unwrap().run.status(), Status::Succeeded);
    drop(handle);
    tokio::time::timeout(Duration::from_secs(10), scheduler).await.unwrap().unwrap();
}

/// A way to workers on which nothing goes out.
#[derive(Debug)]
struct Away;

impl TaskPublisher for Away {
    async fn publish(&self, _: Vec<Task>) -> Result<(), Closed> {
        std::future::pending().await
    }

    async fn control(&self, _: Control) -> Result<(), Closed> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_holds_nothing_up_that_does_without_it() {
    let (_publisher, inbox, _worker, _answers) = MemoryBroker::new();
    let (service, handle) = Service::new(
        Arc::new(MemoryStore::new()),
        (Away, inbox),
        MemoryLive::default(),
        SystemClock::new(),
        Window::new(|_| 1),
    );
    let scheduler = tokio::spawn(service.run());
    let run = |id: &str, nodes: &str, deadline_ms| {
        let options = Options { deadline_ms, ..Options::default() };
        let start = Start { run: id.into(), options, ..Start::default() };
        handle.run(Submission { plan: plan(nodes), start })
    };
    let (waits, goes_on) = tokio::join!(
        run("waits", "start llm1 end", Some(60_000)),
        run("on", "start inline1", None)
    );
    assert_eq!(goes_on.unwrap().run.status(), Status::Succeeded);
    let waits = waits.unwrap().run;
    assert_eq!(waits.outcome().unwrap().reason, Some(Reason::Deadline));
    drop(handle);
    // what nobody takes does not keep it
    tokio::time::timeout(Duration::from_secs(10), scheduler).await.unwrap().unwrap();
}
