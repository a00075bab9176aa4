//! What every adapter of a port must do, as functions over the port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

pub(crate) mod announcements;
pub(crate) mod audit;
pub(crate) mod batches;
pub(crate) mod broker;
mod certificates;
pub(crate) mod channels;
pub(crate) mod checkpoints;
pub(crate) mod children;
pub(crate) mod claims;
pub(crate) mod clock;
pub(crate) mod contents;
pub(crate) mod conversations;
mod divided;
#[cfg(feature = "sqlite")]
mod folder;
pub(crate) mod intake;
pub(crate) mod letters;
pub(crate) mod limits;
pub(crate) mod live;
pub(crate) mod notes;
pub(crate) mod payloads;
mod postgres;
mod proxy;
#[cfg(feature = "sqlite")]
mod reseal;
pub(crate) mod retention;
mod rights;
mod secrets;
pub(crate) mod server;
pub(crate) mod shards;
#[cfg(feature = "sqlite")]
pub(crate) mod shared_folder;
pub(crate) mod shares;
mod stash;
pub(crate) mod store;
pub(crate) mod tenants;
mod tls;
mod versions;
pub(crate) mod watched;
pub(crate) mod webhooks;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use flowmill_engine::fact::{Event, Fact, FramePath, NodeSucceeded};
use flowmill_engine::plan::Success;
use flowmill_engine::time::Time;
use flowmill_engine::value::Value;

/// Facts `first..=last` of a run; they say that its root node succeeded with their number.
pub(crate) fn facts(first: u64, last: u64) -> Vec<Fact> {
    let fact = |seq| Fact {
        seq,
        at: Time(seq),
        event: Event::NodeSucceeded(NodeSucceeded {
            frame: FramePath::default(),
            node: "start".into(),
            generation: 1,
            attempt: 1,
            success: Success::of([("seq".into(), Value::int(i64::try_from(seq).unwrap()))]),
            started_at: Time(seq),
            elapsed_us: 0,
        }),
    };
    (first..=last).map(fact).collect()
}

/// What a future gives, if it gives it without anything else happening.
pub(crate) async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(100), future).await.ok()
}

/// Begins a future and drops it when it has to wait.
pub(crate) async fn begin_and_drop<T: std::fmt::Debug>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    let polled = futures_poll(future.as_mut()).await;
    assert!(polled.is_none(), "it had nothing to wait for: {polled:?}");
}

async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
