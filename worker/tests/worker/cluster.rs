//! What a worker does because others depend on it: it remembers what was paid for, says what it
//! holds, and gives back what it cannot finish.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::plan::TaskClass::{Http, Light};
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_infra::broker::{Inbox as _, TaskPublisher as _};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Extent, Known, Scope};
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::message::{Control, Delivery, Task};
use flowmill_worker::{Forgetful, Recall, Settings, Slots};
use tokio::sync::{Notify, oneshot};

use super::support::{Count, Nodes, ONE_EACH, World, done, quiet};
use super::{LONG, slow};

/// Remembers in memory; it keeps nothing before it may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) kept: Arc<Mutex<Vec<Checkpoint>>>,
    closed: Option<Arc<Notify>>,
}

impl Memory {
    /// The nodes whose outcomes were kept.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.kept.lock().unwrap().iter().map(|kept| kept.key.task.node.to_string()).collect()
    }
}

impl Recall for Memory {
    type Claim = ();

    async fn again(&self, _: &CheckpointKey, scope: &Scope, is_lost: bool) -> Known {
        assert!(!is_lost, "this broker delivers nothing twice");
        let Extent::Nodes(nodes) = &scope.extent else { panic!("{scope:?}") };
        let kept = self.kept.lock().unwrap();
        let found = kept.iter().filter(|kept| nodes.contains(&kept.key.task));
        Known { outcomes: found.map(|kept| kept.outcome.clone()).collect(), redeliveries: 0 }
    }

    async fn outcome(&self, key: &CheckpointKey) -> Option<Outcome> {
        let kept = self.kept.lock().unwrap();
        kept.iter().find(|kept| kept.key == *key).map(|kept| kept.outcome.clone())
    }

    async fn keep(&self, checkpoints: Vec<Checkpoint>) -> Vec<Checkpoint> {
        if let Some(closed) = &self.closed {
            closed.notified().await;
        }
        self.kept.lock().unwrap().extend(checkpoints);
        Vec::new()
    }

    async fn claim(&self, _: &CheckpointKey) -> Option<()> {
        Some(())
    }

    async fn outlast(&self, _: &CheckpointKey) -> Result<(), Outcome> {
        Ok(())
    }
}

pub(crate) fn settings(drain: Duration, beat: Option<Duration>) -> Settings {
    Settings { name: "w".into(), slots: ONE_EACH, drain, beat }
}

fn remembering(nodes: Nodes, memory: &Memory) -> World {
    remembering_in(ONE_EACH, nodes, memory)
}

pub(crate) fn remembering_in(slots: Slots, nodes: Nodes, memory: &Memory) -> World {
    let settings = Settings { slots, ..settings(Duration::MAX, None) };
    World::cluster(settings, nodes, memory.clone(), std::future::pending())
}

#[tokio::test(start_paused = true)]
async fn what_was_paid_for_is_not_done_again() {
    let (count, memory) = (Arc::new(Mutex::new(0)), Memory::default());
    let nodes = Nodes::default().with("n", {
        let count = count.clone();
        move |_| {
            *count.lock().unwrap() += 1;
            async { done() }
        }
    });
    let mut world = remembering(nodes.costly(), &memory);
    let task = world.send("r", "n", Light).await;
    assert_eq!(world.told().await.unwrap().outcome, done());
    assert_eq!(memory.kept.lock().unwrap().len(), 1);
    let mut again = task.clone();
    again.dispatch = 2;
    world.publisher.publish(vec![again]).await.unwrap();
    let (_, completion) = world.answer().await.unwrap();
    assert_eq!((completion.dispatch, &completion.outcomes[0].outcome), (2, &done()));
    assert_eq!(*count.lock().unwrap(), 1);
    // another attempt is another call
    let mut retried = task;
    (retried.attempt, retried.dispatch) = (2, 2);
    world.publisher.publish(vec![retried]).await.unwrap();
    assert_eq!(world.answer().await.unwrap().1.attempt, 2);
    assert_eq!(*count.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_for_long_may_have_been_done_meanwhile() {
    let (count, memory) = (Count::default(), Memory::default());
    let counted = count.clone();
    let nodes = Nodes::default().with("n", move |_| {
        std::mem::forget(counted.enter());
        async { done() }
    });
    let mut world = remembering(nodes.costly(), &memory);
    // its shard's next owner sends it again, and it ends
    let first = world.task("r", "n", Http);
    world.publisher.publish(vec![Task { dispatch: 2, ..first.clone() }]).await.unwrap();
    assert_eq!(world.answer().await.unwrap().1.dispatch, 2);
    // then the former owner goes on where it stood still
    let now = SystemClock::new().now();
    let sent_at = |ago: u64| Some(Time(now.0 - ago * 1_000_000));
    world.publisher.publish(vec![Task { sent_at: sent_at(9), ..first.clone() }]).await.unwrap();
    let (_, completion) = world.answer().await.unwrap();
    assert_eq!((completion.dispatch, &completion.outcomes[0].outcome), (1, &done()));
    assert_eq!(count.get(), 1);
    // nobody looks for what is new, or costs nothing
    world.publisher.publish(vec![Task { sent_at: sent_at(1), ..first.clone() }]).await.unwrap();
    world.answer().await.unwrap();
    assert_eq!(count.get(), 2);
    let free = Task { sent_at: sent_at(9), class: Light, ..first };
    world.publisher.publish(vec![free]).await.unwrap();
    world.answer().await.unwrap();
    assert_eq!(count.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waited_here_for_long_may_have_been_done_meanwhile() {
    let (count, memory, clock) = (Count::default(), Memory::default(), SystemClock::new());
    let counted = count.clone();
    let nodes = Nodes::default().with("n", move |_| {
        std::mem::forget(counted.enter());
        async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            done()
        }
    });
    let mut world = remembering(nodes.costly(), &memory);
    let first = world.task("r", "n", Http);
    world.publisher.publish(vec![Task { dispatch: 2, ..first.clone() }]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.answer().await.unwrap().1.dispatch, 2);
    // it is new when it comes, and then waits behind another for the only slot
    let other = world.task("other", "n", Http);
    let sent_at = Some(clock.now());
    world.publisher.publish(vec![other, Task { sent_at, ..first }]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let answers = [world.answer().await.unwrap().0, world.answer().await.unwrap().0];
    assert!(answers.iter().any(|run| &**run == "r"), "{answers:?}");
    assert_eq!(count.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_in_a_slot_before_its_outcome_is_kept() {
    let closed = Arc::new(Notify::new());
    let memory = Memory { closed: Some(closed.clone()), ..Memory::default() };
    let nodes = Nodes::default().with("n", |_| async { done() });
    let mut world = remembering(nodes.costly(), &memory);
    world.send("one", "n", Light).await;
    world.send("two", "n", Light).await;
    assert!(world.answer().await.is_none(), "an answer before it was kept");
    closed.notify_one();
    assert_eq!(&*world.answer().await.unwrap().0, "one");
    assert!(world.answer().await.is_none());
    closed.notify_one();
    assert_eq!(&*world.answer().await.unwrap().0, "two");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_finished_in_time_goes_back() {
    let alive = Count::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let nodes = slow(Nodes::default(), "long", &alive, LONG * 10);
    let nodes = slow(nodes, "short", &alive, LONG);
    let ends = async { drop(stopped.await) };
    let settings = settings(LONG + Duration::from_secs(2), None);
    let mut world = World::cluster(settings, nodes, Forgetful, ends);
    let short = world.send("r", "short", Light).await;
    let long = world.send("r", "long", flowmill_engine::plan::TaskClass::Llm).await;
    stop.send(()).unwrap();
    tokio::time::sleep(LONG + Duration::from_secs(1)).await;
    assert_eq!(world.answer().await.unwrap().1.task, short.task);
    tokio::time::sleep(LONG * 2).await;
    match &world.inbox.receive(1).await[..] {
        [Delivery::Returned { task, attempt: 1, dispatch: 1, .. }] => assert_eq!(*task, long.task),
        other => panic!("{other:?} instead of the task"),
    }
    world.worker.await.unwrap();
    assert_eq!(alive.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_holds_until_it_holds_nothing() {
    let alive = Count::default();
    let settings = settings(Duration::MAX, Some(Duration::from_secs(5)));
    let nodes = slow(Nodes::default(), "n", &alive, LONG);
    let mut world = World::cluster(settings, nodes, Forgetful, std::future::pending());
    quiet().await;
    let task = world.send("r", "n", Light).await;
    world.publisher.control(Control::Beat).await.unwrap();
    let mut heard = Vec::new();
    tokio::time::sleep(Duration::from_secs(30)).await;
    while let Ok(received) =
        tokio::time::timeout(Duration::from_micros(1), world.inbox.receive(1)).await
    {
        match &received[..] {
            [Delivery::Beat(beat)] => {
                assert_eq!((&*beat.worker, beat.slots), ("w", [1; 4]));
                heard.push(beat.held.clone());
            }
            [Delivery::Completed { .. }] => {}
            other => panic!("{other:?} instead of a beat"),
        }
    }
    let held = vec![(task.shard, vec![task.number])];
    assert_eq!(heard.first(), Some(&held), "at once when it is asked");
    assert_eq!(heard.last(), Some(&vec![(task.shard, Vec::new())]), "its end is told");
    let empty = heard.iter().filter(|held| held[0].1.is_empty()).count();
    assert_eq!(empty, 1, "nobody hears of a worker that holds nothing");
}
