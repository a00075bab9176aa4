//! Runs that clients submit by messages, and ends that are announced to them.

use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_infra::announcements::{Announcement, Announcer as _, Subject};
use flowmill_infra::batches::State;
use flowmill_infra::broker::{Inbox as _, Receipt as _};
use flowmill_infra::dead_letters::{DeadLetter, DeadLetterConsumer as _, PutBack as _};
use flowmill_infra::rabbitmq::{Queues, Settings, dead_letters, events, replays, submissions};
use flowmill_infra::submissions::{
    Refusal, SubmissionConsumer as _, SubmissionReceipt as _, Submitted,
};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};

use super::server::{Broker, bare};
use crate::suite::broker::{SHARD, soon};

/// A client that knows nothing of flowmill but the names in its manual.
struct Client {
    _connection: Connection,
    channel: Channel,
    queue: String,
    dead: String,
}

impl Client {
    async fn of(settings: &Settings) -> Self {
        let connection = bare(&settings.url).await;
        let channel = connection.create_channel().await.unwrap();
        let prefix = &settings.prefix;
        let (queue, dead) = (format!("{prefix}.runs.v1.submit"), format!("{prefix}.dlq.v1.intake"));
        Self { _connection: connection, channel, queue, dead }
    }

    async fn put(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let put = self.channel.basic_publish(
            "".into(),
            self.queue.as_str().into(),
            options,
            body,
            properties,
        );
        put.await.unwrap().await.unwrap();
    }

    /// A queue of its own that ends with it.
    async fn inbox(&self) -> String {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let made = self.channel.queue_declare("".into(), options, FieldTable::default());
        made.await.unwrap().name().to_string()
    }

    async fn next(&self, queue: &str) -> BasicGetMessage {
        soon(async {
            loop {
                let got =
                    self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await;
                match got.unwrap() {
                    Some(message) => return message,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    /// How many messages wait in a queue.
    async fn waiting(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        asked.await.unwrap().message_count()
    }
}

fn header(message: &BasicGetMessage, name: &str) -> Option<String> {
    let headers = message.delivery.properties.headers().as_ref()?;
    let text = headers.inner().get(name)?.as_long_string()?;
    Some(String::from_utf8(text.as_bytes().to_vec()).unwrap())
}

fn refusal() -> Refusal {
    Refusal { code: "invalid_inputs", reason: "who is required".to_owned() }
}

#[tokio::test]
async fn a_submission_is_the_brokers_until_it_is_settled() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 2);
    // it is there once somebody asks
    assert!(tokio::time::timeout(Duration::from_secs(2), queue.next()).await.is_err());
    let client = Client::of(&broker.settings).await;
    let properties = BasicProperties::default()
        .with_message_id("order-1".into())
        .with_content_type("application/json".into())
        .with_type("flowmill.submit.v1".into());
    for body in [&b"one"[..], b"two", b"three"] {
        client.put(body, properties.clone()).await;
    }
    let (first, receipt) = soon(queue.next()).await.unwrap();
    let expected = Submitted {
        queue: client.queue.as_str().into(),
        body: b"one".to_vec(),
        message_id: Some("order-1".into()),
        content_type: Some("application/json".into()),
        content_encoding: None,
        kind: Some("flowmill.submit.v1".into()),
        tenant: None,
        batch: None,
        traceparent: None,
    };
    assert_eq!(first, expected);
    let (second, unsettled) = soon(queue.next()).await.unwrap();
    assert_eq!(second.body, b"two");
    // no more are in hand than were agreed on
    assert!(tokio::time::timeout(Duration::from_millis(300), queue.next()).await.is_err());
    receipt.accept(b"{}".to_vec()).await;
    let (third, _unsettled) = soon(queue.next()).await.unwrap();
    assert_eq!(third.body, b"three");
    // resting, it leaves the rest to others
    queue.rest().await;
    let mut other = submissions(&broker.settings, 2);
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let (message, receipt) = soon(other.next()).await.unwrap();
        receipt.accept(Vec::new()).await;
        bodies.push(message.body);
    }
    assert_eq!(bodies, [b"two".to_vec(), b"three".to_vec()]);
    // a receipt of before does nothing
    unsettled.accept(Vec::new()).await;
    other.rest().await;
    client.put(b"four", properties).await;
    assert_eq!(soon(queue.next()).await.unwrap().0.body, b"four");
}

#[tokio::test]
async fn whoever_asks_for_an_answer_gets_one() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 8);
    assert!(tokio::time::timeout(Duration::from_secs(2), queue.next()).await.is_err());
    let client = Client::of(&broker.settings).await;
    let inbox = client.inbox().await;
    let asking = BasicProperties::default()
        .with_reply_to(inbox.as_str().into())
        .with_correlation_id("c-1".into());
    client.put(b"good", asking.clone()).await;
    client.put(b"bad", asking.clone()).await;
    soon(queue.next()).await.unwrap().1.accept(b"{\"id\": \"r\"}".to_vec()).await;
    soon(queue.next()).await.unwrap().1.refuse(refusal(), b"{\"code\": \"x\"}".to_vec()).await;
    for (body, kind) in
        [("{\"id\": \"r\"}", "application/json"), ("{\"code\": \"x\"}", "application/problem+json")]
    {
        let reply = client.next(&inbox).await;
        assert_eq!(reply.delivery.data, body.as_bytes());
        let properties = &reply.delivery.properties;
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), kind);
        assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "c-1");
    }
    let dead = client.next(&client.dead).await;
    assert_eq!(dead.delivery.data, b"bad");
    assert_eq!(header(&dead, "flowmill-code").unwrap(), "invalid_inputs");
    assert_eq!(header(&dead, "flowmill-reason").unwrap(), "who is required");
    assert_eq!(header(&dead, "flowmill-queue").unwrap(), client.queue);
    assert_eq!(dead.delivery.properties.correlation_id().as_ref().unwrap().as_str(), "c-1");

    // one that nobody can get, or that would go where only flowmill writes, keeps nothing up
    let own = format!("{}.results.v1.0", broker.settings.prefix);
    client
        .channel
        .queue_declare(own.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await
        .unwrap();
    for to in ["nobody-there", &own] {
        client.put(b"more", BasicProperties::default().with_reply_to(to.into())).await;
        soon(queue.next()).await.unwrap().1.accept(b"{}".to_vec()).await;
    }
    client.put(b"last", asking).await;
    soon(queue.next()).await.unwrap().1.accept(b"{}".to_vec()).await;
    client.next(&inbox).await;
    assert_eq!(client.waiting(&own).await, 0);
    client.channel.queue_delete(own.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    queue.rest().await;
    assert_eq!(client.waiting(&client.queue).await, 0);
}

#[tokio::test]
async fn odd_properties_keep_nobody_from_setting_a_message_aside() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 8);
    assert!(tokio::time::timeout(Duration::from_secs(2), queue.next()).await.is_err());
    let client = Client::of(&broker.settings).await;
    // copies of what is set aside would come back for ever
    let mut copies = FieldTable::default();
    let back = AMQPValue::LongString(client.queue.as_str().into());
    copies.insert("CC".into(), AMQPValue::FieldArray(vec![back].into()));
    // and there is no room for a reason beside these
    let mut large = FieldTable::default();
    large.insert("x".into(), AMQPValue::LongString("y".repeat(100_000).into()));
    let user = BasicProperties::default().with_user_id("guest".into());
    client.put(b"user", user.with_expiration("600000".into())).await;
    client.put(b"large", BasicProperties::default().with_headers(large)).await;
    client.put(b"copies", BasicProperties::default().with_headers(copies)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (message, receipt) = soon(queue.next()).await.unwrap();
        seen.push(String::from_utf8(message.body).unwrap());
        receipt.refuse(refusal(), Vec::new()).await;
    }
    assert_eq!(seen, ["user", "large", "copies"]);
    for expected in &seen {
        let dead = client.next(&client.dead).await;
        assert_eq!(dead.delivery.data, expected.as_bytes());
        assert_eq!(header(&dead, "flowmill-code").unwrap(), "invalid_inputs");
        assert!(dead.delivery.properties.expiration().is_none());
    }
    let again = tokio::time::timeout(Duration::from_millis(300), queue.next()).await;
    assert!(again.is_err(), "what was set aside came back: {again:?}");
    queue.rest().await;
    assert_eq!((client.waiting(&client.queue).await, client.waiting(&client.dead).await), (0, 0));
}

#[tokio::test]
async fn a_queue_that_is_removed_is_made_again() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 8);
    assert!(tokio::time::timeout(Duration::from_secs(2), queue.next()).await.is_err());
    let client = Client::of(&broker.settings).await;
    let delete = async |queue: &str| {
        client.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    };
    delete(&client.queue).await;
    assert!(tokio::time::timeout(Duration::from_secs(3), queue.next()).await.is_err());
    client.put(b"again", BasicProperties::default()).await;
    let (message, receipt) = soon(queue.next()).await.unwrap();
    assert_eq!(message.body, b"again");
    // without a place for what is refused, nothing is refused: it comes again
    delete(&client.dead).await;
    receipt.refuse(refusal(), Vec::new()).await;
    let (message, receipt) = soon(queue.next()).await.unwrap();
    assert_eq!(message.body, b"again");
    receipt.refuse(refusal(), Vec::new()).await;
    assert_eq!(client.next(&client.dead).await.delivery.data, b"again");
}

#[tokio::test]
async fn ends_are_announced_to_whoever_listens() {
    let broker = Broker::new(Queues::Quorum).await;
    let announcer = events(&broker.settings);
    let announcement = |status| {
        let subject = Subject::Run("r".into(), status);
        Announcement { subject, body: b"{}".to_vec() }
    };
    // nobody does
    soon(announcer.announce(announcement(Status::Succeeded))).await.unwrap();
    let client = Client::of(&broker.settings).await;
    let (all, failed) = (client.inbox().await, client.inbox().await);
    let exchange = format!("{}.events.v1", broker.settings.prefix);
    for (queue, key) in [(&all, "run.#"), (&failed, "run.failed")] {
        let (queue, key) = (queue.as_str().into(), key.into());
        let bound = client.channel.queue_bind(
            queue,
            exchange.as_str().into(),
            key,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }
    for status in [Status::PartialSucceeded, Status::Failed] {
        soon(announcer.announce(announcement(status))).await.unwrap();
    }
    for key in ["run.partial-succeeded", "run.failed"] {
        let told = client.next(&all).await;
        assert_eq!(told.delivery.routing_key.as_str(), key);
        let properties = &told.delivery.properties;
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "r.ended");
        assert_eq!(header(&told, "flowmill-run").unwrap(), "r");
    }
    assert_eq!(client.next(&failed).await.delivery.routing_key.as_str(), "run.failed");
    assert_eq!(client.waiting(&failed).await, 0);
}

#[tokio::test]
async fn ends_of_batches_have_keys_of_their_own() {
    let broker = Broker::new(Queues::Quorum).await;
    let announcer = events(&broker.settings);
    // who announces makes the exchange
    let subject = Subject::Batch("a".into(), State::Failed);
    soon(announcer.announce(Announcement { subject, body: Vec::new() })).await.unwrap();
    let client = Client::of(&broker.settings).await;
    let (batches, runs) = (client.inbox().await, client.inbox().await);
    for (queue, key) in [(&batches, "batch.#"), (&runs, "run.#")] {
        let bound = client.channel.queue_bind(
            queue.as_str().into(),
            format!("{}.events.v1", broker.settings.prefix).as_str().into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }
    for state in [State::Succeeded, State::Stopped] {
        let subject = Subject::Batch("b".into(), state);
        let body = state.name().as_bytes().to_vec();
        soon(announcer.announce(Announcement { subject, body })).await.unwrap();
    }
    for status in ["succeeded", "stopped"] {
        let told = client.next(&batches).await;
        assert_eq!(told.delivery.routing_key.as_str(), format!("batch.{status}"));
        assert_eq!(told.delivery.data, status.as_bytes());
        let properties = &told.delivery.properties;
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "b.ended");
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "flowmill.batch.ended.v1");
        assert_eq!(header(&told, "flowmill-batch-id").unwrap(), "b");
    }
    assert_eq!(client.waiting(&runs).await, 0);
}

#[tokio::test]
async fn a_letter_goes_back_to_where_it_came_from() {
    let broker = Broker::new(Queues::Quorum).await;
    let mut queue = submissions(&broker.settings, 8);
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let back = replays(&broker.settings);
    let client = Client::of(&broker.settings).await;
    let mut headers = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    headers.insert("traceparent".into(), text("00-1"));
    // a publisher may claim what it likes
    headers
        .insert("flowmill-queue".into(), text(&format!("{}.results.v1.0", broker.settings.prefix)));
    let properties = BasicProperties::default()
        .with_message_id("order-1".into())
        .with_correlation_id("c".into())
        .with_headers(headers);
    client.put(b"later", properties).await;
    let (first, receipt) = soon(queue.next()).await.unwrap();
    receipt.refuse(refusal(), Vec::new()).await;
    let (letter, receipt) = soon(letters.next()).await.unwrap();
    assert_eq!(letter.origin.as_deref(), Some(client.queue.as_str()));
    assert_eq!((&*letter.reason, letter.is_odd), ("who is required", true));
    assert_eq!((&letter.unanswered, &letter.run), (&None, &None));
    let code = letter.headers.iter().find(|(key, _)| &**key == "flowmill-code");
    assert_eq!(code.map(|(_, code)| &**code), Some("invalid_inputs"));
    receipt.settle().await;
    assert!(soon(back.put_back(&letter)).await.unwrap());
    let (again, receipt) = soon(queue.next()).await.unwrap();
    assert_eq!(again, first);
    receipt.accept(Vec::new()).await;
    // where it came from is gone, or not known
    queue.rest().await;
    client
        .channel
        .queue_delete(client.queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    assert!(!soon(back.put_back(&letter)).await.unwrap());
    let nowhere = DeadLetter { origin: None, ..letter };
    assert!(!soon(back.put_back(&nowhere)).await.unwrap());
    // a letter that nobody of ours set aside, and that claims to come from elsewhere
    let mut headers = FieldTable::default();
    for key in ["flowmill-queue", "x-first-death-queue"] {
        headers.insert(key.into(), text(&format!("{}.control.v1", broker.settings.prefix)));
    }
    let put = client.channel.basic_publish(
        "".into(),
        client.dead.as_str().into(),
        BasicPublishOptions::default(),
        b"odd",
        BasicProperties::default().with_headers(headers),
    );
    put.await.unwrap().await.unwrap();
    let (odd, receipt) = soon(letters.next()).await.unwrap();
    assert_eq!((odd.body, odd.origin), (b"odd".to_vec(), None));
    receipt.settle().await;
}

#[tokio::test]
async fn an_answer_that_was_set_aside_goes_back_with_its_headers() {
    let broker = Broker::new(Queues::Quorum).await;
    let (_publisher, mut inbox, _worker, _answers) = broker.ends().await;
    let (mut letters, _) = dead_letters(&broker.settings).await.unwrap();
    let back = replays(&broker.settings);
    let client = Client::of(&broker.settings).await;
    let results = format!("{}.results.v1.3", broker.settings.prefix);
    let mut headers = FieldTable::default();
    headers.insert("flowmill-run".into(), AMQPValue::LongString("r".into()));
    headers.insert("flowmill-attempt".into(), AMQPValue::LongLongInt(2));
    let put = client.channel.basic_publish(
        "".into(),
        results.as_str().into(),
        BasicPublishOptions::default(),
        b"Fm",
        BasicProperties::default().with_headers(headers),
    );
    put.await.unwrap().await.unwrap();
    let (letter, receipt) = soon(letters.next()).await.unwrap();
    assert_eq!(letter.origin.as_deref(), Some(results.as_str()));
    receipt.settle().await;
    // nobody takes from it, so that it can be looked at
    inbox.close(SHARD).await;
    assert!(soon(back.put_back(&letter)).await.unwrap());
    let again = loop {
        let message = client.next(&results).await;
        // there is also the word that the queue had to be made
        if message.delivery.data == b"Fm" {
            break message;
        }
    };
    let headers = again.delivery.properties.headers().clone().unwrap();
    assert_eq!(headers.inner()["flowmill-attempt"], AMQPValue::LongLongInt(2));
    assert_eq!(header(&again, "flowmill-run").unwrap(), "r");
    assert_eq!(header(&again, "flowmill-reason"), None);
}
