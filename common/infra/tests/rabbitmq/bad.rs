//! What nobody should send, into every queue: it is set aside or passed over, the reason is told, and
//! whoever consumes lives on.

use std::time::Duration;

use flowmill_infra::broker::{
    CompletionPublisher as _, Inbox as _, Receipt as _, TaskPublisher as _,
};
use flowmill_infra::dead_letters::DeadLetterConsumer as _;
use flowmill_infra::message::Control;
use flowmill_infra::rabbitmq::{
    Queues, RabbitError, Settings, dead_letters, remove, scheduler, submissions, worker,
};
use flowmill_infra::submissions::{SubmissionConsumer as _, SubmissionReceipt as _};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use super::server::{Broker, SLOTS, bare};
use crate::suite::broker::{SHARD, delivery, next_task, number, soon, tasks};

async fn put(channel: &Channel, to: (&str, &str), body: &[u8], headers: FieldTable) {
    let (exchange, key) = to;
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let put = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
    put.await.unwrap().await.unwrap();
}

/// Bodies that are no messages of ours, with a word of what is said of each.
fn nonsense() -> [(Vec<u8>, &'static str); 3] {
    [
        (Vec::new(), "0 bytes"),
        (b"{}".to_vec(), "2 bytes"),
        // more than any message of ours has
        (vec![b'x'; 3 << 20], "it begins with"),
    ]
}

/// More headers than a small frame has room for.
fn many_headers() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("x".into(), AMQPValue::LongString("y".repeat(60_000).into()));
    headers
}

#[tokio::test]
async fn nonsense_in_the_queues_of_tasks_and_answers_is_set_aside() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, mut inbox, mut worker, answers) = broker.ends().await;
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let connection = bare(&broker.settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    let prefix = &broker.settings.prefix;
    let mut place = 0;
    for queue in [format!("{prefix}.tasks.v1.light.interactive"), format!("{prefix}.results.v1.3")]
    {
        for (body, word) in nonsense() {
            put(&channel, ("", &queue), &body, FieldTable::default()).await;
            let (letter, receipt) = soon(letters.next()).await.unwrap();
            assert!(
                letter.reason.contains(word),
                "{queue}: {word:?} is not in {:?}",
                letter.reason
            );
            assert_eq!((letter.body, letter.origin.as_deref()), (body, Some(&*queue)));
            receipt.settle().await;
        }
        put(&channel, ("", &queue), b"no", many_headers()).await;
        let (letter, receipt) = soon(letters.next()).await.unwrap();
        assert_eq!(letter.body, b"no");
        receipt.settle().await;
        // what is sound goes its way
        place += 4;
        publisher.publish(tasks([place])).await.unwrap();
        assert_eq!(next_task(&mut worker).await.number, place);
        answers.answer(SHARD, delivery(place)).await.unwrap();
        let got = soon(inbox.receive(1)).await;
        assert_eq!(number(&got[0]), place);
        inbox.settle().await;
    }
}

#[tokio::test]
async fn nonsense_among_the_words_to_workers_is_passed_over() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut worker, _answers) = broker.ends().await;
    let connection = bare(&broker.settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    let exchange = format!("{}.control.v1", broker.settings.prefix);
    for (body, _) in nonsense() {
        put(&channel, (&exchange, ""), &body, FieldTable::default()).await;
    }
    put(&channel, (&exchange, ""), b"FmW\x63 of a later release", many_headers()).await;
    publisher.control(Control::Beat).await.unwrap();
    let word = soon(flowmill_infra::broker::TaskConsumer::next(&mut worker)).await;
    assert!(matches!(word, Some(flowmill_infra::broker::Work::Control(Control::Beat))), "{word:?}");
    publisher.publish(tasks([4])).await.unwrap();
    assert_eq!(next_task(&mut worker).await.number, 4);
}

#[tokio::test]
async fn submissions_of_any_size_come_whole() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 8);
    assert!(tokio::time::timeout(Duration::from_secs(2), queue.next()).await.is_err());
    let connection = bare(&broker.settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}.runs.v1.submit", broker.settings.prefix);
    let large = vec![b'x'; 20 << 20];
    for body in [&[][..], &large, b"small"] {
        put(&channel, ("", &name), body, FieldTable::default()).await;
        let (message, receipt) = soon(queue.next()).await.unwrap();
        assert!(message.body == body, "{} bytes instead of {}", message.body.len(), body.len());
        receipt.accept(Vec::new()).await;
    }
}

#[tokio::test]
async fn whoever_may_not_in_is_told_why() {
    let broker = Broker::new(Queues::Quorum).await;
    let wrong = |from: &str, to: &str| {
        let url = broker.settings.url.replace(from, to);
        assert_ne!(url, broker.settings.url);
        Settings { url, ..broker.settings.clone() }
    };
    let refused = scheduler(&wrong("guest:guest@", "guest:s3cret@")).await.unwrap_err();
    // another password may be set tomorrow
    assert!(matches!(&refused, RabbitError::Unreachable { .. }) && !refused.is_final());
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
    let refused = worker(&wrong("/%2f", "/nowhere"), SLOTS).await.unwrap_err();
    assert!(!refused.is_final(), "{refused}");
    let refused = dead_letters(&wrong("amqp://", "http://")).await.unwrap_err();
    assert!(matches!(&refused, RabbitError::Url(_)) && refused.is_final(), "{refused:?}");
    assert!(refused.to_string().contains("amqp://user:password@host"), "{refused}");
    // who only consumes gives up what can never be
    let mut queue = submissions(&wrong("amqp://", "http://"), 1);
    assert!(soon(queue.next()).await.is_none());
}

#[tokio::test]
async fn a_queue_of_submissions_that_is_another_is_refused_by_name() {
    let broker = Broker::new(Queues::Quorum).await;
    let connection = bare(&broker.settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}.runs.v1.submit", broker.settings.prefix);
    // a client that thought it had to declare it
    let options = QueueDeclareOptions::durable();
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
    put(&channel, ("", &name), b"early", FieldTable::default()).await;
    let refused = scheduler(&broker.settings).await.unwrap_err();
    assert!(matches!(&refused, RabbitError::Differs { .. }) && refused.is_final(), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains(&name) && told.contains("Delete it once it is empty"), "{told}");
    let mut queue = submissions(&broker.settings, 1);
    assert!(soon(queue.next()).await.is_none());
    // what lies in it is untouched
    let channel = connection.create_channel().await.unwrap();
    let removed = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await;
    assert_eq!(removed.unwrap(), 1);
    assert!(scheduler(&broker.settings).await.is_ok());
    remove(&broker.settings, 0).await.unwrap();
}
