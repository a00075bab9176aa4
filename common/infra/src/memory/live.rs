//! A live feed of channels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flowmill_engine::value::Name;
use tokio::sync::mpsc;

use crate::live::{Event, Live};

/// Events that a watcher may be behind before the run waits for it.
const EVENTS: usize = 1024;

/// Carries events to watchers in the same process.
#[derive(Clone, Debug, Default)]
pub struct MemoryLive {
    watchers: Arc<Mutex<HashMap<Name, mpsc::Sender<Event>>>>,
}

/// One run's events; dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    run: Name,
    live: MemoryLive,
    events: mpsc::Receiver<Event>,
}

impl MemoryLive {
    /// Watches a run, best before it begins. A second watcher takes the first one's place.
    pub fn watch(&self, run: Name) -> Watcher {
        let (sender, events) = mpsc::channel(EVENTS);
        self.lock().insert(run.clone(), sender);
        Watcher { run, live: self.clone(), events }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Name, mpsc::Sender<Event>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live for MemoryLive {
    async fn publish(&self, run: &Name, event: Event) {
        let watcher = self.lock().get(run).cloned();
        if let Some(watcher) = watcher {
            // a watcher that went away misses nothing
            let _ = watcher.send(event).await;
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
        let mut watchers = self.live.lock();
        // another watcher may have taken its place
        if watchers.get(&self.run).is_some_and(mpsc::Sender::is_closed) {
            watchers.remove(&self.run);
        }
    }
}
