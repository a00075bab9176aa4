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
    /// A piece of text that a node produces while it runs.
    Chunk {
        /// Where the node lies.
        frame: FramePath,
        /// The node.
        node: Name,
        /// The output it belongs to.
        output: Name,
        /// The text.
        text: Name,
        /// Whether the stream ends with it.
        is_final: bool,
    },
}

/// Carries what happens in runs to those who watch them.
pub trait Live: Clone + Send + Sync + 'static {
    /// Shows something to a run's watchers. Without one it does nothing; it waits for a watcher
    /// that is slow.
    fn publish(&self, run: &Name, event: Event) -> impl Future<Output = ()> + Send;
}
