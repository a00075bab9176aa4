//! Runs that wait for a person: they leave memory, and are taken up again.

use flowmill_engine::fact::{FramePath, Status};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::History;
use flowmill_engine::run::{Input, Rejected, Run};
use flowmill_infra::memory::MemoryStore;
use flowmill_infra::store::Store;
use flowmill_scheduler::{SubmitError, load};
use std::sync::Arc;

use crate::support::{World, plan, quiet};

fn answer(node: &str) -> Input {
    Input::Answered {
        frame: FramePath::default(),
        node: node.into(),
        action: "source".into(),
        values: Vec::new(),
        by: None,
    }
}

/// A run that waits at `pause1`.
async fn paused(world: &World, plan: &Arc<Plan>) -> Run {
    match world.run("r", plan).await {
        Ok(run) if run.status() == Status::Paused && run.waiting().len() == 1 => run,
        other => panic!("{other:?} instead of a run that waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_answered_and_goes_on_to_its_end() {
    let mut world = World::new(2);
    let plan = plan("start pause1 llm1 end");
    paused(&world, &plan).await;

    // it is no longer live; its journal brings it back
    let gone = world.handle.signal("r".into(), answer("pause1")).await;
    assert_eq!(gone, Err(Rejected::Finished));
    let run = load(&*world.store, plan.clone(), &"r".into()).await.unwrap().unwrap();
    assert_eq!(run.status(), Status::Paused);
    let handle = world.handle.clone();
    let ended = tokio::spawn(async move { handle.resume(run, vec![answer("pause1")]).await });
    quiet().await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    let run = ended.await.unwrap().unwrap().run;
    assert_eq!(run.status(), Status::Succeeded);
    let outputs: Vec<_> = run.outputs().map(|(_, value)| value.to_python()).collect();
    assert_eq!(outputs, ["done"]);

    let journal = world.store.journal(&"r".into()).await.unwrap();
    assert!(journal.iter().map(|fact| fact.seq).eq(1..=run.seq()));
    assert_eq!(Run::replay(plan, &journal).outcome(), run.outcome());
}

#[tokio::test(start_paused = true)]
async fn the_run_itself_is_as_good_as_its_journal() {
    let (publisher_width, plan) = (2, plan("start pause1 inline1"));
    let world = World::over(MemoryStore::of_reports(History::Full), |_| publisher_width);
    let run = paused(&world, &plan).await;
    assert!(load(&*world.store, plan, &"r".into()).await.unwrap().is_none(), "no journal is kept");
    let run = world.handle.resume(run, vec![answer("pause1")]).await.unwrap().run;
    assert_eq!(run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_run_can_pause_and_go_on_many_times() {
    let world = World::new(2);
    let plan = plan("start pause1 pause2 pause3");
    let mut run = paused(&world, &plan).await;
    for node in ["pause1", "pause2", "pause3"] {
        assert_eq!(run.status(), Status::Paused);
        assert_eq!(&*run.waiting()[0].node, node);
        run = world.handle.resume(run, vec![answer(node)]).await.unwrap().run;
    }
    assert_eq!(run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_it_waits_again() {
    let world = World::new(2);
    let run = paused(&world, &plan("start pause1")).await;
    let before = run.seq();
    let run = world.handle.resume(run, Vec::new()).await.unwrap().run;
    assert_eq!(run.status(), Status::Paused);
    assert!(run.seq() > before);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_apply_changes_nothing() {
    let world = World::new(2);
    let plan = plan("start pause1");
    let run = paused(&world, &plan).await;
    let before = world.store.journal(&"r".into()).await.unwrap();
    let wrong = vec![answer("pause1"), answer("start")];
    let refused = world.handle.resume(run.clone(), wrong).await.unwrap_err();
    assert_eq!(refused, SubmitError::Rejected(Rejected::NotWaiting));
    assert_eq!(world.store.journal(&"r".into()).await.unwrap(), before);
    let run = world.handle.resume(run, vec![answer("pause1")]).await.unwrap().run;
    let ended = world.handle.resume(run, Vec::new()).await.unwrap_err();
    assert_eq!(ended, SubmitError::Rejected(Rejected::Finished));
}

#[tokio::test(start_paused = true)]
async fn of_two_who_answer_one_is_too_late() {
    let mut world = World::new(2);
    let plan = plan("start pause1 llm1");
    let run = paused(&world, &plan).await;
    let handle = world.handle.clone();
    let first = tokio::spawn({
        let run = run.clone();
        async move { handle.resume(run, vec![answer("pause1")]).await }
    });
    quiet().await;
    let second = world.handle.resume(run.clone(), vec![answer("pause1")]).await.unwrap_err();
    assert_eq!(second, SubmitError::Exists);
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    assert_eq!(first.await.unwrap().unwrap().run.status(), Status::Succeeded);
    // the store knows more than this one does
    let third = world.handle.resume(run, vec![answer("pause1")]).await.unwrap_err();
    assert!(matches!(third, SubmitError::NotStored(_)), "{third:?}");
    let journal = world.store.journal(&"r".into()).await.unwrap();
    assert!(Run::replay(plan, &journal).outcome().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_live_run_can_be_paused_from_outside() {
    let mut world = World::new(1);
    let ended = world.begin("r", &plan("start llm1 llm2")).await;
    let task = world.task().await.unwrap();
    let pause = Input::Pause { reason: "operator".into() };
    world.handle.signal("r".into(), pause.clone()).await.unwrap();
    assert_eq!(world.handle.signal("r".into(), pause).await, Err(Rejected::Already));
    assert!(!ended.is_finished(), "a task is out");
    world.succeed(&task).await;
    let run = ended.await.unwrap().unwrap().run;
    assert_eq!(run.status(), Status::Paused);
    // what it held is free for others
    let other = world.begin("other", &plan("start llm1")).await;
    let task = world.task().await.unwrap();
    world.succeed(&task).await;
    other.await.unwrap().unwrap();
    let handle = world.handle.clone();
    let ended = tokio::spawn(async move { handle.resume(run, Vec::new()).await });
    quiet().await;
    let task = world.task().await.unwrap();
    assert_eq!(&*task.task.node, "llm2");
    world.succeed(&task).await;
    assert_eq!(ended.await.unwrap().unwrap().run.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_does_not_wait_for_people() {
    let world = World::new(1);
    paused(&world, &plan("start pause1")).await;
    let World { handle, scheduler, .. } = world;
    drop(handle);
    scheduler.await.unwrap();
}
