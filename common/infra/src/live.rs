//! The live feed as ports: facts as they become true, and text as it is written, for whoever
//! watches.
//!
//! A feed may lose things, its watchers learn of it: all facts lie in the store's journal, all text
//! in a node's outputs. So nothing waits for a feed, and a run does not notice when it is away.

use std::future::Future;
use std::sync::Arc;

use flowmill_engine::fact::{Fact, FramePath};
use flowmill_engine::value::Name;

/// Something to watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// Facts that were committed.
    Facts(Arc<[Fact]>),
    /// A piece of text that a node produces while it runs. They come in order, before the fact
    /// that ends their attempt; another attempt begins anew. A node that is far ahead of its
    /// watcher loses the rest of its pieces: the whole text is in its outputs.
    Chunk {
        /// Where the node lies.
        frame: FramePath,
        /// The node.
        node: Name,
        /// Which activation of the node.
        generation: u32,
        /// The attempt whose text it is.
        attempt: u32,
        /// The output it belongs to.
        output: Name,
        /// Bytes of the attempt's text of this output before it.
        offset: u64,
        /// The text.
        text: Name,
        /// Whether the attempt's stream of this output ends with it; its text is empty then.
        is_final: bool,
    },
}

/// Carries what happens in runs to those who watch them.
pub trait Live: Clone + Send + Sync + 'static {
    /// Shows something to a run's watchers. Without one it does nothing.
    fn publish(&self, run: &Name, event: Event) -> impl Future<Output = ()> + Send;
}

/// Where runs are watched, each by as many as like.
pub trait Subscribe: Clone + Send + Sync + 'static {
    /// One watch of one run.
    type Subscription: Subscription;

    /// Watches a run from the fact after number `after`; 0 is before its first.
    fn subscribe(&self, run: &Name, after: u64) -> Self::Subscription;
}

/// One watch of one run; dropping it ends the watch.
pub trait Subscription: Send + 'static {
    /// What comes next. Nothing is lost when a call is dropped before it is done.
    ///
    /// Facts come in order and once. Pieces of text may come again, and some may be missing: their
    /// offsets tell, and so does the fact that ends their attempt.
    fn next(&mut self) -> impl Future<Output = Seen> + Send;
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Something happened.
    Event(Event),
    /// Facts may lie in the journal that the feed did not show, and will not: read it now.
    Missed,
    /// The feed is away: whatever happens can only be read in the journal, until something else is
    /// seen.
    Away,
}

/// Which facts a watcher has seen: none is shown to it twice, and none is missing unnoticed.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The number of the next one.
    next: u64,
    /// Whether there may be facts that were not shown.
    is_unsure: bool,
}

impl Facts {
    /// For a watcher who knows the facts up to a number, and not whether there are more.
    pub(crate) fn after(seq: u64) -> Self {
        Self { next: seq.saturating_add(1), is_unsure: true }
    }

    /// Something may have been lost.
    pub(crate) fn doubt(&mut self) {
        self.is_unsure = true;
    }

    /// Whether something may be missing in spite of all that was shown; it is said once.
    pub(crate) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_unsure)
    }

    /// Facts that came, in order: what of them is shown.
    pub(crate) fn show(&mut self, facts: Arc<[Fact]>) -> impl Iterator<Item = Seen> + use<> {
        let (Some(first), Some(last)) = (facts.first(), facts.last()) else {
            return None.into_iter().chain(None);
        };
        let (first, last) = (first.seq, last.seq);
        let follows = first <= self.next && self.next <= last.saturating_add(1);
        let is_gap = first > self.next;
        if follows || is_gap {
            // all before them was shown, or is said to be missing
            self.is_unsure = false;
        }
        let known = facts.iter().take_while(|fact| fact.seq < self.next).count();
        self.next = self.next.max(last.saturating_add(1));
        let new = match known {
            0 => Some(facts),
            _ if known == facts.len() => None,
            _ => facts.get(known..).map(Arc::from),
        };
        let missed = is_gap.then_some(Seen::Missed);
        missed.into_iter().chain(new.map(|facts| Seen::Event(Event::Facts(facts))))
    }
}
