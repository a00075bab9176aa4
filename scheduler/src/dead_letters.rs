//! Moves the runs whose tasks the broker gave up, and keeps what nobody could read.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::Returned;
use flowmill_engine::run::{Completion, Outcome};
use flowmill_infra::broker::{Closed, CompletionPublisher, Receipt};
use flowmill_infra::clock::Clock;
use flowmill_infra::dead_letters::{DeadLetter, DeadLetterConsumer, DeadLetters, Sending};
use flowmill_infra::message::Delivery;
use flowmill_infra::store::StoreError;

use crate::meters::Meters;

/// How long a store that is away is left alone before each new try; the last repeats.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Deals with dead letters until the broker closes: an unanswered task is answered with an error,
/// so that its run's error strategy decides what follows; what people shall see is kept for them.
/// A letter leaves the broker when both are done. Every scheduler may do this at the same time.
pub async fn deal_with_dead_letters<L, A, S, C>(
    (mut letters, answers): (L, A),
    store: Arc<S>,
    clock: C,
    meters: Arc<Meters>,
) where
    L: DeadLetterConsumer,
    A: CompletionPublisher,
    S: DeadLetters,
    C: Clock,
{
    while let Some((letter, receipt)) = letters.next().await {
        meters.dead_letter(letter.unanswered.is_some());
        if letter.is_odd && !park(&*store, &letter, &clock).await {
            // unsettled, it stays with the broker and comes again over the next connection
            continue;
        }
        if letter.is_odd {
            meters.parked();
        }
        if let Some(sending) = &letter.unanswered
            && let Err(Closed) = answer(&answers, sending, &letter, &clock).await
        {
            return;
        }
        receipt.settle().await;
    }
}

/// Keeps a letter, however long that takes. False when the store will never have it.
async fn park<S: DeadLetters, C: Clock>(store: &S, letter: &DeadLetter, clock: &C) -> bool {
    let DeadLetter { queue, reason, run, .. } = letter;
    let run = run.as_deref().unwrap_or_default();
    // what a client got wrong was told when it was refused
    tracing::warn!(%queue, run.id = run, %reason, "a message was set aside; people may look at it");
    let mut tries = 0;
    loop {
        match store.park(letter).await {
            Ok(()) => return true,
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::warn!(%error, "a dead letter is not kept yet");
                let wait = PATIENCE[tries.min(PATIENCE.len() - 1)];
                tries += 1;
                clock.sleep_until(clock.now().after(wait)).await;
            }
            Err(error) => {
                tracing::error!(%queue, %error, "a dead letter cannot be kept");
                return false;
            }
        }
    }
}

/// Answers a task that nobody will answer any more.
async fn answer<A: CompletionPublisher, C: Clock>(
    answers: &A,
    sending: &Sending,
    letter: &DeadLetter,
    clock: &C,
) -> Result<(), Closed> {
    let Sending { run, shard, task, attempt, dispatch, is_of_one_node } = sending.clone();
    tracing::error!(run.id = %run, node.id = %task.node, reason = %letter.reason, "a task is given up");
    if !is_of_one_node {
        // its nodes go out one by one: the guilty one is given up, and the others are done
        let reason = Returned::Suspected;
        let returned = Delivery::Returned { run, task, attempt, dispatch, reason };
        return answers.answer(shard, returned).await;
    }
    let error = NodeError::new("Poisoned", format!("the task was given up: {}", letter.reason));
    let outcome = Err(error.with_class(ErrorClass::Internal));
    let outcome = Outcome { task, attempt, outcome, started_at: clock.now(), elapsed_us: 0 };
    let completion = Completion::of(dispatch, outcome);
    answers.answer(shard, Delivery::Completed { run, completion }).await
}
