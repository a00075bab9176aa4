//! Takes dead letters: what was set aside because nobody could read it, and what the server gave
//! up after it was delivered too often.

use flowmill_engine::value::Name;
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, Consumer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::consumer::RabbitReceipt;
use super::headers::{self, REASON};
use super::names::{Dead, Names};
use super::topology::{self, TASK_DELIVERIES};
use super::{End, RabbitError, Settings, connect, in_time, part, waits};
use crate::broker::Receipt as _;
use crate::dead_letters::{DeadLetter, DeadLetterConsumer, Sending};
use crate::message::Task;
use crate::retry::Waits;
use crate::wire::decode_task;

/// Letters fetched ahead. They are rare, and each may be large.
const AHEAD: u16 = 8;

/// What is said of a letter for which the server gives no reason of ours.
const GIVEN_UP: &str = "the broker gave it up";

/// The header in which the server says why it gave a message up.
const DEATH: &str = "x-first-death-reason";

/// A consumer of dead letters.
#[derive(Debug)]
pub struct RabbitDeadLetters {
    letters: mpsc::Receiver<(DeadLetter, RabbitReceipt)>,
}

impl RabbitDeadLetters {
    pub(super) fn start(settings: &Settings) -> Self {
        let (sender, letters) = mpsc::channel(1);
        tokio::spawn(fetch(settings.clone(), sender));
        Self { letters }
    }
}

impl DeadLetterConsumer for RabbitDeadLetters {
    type Receipt = RabbitReceipt;

    async fn next(&mut self) -> Option<(DeadLetter, RabbitReceipt)> {
        self.letters.recv().await
    }
}

type Letters = mpsc::Sender<(DeadLetter, RabbitReceipt)>;

/// Keeps the connection behind a consumer.
async fn fetch(settings: Settings, letters: Letters) {
    let mut waits = waits();
    loop {
        let end = match connect(&settings, "dead letters").await {
            Ok(connection) => {
                let end = session(&connection, &settings, &letters, &mut waits).await;
                part(&connection, "done").await;
                end
            }
            Err(error) => End::Broken(error),
        };
        if !end.goes_on("dead letters") {
            return;
        }
        tokio::select! {
            biased;
            () = letters.closed() => return,
            () = sleep(waits.next()) => {}
        }
    }
}

async fn session(
    connection: &Connection,
    settings: &Settings,
    letters: &Letters,
    waits: &mut Waits,
) -> End {
    let mut readers = JoinSet::new();
    if let Err(error) = in_time(topology::common(connection, settings)).await {
        return End::Broken(error);
    }
    for dead in Dead::ALL {
        match in_time(Reader::open(connection, settings, dead, letters)).await {
            Ok((reader, consumer)) => readers.spawn(reader.run(consumer)),
            Err(error) => return End::Broken(error),
        };
    }
    waits.reset();
    tokio::select! {
        biased;
        () = letters.closed() => End::Done,
        Some(ended) = readers.join_next() => {
            let cut = |_| RabbitError::Lost("a reader ended".to_owned());
            End::Broken(ended.unwrap_or_else(cut))
        }
    }
}

/// Reads the letters of one kind.
struct Reader {
    dead: Dead,
    names: Names,
    queue: String,
    channel: lapin::Channel,
    letters: Letters,
    /// The highest version of messages that is read.
    reads: u8,
}

impl Reader {
    async fn open(
        connection: &Connection,
        settings: &Settings,
        dead: Dead,
        letters: &Letters,
    ) -> Result<(Self, Consumer), RabbitError> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let names = settings.names();
        let queue = names.dead(dead);
        let name = queue.as_str().to_owned();
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        let (letters, reads) = (letters.clone(), settings.transit.reads());
        Ok((Self { dead, names, queue: name, channel, letters, reads }, consumer))
    }

    /// Ends with the connection or the queue.
    async fn run(self, mut consumer: Consumer) -> RabbitError {
        loop {
            let delivered = match consumer.next().await {
                Some(Ok(delivered)) => delivered,
                Some(Err(error)) => return error.into(),
                None => return RabbitError::Lost(format!("{} was cut off", self.queue)),
            };
            let receipt = RabbitReceipt::of(&self.channel, &delivered);
            if has_expired(&delivered) {
                receipt.settle().await;
                continue;
            }
            let letter = self.read(delivered);
            if self.letters.send((letter, receipt)).await.is_err() {
                return RabbitError::Lost("nobody takes dead letters".to_owned());
            }
        }
    }

    /// The queue that a letter came from. Its publisher may have written what it likes into headers,
    /// so only a queue counts from which such letters come.
    fn origin(&self, headers: &FieldTable) -> Option<Name> {
        let mut origins = headers::origins(headers);
        origins.find(|queue| self.names.leads_to(queue, self.dead)).map(Name::from)
    }

    fn read(&self, delivered: Delivery) -> DeadLetter {
        let table = delivered.properties.headers().clone().unwrap_or_default();
        let given = headers::read_text(&table, REASON);
        let mut letter = DeadLetter {
            queue: self.queue.as_str().into(),
            origin: self.origin(&table),
            reason: given.unwrap_or(GIVEN_UP).into(),
            run: headers::run(&table),
            headers: headers::shown(&table),
            properties: headers::properties(&delivered.properties),
            body: delivered.data,
            unanswered: None,
            is_odd: true,
        };
        if self.dead != Dead::Tasks {
            return letter;
        }
        match decode_task(&letter.body, self.reads) {
            Ok(task) if given.is_none() => {
                let deliveries = TASK_DELIVERIES + 1;
                letter.reason = format!("delivered {deliveries} times without an answer").into();
                letter.unanswered = Some(sending(task));
                letter.is_odd = false;
            }
            // set aside by a release that could not read it
            Ok(task) => letter.unanswered = Some(sending(task)),
            Err(error) => {
                if given.is_none() {
                    letter.reason = format!("{GIVEN_UP}; nobody could {error}").into();
                }
                letter.unanswered = headers::of_sending(&table);
            }
        }
        letter
    }
}

/// Whether a message only came too late to be of use to anybody, as beats do whose shard nobody
/// owns.
fn has_expired(delivered: &Delivery) -> bool {
    let headers = delivered.properties.headers().as_ref();
    headers.is_some_and(|headers| headers::read_text(headers, DEATH) == Some("expired"))
}

fn sending(task: Task) -> Sending {
    let is_of_one_node = task.is_of_one_node();
    let Task { run, shard, task, attempt, dispatch, .. } = task;
    Sending { run, shard, task, attempt, dispatch, is_of_one_node }
}
