//! The store for workers: of two outcomes the first wins, and deliveries are counted.

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{FramePath, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Extent, Scope};

pub(crate) async fn all<S: Checkpoints>(make: impl AsyncFn() -> S) {
    the_first_outcome_wins(make().await).await;
    of_one_call_the_first_wins(make().await).await;
    attempts_do_not_mix(make().await).await;
    deliveries_are_counted(make().await).await;
    of_many_writers_one_wins(make().await).await;
    a_pass_has_what_lies_in_it(make().await).await;
}

async fn a_pass_has_what_lies_in_it<S: Checkpoints>(store: S) {
    let at = |frame: &str| {
        let task = TaskId { frame: frame.into(), ..key("a", 1).task };
        CheckpointKey { task, ..key("a", 1) }
    };
    let frames = ["it[3]", "it[3]/\"in\\[0]", "it[3]/b[1]/c[2]", "it[4]"];
    let others = ["", "it[30]", "it[5]", "x/it[3]", "it", "it[3]x[0]"];
    let all: Vec<_> = frames.iter().chain(&others).map(|at_| checkpoint(&at(at_), at_)).collect();
    assert!(store.save(&all).await.unwrap().is_empty());
    let CheckpointKey { tenant, run, .. } = key("a", 1);
    let extent = Extent::Frames(vec!["it[3]".into(), "it[4]".into(), "it[6]".into()]);
    let found = store.find(&Scope { tenant, run, extent }).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|found| found.task.frame.to_string()).collect();
    found.sort();
    let mut wanted = frames.map(str::to_owned);
    wanted.sort();
    assert_eq!(found, wanted);
    // in the run itself lies everything
    let CheckpointKey { tenant, run, .. } = key("a", 1);
    let whole = Scope { tenant, run, extent: Extent::Frames(vec![FramePath::default()]) };
    assert_eq!(store.find(&whole).await.unwrap().len(), frames.len() + others.len());
}

pub(crate) fn key(node: &str, attempt: u32) -> CheckpointKey {
    let task = TaskId { frame: "it[3]".into(), node: node.into(), generation: 1 };
    CheckpointKey { tenant: "default".into(), run: "r".into(), task, attempt }
}

pub(crate) fn checkpoint(key: &CheckpointKey, text: &str) -> Checkpoint {
    let outcome = match text.strip_prefix("failed ") {
        Some(why) => Err(NodeError::new("Odd", why)),
        None => Ok(Success::of([("text".into(), text.into())])),
    };
    let (task, attempt) = (key.task.clone(), key.attempt);
    let outcome = Outcome { task, attempt, outcome, started_at: Time(5), elapsed_us: 6 };
    Checkpoint { key: key.clone(), outcome }
}

/// Whose they are and what they say.
fn shown(checkpoints: &[Checkpoint]) -> Vec<(String, String)> {
    let one = |Checkpoint { key, outcome }: &Checkpoint| {
        assert_eq!(key.task, outcome.task);
        let place = format!("{} {} {}", key.run, key.task.node, key.attempt);
        (place, said(outcome))
    };
    checkpoints.iter().map(one).collect()
}

/// All outcomes that were kept of a node, by attempt.
async fn kept<S: Checkpoints>(store: &S, key: &CheckpointKey) -> Vec<(u32, String)> {
    let (tenant, run) = (key.tenant.clone(), key.run.clone());
    let extent = Extent::Nodes(vec![key.task.clone()]);
    let found = store.find(&Scope { tenant, run, extent }).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|found| (found.attempt, said(found))).collect();
    found.sort();
    let one = store.outcome(key).await.unwrap().map(|outcome| (key.attempt, said(&outcome)));
    assert_eq!(one.as_ref(), found.iter().find(|(attempt, _)| *attempt == key.attempt));
    found
}

pub(crate) fn said(outcome: &Outcome) -> String {
    assert_eq!((outcome.started_at, outcome.elapsed_us), (Time(5), 6));
    match &outcome.outcome {
        Ok(success) => success.outputs[0].1.value().to_python(),
        Err(error) => format!("failed {}", error.message),
    }
}

fn one(place: &str, said: &str) -> Vec<(String, String)> {
    vec![(place.to_owned(), said.to_owned())]
}

async fn the_first_outcome_wins<S: Checkpoints>(store: S) {
    let (a, b) = (key("a", 1), key("b\0", 1));
    assert!(store.save(&[]).await.unwrap().is_empty());
    let saved = store.save(&[checkpoint(&a, "first\0"), checkpoint(&b, "failed x")]).await;
    assert!(saved.unwrap().is_empty());
    let c = key("c", 1);
    let lost = store.save(&[checkpoint(&c, "new"), checkpoint(&a, "second")]).await.unwrap();
    assert_eq!(shown(&lost), one("r a 1", "first\0"));
    let lost = store.save(&[checkpoint(&b, "second")]).await.unwrap();
    assert_eq!(shown(&lost), one("r b\0 1", "failed x"));
}

async fn of_one_call_the_first_wins<S: Checkpoints>(store: S) {
    let a = key("a", 1);
    let lost = store.save(&[checkpoint(&a, "first"), checkpoint(&a, "second")]).await.unwrap();
    assert_eq!(shown(&lost), one("r a 1", "first"));
    assert_eq!(kept(&store, &a).await, [(1, "first".to_owned())]);
}

async fn attempts_do_not_mix<S: Checkpoints>(store: S) {
    let first = key("a", 1);
    let others = [
        key("a", 2),
        key("b", 1),
        CheckpointKey { tenant: "other".into(), ..first.clone() },
        CheckpointKey { run: "s".into(), ..first.clone() },
        CheckpointKey { task: TaskId { generation: 2, ..first.task.clone() }, ..first.clone() },
        CheckpointKey { task: TaskId { frame: "".into(), ..first.task.clone() }, ..first.clone() },
    ];
    assert!(store.save(&[checkpoint(&first, "first")]).await.unwrap().is_empty());
    for (number, other) in others.iter().enumerate() {
        assert_eq!(store.seen_again(other).await.unwrap(), 1, "{other:?}");
        let saved = store.save(&[checkpoint(other, &number.to_string())]).await.unwrap();
        assert!(saved.is_empty(), "{other:?}");
    }
    let both = [(1, "first".to_owned()), (2, "0".to_owned())];
    assert_eq!(kept(&store, &first).await, both);
}

async fn deliveries_are_counted<S: Checkpoints>(store: S) {
    let a = key("a", 1);
    assert_eq!(store.seen_again(&a).await.unwrap(), 1);
    assert!(kept(&store, &a).await.is_empty());
    assert!(store.save(&[checkpoint(&a, "done")]).await.unwrap().is_empty());
    assert_eq!(store.seen_again(&a).await.unwrap(), 2);
    assert_eq!(kept(&store, &a).await, [(1, "done".to_owned())]);
    assert_eq!(store.seen_again(&key("a", 2)).await.unwrap(), 1);

    let store = Arc::new(store);
    let again = |_| {
        let (store, a) = (store.clone(), a.clone());
        tokio::spawn(async move { store.seen_again(&a).await.unwrap() })
    };
    let together: Vec<_> = (0..4).map(again).collect();
    let mut counts = Vec::new();
    for one in together {
        counts.push(one.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, [3, 4, 5, 6]);
    assert_eq!(kept(&*store, &a).await, [(1, "done".to_owned())]);
}

async fn of_many_writers_one_wins<S: Checkpoints>(store: S) {
    let store = Arc::new(store);
    let save = |writer: usize| {
        let store = store.clone();
        let mut own: Vec<Checkpoint> = (0..20)
            .map(|node| checkpoint(&key(&format!("n{node}"), 1), &writer.to_string()))
            .collect();
        if writer % 2 == 1 {
            own.reverse();
        }
        tokio::spawn(async move { shown(&store.save(&own).await.unwrap()) })
    };
    let writers: Vec<_> = (0..4).map(save).collect();
    let mut lost = Vec::new();
    for writer in writers {
        lost.push(writer.await.unwrap());
    }
    assert_eq!(lost.iter().map(Vec::len).sum::<usize>(), 3 * 20, "one wins each");
    for (writer, lost) in lost.iter().enumerate() {
        for (place, winner) in lost {
            assert_ne!(*winner, writer.to_string(), "{place}");
        }
    }
}
