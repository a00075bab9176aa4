//! Messages of a later release: whoever reads them gets them, nobody else loses them, and none is set
//! aside.

use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::Returned;
use flowmill_engine::run::{Completion, Outcome};
use flowmill_engine::time::Time;
use flowmill_infra::broker::{CompletionPublisher as _, Inbox as _, TaskPublisher as _};
use flowmill_infra::dead_letters::DeadLetterConsumer as _;
use flowmill_infra::message::{Beat, Control, Delivery};
use flowmill_infra::rabbitmq::{Queues, Settings, dead_letters, scheduler, worker};
use flowmill_infra::versions::Versions;
use flowmill_infra::wire::Transit;

use super::server::{Broker, SLOTS};
use crate::suite::broker::{SHARD, delivery, next_task, next_word, number, soon, tasks, word};

/// The next release, which writes its own version.
fn next(broker: &Broker) -> (Settings, Versions) {
    let versions = Versions::among_others(2);
    assert_eq!(versions.hear(2), Some(2));
    let transit = Transit::default().with_versions(versions.clone());
    (Settings { transit, ..broker.settings.clone() }, versions)
}

#[tokio::test]
async fn a_task_of_a_later_release_comes_to_whoever_reads_it_or_is_handed_back() {
    let broker = Broker::new(Queues::Quorum).await;
    let (settings, versions) = next(&broker);
    let (publisher, mut inbox) = scheduler(&settings).await.unwrap();
    inbox.open(SHARD).await.unwrap();
    let (mut early, _) = worker(&broker.settings, SLOTS).await.unwrap();
    publisher.publish(tasks([4])).await.unwrap();
    // nobody reads it: its run sends it again, in what all read
    let lost = soon(inbox.receive(1)).await;
    assert!(matches!(&lost[..], [Delivery::Lost { .. }]), "{lost:?}");
    let back = soon(inbox.receive(1)).await;
    let [Delivery::Returned { run, attempt, dispatch, reason, .. }] = &back[..] else {
        panic!("{back:?}")
    };
    assert_eq!((&**run, *attempt, *dispatch, *reason), ("r", 1, 1, Returned::HandedBack));
    versions.hear(1);
    publisher.publish(tasks([8])).await.unwrap();
    assert_eq!(next_task(&mut early).await.number, 8);
    // words of a later release are lost, as for a worker that is away
    versions.hear(2);
    publisher.control(word(1)).await.unwrap();
    versions.hear(1);
    publisher.control(word(2)).await.unwrap();
    assert!(matches!(next_word(&mut early).await, Control::Drop { before: 2, .. }));
    // one that reads it takes it, whoever had it in hand
    versions.hear(2);
    publisher.publish(tasks([12])).await.unwrap();
    let (mut late, _) = worker(&settings, SLOTS).await.unwrap();
    drop(early);
    assert_eq!(next_task(&mut late).await.number, 12);
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let none = tokio::time::timeout(Duration::from_secs(1), letters.next()).await;
    assert!(none.is_err(), "{none:?}");
}

#[tokio::test]
async fn answers_of_a_later_release_send_their_tasks_out_again() {
    let broker = Broker::new(Queues::Quorum).await;
    let (settings, versions) = next(&broker);
    let (_publisher, mut inbox, _worker, _answers) = broker.ends().await;
    let (_late, answers) = worker(&settings, SLOTS).await.unwrap();
    let Delivery::Returned { run, task, .. } = delivery(4) else { panic!() };
    // what says that something is there is found without it
    answers.answer(SHARD, Delivery::Poke { run: run.clone() }).await.unwrap();
    let (worker, held) = ("w".into(), vec![(SHARD, vec![1])]);
    let beat = Beat { worker, began: Time(1), slots: [1; 4], held, waits: Vec::new() };
    answers.beat(beat).await.unwrap();
    let outcome = Outcome {
        task,
        attempt: 4,
        outcome: Err(NodeError::new("E", "it failed")),
        started_at: Time(1),
        elapsed_us: 1,
    };
    let completion = Completion::of(7, outcome);
    answers.answer(SHARD, Delivery::Completed { run, completion }).await.unwrap();
    let back = soon(inbox.receive(5)).await;
    let [Delivery::Returned { attempt: 4, dispatch: 7, reason: Returned::HandedBack, .. }] =
        &back[..]
    else {
        panic!("{back:?}")
    };
    answers.answer(SHARD, Delivery::Lost { shard: SHARD }).await.unwrap();
    let lost = soon(inbox.receive(5)).await;
    assert!(matches!(&lost[..], [Delivery::Lost { shard: SHARD }]), "{lost:?}");
    inbox.settle().await;
    versions.hear(1);
    answers.answer(SHARD, delivery(8)).await.unwrap();
    assert_eq!(number(&soon(inbox.receive(5)).await[0]), 8);
    inbox.settle().await;
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let none = tokio::time::timeout(Duration::from_secs(1), letters.next()).await;
    assert!(none.is_err(), "{none:?}");
}
