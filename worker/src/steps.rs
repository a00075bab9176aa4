//! Steps of long nodes, kept beside the outcomes of nodes.

use std::fmt::{self, Debug};

use flowmill_engine::plan::Success;
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey};
use flowmill_nodes::context::Steps;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::recall::Recall;

/// Under which name a step's value is kept.
const DONE: &str = "done";

/// The steps of one attempt of a costly node.
pub(crate) struct KeptSteps<R> {
    recall: R,
    key: CheckpointKey,
    /// Whether another worker may have been at this attempt.
    may_be_known: bool,
    started_at: Time,
}

impl<R> KeptSteps<R> {
    pub(crate) fn new(recall: R, key: CheckpointKey, may_be_known: bool, started_at: Time) -> Self {
        Self { recall, key, may_be_known, started_at }
    }
}

impl<R> Debug for KeptSteps<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSteps").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<R: Recall> Steps for KeptSteps<R> {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Value>> {
        if !self.may_be_known {
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
            earlier.into_iter().find_map(|first| done(first.outcome)).unwrap_or(value)
        }
        .boxed()
    }
}

fn done(outcome: Outcome) -> Option<Value> {
    let (_, kept) = outcome.outcome.ok()?.outputs.into_iter().next()?;
    Some(kept.value().clone())
}
