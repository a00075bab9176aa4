//! Two workers that get the same task: one pays for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::time::Duration;

use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::TaskClass::Llm;
use flowmill_infra::broker::TaskPublisher as _;
use flowmill_infra::checkpoints::CheckpointKey;
use flowmill_infra::claims::{Claim, Claims as _};
use flowmill_infra::memory::MemoryClaims;
use flowmill_infra::message::Task;
use flowmill_worker::{Claiming, Settings, Slots};

use super::cluster::{Memory, settings};
use super::support::{Count, Nodes, World, done, quiet};

/// Longer than a claim lasts that nobody renews.
const LONG: Duration = Duration::from_mins(1);

const MOMENT: Duration = Duration::from_secs(2);

/// What the workers of a cluster share.
#[derive(Default)]
struct Cluster {
    memory: Memory,
    claims: MemoryClaims,
    /// Calls that are being made, and all that ever were.
    alive: Count,
    calls: Count,
}

impl Cluster {
    /// A worker. `n` takes long, `other` does not.
    fn worker(&self, is_costly: bool, llm: usize) -> World {
        let (alive, calls) = (self.alive.clone(), self.calls.clone());
        let nodes = Nodes::default().with("other", |_| async { done() }).with("n", move |_| {
            std::mem::forget(calls.enter());
            let alive = alive.enter();
            async move {
                tokio::time::sleep(LONG).await;
                drop(alive);
                done()
            }
        });
        let nodes = if is_costly { nodes.costly() } else { nodes };
        let recall = Claiming::new(self.memory.clone(), self.claims.clone(), &"w".into());
        let settings = settings(Duration::MAX, None);
        let settings = Settings { slots: Slots { llm, ..settings.slots }, ..settings };
        World::cluster(settings, nodes, recall, std::future::pending())
    }

    /// Two, each with one slot.
    fn pair(&self) -> [World; 2] {
        [self.worker(true, 1), self.worker(true, 1)]
    }
}

/// The same task once more.
async fn again(world: &World, task: &Task) {
    let task = Task { dispatch: task.dispatch + 1, timeout: LONG * 2, ..task.clone() };
    world.publisher.publish(vec![task]).await.unwrap();
    quiet().await;
}

async fn send(world: &mut World) -> Task {
    let task = Task { timeout: LONG * 2, ..world.task("r", "n", Llm) };
    world.publisher.publish(vec![task.clone()]).await.unwrap();
    quiet().await;
    task
}

#[tokio::test(start_paused = true)]
async fn the_second_waits_and_answers_with_what_the_first_paid_for() {
    let cluster = Cluster::default();
    let [mut one, mut two] = cluster.pair();
    let task = send(&mut one).await;
    again(&two, &task).await;
    tokio::time::sleep(Duration::from_secs(58)).await;
    assert!(two.answer().await.is_none());
    assert_eq!((cluster.alive.get(), cluster.calls.get()), (1, 1));
    tokio::time::sleep(MOMENT * 2).await;
    assert_eq!(one.answer().await.unwrap().1.dispatch, 1);
    let (_, completion) = two.answer().await.unwrap();
    assert_eq!((completion.dispatch, completion.outcome), (2, done()));
    assert_eq!(cluster.calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_leaves_its_slot_to_others() {
    let cluster = Cluster::default();
    let [mut one, mut two] = cluster.pair();
    let task = send(&mut one).await;
    again(&two, &task).await;
    two.send("r", "other", Llm).await;
    assert_eq!(&*two.answer().await.unwrap().1.task.node, "other");
    assert_eq!(cluster.calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_in_the_same_worker_one_waits_too() {
    let cluster = Cluster::default();
    let mut world = cluster.worker(true, 2);
    let task = send(&mut world).await;
    again(&world, &task).await;
    tokio::time::sleep(LONG + MOMENT).await;
    assert_eq!(world.answer().await.unwrap().1.dispatch, 1);
    assert_eq!(world.answer().await.unwrap().1.dispatch, 2);
    assert_eq!(cluster.calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_after_the_end_finds_the_checkpoint() {
    let cluster = Cluster::default();
    let [mut one, mut two] = cluster.pair();
    send(&mut one).await;
    tokio::time::sleep(LONG + MOMENT).await;
    one.answer().await.unwrap();
    // also one that nobody knows to be the second
    let task = send(&mut two).await;
    assert_eq!(two.answer().await.unwrap().1.dispatch, task.dispatch);
    assert_eq!(cluster.calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_died_is_waited_for_until_its_claim_lapses() {
    let cluster = Cluster::default();
    let mut world = cluster.worker(true, 1);
    let task = TaskId { frame: "".into(), node: "n".into(), generation: 1 };
    let key = CheckpointKey { tenant: "default".into(), run: "r".into(), task, attempt: 1 };
    let dead = Claim { key, holder: "dead".into() };
    cluster.claims.claim(&dead, Duration::from_secs(15)).await;
    send(&mut world).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(cluster.calls.get(), 0);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(cluster.calls.get(), 1);
    tokio::time::sleep(LONG).await;
    assert_eq!(world.answer().await.unwrap().1.outcome, done());
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_given_up_at_once() {
    let cluster = Cluster::default();
    let [mut one, two] = cluster.pair();
    let task = send(&mut one).await;
    again(&two, &task).await;
    one.drop_tasks("r", None).await;
    assert_eq!(cluster.alive.get(), 0);
    tokio::time::sleep(MOMENT).await;
    assert_eq!((cluster.alive.get(), cluster.calls.get()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_costs_nothing_is_not_claimed() {
    let cluster = Cluster::default();
    let [mut one, mut two] = [cluster.worker(false, 1), cluster.worker(false, 1)];
    send(&mut one).await;
    send(&mut two).await;
    assert_eq!((cluster.alive.get(), cluster.calls.get()), (2, 2));
}
