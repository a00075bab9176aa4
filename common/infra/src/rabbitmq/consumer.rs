//! A worker's consumer: the tasks of the classes it serves, and the words to all workers.

use std::time::Duration;

use flowmill_engine::fact::Returned;
use flowmill_engine::plan::TaskClass;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::aside::Aside;
use super::completions::RabbitCompletions;
use super::contact::Contact;
use super::names::{Dead, Lane};
use super::{
    CLOSING, End, PATIENCE, RabbitError, Settings, connect_to_take, headers, in_time, part,
    topology, waits,
};
use crate::broker::{CompletionPublisher, Receipt, TaskConsumer, Work};
use crate::clock::{Clock, SystemClock};
use crate::dead_letters::Sending;
use crate::message::{Control, Delivery as Answer, Task};
use crate::retry::Waits;
use crate::wire::{DecodeError, Transit, Unreadable};

/// How many tasks of each class a worker holds: light, code, http, llm. A class with 0 is not
/// served.
pub type Slots = [u16; 4];

/// The fewest light tasks that are fetched ahead: they are done sooner than the next arrives.
const LIGHT_AHEAD: u16 = 128;

/// Of the lane that nobody waits for, a tenth of the slots.
const BATCH_SHARE: u16 = 10;

/// Words read and not taken. A worker takes them at once.
const WORDS: usize = 1024;

/// Tasks read and not taken; behind it they wait in the client, as many as are fetched ahead.
const TASKS: usize = 64;

/// How long a task of a later release is kept before it is offered to other workers: each offer
/// counts towards the limit of deliveries.
const LATER: Duration = Duration::from_secs(5);

/// How often a task is left to other workers whose values cannot be had here; then it is answered.
const LEFT: i64 = 2;

/// A worker's consumer.
#[derive(Debug)]
pub struct RabbitWorker {
    words: mpsc::Receiver<Control>,
    tasks: mpsc::Receiver<(Box<Task>, RabbitReceipt)>,
    drain: watch::Sender<bool>,
    connected: watch::Receiver<Option<Instant>>,
}

impl RabbitWorker {
    /// Returns once it consumes; a server that went away meanwhile is waited for no longer than
    /// its first connection.
    pub(super) async fn start(
        settings: &Settings,
        slots: Slots,
        answers: RabbitCompletions,
    ) -> Self {
        let (word_sender, words) = mpsc::channel(WORDS);
        let (task_sender, tasks) = mpsc::channel(TASKS);
        let (drain, draining) = watch::channel(false);
        let (connecting, connected) = watch::channel(None);
        let (ready, first) = oneshot::channel();
        let fetcher = Fetcher {
            settings: settings.clone(),
            slots,
            words: word_sender,
            tasks: task_sender,
            answers,
            draining,
            connected: connecting,
            ready: Some(ready),
        };
        tokio::spawn(fetcher.run());
        first.await.ok();
        Self { words, tasks, drain, connected }
    }

    /// Whether it is in touch with the broker, for others to watch.
    pub fn contact(&self) -> Contact {
        Contact::of(&self.connected)
    }
}

impl TaskConsumer for RabbitWorker {
    type Receipt = RabbitReceipt;

    /// [`next`](TaskConsumer::next) gives None from now on. Tasks that were taken can be settled as
    /// long as this lives.
    async fn stop(&mut self) {
        self.drain.send_replace(true);
        while let Some((_, receipt)) = self.tasks.recv().await {
            receipt.release().await;
        }
    }

    async fn next(&mut self) -> Option<Work<RabbitReceipt>> {
        if *self.drain.borrow() {
            return None;
        }
        tokio::select! {
            biased;
            Some(word) = self.words.recv() => Some(Work::Control(word)),
            task = self.tasks.recv() => task.map(|(task, receipt)| Work::Task(task, receipt)),
        }
    }
}

/// A task that was delivered over some connection. When that is lost, the server delivers the
/// task again, and the receipt does nothing.
#[derive(Debug)]
pub struct RabbitReceipt {
    channel: Channel,
    tag: u64,
    redelivered: bool,
    may_be_double: bool,
}

impl RabbitReceipt {
    /// The receipt of what was delivered over a channel.
    pub(super) fn of(channel: &Channel, delivered: &Delivery) -> Self {
        Self {
            channel: channel.clone(),
            tag: delivered.delivery_tag,
            redelivered: delivered.redelivered,
            may_be_double: headers::may_be_double(&delivered.properties),
        }
    }
}

impl Receipt for RabbitReceipt {
    fn is_redelivered(&self) -> bool {
        self.redelivered
    }

    fn may_be_double(&self) -> bool {
        self.may_be_double
    }

    async fn settle(self) {
        // what is not said in time is as if the connection was lost
        timeout(PATIENCE, self.channel.basic_ack(self.tag, BasicAckOptions::default())).await.ok();
    }

    async fn release(self) {
        timeout(PATIENCE, self.channel.basic_nack(self.tag, requeue())).await.ok();
    }
}

fn requeue() -> BasicNackOptions {
    BasicNackOptions { requeue: true, ..BasicNackOptions::default() }
}

/// Keeps the connection behind a consumer.
struct Fetcher {
    settings: Settings,
    slots: Slots,
    words: mpsc::Sender<Control>,
    tasks: mpsc::Sender<(Box<Task>, RabbitReceipt)>,
    answers: RabbitCompletions,
    draining: watch::Receiver<bool>,
    connected: watch::Sender<Option<Instant>>,
    /// Told once, when it consumes for the first time.
    ready: Option<oneshot::Sender<()>>,
}

impl Fetcher {
    async fn run(mut self) {
        let mut waits = waits();
        loop {
            let end = match connect_to_take(&self.settings, "worker").await {
                Ok(connection) => {
                    let end = self.session(&connection, &mut waits).await;
                    self.connected.send_replace(None);
                    part(&connection, "done").await;
                    end
                }
                Err(error) => End::Broken(error),
            };
            if !end.goes_on("worker") {
                return;
            }
            tokio::select! {
                biased;
                () = self.words.closed() => return,
                // without a connection there is nothing to hand back
                _ = self.draining.wait_for(|draining| *draining) => return,
                () = sleep(waits.next()) => {}
            }
        }
    }

    async fn session(&mut self, connection: &Connection, waits: &mut Waits) -> End {
        let mut readers = JoinSet::new();
        let mut lanes = Vec::new();
        if let Err(error) = in_time(self.consume(connection, &mut readers, &mut lanes)).await {
            return End::Broken(error);
        }
        waits.reset();
        self.connected.send_replace(Some(Instant::now()));
        if let Some(ready) = self.ready.take() {
            ready.send(()).ok();
        }
        tokio::select! {
            biased;
            () = self.words.closed() => return End::Done,
            _ = self.draining.wait_for(|draining| *draining) => {}
            Some(ended) = readers.join_next() => {
                let cut = || RabbitError::Lost("a reader ended".to_owned());
                return End::Broken(ended.unwrap_or_else(|_| cut()));
            }
        }
        // the readers end with their consumers, and then no task is left to hand over
        for (channel, tag) in lanes {
            // a server that does not answer has nothing more for us
            timeout(CLOSING, channel.basic_cancel(tag, BasicCancelOptions::default())).await.ok();
        }
        let (nobody, _) = mpsc::channel(1);
        self.tasks = nobody;
        let words = self.words.clone();
        tokio::select! {
            () = words.closed() => {}
            () = async { while readers.join_next().await.is_some() {} } => words.closed().await,
        }
        End::Done
    }

    async fn consume(
        &self,
        connection: &Connection,
        readers: &mut JoinSet<RabbitError>,
        lanes: &mut Vec<(Channel, ShortString)>,
    ) -> Result<(), RabbitError> {
        topology::common(connection, &self.settings).await?;
        let transit = self.settings.transit.clone();
        readers.spawn(hear(words(connection, &self.settings).await?, self.words.clone(), transit));
        let aside = Aside::open(connection, &self.settings, Dead::Tasks).await?;
        let served = TaskClass::ALL.into_iter().zip(self.slots).filter(|(_, slots)| *slots > 0);
        for (class, slots) in served {
            for lane in Lane::ALL {
                let channel = connection.create_channel().await?;
                channel.basic_qos(ahead(class, lane, slots), BasicQosOptions::default()).await?;
                let queue = self.settings.names().tasks(class, lane);
                let options = BasicConsumeOptions::default();
                let consumer =
                    channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
                lanes.push((channel.clone(), consumer.tag()));
                let reader = Reader {
                    channel,
                    tasks: self.tasks.clone(),
                    answers: self.answers.clone(),
                    aside: aside.clone(),
                    transit: self.settings.transit.clone(),
                    draining: self.draining.clone(),
                };
                readers.spawn(reader.run(consumer));
            }
        }
        Ok(())
    }
}

/// Offers a task to other workers, after a while.
async fn leave(receipt: RabbitReceipt) {
    sleep(LATER).await;
    receipt.release().await;
}

/// Leaves a task of a later release to workers that read it. When it comes back they are too few, or
/// gone: its run sends it again, in a version that all read by then.
async fn pass_on(
    answers: &RabbitCompletions,
    error: &DecodeError,
    (delivered, receipt): (&Delivery, RabbitReceipt),
) {
    let headers = delivered.properties.headers().as_ref();
    let sending = headers.and_then(headers::of_sending).filter(|_| delivered.redelivered);
    let Some(Sending { run, shard, task, attempt, dispatch, .. }) = sending else {
        tracing::warn!(%error, "a task is left to workers of a later release");
        return leave(receipt).await;
    };
    tracing::warn!(run.id = %run, %error, "a task is handed back: no worker of its release took it");
    let reason = Returned::HandedBack;
    let returned = Answer::Returned { run, task, attempt, dispatch, reason };
    if answers.answer(shard, returned).await.is_ok() {
        receipt.settle().await;
    }
}

/// Answers a task that cannot be begun.
async fn answer(answers: &RabbitCompletions, error: Unreadable<Task>, receipt: RabbitReceipt) {
    let Some((shard, failure)) = error.failure(SystemClock::new().now()) else { return };
    if answers.answer(shard, failure).await.is_ok() {
        receipt.settle().await;
    }
}

/// How often a message was delivered before. Classic queues only know whether it was.
fn deliveries(delivered: &Delivery) -> i64 {
    let headers = delivered.properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    match count {
        Some(AMQPValue::LongLongInt(count)) => *count,
        _ if delivered.redelivered => LEFT,
        _ => 0,
    }
}

/// How many tasks are fetched ahead.
fn ahead(class: TaskClass, lane: Lane, slots: u16) -> u16 {
    let slots = match class {
        TaskClass::Light => slots.max(LIGHT_AHEAD),
        TaskClass::Code | TaskClass::Http | TaskClass::Llm => slots,
    };
    match lane {
        Lane::Interactive => slots,
        Lane::Batch => (slots / BATCH_SHARE).max(1),
    }
}

/// A queue of this worker's own, which ends with its connection.
async fn words(connection: &Connection, settings: &Settings) -> Result<Consumer, RabbitError> {
    let channel = connection.create_channel().await?;
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
    let name = queue.name().clone();
    let (control, all) = (settings.names().control(), QueueBindOptions::default());
    channel.queue_bind(name.clone(), control, "".into(), all, FieldTable::default()).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    Ok(channel.basic_consume(name, "".into(), options, FieldTable::default()).await?)
}

/// Reads words. One that cannot be read is lost, as it is for a worker that is away.
async fn hear(
    mut consumer: Consumer,
    words: mpsc::Sender<Control>,
    transit: Transit,
) -> RabbitError {
    loop {
        let delivered = match consumer.next().await {
            Some(Ok(delivered)) => delivered,
            Some(Err(error)) => return error.into(),
            None => return RabbitError::Lost("the queue of words is gone".to_owned()),
        };
        match transit.read_control(&delivered.data) {
            Ok(word) => {
                if words.send(word).await.is_err() {
                    return RabbitError::Lost("nobody takes words".to_owned());
                }
            }
            Err(error) => tracing::warn!(%error, "a word cannot be read"),
        }
    }
}

/// Reads the tasks of one queue.
struct Reader {
    channel: Channel,
    tasks: mpsc::Sender<(Box<Task>, RabbitReceipt)>,
    answers: RabbitCompletions,
    aside: Aside,
    transit: Transit,
    draining: watch::Receiver<bool>,
}

impl Reader {
    /// Ends with the connection, the queue or the consumer.
    async fn run(self, mut consumer: Consumer) -> RabbitError {
        let mut reading = FuturesUnordered::new();
        loop {
            let delivered = tokio::select! {
                biased;
                Some(read) = reading.next(), if !reading.is_empty() => match read {
                    Ok(()) => continue,
                    Err(error) => return error,
                },
                delivered = consumer.next() => delivered,
            };
            let delivered = match delivered {
                Some(Ok(delivered)) => delivered,
                Some(Err(error)) => return error.into(),
                None => {
                    while reading.next().await.is_some() {}
                    return RabbitError::Lost("a queue of tasks was cut off".to_owned());
                }
            };
            // one that has to be waited for does not hold up the next; there are as many as are
            // fetched ahead
            let mut read = Box::pin(self.read(delivered));
            match (&mut read).now_or_never() {
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => reading.push(read),
            }
        }
    }

    /// Hands a task over; what cannot be read goes back, is answered, or is set aside.
    async fn read(&self, delivered: Delivery) -> Result<(), RabbitError> {
        let receipt = RabbitReceipt::of(&self.channel, &delivered);
        let mut waits = waits();
        let mut draining = self.draining.clone();
        let read = loop {
            match self.transit.read_task(&delivered.data).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "a task waits");
                    tokio::select! {
                        // another worker may be luckier
                        _ = draining.wait_for(|draining| *draining) => break Err(error),
                        () = sleep(waits.next()) => {}
                    }
                }
                read => break read,
            }
        };
        match read {
            Ok(task) => {
                let sent_at = headers::made_at(&delivered.properties);
                let task = Box::new(Task { sent_at, ..task });
                if let Err(unwanted) = self.tasks.send((task, receipt)).await {
                    unwanted.0.1.release().await;
                }
                Ok(())
            }
            Err(Unreadable::Bytes(error)) if error.is_later() => {
                pass_on(&self.answers, &error, (&delivered, receipt)).await;
                Ok(())
            }
            Err(Unreadable::Bytes(error)) => self.aside.put(&delivered, &error.to_string()).await,
            Err(error) if error.is_passing() => {
                receipt.release().await;
                Ok(())
            }
            Err(error) if deliveries(&delivered) < LEFT => {
                tracing::warn!(%error, "a task is left to other workers");
                leave(receipt).await;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a task is answered by a failure");
                answer(&self.answers, error, receipt).await;
                Ok(())
            }
        }
    }
}
