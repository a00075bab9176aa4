//! The scheduler's publisher.

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::Returned;
use flowmill_engine::run::{Completion, Fragment, Outcome};
use lapin::BasicProperties;
use tokio::sync::mpsc;

use super::Settings;
use super::headers::of_task;
use super::link::{Care, Fate, Link, Outgoing};
use super::names::{Lane, Names};
use crate::broker::{Closed, TaskPublisher};
use crate::clock::{Clock, SystemClock};
use crate::message::{Control, Delivery, Task};
use crate::wire::{EncodeError, encode_control, encode_task};

/// The scheduler's publisher.
#[derive(Debug)]
pub struct RabbitTasks {
    link: Link,
    names: Names,
    /// Into the inbox of the same process.
    notices: mpsc::UnboundedSender<Delivery>,
}

impl RabbitTasks {
    pub(super) fn start(settings: &Settings, notices: mpsc::UnboundedSender<Delivery>) -> Self {
        Self { link: Link::start(settings, "tasks"), names: settings.names(), notices }
    }

    fn notice(&self, delivery: Delivery) -> Result<(), Closed> {
        self.notices.send(delivery).map_err(|_| Closed)
    }

    fn outgoing(&self, task: &Task) -> Result<Outgoing, EncodeError> {
        // a task does not say yet whether somebody waits for it
        let lane = Lane::Interactive;
        Ok(Outgoing {
            exchange: "".into(),
            key: self.names.tasks(task.class, lane),
            properties: BasicProperties::default()
                .with_delivery_mode(2)
                .with_headers(of_task(task)),
            body: encode_task(task)?,
            care: Care::OrUnroutable,
        })
    }
}

impl TaskPublisher for RabbitTasks {
    async fn publish(&self, tasks: Vec<Task>) -> Result<(), Closed> {
        let mut pending = Vec::with_capacity(tasks.len());
        for task in tasks {
            match self.outgoing(&task) {
                Ok(outgoing) => {
                    let handed = self.link.hand(outgoing).await?;
                    pending.push((task.run, task.task, task.attempt, task.dispatch, handed));
                }
                Err(error) => {
                    tracing::error!(run.id = %task.run, %error, "a task cannot be sent");
                    self.notice(failed(task, &error))?;
                }
            }
        }
        for (run, task, attempt, dispatch, handed) in pending {
            match handed.fate().await? {
                Fate::Stored => {}
                Fate::Unroutable => {
                    tracing::error!(run.id = %run, node.id = %task.node, "no queue for a task");
                    let reason = Returned::Unroutable;
                    self.notice(Delivery::Returned { run, task, attempt, dispatch, reason })?;
                }
            }
        }
        Ok(())
    }

    async fn control(&self, control: Control) -> Result<(), Closed> {
        let body = match encode_control(&control) {
            Ok(body) => body,
            Err(error) => {
                // workers find out when they answer
                tracing::error!(%error, "a word to the workers cannot be sent");
                return Ok(());
            }
        };
        let outgoing = Outgoing {
            exchange: self.names.control(),
            key: "".into(),
            properties: BasicProperties::default(),
            body,
            care: Care::ToWhomever,
        };
        self.link.hand(outgoing).await?.fate().await.map(drop)
    }
}

/// A task that can never be sent is answered instead: sent again, it would be no smaller.
fn failed(task: Task, error: &EncodeError) -> Delivery {
    let Task { run, task, attempt, dispatch, fragment, .. } = task;
    if !matches!(&fragment, Fragment::Nodes(nodes) if nodes.len() == 1) {
        // its parts are smaller
        let reason = Returned::Suspected;
        return Delivery::Returned { run, task, attempt, dispatch, reason };
    }
    let message = format!("failed to {error}");
    let outcome = Err(NodeError::escaped(message).with_class(ErrorClass::Invalid));
    let (started_at, elapsed_us) = (SystemClock::new().now(), 0);
    let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
    Delivery::Completed { run, completion: Completion::of(dispatch, outcome) }
}
