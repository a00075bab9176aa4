//! Whether a part is in touch with the broker, for whoever watches over the process.

use tokio::sync::watch;
use tokio::time::Instant;

/// Tells whether a consumer has its connection. It tells so after the consumer is gone, too.
#[derive(Clone, Debug)]
pub struct Contact(watch::Receiver<Option<Instant>>);

impl Contact {
    /// Of a watch over since when there is a connection.
    pub(super) fn of(connected: &watch::Receiver<Option<Instant>>) -> Self {
        Self(connected.clone())
    }

    /// Whether there is a connection now.
    pub fn is_made(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until there is one, or there is none any more. Never returns once the consumer is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
