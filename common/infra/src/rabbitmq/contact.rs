//! Whether a part is in touch with the broker, and what came by it again, for whoever watches over
//! the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lapin::ConnectionStatus;
use lapin::message::Delivery;
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

/// Tells whether the server holds back a publisher: it lacks memory or disk, and says so
/// (`connection.blocked`). Copies tell the same.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<Mutex<Option<ConnectionStatus>>>);

impl Pressure {
    /// The publisher has this connection now, or none.
    pub(super) fn is_of(&self, connection: Option<ConnectionStatus>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Whether it takes nothing for now. Without a connection there is nobody who would say so.
    pub fn is_blocked(&self) -> bool {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().is_some_and(ConnectionStatus::blocked)
    }
}

/// Counts what the server delivers again, to whoever takes from some of its queues. Copies count together.
#[derive(Clone, Debug, Default)]
pub struct Redelivered(Arc<AtomicU64>);

impl Redelivered {
    /// A message came.
    pub(super) fn came(&self, delivered: &Delivery) {
        if delivered.redelivered {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
