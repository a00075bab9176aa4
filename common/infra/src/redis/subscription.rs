//! The live feed's way out: what a run's stream holds, then what comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::{Value, pipe};
use flowmill_engine::value::Name;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::AbortHandle;

use crate::live::{Event, Facts, Seen, Subscribe, Subscription};
use crate::seal::Keys;

use super::hub::{Entry, Hub, Id, PAGE, Read, read};
use super::link::Away;
use super::{Redis, millis};

/// How long a stream that wakes the reader is kept.
const WAKING: Duration = Duration::from_mins(1);

/// Watches runs, with one reader for all of them.
#[derive(Clone, Debug)]
pub struct RedisSubscriptions {
    hub: Arc<Hub>,
    _reader: Arc<Reader>,
}

/// The reader, which stops with the last who needs it.
#[derive(Debug)]
struct Reader(AbortHandle);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One watch of one run.
#[derive(Debug)]
pub struct RedisSubscription {
    run: Name,
    key: String,
    feed: RedisSubscriptions,
    facts: Facts,
    ready: VecDeque<Seen>,
    /// What comes after it was not shown.
    cursor: Id,
    place: Place,
    /// Whether its watcher knows that the feed is away.
    is_away: bool,
}

/// Where a subscription gets what comes next.
#[derive(Debug)]
enum Place {
    /// From the stream, until there is no more.
    Behind,
    /// From the stream once more: what comes meanwhile is handed on as well.
    Joining(broadcast::Receiver<Entry>, Waking),
    /// From the reader.
    Level(broadcast::Receiver<Entry>),
}

/// Whether the reader knows that there is one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waking {
    Needed,
    Done,
}

impl Redis {
    /// The live feed's way out; secret variables are opened with `keys`. One is enough for a
    /// process. Must be called on a runtime.
    pub fn subscriptions(&self, keys: Keys) -> RedisSubscriptions {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{made}-{}", std::process::id(), since.as_nanos());
        let hub = Arc::new(Hub::new(self.0.clone(), keys, self.0.key("wake", &name)));
        let reader = Reader(tokio::spawn(read(hub.clone())).abort_handle());
        RedisSubscriptions { hub, _reader: Arc::new(reader) }
    }
}

impl Subscribe for RedisSubscriptions {
    type Subscription = RedisSubscription;

    fn subscribe(&self, run: &Name, after: u64) -> RedisSubscription {
        RedisSubscription {
            run: run.clone(),
            key: self.hub.link.key("live", run),
            feed: self.clone(),
            facts: Facts::after(after),
            ready: VecDeque::new(),
            cursor: Id::default(),
            place: Place::Behind,
            is_away: false,
        }
    }
}

impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                return seen;
            }
            let went = match &mut self.place {
                Place::Level(entries) => {
                    let received = entries.recv().await;
                    self.follow(received);
                    continue;
                }
                Place::Joining(_, Waking::Needed) => self.wake().await,
                Place::Joining(..) | Place::Behind => self.fetch().await,
            };
            match went {
                Ok(()) => self.is_away = false,
                Err(Away) if self.is_away => {
                    tokio::time::sleep(self.feed.hub.link.patience()).await;
                }
                Err(Away) => {
                    self.lose();
                    self.is_away = true;
                    return Seen::Away;
                }
            }
        }
    }
}

impl RedisSubscription {
    fn follow(&mut self, received: Result<Entry, RecvError>) {
        match received {
            Ok(entry) => self.show(&entry),
            // it fetches what it was too slow for
            Err(RecvError::Lagged(_)) => self.place = Place::Behind,
            Err(RecvError::Closed) => self.lose(),
        }
    }

    /// The reader lost its connection. Whatever the stream held may be gone, and entries of a
    /// server that began anew have other places: it is read from its beginning.
    fn lose(&mut self) {
        self.place = Place::Behind;
        self.cursor = Id::default();
        self.facts.doubt();
    }

    async fn wake(&mut self) -> Result<(), Away> {
        let wake = &self.feed.hub.wake;
        let mut words = pipe();
        words.cmd("XADD").arg(wake).arg("MAXLEN").arg(1).arg("*").arg("run").arg(&*self.run);
        words.cmd("PEXPIRE").arg(wake).arg(millis(WAKING));
        self.feed.hub.link.ask::<Value>(&mut words).await?;
        if let Place::Joining(_, waking) = &mut self.place {
            *waking = Waking::Done;
        }
        Ok(())
    }

    /// Takes a page of the stream.
    async fn fetch(&mut self) -> Result<(), Away> {
        let hub = &self.feed.hub;
        let mut question = pipe();
        question.cmd("XREAD").arg("COUNT").arg(PAGE).arg("STREAMS").arg(&self.key);
        question.arg(self.cursor.to_string());
        let answers = hub.link.ask::<Read>(&mut question).await?;
        let streams = answers.into_iter().flatten().flatten().flatten();
        let entries: Vec<Entry> =
            streams.flat_map(|(_, found)| hub.entries(&self.run, found)).collect();
        for entry in &entries {
            self.show(entry);
        }
        if entries.len() < PAGE {
            self.advance();
        }
        Ok(())
    }

    /// There is no more in the stream at present.
    fn advance(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Behind) {
            Place::Behind => {
                let entries = self.feed.hub.join(&self.run, self.cursor);
                Place::Joining(entries, Waking::Needed)
            }
            Place::Joining(entries, _) | Place::Level(entries) => {
                if self.facts.take_doubt() {
                    self.ready.push_back(Seen::Missed);
                }
                Place::Level(entries)
            }
        };
    }

    fn show(&mut self, entry: &Entry) {
        if entry.id <= self.cursor {
            return;
        }
        self.cursor = entry.id;
        for seen in &*entry.seen {
            match seen {
                Seen::Event(Event::Facts(facts)) => {
                    self.ready.extend(self.facts.show(facts.clone()));
                }
                Seen::Event(Event::Chunk { .. }) | Seen::Missed | Seen::Away => {
                    self.ready.push_back(seen.clone());
                }
            }
        }
    }
}
