//! The broker: every task once, every answer, words to all. What only channels do is in
//! `channels`.

use std::time::Duration;

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Fragment;
use flowmill_engine::variables::Variables;
use flowmill_infra::broker::{
    CompletionPublisher, Inbox, Receipt, TaskConsumer, TaskPublisher, Work,
};
use flowmill_infra::message::{Control, Delivery, PlanKey, Shard, Task};
use tokio::sync::mpsc;

use super::{at_once, begin_and_drop};

/// The shard that everything here belongs to.
pub(crate) const SHARD: Shard = Shard(3);

/// More than a worker holds and a publisher has in flight.
const SOME: u64 = 600;

/// Runs in real time as well as under tokio's paused clock. `make` gives the ends of a broker
/// whose inbox has [`SHARD`] open, `another` a consumer for one more worker.
pub(crate) async fn all<P, I, W, A>(
    make: impl AsyncFn() -> (P, I, W, A),
    another: impl AsyncFn(&W) -> W,
) where
    P: TaskPublisher + Sync,
    I: Inbox,
    W: TaskConsumer,
    A: CompletionPublisher,
{
    tasks_come_once_and_in_order_of_their_class(make().await).await;
    workers_share_the_tasks(make().await, &another).await;
    answers_arrive_in_batches(make().await).await;
    every_worker_hears_every_word(make().await, &another).await;
    a_dropped_call_loses_nothing(make().await).await;
    what_was_published_outlives_the_publisher(make().await).await;
    what_was_answered_outlives_the_worker(make().await).await;
}

pub(crate) fn task(number: u64) -> Task {
    Task {
        tenant: "default".into(),
        run: "r".into(),
        shard: SHARD,
        plan: PlanKey { workflow: "w".into(), ..PlanKey::default() },
        task: TaskId { frame: "".into(), node: "n".into(), generation: 1 },
        attempt: 1,
        dispatch: 1,
        number,
        class: TaskClass::ALL[usize::try_from(number % 4).unwrap()],
        fragment: Fragment::Nodes(vec!["n".into()]),
        is_fused: false,
        variables: Variables::default(),
        timeout: Duration::from_secs(1),
        sent_at: None,
        trace: None,
    }
}

pub(crate) fn tasks(numbers: impl IntoIterator<Item = u64>) -> Vec<Task> {
    numbers.into_iter().map(task).collect()
}

pub(crate) fn delivery(number: u64) -> Delivery {
    Delivery::Returned {
        run: "r".into(),
        task: task(number).task,
        attempt: u32::try_from(number).unwrap(),
        dispatch: 1,
        reason: Returned::HandedBack,
    }
}

pub(crate) fn number(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Returned { attempt, .. } => u64::from(*attempt),
        other => panic!("nobody sent {other:?}"),
    }
}

pub(crate) fn word(before: u64) -> Control {
    Control::Drop { run: "r".into(), task: None, before }
}

/// What a future gives, on a machine that has much else to do.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), future).await;
    waited.unwrap_or_else(|_| panic!("it did not come within 20 s"))
}

/// The next task, which is settled; a word is an error.
pub(crate) async fn next_task<W: TaskConsumer>(worker: &mut W) -> Task {
    match soon(worker.next()).await {
        Some(Work::Task(task, receipt)) => {
            receipt.settle().await;
            *task
        }
        other => panic!("{other:?} instead of a task"),
    }
}

pub(crate) async fn next_word<W: TaskConsumer>(worker: &mut W) -> Control {
    match soon(worker.next()).await {
        Some(Work::Control(control)) => control,
        other => panic!("{other:?} instead of a word"),
    }
}

async fn tasks_come_once_and_in_order_of_their_class<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, mut worker, _answers) = ends;
    publisher.publish(tasks(1..=SOME / 2)).await.unwrap();
    publisher.publish(Vec::new()).await.unwrap();
    publisher.publish(tasks(SOME / 2 + 1..=SOME)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 1..=SOME {
        seen.push(next_task(&mut worker).await.number);
    }
    for class in 0..4 {
        let of_class = |number: &u64| number % 4 == class;
        let came: Vec<u64> = seen.iter().copied().filter(of_class).collect();
        let wanted: Vec<u64> = (1..=SOME).filter(of_class).collect();
        assert_eq!(came, wanted, "{:?}", task(class).class);
    }
    assert!(at_once(worker.next()).await.is_none(), "a task came twice");
}

async fn workers_share_the_tasks<P, I, W, A>(ends: (P, I, W, A), another: impl AsyncFn(&W) -> W)
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, worker, _answers) = ends;
    let (sender, mut came) = mpsc::unbounded_channel();
    let workers = [another(&worker).await, another(&worker).await, worker];
    let running: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(who, mut worker)| {
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(Work::Task(task, receipt)) = worker.next().await {
                    receipt.settle().await;
                    sender.send((who, task.number)).unwrap();
                }
            })
        })
        .collect();
    publisher.publish(tasks(1..=SOME * 3)).await.unwrap();
    let mut seen = Vec::new();
    let mut by_worker = [0; 3];
    for _ in 1..=SOME * 3 {
        let (who, number) = soon(came.recv()).await.unwrap();
        by_worker[who] += 1;
        seen.push(number);
    }
    for worker in running {
        worker.abort();
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=SOME * 3).collect::<Vec<_>>());
    assert!(by_worker.iter().all(|count| *count > 0), "a worker got nothing: {by_worker:?}");
}

async fn answers_arrive_in_batches<P, I: Inbox, W, A: CompletionPublisher>(ends: (P, I, W, A)) {
    let (_publisher, mut inbox, _worker, answers) = ends;
    for number in 1..=25 {
        answers.clone().answer(SHARD, delivery(number)).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 25 {
        let batch = soon(inbox.receive(10)).await;
        assert!(!batch.is_empty() && batch.len() <= 10);
        seen.extend(batch.iter().map(number));
        inbox.settle().await;
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    assert!(at_once(inbox.receive(10)).await.is_none());
}

async fn every_worker_hears_every_word<P, I, W, A>(
    ends: (P, I, W, A),
    another: impl AsyncFn(&W) -> W,
) where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, worker, _answers) = ends;
    let gone = another(&worker).await;
    let workers = [another(&worker).await, worker];
    drop(gone);
    publisher.publish(tasks([1])).await.unwrap();
    for number in 1..=50 {
        publisher.control(word(number)).await.unwrap();
    }
    publisher.control(Control::Beat).await.unwrap();
    let mut tasks = 0;
    for mut worker in workers {
        let mut words = Vec::new();
        while words.last() != Some(&Control::Beat) {
            match soon(worker.next()).await.unwrap() {
                Work::Control(control) => words.push(control),
                Work::Task(..) => tasks += 1,
            }
        }
        let wanted: Vec<Control> = (1..=50).map(word).chain([Control::Beat]).collect();
        assert_eq!(words, wanted);
    }
    assert!(tasks <= 1);
}

async fn a_dropped_call_loses_nothing<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    I: Inbox,
    W: TaskConsumer,
    A: CompletionPublisher,
{
    let (publisher, mut inbox, mut worker, answers) = ends;
    for number in 1..=20 {
        begin_and_drop(worker.next()).await;
        publisher.publish(tasks([number])).await.unwrap();
        assert_eq!(next_task(&mut worker).await.number, number);
        begin_and_drop(worker.next()).await;
        publisher.control(word(number)).await.unwrap();
        assert_eq!(next_word(&mut worker).await, word(number));
        begin_and_drop(inbox.receive(5)).await;
        answers.answer(SHARD, delivery(number)).await.unwrap();
        let received = soon(inbox.receive(5)).await;
        assert_eq!(received.iter().map(self::number).collect::<Vec<_>>(), [number]);
    }
}

async fn what_was_published_outlives_the_publisher<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, inbox, mut worker, _answers) = ends;
    publisher.publish(tasks([4, 8, 12])).await.unwrap();
    drop((publisher, inbox));
    for wanted in [4, 8, 12] {
        assert_eq!(next_task(&mut worker).await.number, wanted);
    }
}

async fn what_was_answered_outlives_the_worker<P, I, W, A>(ends: (P, I, W, A))
where
    I: Inbox,
    A: CompletionPublisher,
{
    let (_publisher, mut inbox, worker, answers) = ends;
    answers.answer(SHARD, delivery(1)).await.unwrap();
    drop((worker, answers));
    assert_eq!(soon(inbox.receive(5)).await.len(), 1);
}
