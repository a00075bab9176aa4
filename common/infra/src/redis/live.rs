//! The live feed's way in: each run's events lie in a stream of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, pipe};
use flowmill_engine::fact;
use flowmill_engine::value::Name;

use crate::live::{Event, Live};
use crate::seal::Keys;

use super::form::{self, FIELD, MOST_BYTES};
use super::link::{Away, Link};
use super::queue::{Batch, Queue};
use super::{Redis, millis};

/// Entries that a stream keeps, about: who comes later reads the journal.
const ENTRIES: u32 = 1000;

/// How long the stream of a run is kept after its last event.
const QUIET: Duration = Duration::from_hours(1);

/// How long the stream of a run is kept after its end: long enough for whoever watches it and is slow.
/// Who comes later, or finds it gone, reads the journal. At thousands of ends a second each second
/// is some twenty megabytes.
const ENDED: Duration = Duration::from_secs(10);

/// Carries events to watchers in all processes. It never waits; what does not reach Redis in time
/// is lost to the watchers, who are told where that can be known.
#[derive(Clone, Debug)]
pub struct RedisLive(Arc<Open>);

/// Closes the queue with the last copy.
#[derive(Debug)]
struct Open(Arc<Queue>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Redis {
    /// The live feed's way in; secret variables are sealed with `keys`, and facts that hold some
    /// stay away when there is none. Must be called on a runtime.
    pub fn live(&self, keys: Keys) -> RedisLive {
        let queue = Arc::new(Queue::default());
        if self.0.is_absent() {
            queue.close();
        } else {
            tokio::spawn(carry(self.0.clone(), queue.clone(), keys));
        }
        RedisLive(Arc::new(Open(queue)))
    }
}

impl RedisLive {
    /// Events that found no place so far: Redis was away, or slower than what happened.
    pub fn dropped(&self) -> u64 {
        self.0.0.dropped()
    }
}

impl Live for RedisLive {
    async fn publish(&self, run: &Name, event: Event) {
        self.0.0.push(run.clone(), event);
    }
}

/// Sends what waits, in order, until nobody is left who could bring more.
async fn carry(link: Arc<Link>, queue: Arc<Queue>, keys: Keys) {
    let mut dropped = 0;
    while let Some(batch) = queue.take().await {
        let mut entries = entries(&link, &keys, batch);
        // again, perhaps: facts have numbers and text has offsets, so that twice does no harm
        while let Err(Away) = link.ask::<Value>(&mut entries).await {
            if queue.is_closed() {
                return;
            }
            tokio::time::sleep(link.patience()).await;
        }
        let lost = queue.dropped() - std::mem::replace(&mut dropped, queue.dropped());
        if lost > 0 {
            tracing::warn!(events = lost, "events were not shown in time, and are left out");
        }
    }
}

/// The events of a batch, each run's together.
fn entries(link: &Link, keys: &Keys, Batch { missed, events }: Batch) -> Pipeline {
    let mut runs: BTreeMap<Name, (Vec<Vec<u8>>, Duration)> = BTreeMap::new();
    for run in missed {
        runs.insert(run, (form::missed().into_iter().collect(), QUIET));
    }
    for (run, event) in events {
        let line = runs.entry(run.clone()).or_insert_with(|| (Vec::new(), QUIET));
        if is_end(&event) {
            line.1 = ENDED;
        }
        line.0.extend(form::event(keys, &run, event));
    }
    let mut all = pipe();
    for (run, (lines, lasts)) in runs {
        let key = link.key("live", &run);
        for entry in together(lines) {
            all.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(ENTRIES);
            all.arg("*").arg(FIELD).arg(entry);
        }
        all.cmd("PEXPIRE").arg(&key).arg(millis(lasts));
    }
    all
}

fn is_end(event: &Event) -> bool {
    let Event::Facts(facts) = event else { return false };
    facts.iter().any(|fact| matches!(fact.event, fact::Event::RunFinished(_)))
}

/// Lines as lists, none much larger than a line may be.
fn together(lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match entries.last_mut() {
            Some(entry) if entry.len() + line.len() < MOST_BYTES => entry.push(b','),
            Some(_) | None => entries.push(vec![b'[']),
        }
        if let Some(entry) = entries.last_mut() {
            entry.extend(line);
        }
    }
    for entry in &mut entries {
        entry.push(b']');
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_lists_of_bounded_size() {
        let line = |digit: char| digit.to_string().repeat(MOST_BYTES / 3).into_bytes();
        let entries = together(vec![line('1'), line('2'), line('3'), b"4".to_vec()]);
        let [first, second] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert_eq!(first.len(), 2 * (MOST_BYTES / 3) + 3);
        assert!(second.starts_with(b"[3") && second.ends_with(b"3,4]"));
        assert!(together(Vec::new()).is_empty());
    }
}
