//! Keeps a scheduler's leases: says every few seconds that it lives, whatever else it does.

use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::shards::{Announcement, Held, Shards};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often a scheduler says that it lives. A lease lasts three times as long, and one second.
const EVERY: Duration = Duration::from_secs(3);

/// When a scheduler stops by itself that could not say so: before others take its shards.
const TRUST: Duration = Duration::from_secs(7);

/// What the store said last.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) held: Held,
    /// When it was asked: leases count from then at the earliest.
    pub(super) asked_at: Instant,
}

impl Word {
    /// Whether the leases still hold beyond doubt.
    pub(crate) fn is_good(&self) -> bool {
        self.asked_at.elapsed() < TRUST
    }
}

/// The task that keeps the leases; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    words: watch::Receiver<Option<Word>>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start<S: Shards>(store: Arc<S>, me: Announcement) -> Self {
        let (sender, words) = watch::channel(None);
        let task = tokio::spawn(async move {
            // first it learns how many there are
            let mut most = 0;
            loop {
                let asked_at = Instant::now();
                match store.hold(&me, most).await {
                    Ok(held) if most == 0 => {
                        most = share(&held);
                        continue;
                    }
                    Ok(held) => {
                        most = share(&held);
                        sender.send_replace(Some(Word { held, asked_at }));
                    }
                    Err(error) => tracing::warn!(%error, "the leases could not be kept"),
                }
                tokio::time::sleep_until(asked_at + EVERY).await;
            }
        });
        Self { words, task }
    }

    /// Returns when the store has said something new.
    pub(crate) async fn changed(&mut self) {
        if self.words.changed().await.is_err() {
            // the task never ends by itself
            std::future::pending::<()>().await;
        }
    }

    /// What it said last.
    pub(crate) fn last(&mut self) -> Option<Word> {
        self.words.borrow_and_update().clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many shards are a scheduler's fair share.
pub(crate) fn share(held: &Held) -> u16 {
    held.shards.div_ceil(held.schedulers.max(1))
}
