//! Text on its way from a node to those who watch its run.

use std::sync::{Arc, Mutex, PoisonError};

use flowmill_engine::value::Name;
use flowmill_infra::live::{Event, Live};
use flowmill_infra::message::Task;
use flowmill_nodes::context::{Chunk, ChunkSink};
use tokio::sync::mpsc;

/// Pieces that a node may be ahead of its watcher. A node that is further ahead loses the rest:
/// what was shown stays the beginning of the text, and all of it is in the node's outputs.
const AHEAD: usize = 1024;

/// The node's end of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Feed(Arc<Mutex<Option<mpsc::Sender<Chunk>>>>);

/// The watcher's end.
#[derive(Debug)]
pub(crate) struct Pieces(mpsc::Receiver<Chunk>);

/// Both ends of one attempt.
pub(crate) fn feed() -> (Feed, Pieces) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (Feed(Arc::new(Mutex::new(Some(sender)))), Pieces(receiver))
}

impl Feed {
    /// Where the node puts its text. It never waits.
    pub(crate) fn sink(&self) -> ChunkSink {
        let feed = self.clone();
        ChunkSink::new(move |chunk| feed.put(chunk))
    }

    fn put(&self, chunk: Chunk) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|sender| sender.try_send(chunk).is_err()) {
            *open = None;
        }
    }

    /// The attempt has ended: nothing more is taken, whoever still holds the sink.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Pieces {
    /// Shows all pieces in order, until the feed is closed.
    pub(crate) async fn show<L: Live>(mut self, live: &L, task: &Task) {
        // a node has few outputs with text; each with the bytes of it that were shown
        let mut outputs: Vec<(Name, u64)> = Vec::new();
        while let Some(Chunk { name, text }) = self.0.recv().await {
            let known = outputs.iter().position(|(output, _)| *output == name);
            let known = known.unwrap_or_else(|| {
                outputs.push((name.clone(), 0));
                outputs.len() - 1
            });
            let shown = &mut outputs[known].1;
            let offset = *shown;
            *shown += text.len() as u64;
            live.publish(&task.run, piece(task, name, offset, Some(text))).await;
        }
        for (name, shown) in outputs {
            live.publish(&task.run, piece(task, name, shown, None)).await;
        }
    }
}

/// One piece, or the end of an output.
fn piece(task: &Task, output: Name, offset: u64, text: Option<Name>) -> Event {
    Event::Chunk {
        frame: task.task.frame.clone(),
        node: task.task.node.clone(),
        generation: task.task.generation,
        attempt: task.attempt,
        output,
        offset,
        is_final: text.is_none(),
        text: text.unwrap_or_default(),
    }
}
