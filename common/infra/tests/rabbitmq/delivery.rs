//! What is delivered again, to whom, and what is set aside.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Returned;
use flowmill_engine::time::Time;
use flowmill_infra::broker::{
    CompletionPublisher, Inbox, Receipt, TaskConsumer, TaskPublisher, Work,
};
use flowmill_infra::dead_letters::{DeadLetterConsumer as _, Sending};
use flowmill_infra::message::{Delivery, Shard, Task};
use flowmill_infra::rabbitmq::{
    Queues, RabbitError, RabbitWorker, Settings, dead_letters, scheduler, worker,
};
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::{Broker, SLOTS, bare};
use crate::suite::broker::{SHARD, delivery, next_task, number, soon, task, tasks};

async fn taken(worker: &mut RabbitWorker) -> (u64, <RabbitWorker as TaskConsumer>::Receipt) {
    match soon(worker.next()).await {
        Some(Work::Task(task, receipt)) => (task.number, receipt),
        other => panic!("{other:?} instead of a task"),
    }
}

async fn received(inbox: &mut impl Inbox, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(soon(inbox.receive(count)).await);
    }
    all
}

#[tokio::test]
async fn a_task_is_the_brokers_until_it_is_settled() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut first, _answers) = broker.ends().await;
    publisher.publish(tasks([4, 8])).await.unwrap();
    let (number, receipt) = taken(&mut first).await;
    assert_eq!((number, receipt.is_redelivered()), (4, false));
    receipt.settle().await;
    let (number, receipt) = taken(&mut first).await;
    assert_eq!(number, 8);
    let (mut second, _) = worker(&broker.settings, SLOTS).await.unwrap();
    // released by one, it comes to whoever is there
    receipt.release().await;
    let again = tokio::select! {
        again = taken(&mut first) => again,
        again = taken(&mut second) => again,
    };
    assert_eq!((again.0, again.1.is_redelivered()), (8, true));
    // a worker that dies settles nothing
    drop((first, again));
    drop(second);
    let (mut third, _) = worker(&broker.settings, SLOTS).await.unwrap();
    let (number, receipt) = taken(&mut third).await;
    assert_eq!((number, receipt.is_redelivered()), (8, true));
    receipt.settle().await;
}

#[tokio::test]
async fn a_task_says_when_it_was_sent_to_the_second() {
    let broker = Broker::new(Queues::Classic).await;
    let (publisher, _inbox, mut worker, _answers) = broker.ends().await;
    let sent = |number: u64, sent_at| Task { sent_at, ..task(number) };
    let tasks = vec![sent(4, Some(Time(1_795_656_472_123_456))), sent(8, None)];
    publisher.publish(tasks).await.unwrap();
    assert_eq!(next_task(&mut worker).await.sent_at, Some(Time(1_795_656_472_000_000)));
    assert_eq!(next_task(&mut worker).await.sent_at, None);
}

#[tokio::test]
async fn a_worker_that_drains_hands_back_what_it_has_not_taken() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut first, _answers) = broker.ends().await;
    // more than wait for the worker to take them: some are behind, in the client
    let numbers: Vec<u64> = (1..=100).map(|number| number * 4).collect();
    publisher.publish(tasks(numbers.iter().copied())).await.unwrap();
    let (number, receipt) = taken(&mut first).await;
    assert_eq!(number, 4);
    soon(first.stop()).await;
    assert!(soon(first.next()).await.is_none());
    let (mut second, _) = worker(&broker.settings, SLOTS).await.unwrap();
    let mut seen = Vec::new();
    for _ in 1..numbers.len() {
        seen.push(next_task(&mut second).await.number);
    }
    seen.sort_unstable();
    assert_eq!(seen, numbers[1..]);
    // what it had taken is its own still
    receipt.settle().await;
}

#[tokio::test]
async fn what_an_owner_did_not_settle_goes_to_the_next() {
    let broker = Broker::new(Queues::Quorum).await;
    let (_publisher, mut inbox, _worker, answers) = broker.ends().await;
    for number in 1..=3 {
        answers.answer(SHARD, delivery(number)).await.unwrap();
    }
    assert_eq!(received(&mut inbox, 3).await.len(), 3);
    inbox.settle().await;
    for number in 4..=6 {
        answers.answer(SHARD, delivery(number)).await.unwrap();
    }
    assert_eq!(received(&mut inbox, 3).await.len(), 3);
    inbox.close(SHARD).await;
    let (_tasks, mut next) = scheduler(&broker.settings).await.unwrap();
    next.open(SHARD).await.unwrap();
    let again: Vec<u64> = received(&mut next, 3).await.iter().map(number).collect();
    assert_eq!(again, [4, 5, 6]);
    next.settle().await;
}

/// A channel that knows nothing of flowmill.
async fn outside(settings: &Settings) -> (lapin::Connection, Channel) {
    let connection = bare(&settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn put(channel: &Channel, queue: &str, body: &[u8], headers: FieldTable) {
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
}

/// The reason of the next dead letter.
async fn dead(channel: &Channel, queue: &str) -> String {
    soon(async {
        loop {
            let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await;
            if let Some(message) = got.unwrap() {
                let headers = message.delivery.properties.headers().clone().unwrap();
                let reason = headers.inner()["flowmill-reason"].as_long_string().unwrap();
                return String::from_utf8(reason.as_bytes().to_vec()).unwrap();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn what_nobody_can_read_is_set_aside_and_the_rest_goes_on() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, mut inbox, mut worker, answers) = broker.ends().await;
    let prefix = &broker.settings.prefix;
    let (_connection, channel) = outside(&broker.settings).await;

    let queue = format!("{prefix}.tasks.v1.light.interactive");
    put(&channel, &queue, b"{\"not\": \"ours\"}", FieldTable::default()).await;
    let reason = dead(&channel, &format!("{prefix}.dlq.v1.tasks")).await;
    assert!(reason.contains("it begins with"), "{reason}");
    publisher.publish(tasks([4])).await.unwrap();
    assert_eq!(next_task(&mut worker).await.number, 4);

    let queue = format!("{prefix}.results.v1.3");
    put(&channel, &queue, b"Fm", FieldTable::default()).await;
    let reason = dead(&channel, &format!("{prefix}.dlq.v1.results")).await;
    assert!(reason.contains("only 2 bytes"), "{reason}");
    // an answer whose headers tell whose it is moves the run at once
    answers.answer(SHARD, delivery(7)).await.unwrap();
    inbox.close(SHARD).await;
    let message = soon(async {
        loop {
            let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
            match got.await.unwrap() {
                Some(message) => return message,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let headers = message.delivery.properties.headers().clone().unwrap();
    put(&channel, &queue, b"FmC\x63 of a later release", headers).await;
    inbox.open(SHARD).await.unwrap();
    let returned = &received(&mut inbox, 1).await[0];
    let Delivery::Returned { task: id, attempt, dispatch, reason, .. } = returned else {
        panic!("{returned:?}")
    };
    assert_eq!((id, attempt, dispatch), (&task(7).task, &7, &1));
    assert_eq!(*reason, Returned::HandedBack);
    inbox.settle().await;
}

#[tokio::test]
async fn a_task_of_a_later_release_is_left_to_others() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut worker, _answers) = broker.ends().await;
    let (_connection, channel) = outside(&broker.settings).await;
    let queue = format!("{}.tasks.v1.light.interactive", broker.settings.prefix);
    put(&channel, &queue, b"FmT\x63 of a later release", FieldTable::default()).await;
    // it does not stand in the way
    publisher.publish(tasks([4])).await.unwrap();
    assert_eq!(next_task(&mut worker).await.number, 4);
    drop(worker);
    let message = soon(async {
        loop {
            let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
            match got.await.unwrap() {
                Some(message) => return message,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(message.delivery.data, b"FmT\x63 of a later release");
}

#[tokio::test]
async fn a_task_without_a_queue_comes_back() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, mut inbox, worker, _answers) = broker.ends().await;
    let (_connection, channel) = outside(&broker.settings).await;
    // the worker makes it again when it notices, so nobody serves the class here
    drop(worker);
    publisher.publish(tasks([1])).await.unwrap();
    let queue = format!("{}.tasks.v1.light.interactive", broker.settings.prefix);
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    publisher.publish(tasks([4])).await.unwrap();
    let returned = &received(&mut inbox, 1).await[0];
    assert!(
        matches!(returned, Delivery::Returned { reason: Returned::Unroutable, attempt: 1, .. }),
        "{returned:?}"
    );
    assert_eq!(publisher.unroutable(), [1, 0, 0, 0]);
    // after a while the queue is made again
    tokio::time::sleep(Duration::from_secs(3)).await;
    publisher.publish(tasks([8])).await.unwrap();
    let mut worker = worker_of(&broker).await;
    assert_eq!(next_task(&mut worker).await.number, 8);
    assert_eq!(publisher.unroutable()[0], 1);
}

#[tokio::test]
async fn a_task_that_is_delivered_too_often_is_a_dead_letter() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut worker, _answers) = broker.ends().await;
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    publisher.publish(tasks([4])).await.unwrap();
    let mut deliveries = 0;
    let (letter, receipt) = loop {
        tokio::select! {
            Some(Work::Task(_, receipt)) = worker.next() => {
                deliveries += 1;
                receipt.release().await;
            }
            letter = soon(letters.next()) => break letter.unwrap(),
        }
    };
    assert_eq!(deliveries, 21);
    assert_eq!(&*letter.reason, "delivered 21 times without an answer");
    let sent = task(4);
    let unanswered = Sending {
        run: sent.run.clone(),
        shard: sent.shard,
        task: sent.task,
        attempt: sent.attempt,
        dispatch: sent.dispatch,
        is_of_one_node: true,
    };
    assert_eq!(letter.unanswered, Some(unanswered));
    assert_eq!((letter.run, letter.is_odd), (Some(sent.run), false));
    receipt.settle().await;
}

#[tokio::test]
async fn a_dead_letter_says_what_it_was() {
    let broker = Broker::new(Queues::Quorum).await;
    let (publisher, _inbox, mut worker, answers) = broker.ends().await;
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let mut next = async || soon(letters.next()).await.unwrap();
    let prefix = &broker.settings.prefix;
    let (_connection, channel) = outside(&broker.settings).await;

    let results = format!("{prefix}.results.v1.3");
    put(&channel, &results, b"Fm", FieldTable::default()).await;
    let (letter, receipt) = next().await;
    assert!(letter.reason.contains("only 2 bytes") && letter.queue.ends_with(".dlq.v1.results"));
    assert_eq!((letter.body, letter.unanswered, letter.is_odd), (b"Fm".to_vec(), None, true));
    receipt.settle().await;

    // a task whose body is broken, with the headers that it was sent with
    publisher.publish(tasks([4])).await.unwrap();
    drop(soon(worker.next()).await);
    drop(worker);
    let queue = format!("{prefix}.tasks.v1.light.interactive");
    let sent = soon(async {
        loop {
            let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
            match got.await.unwrap() {
                Some(message) => return message,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let headers = sent.delivery.properties.headers().clone().unwrap();
    put(&channel, &queue, b"FmT\x01 broken", headers).await;
    let _worker = worker_of(&broker).await;
    let (letter, receipt) = next().await;
    assert!(letter.reason.contains("read a task message"), "{}", letter.reason);
    let unanswered = letter.unanswered.unwrap();
    assert_eq!((unanswered.task, unanswered.shard), (task(4).task, SHARD));
    assert!(letter.is_odd && letter.headers.iter().any(|(key, _)| &**key == "flowmill-run"));
    receipt.settle().await;
    drop(answers);
}

async fn worker_of(broker: &Broker) -> RabbitWorker {
    worker(&broker.settings, SLOTS).await.unwrap().0
}

/// What a way to the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Both,
    /// What the server says is kept from the client.
    Mute,
    /// Every connection ends.
    Cut,
}

/// The settings of a broker that is reached by a way of its own, and what that way does.
async fn by_way(broker: &Broker) -> (Settings, watch::Sender<Traffic>) {
    let (_, server) = broker.settings.url.split_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = broker.settings.url.replace(server, &format!("127.0.0.1:{port}"));
    let (traffic, seen) = watch::channel(Traffic::Both);
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(pass(client, server, seen.clone()));
        }
    });
    (Settings { url, ..broker.settings.clone() }, traffic)
}

async fn pass(client: TcpStream, server: TcpStream, mut traffic: watch::Receiver<Traffic>) {
    let (mut asks, mut hears) = client.into_split();
    let (mut says, mut takes) = server.into_split();
    let mut seen = traffic.clone();
    let back = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = says.read(&mut bytes).await {
            seen.wait_for(|now| *now == Traffic::Both).await.unwrap();
            hears.write_all(&bytes[..length]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = traffic.wait_for(|now| *now == Traffic::Cut) => {}
        () = back => {}
        _ = copy(&mut asks, &mut takes) => {}
    }
}

/// Every connection ends, and has ended when this returns.
async fn cut(traffic: &watch::Sender<Traffic>) {
    traffic.send_replace(Traffic::Cut);
    soon(async {
        // the listener has one
        while traffic.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_published_again_says_so() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut worker = worker_of(&broker).await;
    let (settings, traffic) = by_way(&broker).await;
    let (publisher, _inbox) = scheduler(&settings).await.unwrap();
    publisher.publish(tasks([4])).await.unwrap();
    let (_, receipt) = taken(&mut worker).await;
    assert!(!receipt.may_be_double());
    receipt.settle().await;
    // the server has it, and its word does not come back
    traffic.send_replace(Traffic::Mute);
    let publisher = Arc::new(publisher);
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(tasks([8])).await }
    });
    let (number, receipt) = taken(&mut worker).await;
    assert_eq!((number, receipt.may_be_double()), (8, false));
    receipt.settle().await;
    cut(&traffic).await;
    traffic.send_replace(Traffic::Both);
    soon(publishing).await.unwrap().unwrap();
    let (number, receipt) = taken(&mut worker).await;
    assert_eq!((number, receipt.may_be_double()), (8, true));
    assert!(!receipt.is_redelivered());
    receipt.settle().await;
    // nor does anybody know what others did while the second of these could not be published: the
    // first finds that the connection is gone
    cut(&traffic).await;
    let publishing = [12, 16].map(|number| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50 * (number - 12))).await;
            publisher.publish(tasks([number])).await
        })
    });
    tokio::time::sleep(Duration::from_secs(6)).await;
    traffic.send_replace(Traffic::Both);
    for (publishing, expected) in publishing.into_iter().zip([12, 16]) {
        soon(publishing).await.unwrap().unwrap();
        let (number, receipt) = taken(&mut worker).await;
        assert_eq!((number, receipt.may_be_double()), (expected, true));
        receipt.settle().await;
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_not_waited_for() {
    let broker = Broker::new(Queues::Quorum).await;
    let (settings, traffic) = by_way(&broker).await;
    let (_tasks, mut inbox) = scheduler(&settings).await.unwrap();
    inbox.open(Shard(1)).await.unwrap();
    assert!(matches!(received(&mut inbox, 1).await[0], Delivery::Lost { shard: Shard(1) }));
    traffic.send_replace(Traffic::Cut);
    soon(async {
        while inbox.live_for() > Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let changes = async {
        inbox.open(SHARD).await.unwrap();
        inbox.close(SHARD).await;
        inbox.settle().await;
    };
    tokio::time::timeout(Duration::from_millis(100), changes).await.unwrap();
}

#[tokio::test]
async fn word_of_a_loss_comes_to_whoever_owns_the_shard() {
    let broker = Broker::new(Queues::Quorum).await;
    let (_tasks, mut former) = scheduler(&broker.settings).await.unwrap();
    former.open(SHARD).await.unwrap();
    // it makes the queue, and owns the shard no more
    soon(async {
        while former.live_for() == Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    former.close(SHARD).await;
    let (_others, mut owner) = scheduler(&broker.settings).await.unwrap();
    owner.open(SHARD).await.unwrap();
    assert!(matches!(received(&mut owner, 1).await[0], Delivery::Lost { shard: SHARD }));
}

#[tokio::test]
async fn a_shard_whose_queue_is_gone_is_told() {
    let broker = Broker::new(Queues::Quorum).await;
    let (_publisher, mut inbox, _worker, answers) = broker.ends().await;
    inbox.open(Shard(4)).await.unwrap();
    assert!(matches!(received(&mut inbox, 1).await[0], Delivery::Lost { shard: Shard(4) }));
    let (_connection, channel) = outside(&broker.settings).await;
    let queue = format!("{}.results.v1.3", broker.settings.prefix);
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    // what was not settled when the connection was lost comes again
    let mut next = async || loop {
        let delivery = received(&mut inbox, 1).await.remove(0);
        if !matches!(delivery, Delivery::Lost { shard: Shard(4) }) {
            return delivery;
        }
    };
    assert!(matches!(next().await, Delivery::Lost { shard: SHARD }));
    answers.answer(SHARD, delivery(1)).await.unwrap();
    assert_eq!(number(&next().await), 1);
}

#[tokio::test]
async fn queues_of_another_kind_are_refused_by_name() {
    let broker = Broker::new(Queues::Quorum).await;
    drop(scheduler(&broker.settings).await.unwrap());
    let other = Settings { queues: Queues::Classic, ..broker.settings.clone() };
    let refused = scheduler(&other).await.unwrap_err();
    assert!(matches!(&refused, RabbitError::Differs { .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains(".dlq.v1.tasks") && told.contains("x-queue-type"), "{told}");
}
