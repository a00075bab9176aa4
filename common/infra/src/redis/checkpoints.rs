//! Copies of checkpoints, for a task that comes again soon.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Value, pipe};
use flowmill_engine::run::Completion;
use tokio::sync::mpsc;

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Known};
use crate::store::StoreError;

use super::claims::name;
use super::link::{Away, Link};
use super::{Redis, form, millis};

/// How long a copy is kept: most tasks that come again do so at once.
const KEPT: Duration = Duration::from_mins(10);

/// Checkpoints that wait to be copied, and the most that are copied at once. One that finds no
/// place has no copy.
const WAITING: usize = 256;

/// Checkpoints of a store with copies in Redis.
///
/// Which outcome counts is decided in the store alone. A copy is made of what it decided, and that
/// never changes: a copy that is there is what the store would say.
#[derive(Debug)]
pub struct Hot<C> {
    store: Arc<C>,
    link: Arc<Link>,
    copies: mpsc::Sender<Checkpoint>,
}

impl Redis {
    /// A store's checkpoints with copies here. Must be called on a runtime.
    pub fn hot<C: Checkpoints>(&self, store: Arc<C>) -> Hot<C> {
        let (copies, waiting) = mpsc::channel(WAITING);
        tokio::spawn(copy(self.0.clone(), waiting));
        Hot { store, link: self.0.clone(), copies }
    }
}

impl<C> Hot<C> {
    async fn copy_of(&self, key: &CheckpointKey) -> Option<Completion> {
        let mut question = pipe();
        question.cmd("GET").arg(self.link.key("done", &name(key)));
        let answers = self.link.ask::<Option<Vec<u8>>>(&mut question).await.ok()?;
        let text = answers.into_iter().next()???;
        form::read_completion(&text)
    }
}

impl<C: Checkpoints> Checkpoints for Hot<C> {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        let earlier = self.store.save(checkpoints).await?;
        for checkpoint in checkpoints {
            // what was there before has a copy, or is old
            if !earlier.iter().any(|earlier| earlier.key == checkpoint.key) {
                let _ = self.copies.try_send(checkpoint.clone());
            }
        }
        Ok(earlier)
    }

    async fn find(&self, key: &CheckpointKey) -> Result<Option<Completion>, StoreError> {
        match self.copy_of(key).await {
            Some(completion) => Ok(Some(completion)),
            None => self.store.find(key).await,
        }
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<Known, StoreError> {
        match self.copy_of(key).await {
            // it has ended: nobody needs to know how often it came
            Some(completion) => Ok(Known { completion: Some(completion), redeliveries: 0 }),
            None => self.store.seen_again(key).await,
        }
    }
}

/// Copies what waits, until nobody is left who could bring more.
async fn copy(link: Arc<Link>, mut waiting: mpsc::Receiver<Checkpoint>) {
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, WAITING).await > 0 {
        let mut copies = pipe();
        for Checkpoint { key, completion } in taken.drain(..) {
            let Some(text) = form::completion(&completion) else { continue };
            copies.cmd("SET").arg(link.key("done", &name(&key))).arg(text);
            copies.arg("PX").arg(millis(KEPT));
        }
        if !copies.is_empty()
            && let Err(Away) = link.ask::<Value>(&mut copies).await
        {
            tracing::debug!("checkpoints were not copied");
        }
    }
}
