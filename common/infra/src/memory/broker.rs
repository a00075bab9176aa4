//! A broker of channels.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::broker::{Closed, CompletionPublisher, Inbox, TaskConsumer, TaskPublisher, Work};
use crate::message::{Beat, Control, Delivery, Shard, Task};

/// Tasks waiting for a worker. The scheduler's window keeps fewer than this in flight; the bound
/// only stops a fault from eating memory.
const TASKS: usize = 4096;

/// Answers waiting for the scheduler. Workers wait when it falls this far behind.
const DELIVERIES: usize = 4096;

/// Words that a worker may be behind. A worker takes them at once, whatever it holds, so the
/// scheduler hardly ever waits here.
const CONTROLS: usize = 1024;

/// Makes the two sides of a broker.
#[derive(Debug)]
pub struct MemoryBroker;

impl MemoryBroker {
    /// The scheduler's publisher and inbox, and a worker's consumer and publisher.
    #[expect(clippy::new_ret_no_self, reason = "a broker is its four ends")]
    pub fn new() -> (MemoryTasks, MemoryInbox, MemoryWorker, MemoryCompletions) {
        let (task_sender, task_receiver) = mpsc::channel(TASKS);
        let (answer_sender, answer_receiver) = mpsc::channel(DELIVERIES);
        let workers = Workers::default();
        let worker = MemoryWorker {
            tasks: Arc::new(tokio::sync::Mutex::new(task_receiver)),
            controls: workers.join(),
            workers: workers.clone(),
        };
        (
            MemoryTasks { tasks: task_sender, workers },
            MemoryInbox { deliveries: answer_receiver, opened: VecDeque::new() },
            worker,
            MemoryCompletions { deliveries: answer_sender },
        )
    }
}

/// Where each worker takes its words. None once the scheduler has gone.
#[derive(Clone, Debug)]
struct Workers(Arc<Mutex<Option<Vec<mpsc::Sender<Control>>>>>);

impl Default for Workers {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }
}

impl Workers {
    fn join(&self) -> mpsc::Receiver<Control> {
        let (sender, receiver) = mpsc::channel(CONTROLS);
        if let Some(workers) = self.lock().as_mut() {
            workers.push(sender);
        }
        receiver
    }

    fn all(&self) -> Vec<mpsc::Sender<Control>> {
        let mut workers = self.lock();
        let Some(workers) = workers.as_mut() else { return Vec::new() };
        workers.retain(|worker| !worker.is_closed());
        workers.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<mpsc::Sender<Control>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scheduler's publisher.
#[derive(Debug)]
pub struct MemoryTasks {
    tasks: mpsc::Sender<Task>,
    workers: Workers,
}

impl TaskPublisher for MemoryTasks {
    async fn publish(&self, tasks: Vec<Task>) -> Result<(), Closed> {
        for task in tasks {
            self.tasks.send(task).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    async fn control(&self, control: Control) -> Result<(), Closed> {
        let mut told = false;
        for worker in self.workers.all() {
            told |= worker.send(control.clone()).await.is_ok();
        }
        // a worker that is away misses it
        if told || !self.tasks.is_closed() { Ok(()) } else { Err(Closed) }
    }
}

impl Drop for MemoryTasks {
    fn drop(&mut self) {
        self.workers.lock().take();
    }
}

/// The scheduler's inbox.
#[derive(Debug)]
pub struct MemoryInbox {
    deliveries: mpsc::Receiver<Delivery>,
    /// Shards that were opened: nothing is kept of what came before.
    opened: VecDeque<Shard>,
}

impl Inbox for MemoryInbox {
    async fn receive(&mut self, most: usize) -> Vec<Delivery> {
        let mut received = Vec::new();
        if let Some(shard) = self.opened.pop_front() {
            return vec![Delivery::Lost { shard }];
        }
        self.deliveries.recv_many(&mut received, most).await;
        received
    }

    async fn settle(&mut self) {}

    async fn open(&mut self, shard: Shard) -> Result<(), Closed> {
        // what was sent before was sent by another process, or is gone with an earlier opening
        self.opened.push_back(shard);
        Ok(())
    }

    async fn close(&mut self, shard: Shard) {
        self.opened.retain(|opened| *opened != shard);
    }
}

/// A worker's consumer.
#[derive(Debug)]
pub struct MemoryWorker {
    /// One queue for all workers: whoever holds the lock takes the next task.
    tasks: Arc<tokio::sync::Mutex<mpsc::Receiver<Task>>>,
    controls: mpsc::Receiver<Control>,
    workers: Workers,
}

impl MemoryWorker {
    /// A consumer for one more worker, which shares the tasks of this one.
    #[must_use]
    pub fn another(&self) -> Self {
        let workers = self.workers.clone();
        Self { tasks: self.tasks.clone(), controls: workers.join(), workers }
    }

    /// Its queue, which may outlive it.
    #[must_use]
    pub fn queue(&self) -> MemoryQueue {
        MemoryQueue { _tasks: self.tasks.clone() }
    }
}

/// The queue of tasks. As long as it is there, tasks can be published, whether a worker takes them or
/// not.
#[derive(Debug)]
pub struct MemoryQueue {
    _tasks: Arc<tokio::sync::Mutex<mpsc::Receiver<Task>>>,
}

impl TaskConsumer for MemoryWorker {
    type Receipt = ();

    async fn stop(&mut self) {}

    async fn next(&mut self) -> Option<Work<()>> {
        let tasks = &self.tasks;
        tokio::select! {
            biased;
            // without a scheduler there are no more words, but tasks may be left
            Some(control) = self.controls.recv() => Some(Work::Control(control)),
            task = async { tasks.lock().await.recv().await } => {
                task.map(|task| Work::Task(Box::new(task), ()))
            }
        }
    }
}

/// A worker's publisher.
#[derive(Clone, Debug)]
pub struct MemoryCompletions {
    deliveries: mpsc::Sender<Delivery>,
}

impl CompletionPublisher for MemoryCompletions {
    async fn answer(&self, _: Shard, delivery: Delivery) -> Result<(), Closed> {
        self.deliveries.send(delivery).await.map_err(|_| Closed)
    }

    async fn beat(&self, beat: Beat) -> Result<(), Closed> {
        self.deliveries.send(Delivery::Beat(beat)).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_opens_a_shard_hears_that_nothing_was_kept_for_it() {
        let (_tasks, mut inbox, _worker, answers) = MemoryBroker::new();
        let poke = Delivery::Poke { run: "r".into() };
        answers.answer(Shard(1), poke).await.unwrap();
        for shard in [1, 2, 3] {
            inbox.open(Shard(shard)).await.unwrap();
        }
        inbox.close(Shard(2)).await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.extend(inbox.receive(9).await);
        }
        let lost = |delivery: &Delivery| match delivery {
            Delivery::Lost { shard } => Some(shard.0),
            _ => None,
        };
        assert_eq!(heard.iter().map(lost).collect::<Vec<_>>(), [Some(1), Some(3), None]);
        // again by each opening: what was received and not settled is gone
        inbox.close(Shard(1)).await;
        inbox.open(Shard(1)).await.unwrap();
        assert_eq!(inbox.receive(9).await.iter().map(lost).collect::<Vec<_>>(), [Some(1)]);
    }

    #[tokio::test]
    async fn a_queue_that_is_kept_outlives_its_worker() {
        let (tasks, _inbox, worker, _answers) = MemoryBroker::new();
        let queue = worker.queue();
        drop(worker);
        assert_eq!(tasks.publish(Vec::new()).await, Ok(()));
        assert_eq!(tasks.control(Control::Beat).await, Ok(()));
        drop(queue);
        assert_eq!(tasks.control(Control::Beat).await, Err(Closed));
    }
}
