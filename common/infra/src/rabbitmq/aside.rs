//! Sets a message aside that nobody can read, with the reason, where people find it.

use lapin::Connection;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, ShortString};

use super::confirmed::Confirmed;
use super::headers::REASON;
use super::names::Dead;
use super::{RabbitError, Settings};

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

    /// Writes it there, and only then lets the server forget it where it was.
    pub(super) async fn put(&self, delivery: &Delivery, reason: &str) -> Result<(), RabbitError> {
        tracing::error!(queue = %self.queue, reason, "set a message aside that cannot be read");
        let mut end = reason.len().min(REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut headers = delivery.properties.headers().clone().unwrap_or_default();
        headers.insert(REASON.into(), AMQPValue::LongString(reason[..end].into()));
        let properties = delivery.properties.clone().with_headers(headers);
        self.channel.put(&self.queue, properties, &delivery.data).await?;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }
}
