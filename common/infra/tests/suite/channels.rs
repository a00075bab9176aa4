//! What a broker of channels does beyond what every broker must: it is full sooner, its words are
//! there at once, and its ends hear of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flowmill_infra::broker::{
    Closed, CompletionPublisher, Inbox, TaskConsumer, TaskPublisher, Work,
};
use flowmill_infra::message::Control;

use super::broker::{SHARD, delivery, number, tasks, word};
use super::{at_once, begin_and_drop};

/// More than it keeps for nobody.
const MANY: u64 = 50_000;

/// Runs under tokio's paused clock. `make` gives the ends of a broker, `another` a consumer for
/// one more worker.
pub(crate) async fn all<P, I, W, A>(make: impl Fn() -> (P, I, W, A), another: impl Fn(&W) -> W)
where
    P: TaskPublisher + Sync,
    I: Inbox,
    W: TaskConsumer,
    A: CompletionPublisher,
{
    words_overtake_tasks(make()).await;
    every_worker_hears_many_words(make(), &another).await;
    a_full_broker_makes_the_publisher_wait(make()).await;
    a_scheduler_behind_makes_workers_wait(make()).await;
    a_dropped_call_leaves_the_queue_to_others(make(), &another).await;
    the_publishers_end_is_told(make()).await;
    the_workers_end_is_told(make()).await;
    a_worker_that_goes_away_is_told(make()).await;
    a_scheduler_that_goes_away_is_told(make()).await;
}

/// The next task's number; a word is an error.
async fn next_task<W: TaskConsumer>(worker: &mut W) -> Option<u64> {
    match at_once(worker.next()).await {
        Some(Some(Work::Task(task, _))) => Some(task.number),
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
    assert_eq!(next_task(&mut worker).await, Some(1));
}

async fn every_worker_hears_many_words<P, I, W, A>(ends: (P, I, W, A), another: impl Fn(&W) -> W)
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
    assert_eq!(waiting.await.unwrap(), Some(1));
}

async fn the_publishers_end_is_told<P, I, W, A>(ends: (P, I, W, A))
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
        assert_eq!(next_task(&mut worker).await, Some(wanted));
    }
    for _ in 0..2 {
        let end = at_once(worker.next()).await;
        assert!(matches!(end, Some(None)), "its end is not told");
    }
}

async fn the_workers_end_is_told<P, I, W, A>(ends: (P, I, W, A))
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
