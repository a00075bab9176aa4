//! Sets a message aside that nobody can read, with the reason, where people find it.

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{Channel, Confirmation, Connection};
use tokio::time::timeout;

use super::headers::REASON;
use super::names::Dead;
use super::{PATIENCE, RabbitError, Settings};

/// The longest reason that is written.
const REASON_BYTES: usize = 1000;

/// Where unreadable messages of a kind go.
#[derive(Clone)]
pub(super) struct Aside {
    channel: Channel,
    queue: ShortString,
}

impl Aside {
    pub(super) async fn open(
        connection: &Connection,
        settings: &Settings,
        dead: Dead,
    ) -> Result<Self, RabbitError> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
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
        let published = self.channel.basic_publish(
            "".into(),
            self.queue.clone(),
            BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
            &delivery.data,
            delivery.properties.clone().with_delivery_mode(2).with_headers(headers),
        );
        let confirmed = timeout(PATIENCE, async { published.await?.await }).await;
        match confirmed {
            Ok(Ok(Confirmation::Ack(None))) => {
                delivery.acker.ack(BasicAckOptions::default()).await?;
                Ok(())
            }
            Ok(Ok(_)) => Err(RabbitError::Lost(format!("{} took no message", self.queue))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RabbitError::Lost(format!("no confirm from {}", self.queue))),
        }
    }
}
