//! One reader for all subscriptions of a process: it waits for new entries of every run that is
//! watched, and hands them on. Without a subscription it does nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{RedisResult, cmd};
use flowmill_engine::value::Name;
use tokio::sync::{Notify, broadcast};

use crate::live::Seen;
use crate::seal::Keys;

use super::form::{self, FIELD};
use super::link::Link;

/// How long the server holds a read that finds nothing.
const BLOCK: Duration = Duration::from_secs(2);

/// How much later than that its answer may come.
const GRACE: Duration = Duration::from_secs(1);

/// Entries of one stream in one answer.
pub(super) const PAGE: usize = 64;

/// Entries that a subscription may be behind before it has to fetch them itself.
const KEPT: usize = 256;

/// The wait after an answer, for each stream: the server looks at all of them for each read, so
/// that those of many streams are better few and large.
const PACE: Duration = Duration::from_micros(10);

/// The place of an entry in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64, u64);

impl Id {
    fn parse(text: &str) -> Option<Self> {
        let (time, index) = text.split_once('-')?;
        Some(Self(time.parse().ok()?, index.parse().ok()?))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What one entry shows.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) seen: Arc<[Seen]>,
}

/// An answer to `XREAD`: streams, each with its entries.
pub(super) type Read = Option<Vec<(String, Vec<(String, HashMap<String, Vec<u8>>)>)>>;

/// What is watched.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) link: Arc<Link>,
    pub(super) keys: Keys,
    /// A stream of this process alone. An entry of it ends a read that was begun too early.
    pub(super) wake: String,
    runs: Mutex<BTreeMap<Name, Watched>>,
    joined: Notify,
}

#[derive(Debug)]
struct Watched {
    key: String,
    /// What comes after it has not been handed on.
    cursor: Id,
    entries: broadcast::Sender<Entry>,
}

impl Hub {
    pub(super) fn new(link: Arc<Link>, keys: Keys, wake: String) -> Self {
        Self { link, keys, wake, runs: Mutex::default(), joined: Notify::new() }
    }

    /// What comes after `cursor` in a run's stream, or after a later place where others watch it
    /// already. The reader may be waiting without it: it has to be woken.
    pub(super) fn join(&self, run: &Name, cursor: Id) -> broadcast::Receiver<Entry> {
        let mut runs = self.lock();
        let watched = runs.entry(run.clone()).or_insert_with(|| Watched {
            key: self.link.key("live", run),
            cursor,
            entries: broadcast::channel(KEPT).0,
        });
        let entries = watched.entries.subscribe();
        drop(runs);
        self.joined.notify_one();
        entries
    }

    /// The entries of one stream in an answer.
    pub(super) fn entries(
        &self,
        run: &str,
        found: Vec<(String, HashMap<String, Vec<u8>>)>,
    ) -> Vec<Entry> {
        let entry = |(id, fields): (String, HashMap<String, Vec<u8>>)| {
            let entry = fields.get(FIELD).map(Vec::as_slice);
            let seen = form::read_entry(&self.keys, run, entry).into();
            Some(Entry { id: Id::parse(&id)?, seen })
        };
        found.into_iter().filter_map(entry).collect()
    }

    /// The runs that are still watched, with their streams and cursors.
    fn watched(&self) -> Vec<(Name, String, Id)> {
        let mut runs = self.lock();
        runs.retain(|_, watched| watched.entries.receiver_count() > 0);
        let asked =
            |(run, watched): (&Name, &Watched)| (run.clone(), watched.key.clone(), watched.cursor);
        runs.iter().map(asked).collect()
    }

    fn hand_on(&self, run: &Name, entries: Vec<Entry>) {
        let mut runs = self.lock();
        let Some(watched) = runs.get_mut(run) else { return };
        for entry in entries {
            watched.cursor = watched.cursor.max(entry.id);
            // the last subscription may just have ended
            let _ = watched.entries.send(entry);
        }
    }

    /// Nobody is shown anything any more: subscriptions notice, and come back.
    fn lose(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Watched>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads for as long as it is let.
pub(super) async fn read(hub: Arc<Hub>) {
    let mut connection = None;
    let mut woken = Id::default();
    loop {
        let watched = hub.watched();
        if watched.is_empty() {
            connection = None;
            hub.joined.notified().await;
            continue;
        }
        let answer = ask(&hub, &mut connection, &watched, woken);
        match tokio::time::timeout(BLOCK + GRACE, answer).await {
            Ok(Ok(answer)) => {
                let pace = PACE * u32::try_from(watched.len()).unwrap_or(u32::MAX);
                show(&hub, &watched, answer, &mut woken);
                tokio::time::sleep(pace).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the live feed cannot be read");
                (connection, woken) = (None, Id::default());
                hub.lose();
            }
            Err(_) => {
                tracing::debug!("the live feed does not answer");
                (connection, woken) = (None, Id::default());
                hub.lose();
            }
        }
    }
}

async fn ask(
    hub: &Hub,
    connection: &mut Option<MultiplexedConnection>,
    watched: &[(Name, String, Id)],
    woken: Id,
) -> RedisResult<Read> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(hub.link.connect().await?),
    };
    let mut question = cmd("XREAD");
    question.arg("COUNT").arg(PAGE).arg("BLOCK").arg(super::millis(BLOCK)).arg("STREAMS");
    question.arg(&hub.wake);
    for (_, key, _) in watched {
        question.arg(key);
    }
    question.arg(woken.to_string());
    for (_, _, cursor) in watched {
        question.arg(cursor.to_string());
    }
    question.query_async(connection).await
}

fn show(hub: &Hub, watched: &[(Name, String, Id)], answer: Read, woken: &mut Id) {
    let runs: BTreeMap<&str, &Name> =
        watched.iter().map(|(run, key, _)| (key.as_str(), run)).collect();
    for (key, found) in answer.into_iter().flatten() {
        if key == hub.wake {
            let last = found.last().and_then(|(id, _)| Id::parse(id));
            *woken = last.unwrap_or(*woken);
        } else if let Some(run) = runs.get(key.as_str()) {
            hub.hand_on(run, hub.entries(run, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_as_numbers() {
        let id = |text| Id::parse(text).unwrap();
        assert!(id("9-10") < id("10-2") && id("10-2") < id("10-10"));
        assert_eq!(id("12-3").to_string(), "12-3");
        assert_eq!(["", "1", "a-1", "1-"].map(Id::parse), [None; 4]);
    }
}
