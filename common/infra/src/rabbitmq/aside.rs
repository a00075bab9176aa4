//! Sets a message aside that nobody can read, with the reason, where people find it.

use lapin::Connection;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, ShortString};

use super::confirmed::Confirmed;
use super::headers::{self, CODE, ORIGIN, REASON};
use super::names::Dead;
use super::{RabbitError, Settings, in_time};

/// The longest reason that is written.
const REASON_BYTES: usize = 1000;

/// Where unreadable messages of a kind go.
#[derive(Clone)]
pub(super) struct Aside {
    channel: Confirmed,
    queue: ShortString,
}

impl Aside {
    pub(super) async fn open(
        connection: &Connection,
        settings: &Settings,
        dead: Dead,
    ) -> Result<Self, RabbitError> {
        let channel = Confirmed::open(connection).await?;
        Ok(Self { channel, queue: settings.names().dead(dead) })
    }

    /// Writes what cannot be read there, and only then lets the server forget it where it was.
    pub(super) async fn put(&self, delivery: &Delivery, reason: &str) -> Result<(), RabbitError> {
        tracing::error!(queue = %self.queue, reason, "set a message aside that cannot be read");
        self.put_as(delivery, reason, None).await?;
        let forgotten = delivery.acker.ack(BasicAckOptions::default());
        in_time(async { Ok(forgotten.await.map(drop)?) }).await
    }

    /// Writes it there; the server still has it where it was.
    pub(super) async fn put_as(
        &self,
        delivery: &Delivery,
        reason: &str,
        code: Option<&str>,
    ) -> Result<(), RabbitError> {
        let mut end = reason.len().min(REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = headers::kept(&delivery.properties);
        headers.insert(REASON.into(), text(&reason[..end]));
        headers.insert(ORIGIN.into(), text(delivery.routing_key.as_str()));
        if let Some(code) = code {
            headers.insert(CODE.into(), text(code));
        }
        let properties = headers::described(&delivery.properties).with_headers(headers);
        self.channel.put(&self.queue, properties, &delivery.data).await
    }
}
