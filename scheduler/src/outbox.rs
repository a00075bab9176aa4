//! What goes to workers, beside the loop: that goes on while the broker is slow or away, and what
//! it commits meanwhile is published together.
//!
//! Tasks go out in the order in which they were committed, so what is confirmed has nothing
//! unconfirmed before it.

use std::time::Duration;

use flowmill_infra::broker::{Closed, TaskPublisher};
use flowmill_infra::message::{Control, Task};
use flowmill_infra::traces::{self, Begun};
use tokio::sync::mpsc::{
    UnboundedReceiver as Receiver, UnboundedSender as Sender, unbounded_channel as channel,
};
use tokio::task::JoinHandle;

use crate::duties::Sent;
use crate::effects::Effects;

/// Committed effects that are published at once; each is a commit's.
const COMMITS: usize = 64;

/// How long what is committed may take to be published when its scheduler ends. Whoever takes up
/// its shards sends the rest.
const LAST: Duration = Duration::from_secs(5);

/// The way to the workers. What is not published when this is dropped never is.
#[derive(Debug)]
pub(crate) struct Outbox {
    tasks: Sender<Vec<Task>>,
    controls: Sender<Control>,
    confirmed: Receiver<Vec<Sent>>,
    /// Ends when the broker closes, or nothing can be put in any more.
    work: JoinHandle<()>,
}

impl Outbox {
    /// Must be called on a runtime.
    pub(crate) fn start<P: TaskPublisher>(publisher: P) -> Self {
        let (tasks, committed) = channel();
        let (controls, said) = channel();
        let (sent, confirmed) = channel();
        let work = tokio::spawn(async move {
            let publishing = publish(&publisher, committed, sent);
            let saying = say(&publisher, said);
            if let Err(Closed) = tokio::try_join!(publishing, saying) {
                tracing::debug!("the broker closed");
            }
        });
        Self { tasks, controls, confirmed, work }
    }

    pub(crate) fn put(&self, effects: Effects) {
        for control in effects.controls {
            self.say(control);
        }
        if !effects.tasks.is_empty() {
            // once nobody publishes, `closed` says so
            let _ = self.tasks.send(effects.tasks);
        }
    }

    pub(crate) fn say(&self, control: Control) {
        let _ = self.controls.send(control);
    }

    /// What the broker has since this was asked last.
    pub(crate) fn confirmed(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Ok(mut sent) = self.confirmed.try_recv() {
            all.append(&mut sent);
        }
        all
    }

    /// Returns when the broker has closed.
    pub(crate) async fn closed(&mut self) -> Closed {
        if let Err(error) = (&mut self.work).await {
            tracing::error!(%error, "what publishes tasks broke");
        }
        Closed
    }

    /// Waits until what was put in is published, but not for a broker that is away.
    pub(crate) async fn end(mut self) {
        (self.tasks, self.controls) = (channel().0, channel().0);
        if !self.work.is_finished() && tokio::time::timeout(LAST, &mut self.work).await.is_err() {
            tracing::warn!("what was committed last is left to be sent by others");
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn publish<P: TaskPublisher>(
    publisher: &P,
    mut committed: Receiver<Vec<Task>>,
    confirmed: Sender<Vec<Sent>>,
) -> Result<(), Closed> {
    let mut commits = Vec::new();
    while committed.recv_many(&mut commits, COMMITS).await > 0 {
        let mut tasks: Vec<Task> = commits.drain(..).flatten().collect();
        let sent = tasks.iter().map(Sent::from).collect();
        // they end when the broker has the tasks
        let spans: Vec<Begun> = tasks.iter_mut().filter_map(traces::published).collect();
        publisher.publish(tasks).await?;
        drop(spans);
        // nobody asks any more: the scheduler ends
        let _ = confirmed.send(sent);
    }
    Ok(())
}

async fn say<P: TaskPublisher>(publisher: &P, mut said: Receiver<Control>) -> Result<(), Closed> {
    while let Some(control) = said.recv().await {
        publisher.control(control).await?;
    }
    Ok(())
}
