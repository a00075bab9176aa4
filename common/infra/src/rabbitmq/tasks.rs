//! The scheduler's publisher.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::Returned;
use flowmill_engine::plan::TaskClass;
use lapin::BasicProperties;
use tokio::sync::mpsc;

use super::Settings;
use super::contact::Pressure;
use super::headers::{of_task, seconds};
use super::link::{Care, Fate, Link, Outgoing};
use super::names::{Lane, Names};
use crate::broker::{Closed, TaskPublisher};
use crate::clock::{Clock, SystemClock};
use crate::message::{Control, Delivery, Task};
use crate::wire::{EncodeError, Transit};

/// The scheduler's publisher.
#[derive(Debug)]
pub struct RabbitTasks {
    link: Link,
    names: Names,
    transit: Transit,
    /// Into the inbox of the same process.
    notices: mpsc::UnboundedSender<Delivery>,
    /// How many tasks of each class came back because there was no queue.
    unroutable: [AtomicU64; TaskClass::ALL.len()],
    /// The classes that had no queue when they were asked for last.
    without_queue: [AtomicBool; TaskClass::ALL.len()],
}

impl RabbitTasks {
    pub(super) fn start(settings: &Settings, notices: mpsc::UnboundedSender<Delivery>) -> Self {
        Self {
            link: Link::start(settings, "tasks"),
            names: settings.names(),
            transit: settings.transit.clone(),
            notices,
            unroutable: Default::default(),
            without_queue: Default::default(),
        }
    }

    /// Whether the server holds back what is published here.
    pub fn pressure(&self) -> Pressure {
        self.link.pressure()
    }

    /// How many tasks of each class came back because no queue took them: light, code, http, llm.
    pub fn unroutable(&self) -> [u64; 4] {
        self.unroutable.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether a class has a queue, as the server just said. A change is told, once.
    fn note(&self, class: TaskClass, is_routed: bool) {
        let had_none = self.without_queue[class as usize].swap(!is_routed, Ordering::Relaxed);
        match (had_none, is_routed) {
            (false, false) => {
                tracing::error!(
                    ?class,
                    "no queue takes tasks of a class; they are sent again later"
                );
            }
            (true, true) => tracing::info!(?class, "tasks of a class have a queue again"),
            (true, false) | (false, true) => {}
        }
        if !is_routed {
            self.unroutable[class as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn notice(&self, delivery: Delivery) -> Result<(), Closed> {
        self.notices.send(delivery).map_err(|_| Closed)
    }

    async fn outgoing(&self, task: &Task) -> Result<Outgoing, EncodeError> {
        // a task does not say yet whether somebody waits for it
        let lane = Lane::Interactive;
        let properties =
            BasicProperties::default().with_delivery_mode(2).with_headers(of_task(task));
        Ok(Outgoing {
            exchange: "".into(),
            key: self.names.tasks(task.class, lane),
            properties: match task.sent_at {
                Some(at) => properties.with_timestamp(seconds(at)),
                None => properties,
            },
            body: self.transit.write_task(task).await?,
            care: Care::OrUnroutable,
        })
    }
}

impl TaskPublisher for RabbitTasks {
    async fn publish(&self, tasks: Vec<Task>) -> Result<(), Closed> {
        let mut pending = Vec::with_capacity(tasks.len());
        for task in tasks {
            match self.outgoing(&task).await {
                Ok(outgoing) => {
                    let handed = self.link.hand(outgoing).await?;
                    pending.push((task, handed));
                }
                Err(error) => {
                    tracing::error!(run.id = %task.run, %error, "a task cannot be sent");
                    self.notice(failed(task, &error))?;
                }
            }
        }
        for (Task { run, task, attempt, dispatch, class, .. }, handed) in pending {
            match handed.fate().await? {
                Fate::Stored => self.note(class, true),
                Fate::Unroutable => {
                    self.note(class, false);
                    let reason = Returned::Unroutable;
                    self.notice(Delivery::Returned { run, task, attempt, dispatch, reason })?;
                }
            }
        }
        Ok(())
    }

    async fn control(&self, control: Control) -> Result<(), Closed> {
        let body = match self.transit.write_control(&control) {
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
    let error = NodeError::escaped(format!("failed to {error}")).with_class(ErrorClass::Invalid);
    task.failed(error, SystemClock::new().now())
}
