//! Takes submissions in: whatever has come while the store was busy goes in one transaction.

use std::future::Future;
use std::sync::Arc;

use flowmill_infra::intake::{Accepted, Intake, Submission};
use flowmill_infra::store::StoreError;
use flowmill_infra::traces::{self, Begun};
use tokio::sync::{mpsc, oneshot};

use super::pokes::Pokes;

/// The most submissions of one transaction.
const BATCH: usize = 256;

/// Submissions that wait for the store; submitters wait beyond it.
const WAITING: usize = 1024;

type Answer = Result<Accepted, StoreError>;

/// The way in; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Submitter(mpsc::Sender<(Submission, oneshot::Sender<Answer>)>);

impl Submitter {
    /// Returns once the submission is durable, or was before.
    ///
    /// # Errors
    /// When the store cannot be reached or changed. It may be durable all the same if the
    /// connection broke at the wrong moment.
    pub(super) async fn submit(&self, mut submission: Submission) -> Answer {
        // its span ends when the answer is there
        let mut span = traced(&mut submission);
        let taken = self.take(submission).await;
        if let (Some(span), Err(error)) = (&mut span, &taken) {
            span.failed(&error.to_string());
        }
        taken
    }

    async fn take(&self, submission: Submission) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the process is about to end".to_owned());
        self.0.send((submission, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Gives a run its place in a trace, if it is to have one.
pub(super) fn traced(submission: &mut Submission) -> Option<Begun> {
    let Submission { start, attached, .. } = submission;
    // of a run that nobody traces, none that its nodes wait for is traced
    let is_left_out = start.parent.is_some() && attached.traceparent.is_none();
    let given = attached.traceparent.as_deref();
    let taken = (!is_left_out).then(|| traces::taken_in(&start.run, given)).flatten();
    let (place, span) = taken.unzip();
    start.options.trace.clone_from(&place);
    attached.traceparent = attached.traceparent.take().or(place);
    span
}

/// The way in, and what takes in until all its ends are gone.
pub(super) fn submitter<S: Intake>(
    store: Arc<S>,
    pokes: Pokes,
) -> (Submitter, impl Future<Output = ()> + Send) {
    let (asked, waiting) = mpsc::channel(WAITING);
    (Submitter(asked), take_in(store, waiting, pokes))
}

async fn take_in<S: Intake>(
    store: Arc<S>,
    mut waiting: mpsc::Receiver<(Submission, oneshot::Sender<Answer>)>,
    pokes: Pokes,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (submissions, callers): (Vec<Submission>, Vec<_>) = batch.drain(..).unzip();
        let answers = answers(&*store, &submissions).await;
        for ((submission, caller), answer) in submissions.iter().zip(callers).zip(answers) {
            if answer == Ok(Accepted::New) {
                pokes.poke(&submission.start.run);
            }
            // a caller that went away finds its run by its key
            let _ = caller.send(answer);
        }
    }
}

/// One that the store refuses must not keep the others out.
async fn answers<S: Intake>(store: &S, submissions: &[Submission]) -> Vec<Answer> {
    match store.submit(submissions).await {
        Ok(accepted) => accepted.into_iter().map(Ok).collect(),
        Err(StoreError::Corrupt(_) | StoreError::Sealed(_)) if submissions.len() > 1 => {
            let mut answers = Vec::with_capacity(submissions.len());
            for submission in submissions {
                let alone = store.submit(std::slice::from_ref(submission)).await;
                answers.push(alone.map(|mut accepted| accepted.remove(0)));
            }
            answers
        }
        Err(error) => submissions.iter().map(|_| Err(error.clone())).collect(),
    }
}
