//! A connection that publishes. Messages of all callers go out in one stream, and each caller
//! hears when the server has its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::contact::Pressure;
use super::{
    End, PATIENCE, RabbitError, Settings, connect, headers, in_time, part, topology, waits,
};
use crate::broker::Closed;
use crate::retry::Waits;

/// Published and not confirmed. More brings no speed (measured: 256 are as quick as 1024).
const WINDOW: usize = 256;

/// Handed over and not published: one window, so that the next is ready when there is room.
const QUEUED: usize = 256;

/// How long what is missing stays missing before it is made again: whoever removed it may have
/// meant it.
const REMADE: Duration = Duration::from_secs(2);

/// What waited longer than this may be there by other means by now; without a confirm it is out of
/// date.
const STALE: Duration = Duration::from_secs(5);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server has it.
    Stored,
    /// It belongs into a queue that is not there.
    Unroutable,
}

/// How much is done for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// It is published until the server has it in a queue.
    UntilRouted,
    /// The same, but that it has no queue is an answer.
    OrUnroutable,
    /// The server has it; it goes to all who are there, if anybody is.
    ToWhomever,
    /// It is published once, and perhaps lost.
    Once,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
    pub(super) care: Care,
}

struct Queued {
    message: Outgoing,
    since: Instant,
    done: oneshot::Sender<Fate>,
}

/// The callers' end. The connection is closed once all of these are gone and what they handed
/// over is dealt with.
#[derive(Clone, Debug)]
pub(super) struct Link {
    queue: mpsc::Sender<Queued>,
    pressure: Pressure,
}

impl Link {
    pub(super) fn start(settings: &Settings, role: &'static str) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        let settings = settings.clone();
        let pressure = Pressure::default();
        let publisher = Publisher {
            settings,
            role,
            queued,
            waiting: VecDeque::new(),
            missing_since: None,
            pressure: pressure.clone(),
        };
        tokio::spawn(publisher.run());
        Self { queue, pressure }
    }

    /// Whether the server holds it back, for others to look at.
    pub(super) fn pressure(&self) -> Pressure {
        self.pressure.clone()
    }

    /// Hands a message over, in order, once there is room.
    pub(super) async fn hand(&self, message: Outgoing) -> Result<Pending, Closed> {
        let (done, fate) = oneshot::channel();
        let queued = Queued { message, since: Instant::now(), done };
        self.queue.send(queued).await.map_err(|_| Closed)?;
        Ok(Pending(fate))
    }

    /// Hands a message over that is not worth waiting for.
    pub(super) fn toss(&self, message: Outgoing) -> Result<(), Closed> {
        let (done, _) = oneshot::channel();
        match self.queue.try_send(Queued { message, since: Instant::now(), done }) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }
}

/// A message that was handed over.
pub(super) struct Pending(oneshot::Receiver<Fate>);

impl Pending {
    pub(super) async fn fate(self) -> Result<Fate, Closed> {
        self.0.await.map_err(|_| Closed)
    }
}

struct Publisher {
    settings: Settings,
    role: &'static str,
    queued: mpsc::Receiver<Queued>,
    /// Taken over and not published, or published in vain.
    waiting: VecDeque<Queued>,
    /// Since when a queue is missing.
    missing_since: Option<Instant>,
    pressure: Pressure,
}

/// What the server said of a message.
enum Said {
    Stored,
    Unroutable,
    /// It cannot take it now; the pause is over.
    Again,
    Broken(RabbitError),
}

/// What is published and not confirmed, by number.
type Out = BTreeMap<u64, Queued>;

impl Publisher {
    async fn run(mut self) {
        let mut waits = waits();
        loop {
            let end = self.session(&mut waits).await;
            // a caller that no longer waits has its task sent again by other means
            self.waiting.retain(|queued| !queued.done.is_closed());
            let unwanted =
                self.queued.is_closed() && self.queued.is_empty() && self.waiting.is_empty();
            if unwanted || !end.goes_on(self.role) {
                return;
            }
            sleep(waits.next()).await;
        }
    }

    async fn session(&mut self, waits: &mut Waits) -> End {
        let mut out = Out::new();
        let end = match in_time(self.open()).await {
            Ok((connection, confirmed, plain)) => {
                waits.reset();
                self.pressure.is_of(Some(connection.status().clone()));
                let end = self.publish(&mut out, (&connection, &confirmed, &plain)).await;
                self.pressure.is_of(None);
                part(&connection, "done").await;
                end
            }
            Err(error) => End::Broken(error),
        };
        // whether the server has these is unknown: first in, first out again
        for (_, mut queued) in out.into_iter().rev() {
            let again = headers::published_again(&queued.message.properties);
            queued.message.properties = again;
            self.waiting.push_front(queued);
        }
        end
    }

    async fn open(&self) -> Result<(Connection, Channel, Channel), RabbitError> {
        let connection = connect(&self.settings, self.role).await?;
        topology::common(&connection, &self.settings).await?;
        let confirmed = connection.create_channel().await?;
        confirmed.confirm_select(ConfirmSelectOptions::default()).await?;
        let plain = connection.create_channel().await?;
        Ok((connection, confirmed, plain))
    }

    async fn publish(
        &mut self,
        out: &mut Out,
        (connection, confirmed, plain): (&Connection, &Channel, &Channel),
    ) -> End {
        let mut flying = FuturesUnordered::new();
        let mut number = 0;
        let mut taken = Vec::new();
        loop {
            if let Err(error) = self.make_missing(connection).await {
                return End::Broken(error);
            }
            while out.len() < WINDOW
                && let Some(mut queued) = self.waiting.pop_front()
            {
                if queued.since.elapsed() >= STALE {
                    // whoever owns its shard by now may have sent it again
                    let again = headers::published_again(&queued.message.properties);
                    queued.message.properties = again;
                }
                if queued.message.care == Care::Once {
                    match toss(plain, &queued).await {
                        Ok(()) => continue,
                        Err(error) => return End::Broken(error),
                    }
                }
                number += 1;
                let (care, key) = (queued.message.care, queued.message.key.clone());
                let sent = send(confirmed, &queued.message).await;
                out.insert(number, queued);
                match sent {
                    Ok(confirm) => flying.push(confirmation(number, (care, key), confirm)),
                    Err(error) => return End::Broken(error),
                }
            }
            let room = WINDOW - out.len();
            tokio::select! {
                biased;
                Some((number, said)) = flying.next(), if !flying.is_empty() => {
                    if let Some(error) = self.settle(out, number, said) {
                        return End::Broken(error);
                    }
                }
                received = self.queued.recv_many(&mut taken, room),
                    if room > 0 && self.waiting.is_empty() =>
                {
                    if received == 0 && flying.is_empty() {
                        return End::Done;
                    }
                    if received == 0
                        && let Some((number, said)) = flying.next().await
                        && let Some(error) = self.settle(out, number, said)
                    {
                        return End::Broken(error);
                    }
                    self.waiting.extend(taken.drain(..));
                }
            }
        }
    }

    /// Makes queues anew that somebody removed. What was refused meanwhile is sent again by its
    /// owner, later.
    async fn make_missing(&mut self, connection: &Connection) -> Result<(), RabbitError> {
        if self.missing_since.is_some_and(|since| since.elapsed() >= REMADE) {
            self.missing_since = None;
            in_time(topology::common(connection, &self.settings)).await?;
        }
        Ok(())
    }

    fn settle(&mut self, out: &mut Out, number: u64, said: Said) -> Option<RabbitError> {
        let fate = match said {
            Said::Stored => Fate::Stored,
            Said::Unroutable => {
                self.missing_since.get_or_insert_with(Instant::now);
                Fate::Unroutable
            }
            Said::Again => {
                self.waiting.extend(out.remove(&number));
                return None;
            }
            Said::Broken(error) => return Some(error),
        };
        if let Some(queued) = out.remove(&number) {
            // whoever does not wait any more need not hear of it
            queued.done.send(fate).ok();
        }
        None
    }
}

/// Publishes what may be lost, unless it is out of date.
async fn toss(channel: &Channel, queued: &Queued) -> Result<(), RabbitError> {
    if queued.since.elapsed() < STALE {
        send(channel, &queued.message).await?;
    }
    Ok(())
}

async fn send(channel: &Channel, message: &Outgoing) -> Result<PublisherConfirm, RabbitError> {
    let mandatory = match message.care {
        Care::UntilRouted | Care::OrUnroutable => true,
        Care::ToWhomever | Care::Once => false,
    };
    let published = channel.basic_publish(
        message.exchange.clone(),
        message.key.clone(),
        BasicPublishOptions { mandatory, ..BasicPublishOptions::default() },
        &message.body,
        message.properties.clone(),
    );
    match timeout(PATIENCE, published).await {
        Ok(published) => Ok(published?),
        Err(_) => Err(RabbitError::Lost("it takes no messages".to_owned())),
    }
}

/// Waits for the server's word. It keeps its place in the window while it pauses, so that a
/// server that refuses everything is not flooded.
async fn confirmation(
    number: u64,
    (care, key): (Care, ShortString),
    confirm: PublisherConfirm,
) -> (u64, Said) {
    let said = match timeout(PATIENCE, confirm).await {
        Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Said::Stored,
        Ok(Ok(Confirmation::Ack(Some(_)))) if care == Care::OrUnroutable => Said::Unroutable,
        Ok(Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_))) => {
            sleep(waits().next()).await;
            Said::Again
        }
        Ok(Err(error)) => Said::Broken(error.into()),
        Err(_) => Said::Broken(RabbitError::Lost(unconfirmed(&key))),
    };
    (number, said)
}

/// A server says so by silence when it is overloaded, and for good when a node of its own died while
/// it made the queue.
fn unconfirmed(key: &ShortString) -> String {
    format!(
        "for {} s it has not confirmed what goes to {key}; if this stays so, and `rabbitmqctl list_queues name state` \
         does not call that queue running, delete it: it is made anew, and what was in it is sent again",
        PATIENCE.as_secs()
    )
}
