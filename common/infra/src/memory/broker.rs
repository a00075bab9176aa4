//! A broker of channels.

use tokio::sync::{broadcast, mpsc};

use crate::broker::{Closed, CompletionPublisher, Inbox, TaskConsumer, TaskPublisher, Work};
use crate::message::{Control, Delivery, Task};

/// Tasks waiting for a worker. The scheduler's window keeps fewer than this in flight; the bound
/// only stops a fault from eating memory.
const TASKS: usize = 4096;

/// Answers waiting for the scheduler. Workers wait when it falls this far behind.
const DELIVERIES: usize = 4096;

/// Words to workers that one of them may be behind.
const CONTROLS: usize = 1024;

/// Makes the two sides of a broker.
#[derive(Debug)]
pub struct MemoryBroker;

impl MemoryBroker {
    /// The scheduler's publisher and inbox, and one worker's consumer and publisher.
    #[expect(clippy::new_ret_no_self, reason = "a broker is its four ends")]
    pub fn new() -> (MemoryTasks, MemoryInbox, MemoryWorker, MemoryCompletions) {
        let (task_sender, task_receiver) = mpsc::channel(TASKS);
        let (control_sender, control_receiver) = broadcast::channel(CONTROLS);
        let (answer_sender, answer_receiver) = mpsc::channel(DELIVERIES);
        (
            MemoryTasks { tasks: task_sender, controls: control_sender },
            MemoryInbox { deliveries: answer_receiver },
            MemoryWorker { tasks: task_receiver, controls: control_receiver },
            MemoryCompletions { deliveries: answer_sender },
        )
    }
}

/// The scheduler's publisher.
#[derive(Debug)]
pub struct MemoryTasks {
    tasks: mpsc::Sender<Task>,
    controls: broadcast::Sender<Control>,
}

impl TaskPublisher for MemoryTasks {
    async fn publish(&self, tasks: Vec<Task>) -> Result<(), Closed> {
        for task in tasks {
            self.tasks.send(task).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    async fn control(&self, control: Control) -> Result<(), Closed> {
        self.controls.send(control).map(|_| ()).map_err(|_| Closed)
    }
}

/// The scheduler's inbox.
#[derive(Debug)]
pub struct MemoryInbox {
    deliveries: mpsc::Receiver<Delivery>,
}

impl Inbox for MemoryInbox {
    async fn receive(&mut self, most: usize) -> Vec<Delivery> {
        let mut received = Vec::new();
        self.deliveries.recv_many(&mut received, most).await;
        received
    }
}

/// A worker's consumer.
#[derive(Debug)]
pub struct MemoryWorker {
    tasks: mpsc::Receiver<Task>,
    controls: broadcast::Receiver<Control>,
}

impl TaskConsumer for MemoryWorker {
    async fn next(&mut self) -> Option<Work> {
        tokio::select! {
            biased;
            control = next_control(&mut self.controls) => control.map(Work::Control),
            task = self.tasks.recv() => task.map(|task| Work::Task(Box::new(task))),
        }
    }
}

async fn next_control(controls: &mut broadcast::Receiver<Control>) -> Option<Control> {
    loop {
        match controls.recv().await {
            Ok(control) => return Some(control),
            // what was missed concerned tasks whose answers nobody takes
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// A worker's publisher.
#[derive(Clone, Debug)]
pub struct MemoryCompletions {
    deliveries: mpsc::Sender<Delivery>,
}

impl CompletionPublisher for MemoryCompletions {
    async fn answer(&self, delivery: Delivery) -> Result<(), Closed> {
        self.deliveries.send(delivery).await.map_err(|_| Closed)
    }
}
