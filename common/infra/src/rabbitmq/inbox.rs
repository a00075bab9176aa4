//! The scheduler's inbox: one channel for each shard that is open.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::aside::Aside;
use super::confirmed::Confirmed;
use super::contact::{Contact, Redelivered};
use super::names::Dead;
use super::{
    CLOSING, End, RabbitError, Settings, connect_to_take, headers, in_time, part, topology, waits,
};
use crate::broker::{Closed, Inbox};
use crate::message::{Beat, Delivery, Shard};
use crate::wire::{DecodeError, Kind, Transit, Unreadable};

/// Delivered and not settled, of each shard: two batches.
const PREFETCH: u16 = 512;

/// Read and not received: a batch. What is behind it waits in the client.
const ARRIVED: usize = 256;

/// What arrived, and from where.
struct Arrival {
    delivery: Delivery,
    shard: Shard,
    /// Which opening of the shard it came over.
    opening: u64,
    channel: Channel,
    tag: u64,
}

/// What the owner wants of the connection.
enum Order {
    Open { shard: Shard, opening: u64 },
    Close { shard: Shard },
}

/// The scheduler's inbox.
#[derive(Debug)]
pub struct RabbitInbox {
    arrivals: mpsc::Receiver<Arrival>,
    notices: mpsc::UnboundedReceiver<Delivery>,
    orders: mpsc::UnboundedSender<Order>,
    /// Since when all that shall be open is; None while there is no connection.
    connected: watch::Receiver<Option<Instant>>,
    redelivered: Redelivered,
    /// The shards that are open, with the number of their opening.
    open: BTreeMap<Shard, u64>,
    openings: u64,
    /// The last that was received of each shard and is not settled.
    unsettled: BTreeMap<Shard, (Channel, u64)>,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl RabbitInbox {
    pub(super) fn start(
        settings: &Settings,
        notices: mpsc::UnboundedSender<Delivery>,
        noticed: mpsc::UnboundedReceiver<Delivery>,
    ) -> Self {
        let (arrival_sender, arrivals) = mpsc::channel(ARRIVED);
        // bounded by how often shards change hands
        let (orders, ordered) = mpsc::unbounded_channel();
        let (connecting, connected) = watch::channel(None);
        let redelivered = Redelivered::default();
        let receiver = Receiver {
            settings: settings.clone(),
            connected: connecting,
            redelivered: redelivered.clone(),
            orders: ordered,
            arrivals: arrival_sender,
            notices,
            wanted: BTreeMap::new(),
        };
        tokio::spawn(receiver.run());
        Self {
            arrivals,
            notices: noticed,
            orders,
            connected,
            redelivered,
            open: BTreeMap::new(),
            openings: 0,
            unsettled: BTreeMap::new(),
        }
    }

    /// Whether it is in touch with the broker, for others to watch.
    pub fn contact(&self) -> Contact {
        Contact::of(&self.connected)
    }

    /// What came again, for others to count.
    pub fn redelivered(&self) -> Redelivered {
        self.redelivered.clone()
    }

    /// Keeps what is still the shard's owner's. What came over a connection that is lost or over
    /// a shard that was closed is delivered again, to whoever owns it.
    fn take(&mut self, arrival: Arrival) -> Option<Delivery> {
        let current = self.open.get(&arrival.shard) == Some(&arrival.opening);
        if !current || !arrival.channel.status().connected() {
            return None;
        }
        self.unsettled.insert(arrival.shard, (arrival.channel, arrival.tag));
        Some(arrival.delivery)
    }
}

impl Inbox for RabbitInbox {
    async fn receive(&mut self, most: usize) -> Vec<Delivery> {
        let mut received = Vec::new();
        while received.is_empty() && most > 0 {
            let mut arrived = Vec::new();
            tokio::select! {
                biased;
                Some(notice) = self.notices.recv() => received.push(notice),
                taken = self.arrivals.recv_many(&mut arrived, most) => {
                    if taken == 0 {
                        return received;
                    }
                }
            }
            received.extend(arrived.into_iter().filter_map(|arrival| self.take(arrival)));
        }
        while received.len() < most {
            let Ok(arrival) = self.arrivals.try_recv() else { break };
            received.extend(self.take(arrival));
        }
        received
    }

    async fn settle(&mut self) {
        // over a lost connection it comes again, which is harmless; the owner does not wait for it
        let settling = async {
            while let Some((_, (channel, tag))) = self.unsettled.pop_first() {
                channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.ok();
            }
        };
        timeout(CLOSING, settling).await.ok();
    }

    fn live_for(&self) -> Duration {
        self.connected.borrow().map_or(Duration::ZERO, |since| since.elapsed())
    }

    async fn open(&mut self, shard: Shard) -> Result<(), Closed> {
        if self.open.contains_key(&shard) {
            return Ok(());
        }
        self.openings += 1;
        let opening = self.openings;
        self.orders.send(Order::Open { shard, opening }).map_err(|_| Closed)?;
        self.open.insert(shard, opening);
        Ok(())
    }

    async fn close(&mut self, shard: Shard) {
        self.open.remove(&shard);
        self.unsettled.remove(&shard);
        // a broker that is gone has nothing open
        self.orders.send(Order::Close { shard }).ok();
    }
}

/// Keeps the connection behind an inbox.
struct Receiver {
    settings: Settings,
    connected: watch::Sender<Option<Instant>>,
    redelivered: Redelivered,
    orders: mpsc::UnboundedReceiver<Order>,
    arrivals: mpsc::Sender<Arrival>,
    notices: mpsc::UnboundedSender<Delivery>,
    /// The shards to be open, with the number of their opening.
    wanted: BTreeMap<Shard, u64>,
}

/// The shards that are open over a connection.
#[derive(Default)]
struct Opened {
    shards: BTreeMap<Shard, (Channel, AbortHandle)>,
    readers: JoinSet<RabbitError>,
}

impl Receiver {
    async fn run(mut self) {
        let mut waits = waits();
        loop {
            let connected = async |settings: Settings| {
                let connection = connect_to_take(&settings, "inbox").await?;
                in_time(topology::common(&connection, &settings)).await?;
                Ok::<_, RabbitError>(connection)
            };
            let connecting = connected(self.settings.clone());
            let end = match self.meanwhile(connecting).await {
                None => return,
                Some(Err(error)) => End::Broken(error),
                Some(Ok(connection)) => {
                    waits.reset();
                    let end = self.session(&connection).await;
                    self.connected.send_replace(None);
                    part(&connection, "done").await;
                    end
                }
            };
            if !end.goes_on("inbox") || self.meanwhile(sleep(waits.next())).await.is_none() {
                return;
            }
        }
    }

    /// Waits for something while there is no connection; None when nobody needs one any more.
    async fn meanwhile<T>(&mut self, something: impl Future<Output = T>) -> Option<T> {
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => self.note(order?),
                done = &mut something => return Some(done),
            }
        }
    }

    fn note(&mut self, order: Order) {
        match order {
            Order::Open { shard, opening } => {
                self.wanted.insert(shard, opening);
            }
            Order::Close { shard } => {
                self.wanted.remove(&shard);
            }
        }
    }

    async fn session(&mut self, connection: &Connection) -> End {
        let aside = in_time(Aside::open(connection, &self.settings, Dead::Results));
        let aside = match aside.await {
            Ok(aside) => aside,
            Err(error) => return End::Broken(error),
        };
        let mut opened = Opened::default();
        loop {
            if let Err(error) = self.open_wanted(connection, &aside, &mut opened).await {
                return End::Broken(error);
            }
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    let Some(order) = order else { return End::Done };
                    if let Order::Close { shard } = &order
                        && let Some((channel, reader)) = opened.shards.remove(shard)
                    {
                        reader.abort();
                        timeout(CLOSING, channel.close(200, "closed".into())).await.ok();
                    }
                    self.note(order);
                }
                Some(ended) = opened.readers.join_next() => {
                    // one that was closed is no fault
                    if let Ok(error) = ended {
                        return End::Broken(error);
                    }
                }
            }
        }
    }

    /// Leaves word in a shard's new queue that the one before is lost. Whoever makes it may own the
    /// shard no more; whoever owns it finds the word there. It is no loss unless something was sent
    /// for the shard, which its owner knows.
    async fn tell_loss(&self, connection: &Connection, shard: Shard) -> Result<(), RabbitError> {
        let lost = Delivery::Lost { shard };
        let told = async {
            let body = self.settings.transit.write_delivery(&lost).await;
            let body = body.map_err(|error| RabbitError::Lost(error.to_string()))?;
            let queue = self.settings.names().results(shard);
            Confirmed::open(connection).await?.put(&queue, BasicProperties::default(), &body).await
        };
        in_time(told).await.inspect_err(|_| {
            // the queue is there now, and nobody would find out; without an inbox nobody asks
            self.notices.send(lost.clone()).ok();
        })
    }

    /// Opens what shall be open and is not yet.
    async fn open_wanted(
        &mut self,
        connection: &Connection,
        aside: &Aside,
        opened: &mut Opened,
    ) -> Result<(), RabbitError> {
        let mut is_new = self.connected.borrow().is_none();
        for (shard, opening) in &self.wanted {
            if opened.shards.contains_key(shard) {
                continue;
            }
            if in_time(topology::results(connection, &self.settings, *shard)).await? {
                tracing::info!(shard = shard.0, "the queue of a shard was missing and is made");
                self.tell_loss(connection, *shard).await?;
            }
            let consuming = in_time(consume(connection, &self.settings, *shard));
            let (channel, consumer) = consuming.await?;
            let reader = Reader {
                shard: *shard,
                opening: *opening,
                channel: channel.clone(),
                arrivals: self.arrivals.clone(),
                redelivered: self.redelivered.clone(),
                aside: aside.clone(),
                transit: self.settings.transit.clone(),
            };
            let handle = opened.readers.spawn(reader.run(consumer));
            opened.shards.insert(*shard, (channel, handle));
            is_new = true;
        }
        if is_new {
            // nobody could be heard in a shard before it was open
            self.connected.send_replace(Some(Instant::now()));
        }
        Ok(())
    }
}

async fn consume(
    connection: &Connection,
    settings: &Settings,
    shard: Shard,
) -> Result<(Channel, Consumer), RabbitError> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let queue = settings.names().results(shard);
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
    Ok((channel, consumer))
}

/// A delivery with what is said of it beside its body.
fn whole(delivery: Delivery, properties: &BasicProperties) -> Delivery {
    match delivery {
        Delivery::Beat(beat) => Delivery::Beat(Beat { waits: headers::waits(properties), ..beat }),
        other => other,
    }
}

/// Reads what arrives for one shard.
struct Reader {
    shard: Shard,
    opening: u64,
    channel: Channel,
    arrivals: mpsc::Sender<Arrival>,
    redelivered: Redelivered,
    aside: Aside,
    transit: Transit,
}

impl Reader {
    /// What was delivered. What cannot be read goes back by its headers, or is set aside.
    async fn read(
        &self,
        delivered: &lapin::message::Delivery,
    ) -> Result<Option<Delivery>, RabbitError> {
        let mut waits = waits();
        let error = loop {
            match self.transit.read_delivery(&delivered.data).await {
                Ok(delivery) => return Ok(Some(whole(delivery, &delivered.properties))),
                Err(error) if error.is_passing() => {
                    // what comes after it waits as well, as it would for the commit
                    tracing::warn!(%error, "an answer waits");
                    sleep(waits.next()).await;
                }
                Err(Unreadable::Bytes(error)) => break error,
                Err(error @ (Unreadable::Sealed { .. } | Unreadable::Value { .. })) => {
                    tracing::error!(%error, "an answer stands for a failure");
                    return Ok(error.failure());
                }
            }
        };
        match &error {
            DecodeError::Version { kind: Kind::Lost, .. } if error.is_later() => {
                return Ok(Some(Delivery::Lost { shard: self.shard }));
            }
            // what they tell is found without them
            DecodeError::Version { kind: Kind::Poke | Kind::Beat, .. } if error.is_later() => {
                tracing::debug!(%error, "a word of a later release is passed over");
                let passed = delivered.acker.ack(BasicAckOptions::default());
                in_time(async { Ok(passed.await?) }).await?;
                return Ok(None);
            }
            _ => {}
        }
        let headers = delivered.properties.headers().as_ref();
        if let Some(back) = headers.and_then(headers::handed_back) {
            // whoever has the task next answers from what its worker kept
            tracing::error!(%error, "an answer cannot be read, its task goes out again");
            return Ok(Some(back));
        }
        self.aside.put(delivered, &error.to_string()).await.map(|()| None)
    }

    /// Ends with the connection or the queue.
    async fn run(self, mut consumer: Consumer) -> RabbitError {
        loop {
            let delivered = match consumer.next().await {
                Some(Ok(delivered)) => delivered,
                Some(Err(error)) => return error.into(),
                None => return RabbitError::Lost(format!("shard {} was cut off", self.shard)),
            };
            self.redelivered.came(&delivered);
            let delivery = match self.read(&delivered).await {
                Ok(Some(delivery)) => delivery,
                Ok(None) => continue,
                Err(error) => return error,
            };
            let arrival = Arrival {
                delivery,
                shard: self.shard,
                opening: self.opening,
                channel: self.channel.clone(),
                tag: delivered.delivery_tag,
            };
            if self.arrivals.send(arrival).await.is_err() {
                return RabbitError::Lost("nobody reads the inbox".to_owned());
            }
        }
    }
}
