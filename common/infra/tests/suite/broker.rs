//! The broker: every task once, every answer, words to all, back-pressure, an end that is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::variables::Variables;
use flowmill_infra::broker::{
    Closed, CompletionPublisher, Inbox, TaskConsumer, TaskPublisher, Work,
};
use flowmill_infra::message::{Control, Delivery, PlanKey, Shard, Task};

use super::{at_once, begin_and_drop};

/// More than any adapter keeps for nobody.
const MANY: u64 = 50_000;

/// The shard that everything here belongs to.
const SHARD: Shard = Shard(3);

/// Runs under tokio's paused clock. `make` gives the ends of a broker, `another` a consumer for
/// one more worker.
pub(crate) async fn all<P, I, W, A>(make: impl Fn() -> (P, I, W, A), another: impl Fn(&W) -> W)
where
    P: TaskPublisher + Sync,
    I: Inbox,
    W: TaskConsumer,
    A: CompletionPublisher,
{
    tasks_come_once_and_in_order_of_their_class(make()).await;
    workers_share_the_tasks(make(), &another).await;
    answers_arrive_in_batches(make()).await;
    words_overtake_tasks(make()).await;
    every_worker_hears_every_word(make(), &another).await;
    a_full_broker_makes_the_publisher_wait(make()).await;
    a_scheduler_behind_makes_workers_wait(make()).await;
    a_dropped_call_loses_nothing(make()).await;
    a_dropped_call_leaves_the_queue_to_others(make(), &another).await;
    what_was_published_outlives_the_publisher(make()).await;
    what_was_answered_outlives_the_worker(make()).await;
    a_worker_that_goes_away_is_told(make()).await;
    a_scheduler_that_goes_away_is_told(make()).await;
}

fn task(number: u64) -> Task {
    let classes = [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];
    Task {
        tenant: "default".into(),
        run: "r".into(),
        shard: SHARD,
        plan: PlanKey { workflow: "w".into(), ..PlanKey::default() },
        task: TaskId { frame: "".into(), node: "n".into(), generation: 1 },
        attempt: 1,
        dispatch: 1,
        number,
        class: classes[usize::try_from(number % 4).unwrap()],
        variables: Variables::default(),
        timeout: Duration::from_secs(1),
        trace: None,
    }
}

fn tasks(numbers: impl IntoIterator<Item = u64>) -> Vec<Task> {
    numbers.into_iter().map(task).collect()
}

fn delivery(number: u64) -> Delivery {
    Delivery::Returned {
        run: "r".into(),
        task: task(number).task,
        attempt: u32::try_from(number).unwrap(),
        dispatch: 1,
        reason: Returned::HandedBack,
    }
}

fn number(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Returned { attempt, .. } => u64::from(*attempt),
        other => panic!("nobody sent {other:?}"),
    }
}

fn word(before: u64) -> Control {
    Control::Drop { run: "r".into(), task: None, before }
}

/// The next task's number and class; a word is an error.
async fn next_task<W: TaskConsumer>(worker: &mut W) -> Option<(u64, TaskClass)> {
    match at_once(worker.next()).await {
        Some(Some(Work::Task(task, _))) => Some((task.number, task.class)),
        Some(Some(Work::Control(control))) => panic!("{control:?} instead of a task"),
        Some(None) | None => None,
    }
}

async fn next_word<W: TaskConsumer>(worker: &mut W) -> Option<Control> {
    match at_once(worker.next()).await {
        Some(Some(Work::Control(control))) => Some(control),
        Some(Some(Work::Task(task, _))) => panic!("task {} instead of a word", task.number),
        Some(None) | None => None,
    }
}

async fn tasks_come_once_and_in_order_of_their_class<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, mut worker, _answers) = ends;
    publisher.publish(tasks(1..=100)).await.unwrap();
    publisher.publish(Vec::new()).await.unwrap();
    publisher.publish(tasks(101..=200)).await.unwrap();
    let mut seen = Vec::new();
    while let Some(task) = next_task(&mut worker).await {
        seen.push(task);
    }
    for class in [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm] {
        let of_class: Vec<u64> =
            seen.iter().filter(|(_, of)| *of == class).map(|(number, _)| *number).collect();
        let wanted: Vec<u64> = (1..=200).filter(|number| task(*number).class == class).collect();
        assert_eq!(of_class, wanted, "{class:?}");
    }
}

async fn workers_share_the_tasks<P, I, W, A>(ends: (P, I, W, A), another: impl Fn(&W) -> W)
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, worker, _answers) = ends;
    let workers = [another(&worker), another(&worker), worker];
    let running = workers.map(|mut worker| {
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(Work::Task(task, _)) = worker.next().await {
                seen.push(task.number);
            }
            seen
        })
    });
    publisher.publish(tasks(1..=10_000)).await.unwrap();
    drop(publisher);
    let mut seen = Vec::new();
    for worker in running {
        let mine = worker.await.unwrap();
        assert!(!mine.is_empty(), "a worker got nothing");
        seen.extend(mine);
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=10_000).collect::<Vec<_>>());
}

async fn answers_arrive_in_batches<P, I: Inbox, W, A: CompletionPublisher>(ends: (P, I, W, A)) {
    let (_publisher, mut inbox, _worker, answers) = ends;
    for number in 1..=25 {
        answers.clone().answer(SHARD, delivery(number)).await.unwrap();
    }
    let mut seen = Vec::new();
    for most in [1, 10, 10, 10] {
        let batch = inbox.receive(most).await;
        assert!(!batch.is_empty() && batch.len() <= most);
        seen.extend(batch.iter().map(number));
        if seen.len() == 25 {
            break;
        }
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    assert!(at_once(inbox.receive(10)).await.is_none());
}

async fn words_overtake_tasks<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, mut worker, _answers) = ends;
    publisher.publish(tasks(1..=3)).await.unwrap();
    publisher.control(word(2)).await.unwrap();
    publisher.control(word(3)).await.unwrap();
    assert_eq!(next_word(&mut worker).await, Some(word(2)));
    assert_eq!(next_word(&mut worker).await, Some(word(3)));
    assert_eq!(next_task(&mut worker).await.map(|(number, _)| number), Some(1));
}

async fn every_worker_hears_every_word<P, I, W, A>(ends: (P, I, W, A), another: impl Fn(&W) -> W)
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, worker, _answers) = ends;
    let gone = another(&worker);
    let workers = [another(&worker), worker];
    drop(gone);
    let running = workers.map(|mut worker| {
        tokio::spawn(async move {
            for number in 0..MANY {
                match worker.next().await {
                    Some(Work::Control(control)) => assert_eq!(control, word(number)),
                    other => panic!("{other:?} instead of word {number}"),
                }
            }
        })
    });
    for number in 0..MANY {
        publisher.control(word(number)).await.unwrap();
    }
    for worker in running {
        worker.await.unwrap();
    }
}

async fn a_full_broker_makes_the_publisher_wait<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, mut worker, _answers) = ends;
    let publishing = tokio::spawn(async move { publisher.publish(tasks(1..=MANY)).await });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!publishing.is_finished(), "it keeps {MANY} tasks for nobody");
    for number in 1..=MANY {
        match worker.next().await {
            Some(Work::Task(task, _)) => assert_eq!(task.number, number),
            other => panic!("{other:?} instead of task {number}"),
        }
    }
    publishing.await.unwrap().unwrap();
}

async fn a_scheduler_behind_makes_workers_wait<P, I, W, A>(ends: (P, I, W, A))
where
    I: Inbox,
    A: CompletionPublisher,
{
    let (_publisher, mut inbox, _worker, answers) = ends;
    let sent = Arc::new(AtomicU64::new(0));
    let answering = tokio::spawn({
        let sent = sent.clone();
        async move {
            for number in 1..=MANY {
                answers.answer(SHARD, delivery(number)).await.unwrap();
                sent.store(number, Ordering::SeqCst);
            }
        }
    });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(sent.load(Ordering::SeqCst) < MANY, "it keeps {MANY} answers for nobody");
    let mut seen = 0;
    while seen < MANY {
        for delivery in inbox.receive(256).await {
            seen += 1;
            assert_eq!(number(&delivery), seen);
        }
    }
    answering.await.unwrap();
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
        assert_eq!(next_task(&mut worker).await.map(|(number, _)| number), Some(number));
        begin_and_drop(worker.next()).await;
        publisher.control(word(number)).await.unwrap();
        assert_eq!(next_word(&mut worker).await, Some(word(number)));
        begin_and_drop(inbox.receive(5)).await;
        answers.answer(SHARD, delivery(number)).await.unwrap();
        assert_eq!(inbox.receive(5).await.iter().map(self::number).collect::<Vec<_>>(), [number]);
    }
}

async fn a_dropped_call_leaves_the_queue_to_others<P, I, W, A>(
    ends: (P, I, W, A),
    another: impl Fn(&W) -> W,
) where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, mut worker, _answers) = ends;
    let mut other = another(&worker);
    begin_and_drop(worker.next()).await;
    let waiting = tokio::spawn(async move { next_task(&mut other).await });
    tokio::task::yield_now().await;
    publisher.publish(tasks([1])).await.unwrap();
    assert_eq!(waiting.await.unwrap().map(|(number, _)| number), Some(1));
}

async fn what_was_published_outlives_the_publisher<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, inbox, mut worker, _answers) = ends;
    publisher.publish(tasks(1..=3)).await.unwrap();
    publisher.control(word(2)).await.unwrap();
    drop((publisher, inbox));
    assert_eq!(next_word(&mut worker).await, Some(word(2)));
    for wanted in 1..=3 {
        assert_eq!(next_task(&mut worker).await.map(|(number, _)| number), Some(wanted));
    }
    for _ in 0..2 {
        let end = at_once(worker.next()).await;
        assert!(matches!(end, Some(None)), "its end is not told");
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
    assert_eq!(inbox.receive(5).await.len(), 1);
    for _ in 0..2 {
        let end = at_once(inbox.receive(5)).await;
        assert!(end.is_some_and(|received| received.is_empty()), "its end is not told");
    }
}

async fn a_worker_that_goes_away_is_told<P, I, W, A>(ends: (P, I, W, A))
where
    P: TaskPublisher + Sync,
    W: TaskConsumer,
{
    let (publisher, _inbox, worker, _answers) = ends;
    publisher.publish(tasks(1..=3)).await.unwrap();
    let publisher = Arc::new(publisher);
    let waiting = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(tasks(1..=MANY)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(worker);
    assert_eq!(waiting.await.unwrap(), Err(Closed));
    assert_eq!(publisher.publish(tasks([1])).await, Err(Closed));
    assert_eq!(publisher.control(word(1)).await, Err(Closed));
}

async fn a_scheduler_that_goes_away_is_told<P, I, W, A>(ends: (P, I, W, A))
where
    A: CompletionPublisher,
{
    let (publisher, inbox, _worker, answers) = ends;
    drop((publisher, inbox));
    assert_eq!(answers.answer(SHARD, delivery(1)).await, Err(Closed));
}
