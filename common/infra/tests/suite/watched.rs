//! A watcher in the same process: it sees everything in order, and the run waits for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flowmill_engine::fact::FramePath;
use flowmill_engine::value::Name;
use flowmill_infra::live::{Event, Live};

use super::{at_once, facts};

/// How the adapter is watched.
pub(crate) trait Watching: Live {
    type Watcher: Send + 'static;

    fn watch(&self, run: Name) -> Self::Watcher;

    fn next(watcher: &mut Self::Watcher) -> impl Future<Output = Option<Event>> + Send;
}

/// Runs under tokio's paused clock.
pub(crate) async fn all<L: Watching>(make: impl Fn() -> L) {
    events_come_in_order(make()).await;
    runs_do_not_mix(make()).await;
    a_slow_watcher_is_waited_for(make()).await;
    nobody_has_to_watch(make()).await;
    a_watcher_may_go_away(make()).await;
    a_watcher_that_was_replaced_leaves_the_other_alone(make()).await;
}

fn fact(seq: u64) -> Event {
    Event::Facts(facts(seq, seq).into())
}

fn chunk(text: &str) -> Event {
    Event::Chunk {
        frame: FramePath::default(),
        node: "llm".into(),
        generation: 1,
        attempt: 1,
        offset: 0,
        output: "text".into(),
        text: text.into(),
        is_final: false,
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Facts(facts) => facts.iter().map(|fact| fact.seq.to_string()).collect(),
        Event::Chunk { text, .. } => text.to_string(),
    }
}

async fn next<L: Watching>(watcher: &mut L::Watcher) -> Option<String> {
    at_once(L::next(watcher)).await.map(|event| shown(&event.unwrap()))
}

async fn events_come_in_order<L: Watching>(live: L) {
    let run = Name::from("r");
    let mut watcher = live.watch(run.clone());
    for event in [fact(1), chunk("a"), chunk("b"), fact(2)] {
        live.publish(&run, event).await;
    }
    for wanted in ["1", "a", "b", "2"] {
        assert_eq!(next::<L>(&mut watcher).await.as_deref(), Some(wanted));
    }
    assert_eq!(next::<L>(&mut watcher).await, None);
}

async fn runs_do_not_mix<L: Watching>(live: L) {
    let (one, two) = (Name::from("one"), Name::from("two"));
    let (mut first, mut second) = (live.watch(one.clone()), live.watch(two.clone()));
    live.publish(&one, chunk("1")).await;
    live.publish(&two, chunk("2")).await;
    assert_eq!(next::<L>(&mut second).await.as_deref(), Some("2"));
    assert_eq!(next::<L>(&mut first).await.as_deref(), Some("1"));
    assert_eq!(next::<L>(&mut first).await, None);
    assert_eq!(next::<L>(&mut second).await, None);
}

async fn a_slow_watcher_is_waited_for<L: Watching>(live: L) {
    const EVENTS: u64 = 100_000;
    let run = Name::from("r");
    let mut watcher = live.watch(run.clone());
    let sent = Arc::new(AtomicU64::new(0));
    let publisher = tokio::spawn({
        let sent = sent.clone();
        async move {
            for number in 0..EVENTS {
                live.publish(&run, chunk(&number.to_string())).await;
                sent.store(number + 1, Ordering::SeqCst);
            }
        }
    });
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    let ahead = sent.load(Ordering::SeqCst);
    assert!(ahead > 0 && ahead < EVENTS, "{ahead} events were kept for nobody");
    for number in 0..EVENTS {
        let seen = L::next(&mut watcher).await.map(|event| shown(&event));
        assert_eq!(seen, Some(number.to_string()));
    }
    publisher.await.unwrap();
}

async fn nobody_has_to_watch<L: Watching>(live: L) {
    for _ in 0..10_000 {
        live.publish(&"r".into(), chunk("unseen")).await;
    }
}

async fn a_watcher_may_go_away<L: Watching>(live: L) {
    let run = Name::from("r");
    let watcher = live.watch(run.clone());
    let publisher = tokio::spawn({
        let (live, run) = (live.clone(), run.clone());
        async move {
            for _ in 0..100_000 {
                live.publish(&run, chunk("unseen")).await;
            }
        }
    });
    // also while it is waited for
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(watcher);
    publisher.await.unwrap();
    let mut watcher = live.watch(run.clone());
    live.publish(&run, chunk("seen")).await;
    assert_eq!(next::<L>(&mut watcher).await.as_deref(), Some("seen"));
}

async fn a_watcher_that_was_replaced_leaves_the_other_alone<L: Watching>(live: L) {
    let run = Name::from("r");
    let first = live.watch(run.clone());
    let mut second = live.watch(run.clone());
    drop(first);
    live.publish(&run, chunk("seen")).await;
    assert_eq!(next::<L>(&mut second).await.as_deref(), Some("seen"));
}
