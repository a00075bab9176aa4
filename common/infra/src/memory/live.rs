//! A live feed of channels.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use flowmill_engine::value::Name;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use crate::live::{Event, Facts, Live, Seen, Subscribe, Subscription};

/// Events that a watcher may be behind before the run waits for it.
const EVENTS: usize = 1024;

/// Events that a subscription may be behind before it misses some.
const KEPT: usize = 1024;

/// Carries events to watchers in the same process.
///
/// A run has at most one [`Watcher`], which misses nothing: the run waits for it. It has any number
/// of subscriptions, and waits for none.
#[derive(Clone, Debug, Default)]
pub struct MemoryLive {
    watchers: Arc<Mutex<HashMap<Name, mpsc::Sender<Event>>>>,
    subscribed: Arc<Mutex<HashMap<Name, broadcast::Sender<Event>>>>,
}

/// One run's events; dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    run: Name,
    live: MemoryLive,
    events: mpsc::Receiver<Event>,
}

/// One of those who watch a run.
#[derive(Debug)]
pub struct MemorySubscription {
    run: Name,
    live: MemoryLive,
    /// None when it is being dropped.
    events: Option<broadcast::Receiver<Event>>,
    facts: Facts,
    ready: VecDeque<Seen>,
}

impl MemoryLive {
    /// Watches a run, best before it begins. A second watcher takes the first one's place.
    pub fn watch(&self, run: Name) -> Watcher {
        let (sender, events) = mpsc::channel(EVENTS);
        lock(&self.watchers).insert(run.clone(), sender);
        Watcher { run, live: self.clone(), events }
    }
}

fn lock<T>(watched: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live for MemoryLive {
    async fn publish(&self, run: &Name, event: Event) {
        if let Some(subscribed) = lock(&self.subscribed).get(run) {
            // the last one may just have gone away
            let _ = subscribed.send(event.clone());
        }
        let watcher = lock(&self.watchers).get(run).cloned();
        if let Some(watcher) = watcher {
            // a watcher that went away misses nothing
            let _ = watcher.send(event).await;
        }
    }
}

impl Subscribe for MemoryLive {
    type Subscription = MemorySubscription;

    fn subscribe(&self, run: &Name, after: u64) -> MemorySubscription {
        let mut subscribed = lock(&self.subscribed);
        let sender = subscribed.entry(run.clone()).or_insert_with(|| broadcast::channel(KEPT).0);
        MemorySubscription {
            run: run.clone(),
            live: self.clone(),
            events: Some(sender.subscribe()),
            facts: Facts::after(after),
            ready: VecDeque::new(),
        }
    }
}

impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Seen {
        loop {
            // what came before it is not kept here
            if self.facts.take_doubt() {
                return Seen::Missed;
            }
            if let Some(seen) = self.ready.pop_front() {
                return seen;
            }
            let Some(events) = &mut self.events else { return std::future::pending().await };
            match events.recv().await {
                Ok(Event::Facts(facts)) => self.ready.extend(self.facts.show(facts)),
                Ok(chunk @ Event::Chunk { .. }) => return Seen::Event(chunk),
                Err(RecvError::Lagged(_)) => self.facts.doubt(),
                // it holds the feed itself: nothing closes before it ends
                Err(RecvError::Closed) => self.events = None,
            }
        }
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.events = None;
        let mut subscribed = lock(&self.live.subscribed);
        if subscribed.get(&self.run).is_some_and(|sender| sender.receiver_count() == 0) {
            subscribed.remove(&self.run);
        }
    }
}

impl Watcher {
    /// The next event. None once another watcher has taken its place.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.events.close();
        let mut watchers = lock(&self.live.watchers);
        // another watcher may have taken its place
        if watchers.get(&self.run).is_some_and(mpsc::Sender::is_closed) {
            watchers.remove(&self.run);
        }
    }
}
