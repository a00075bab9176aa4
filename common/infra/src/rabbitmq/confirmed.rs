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
        let published = self.0.basic_publish(
            "".into(),
            queue.clone(),
            BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
            body,
            properties.with_delivery_mode(2),
        );
        match timeout(PATIENCE, async { published.await?.await }).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(_)) => Err(RabbitError::Lost(format!("{queue} took no message"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RabbitError::Lost(format!("no confirm from {queue}"))),
        }
    }
}
