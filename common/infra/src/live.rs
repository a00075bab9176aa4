//! The live feed as a port: facts as they become true, for whoever watches.

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
        /// The output it belongs to.
        output: Name,
        /// The text.
        text: Name,
        /// Whether the attempt's stream of this output ends with it; its text is empty then.
        is_final: bool,
    },
}

/// Carries what happens in runs to those who watch them.
pub trait Live: Clone + Send + Sync + 'static {
    /// Shows something to a run's watchers. Without one it does nothing; it waits for a watcher
    /// that is slow, so whoever watches must take what comes or go away.
    fn publish(&self, run: &Name, event: Event) -> impl Future<Output = ()> + Send;
}
