//! Takes the runs that clients submit by messages.
//!
//! The consumer holds its connection itself, and only while it is asked for more: closing it is the
//! one way to give back all that was fetched ahead, in order and at once.

use std::sync::Arc;

use flowmill_engine::value::Name;
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Connection, Consumer};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::aside::Aside;
use super::confirmed::Confirmed;
use super::contact::Redelivered;
use super::names::Dead;
use super::{
    End, RabbitError, Settings, WIDEST_FRAME, connect_by, headers, in_time, part, topology, waits,
};
use crate::retry::Waits;
use crate::submissions::{Refusal, SubmissionConsumer, SubmissionReceipt, Submitted};

/// What an answer says it is.
const ANSWER: &str = "application/json";

/// What a refusal says it is.
const PROBLEM: &str = "application/problem+json";

/// A consumer of submissions.
#[derive(Debug)]
pub struct RabbitSubmissions {
    settings: Settings,
    /// How many messages are fetched ahead and not settled.
    ahead: u16,
    redelivered: Redelivered,
    waits: Waits,
    session: Option<Session>,
}

/// A connection that consumes.
#[derive(Debug)]
struct Session {
    connection: Connection,
    consumer: Consumer,
    way: Arc<Way>,
}

/// What settles the messages of a connection.
struct Way {
    settings: Settings,
    aside: Aside,
    replies: Confirmed,
    /// A message could not be settled: another connection has to deliver it again.
    broken: Notify,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}

impl RabbitSubmissions {
    pub(super) fn new(settings: &Settings, ahead: u16) -> Self {
        Self {
            settings: settings.clone(),
            ahead: ahead.max(1),
            redelivered: Redelivered::default(),
            waits: waits(),
            session: None,
        }
    }

    /// What came again, for others to count.
    pub fn redelivered(&self) -> Redelivered {
        self.redelivered.clone()
    }

    async fn open(&self) -> Result<Session, RabbitError> {
        let settings = &self.settings;
        let connection = connect_by(settings, "submissions", WIDEST_FRAME).await?;
        topology::common(&connection, settings).await?;
        let aside = Aside::open(&connection, settings, Dead::Intake).await?;
        let replies = Confirmed::open(&connection).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.ahead, BasicQosOptions::default()).await?;
        let queue = settings.names().submissions();
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        let settings = settings.clone();
        let way = Arc::new(Way { settings, aside, replies, broken: Notify::new() });
        Ok(Session { connection, consumer, way })
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            part(&session.connection, "resting").await;
        }
    }
}

impl Session {
    async fn next(&mut self) -> Result<Delivery, RabbitError> {
        let lost = |what: &str| RabbitError::Lost(what.to_owned());
        tokio::select! {
            biased;
            () = self.way.broken.notified() => Err(lost("a submission could not be settled")),
            delivered = self.consumer.next() => match delivered {
                Some(delivered) => Ok(delivered?),
                None => Err(lost("the queue of submissions was cut off")),
            },
        }
    }
}

impl SubmissionConsumer for RabbitSubmissions {
    type Receipt = RabbitSubmissionReceipt;

    async fn next(&mut self) -> Option<(Submitted, RabbitSubmissionReceipt)> {
        loop {
            let failed = match &mut self.session {
                Some(session) => match session.next().await {
                    Ok(delivery) => {
                        self.waits.reset();
                        self.redelivered.came(&delivery);
                        let message = read(&delivery);
                        let way = session.way.clone();
                        return Some((message, RabbitSubmissionReceipt { delivery, way }));
                    }
                    Err(error) => error,
                },
                None => match in_time(self.open()).await {
                    Ok(session) => {
                        self.session = Some(session);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            self.close().await;
            if !End::Broken(failed).goes_on("submissions") {
                return None;
            }
            sleep(self.waits.next()).await;
        }
    }

    async fn rest(&mut self) {
        self.close().await;
    }
}

fn read(delivery: &Delivery) -> Submitted {
    let properties = &delivery.properties;
    let given = |text: &Option<ShortString>| {
        text.as_ref().map(ShortString::as_str).filter(|text| !text.is_empty()).map(Name::from)
    };
    let header = |name| {
        let headers = properties.headers().as_ref()?;
        headers::read_text(headers, name).map(Name::from)
    };
    Submitted {
        queue: delivery.routing_key.as_str().into(),
        body: delivery.data.clone(),
        message_id: given(properties.message_id()),
        content_type: given(properties.content_type()),
        content_encoding: given(properties.content_encoding()),
        kind: given(properties.kind()),
        tenant: header(headers::TENANT),
        batch: header(headers::BATCH),
        traceparent: header(headers::TRACE),
    }
}

/// Settles a submission, over the connection that it came by.
#[derive(Debug)]
pub struct RabbitSubmissionReceipt {
    delivery: Delivery,
    way: Arc<Way>,
}

impl RabbitSubmissionReceipt {
    /// Tells whoever waits for it.
    async fn reply(&self, kind: &str, body: &[u8]) -> Result<(), RabbitError> {
        let asked = &self.delivery.properties;
        let Some(to) = asked.reply_to().as_ref().filter(|to| !to.as_str().is_empty()) else {
            return Ok(());
        };
        if self.way.settings.names().is_own(to.as_str()) {
            // a client that may only submit must not write there by our hand
            tracing::warn!(queue = %to, "no answer is given into a queue of flowmill's own");
            return Ok(());
        }
        let mut properties = BasicProperties::default().with_content_type(kind.into());
        if let Some(id) = asked.correlation_id() {
            properties = properties.with_correlation_id(id.clone());
        }
        self.way.replies.offer(to, properties, body).await
    }

    /// Answers, and lets the server forget the message. An answer that cannot be given does not keep
    /// the message here: what it asked for is done.
    async fn settle(self, kind: &str, reply: &[u8]) {
        let replied = self.reply(kind, reply).await;
        let forgotten = self.delivery.acker.ack(BasicAckOptions::default());
        if let Err(error) = in_time(async { Ok(forgotten.await.map(drop)?) }).await {
            tracing::debug!(%error, "a submission is delivered again");
        }
        if let Err(error) = replied {
            tracing::warn!(%error, "whoever submitted a run got no answer");
            self.way.broken.notify_one();
        }
    }
}

impl SubmissionReceipt for RabbitSubmissionReceipt {
    async fn accept(self, reply: Vec<u8>) {
        self.settle(ANSWER, &reply).await;
    }

    async fn refuse(self, refusal: Refusal, reply: Vec<u8>) {
        let Refusal { code, reason } = refusal;
        if let Err(error) = self.way.aside.put_as(&self.delivery, &reason, Some(code)).await {
            tracing::warn!(%error, "a submission cannot be set aside; it is delivered again");
            self.way.broken.notify_one();
            return;
        }
        self.settle(PROBLEM, &reply).await;
    }
}
