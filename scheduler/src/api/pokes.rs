//! Tells the owners of shards that there is something to look at. Nobody waits for it: an owner
//! that is not told looks by itself, a few seconds later.

use std::collections::BTreeMap;
use std::future::Future;

use flowmill_engine::value::Name;
use flowmill_infra::broker::{Closed, CompletionPublisher};
use flowmill_infra::message::{Delivery, Shard};
use futures::future::try_join_all;
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
        let poked = by_shard.into_iter().map(|(shard, run)| {
            let poke = publisher.answer(shard, Delivery::Poke { run });
            async move { poke.await.map_err(|closed| (shard, closed)) }
        });
        // none waits until the broker has the one before
        if let Err((shard, Closed)) = try_join_all(poked).await {
            tracing::debug!(%shard, "the broker is closed; owners look by themselves");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use flowmill_infra::message::Beat;
    use tokio::sync::Barrier;

    use super::*;

    /// A broker that has nothing before it is given two.
    #[derive(Clone, Debug)]
    struct Two(Arc<Barrier>);

    impl CompletionPublisher for Two {
        async fn answer(&self, _: Shard, _: Delivery) -> Result<(), Closed> {
            self.0.wait().await;
            Ok(())
        }

        async fn beat(&self, _: Beat) -> Result<(), Closed> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_owner_waits_until_another_is_told() {
        let (pokes, telling) = pokes(Two(Arc::new(Barrier::new(2))), 2);
        let mut runs = (0..).map(|number| Name::from(format!("run-{number}").as_str()));
        let first = runs.next().unwrap();
        let other = runs.find(|run| pokes.shard(run) != pokes.shard(&first)).unwrap();
        pokes.poke(&first);
        pokes.poke(&other);
        drop(pokes);
        tokio::time::timeout(Duration::from_secs(1), telling).await.expect("both are told");
    }
}
