//! Declares what messages pass through. Everything is declared by whoever uses it, each time it
//! connects: declaring again what exists changes nothing.

use flowmill_engine::plan::TaskClass;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::names::{Dead, Lane};
use super::{Queues, RabbitError, Settings, connect, in_time, part};
use crate::message::Shard;

/// How often a task is delivered before the server takes it for one that kills workers. Losses
/// are counted elsewhere, and sooner; this is the last resort.
pub(super) const TASK_DELIVERIES: i64 = 20;

/// The same for answers and submissions: only whoever takes them comes and goes.
const RESULT_DELIVERIES: i64 = 1_000_000;

/// Connects once and declares everything, so that what is wrong is told at the start.
pub(super) async fn check(settings: &Settings) -> Result<(), RabbitError> {
    let connection = connect(settings, "check").await?;
    in_time(common(&connection, settings)).await?;
    part(&connection, "checked").await;
    Ok(())
}

/// What all share: dead letters, the queues of tasks and submissions, the exchanges of words and
/// events.
pub(super) async fn common(
    connection: &Connection,
    settings: &Settings,
) -> Result<(), RabbitError> {
    let names = settings.names();
    // it lives as long as this call: a refusal closes it
    let channel = connection.create_channel().await?;
    exchange(&channel, names.dead_letters(), ExchangeKind::Direct).await?;
    for dead in Dead::ALL {
        let queue = names.dead(dead);
        declare(&channel, &queue, plain(settings)).await?;
        channel
            .queue_bind(
                queue,
                names.dead_letters(),
                dead.key().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    for class in TaskClass::ALL {
        for lane in Lane::ALL {
            let arguments = with_dead_letters(settings, Dead::Tasks);
            declare(&channel, &names.tasks(class, lane), arguments).await?;
        }
    }
    let arguments = with_dead_letters(settings, Dead::Intake);
    declare(&channel, &names.submissions(), arguments).await?;
    exchange(&channel, names.events(), ExchangeKind::Topic).await?;
    exchange(&channel, names.control(), ExchangeKind::Fanout).await
}

/// Removes everything that has the installation's prefix.
pub(super) async fn remove(
    connection: &Connection,
    settings: &Settings,
    shards: u16,
) -> Result<(), RabbitError> {
    let names = settings.names();
    let tasks =
        TaskClass::ALL.iter().flat_map(|class| Lane::ALL.map(|lane| names.tasks(*class, lane)));
    let results = (0..shards).map(|shard| names.results(Shard(shard)));
    let dead = Dead::ALL.map(|dead| names.dead(dead));
    for queue in tasks.chain(results).chain(dead).chain([names.submissions()]) {
        // each by itself: a refusal closes its channel
        let channel = connection.create_channel().await?;
        let deleted = channel.queue_delete(queue.clone(), QueueDeleteOptions::default()).await;
        deleted.map_err(|error| refused(&queue, error))?;
    }
    let channel = connection.create_channel().await?;
    for name in [names.control(), names.events(), names.dead_letters()] {
        channel.exchange_delete(name, ExchangeDeleteOptions::default()).await?;
    }
    Ok(())
}

/// Whether a shard's queue had to be made, and makes it if so.
pub(super) async fn results(
    connection: &Connection,
    settings: &Settings,
    shard: Shard,
) -> Result<bool, RabbitError> {
    let queue = settings.names().results(shard);
    let asking = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = asking.queue_declare(queue.clone(), passive, FieldTable::default()).await;
    let missing = match asked {
        Ok(_) => false,
        Err(error) if soft(&error) == Some(AMQPSoftError::NOTFOUND) => true,
        Err(error) => return Err(refused(&queue, error)),
    };
    // also when it is there: its arguments may be others
    let channel = connection.create_channel().await?;
    declare(&channel, &queue, with_dead_letters(settings, Dead::Results)).await?;
    Ok(missing)
}

async fn declare(
    channel: &Channel,
    queue: &ShortString,
    arguments: FieldTable,
) -> Result<(), RabbitError> {
    let declared =
        channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), arguments).await;
    declared.map(drop).map_err(|error| refused(queue, error))
}

async fn exchange(
    channel: &Channel,
    name: ShortString,
    kind: ExchangeKind,
) -> Result<(), RabbitError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.clone(), kind, durable, FieldTable::default());
    declared.await.map_err(|error| refused(&name, error))
}

fn plain(settings: &Settings) -> FieldTable {
    let mut arguments = FieldTable::default();
    if settings.queues == Queues::Quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
    }
    arguments
}

fn with_dead_letters(settings: &Settings, dead: Dead) -> FieldTable {
    let mut arguments = plain(settings);
    let exchange = settings.names().dead_letters();
    arguments.insert("x-dead-letter-exchange".into(), text(exchange.as_str()));
    arguments.insert("x-dead-letter-routing-key".into(), text(dead.key()));
    if settings.queues == Queues::Quorum {
        let deliveries = match dead {
            Dead::Tasks => TASK_DELIVERIES,
            Dead::Results | Dead::Intake => RESULT_DELIVERIES,
        };
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(deliveries));
        // a dead letter is safe only when both are set
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

/// What a refused declaration means. A server that is just starting also says `NOT_FOUND`, of a
/// queue whose process is not there yet: that is worth another try.
fn refused(name: &ShortString, error: lapin::Error) -> RabbitError {
    let (name, why) = (name.as_str().to_owned(), error.to_string());
    match soft(&error) {
        Some(AMQPSoftError::PRECONDITIONFAILED) => RabbitError::Differs { name, why },
        Some(AMQPSoftError::ACCESSREFUSED) => RabbitError::Refused { name, why },
        _ => error.into(),
    }
}
