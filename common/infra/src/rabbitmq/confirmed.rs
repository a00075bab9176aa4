//! Messages that a consumer publishes itself, one at a time, each confirmed.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::timeout;

use super::{PATIENCE, RabbitError};

/// A channel on which everything is confirmed.
#[derive(Clone)]
pub(super) struct Confirmed(Channel);

impl Confirmed {
    pub(super) async fn open(connection: &Connection) -> Result<Self, RabbitError> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self(channel))
    }

    /// Puts a message into a queue, where it outlives the server's process.
    pub(super) async fn put(
        &self,
        queue: &ShortString,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), RabbitError> {
        match self.publish(queue, properties.with_delivery_mode(2), body, true).await? {
            Confirmation::Ack(None) => Ok(()),
            _ => Err(RabbitError::Lost(format!("{queue} took no message"))),
        }
    }

    /// Puts a message into a queue if it is there and takes one.
    pub(super) async fn offer(
        &self,
        queue: &ShortString,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), RabbitError> {
        self.publish(queue, properties, body, false).await.map(drop)
    }

    async fn publish(
        &self,
        queue: &ShortString,
        properties: BasicProperties,
        body: &[u8],
        mandatory: bool,
    ) -> Result<Confirmation, RabbitError> {
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let published = self.0.basic_publish("".into(), queue.clone(), options, body, properties);
        match timeout(PATIENCE, async { published.await?.await }).await {
            Ok(Ok(confirmation)) => Ok(confirmation),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RabbitError::Lost(format!("no confirm from {queue}"))),
        }
    }
}
