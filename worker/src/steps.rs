//! Steps of long nodes, kept beside the outcomes of nodes.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, Ordering};

use flowmill_engine::plan::Success;
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey};
use flowmill_nodes::context::Steps;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::pulse::Standstills;
use crate::recall::Recall;

/// Under which name a step's value is kept.
const DONE: &str = "done";

/// The steps of one attempt of a costly node.
pub(crate) struct KeptSteps<R> {
    recall: R,
    key: CheckpointKey,
    /// Whether another worker may have been at this attempt, or is.
    may_be_known: AtomicBool,
    /// Whether this process stood still since the attempt began: others may have it by then.
    standstills: Standstills,
    began_after: u64,
    started_at: Time,
}

impl<R> KeptSteps<R> {
    pub(crate) fn new(
        recall: R,
        key: CheckpointKey,
        may_be_known: bool,
        (standstills, started_at): (Standstills, Time),
    ) -> Self {
        let began_after = standstills.count();
        let may_be_known = AtomicBool::new(may_be_known);
        Self { recall, key, may_be_known, standstills, began_after, started_at }
    }

    fn is_surely_first(&self) -> bool {
        !self.may_be_known.load(Ordering::Relaxed) && self.standstills.count() == self.began_after
    }
}

impl<R> Debug for KeptSteps<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSteps").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<R: Recall> Steps for KeptSteps<R> {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Value>> {
        if self.is_surely_first() {
            return std::future::ready(None).boxed();
        }
        async move { self.recall.outcome(&self.key.step(name)).await.and_then(done) }.boxed()
    }

    fn keep<'a>(&'a self, name: &'a str, value: Value) -> BoxFuture<'a, Value> {
        async move {
            let key = self.key.step(name);
            let outcome = Outcome {
                task: key.task.clone(),
                attempt: key.attempt,
                outcome: Ok(Success::of([(Name::from(DONE), value.clone())])),
                started_at: self.started_at,
                elapsed_us: 0,
            };
            let earlier = self.recall.keep(vec![Checkpoint { key, outcome }]).await;
            let Some(first) = earlier.into_iter().find_map(|first| done(first.outcome)) else {
                return value;
            };
            // another worker is at it, and may be further
            self.may_be_known.store(true, Ordering::Relaxed);
            first
        }
        .boxed()
    }
}

fn done(outcome: Outcome) -> Option<Value> {
    let (_, kept) = outcome.outcome.ok()?.outputs.into_iter().next()?;
    Some(kept.value().clone())
}
