//! The way in: submit runs, signal them, wait for their end.

use std::sync::Arc;

use flowmill_engine::plan::Plan;
use flowmill_engine::run::{Input, Rejected, Run, Start};
use flowmill_engine::value::Name;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
    /// A run of this id is live.
    #[error("a run of this id is live already")]
    Exists,
}

#[derive(Debug)]
pub(crate) enum Request {
    Submit(Box<Submission>, oneshot::Sender<Result<Finished, SubmitError>>),
    Signal(Name, Input, oneshot::Sender<Result<(), Rejected>>),
}

/// A scheduler's way in; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Begins a run and waits until nothing moves it any more.
    ///
    /// # Errors
    /// [`SubmitError`] when it was not taken or the scheduler stopped meanwhile.
    pub async fn run(&self, submission: Submission) -> Result<Finished, SubmitError> {
        let (sender, receiver) = oneshot::channel();
        let request = Request::Submit(Box::new(submission), sender);
        self.requests.send(request).await.map_err(|_| SubmitError::Stopped)?;
        receiver.await.unwrap_or(Err(SubmitError::Stopped))
    }

    /// Tells a run something.
    ///
    /// # Errors
    /// [`Rejected::Finished`] also when the run is unknown here.
    pub async fn signal(&self, run: Name, input: Input) -> Result<(), Rejected> {
        let (sender, receiver) = oneshot::channel();
        let request = Request::Signal(run, input, sender);
        self.requests.send(request).await.map_err(|_| Rejected::Finished)?;
        receiver.await.unwrap_or(Err(Rejected::Finished))
    }
}
