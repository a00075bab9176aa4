//! The way in: submit runs, signal them, take them up again, wait for their end.

use std::sync::Arc;

use flowmill_engine::plan::Plan;
use flowmill_engine::run::{Input, Rejected, Run, Start};
use flowmill_engine::value::Name;
use flowmill_infra::store::StoreError;
use tokio::sync::{mpsc, oneshot};

/// A run to begin.
#[derive(Debug)]
pub struct Submission {
    /// Its plan.
    pub plan: Arc<Plan>,
    /// What it begins with; the id must be new.
    pub start: Start,
}

/// A run that nothing moves any more: it ended, or it waits for a person.
#[derive(Debug)]
pub struct Finished {
    /// The run as it stands.
    pub run: Run,
}

/// Why a run was not taken, or its end is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
    /// A run of this id is live, or the store holds one.
    #[error("there is a run of this id already")]
    Exists,
    /// What it was told does not apply to it; it stays as it was.
    #[error("{0}")]
    Rejected(#[from] Rejected),
    /// Its facts could not be stored. It is no longer live, and its tasks are dropped; the store
    /// holds it as it was before.
    #[error("the run's facts could not be stored: {0}")]
    NotStored(StoreError),
    /// The engine broke over it before it was live.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Whoever waits for a run.
pub(crate) type Done = oneshot::Sender<Result<Finished, SubmitError>>;

/// Whoever waits to hear whether a signal was taken.
pub(crate) type Taken = oneshot::Sender<Result<(), Rejected>>;

#[derive(Debug)]
pub(crate) enum Request {
    Submit(Box<Submission>, Done),
    Resume(Box<Run>, Vec<Input>, Done),
    Signal(Name, Input, Taken),
}

/// A scheduler's way in; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Begins a run and waits until nothing moves it any more. The run goes on when nobody waits.
    ///
    /// # Errors
    /// [`SubmitError`] when it was not taken or its end is unknown.
    pub async fn run(&self, submission: Submission) -> Result<Finished, SubmitError> {
        self.ask(|done| Request::Submit(Box::new(submission), done)).await
    }

    /// Takes up a run that is not live: one that paused, or one that was live in a scheduler that
    /// is gone, whose tasks are sent again. [`Finished`] has it, or [`crate::load`]. It is told
    /// `inputs` (a person's answers), goes on if it was paused, and is waited for as in
    /// [`Handle::run`].
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] when one of the inputs does not apply or the run has ended: then
    /// nothing has changed. [`SubmitError::Exists`] when it is live.
    /// [`SubmitError::NotStored`] also when the store knows more of it than `run` does.
    pub async fn resume(&self, run: Run, inputs: Vec<Input>) -> Result<Finished, SubmitError> {
        self.ask(|done| Request::Resume(Box::new(run), inputs, done)).await
    }

    /// Tells a live run something; returns once what follows from it is stored.
    ///
    /// # Errors
    /// [`Rejected::Finished`] also when the run is not live here or what follows could not be
    /// stored.
    pub async fn signal(&self, run: Name, input: Input) -> Result<(), Rejected> {
        let (sender, receiver) = oneshot::channel();
        let request = Request::Signal(run, input, sender);
        self.requests.send(request).await.map_err(|_| Rejected::Finished)?;
        receiver.await.unwrap_or(Err(Rejected::Finished))
    }

    async fn ask(&self, request: impl FnOnce(Done) -> Request) -> Result<Finished, SubmitError> {
        let (sender, receiver) = oneshot::channel();
        self.requests.send(request(sender)).await.map_err(|_| SubmitError::Stopped)?;
        receiver.await.unwrap_or(Err(SubmitError::Stopped))
    }
}
