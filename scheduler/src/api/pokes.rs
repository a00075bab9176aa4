//! Tells the owners of shards that there is something to look at. Nobody waits for it: an owner
//! that is not told looks by itself, a few seconds later.

use std::collections::BTreeMap;
use std::future::Future;

use flowmill_engine::value::Name;
use flowmill_infra::broker::CompletionPublisher;
use flowmill_infra::message::{Delivery, Shard};
use tokio::sync::mpsc;

/// Runs whose owners are to be told. While the broker is away more come than this; those are
/// found by their owners.
const WAITING: usize = 1024;

/// The way to the owners; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pokes {
    runs: mpsc::Sender<Name>,
    shards: u16,
}

impl Pokes {
    /// The owner of a run should look at it.
    pub(super) fn poke(&self, run: &Name) {
        // full: its owner looks by itself
        let _ = self.runs.try_send(run.clone());
    }

    /// The shard of a run.
    pub(super) fn shard(&self, run: &str) -> Shard {
        Shard::of(run, self.shards)
    }
}

/// The way to the owners, and what goes it until all its ends are gone.
pub(super) fn pokes<P: CompletionPublisher>(
    publisher: P,
    shards: u16,
) -> (Pokes, impl Future<Output = ()> + Send) {
    let (runs, waiting) = mpsc::channel(WAITING);
    (Pokes { runs, shards }, tell(publisher, waiting, shards))
}

async fn tell<P: CompletionPublisher>(
    publisher: P,
    mut waiting: mpsc::Receiver<Name>,
    shards: u16,
) {
    let mut runs = Vec::new();
    while waiting.recv_many(&mut runs, WAITING).await > 0 {
        // an owner looks at all that is new in a shard, whichever run it hears of
        let by_shard: BTreeMap<Shard, Name> =
            runs.drain(..).map(|run| (Shard::of(&run, shards), run)).collect();
        for (shard, run) in by_shard {
            if publisher.answer(shard, Delivery::Poke { run }).await.is_err() {
                tracing::debug!(%shard, "the broker is closed; owners look by themselves");
                return;
            }
        }
    }
}
