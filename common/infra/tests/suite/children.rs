//! Runs that nodes of other runs wait for: the end of one is told to the other in the transaction that
//! holds it, so that nobody waits for ever and nothing goes on that nobody waits for.

use flowmill_engine::fact::{Parent, Status, TaskId};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::intake::{Filter, Intake, Submission};
use flowmill_infra::message::Shard;
use flowmill_infra::shards::{Shards, Signal, Wish};
use flowmill_infra::store::{Commit, Store};

use super::shards::{begin, of, stop, submission};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Shards + Intake>(make: impl AsyncFn() -> S) {
    a_parent_is_told_of_the_end(make().await).await;
    children_are_told_to_stop(make().await).await;
    a_parent_that_has_ended_gets_no_children(make().await).await;
}

pub(crate) fn task() -> TaskId {
    TaskId { frame: "it[1]".into(), node: "n".into(), generation: 2 }
}

fn child(run: &str, parent: &str) -> Submission {
    let parent = Parent {
        run: parent.into(),
        task: task(),
        attempt: 3,
        call: "tool".into(),
        depth: 1,
        root: None,
        batch: None,
    };
    let mut child = submission(run, 2);
    child.start.parent = Some(parent);
    child
}

/// Commits all that a run does from its beginning until it is stopped.
async fn end<S: Store>(store: &S, run: &str, shard: u16) {
    let (mut begun, mut facts) = begin(run);
    facts.extend(begun.apply(Time(9), stop()).unwrap());
    let commit = Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: of(shard) };
    store.commit(&together([commit])).await.unwrap();
}

async fn signals<S: Shards>(store: &S) -> Vec<(Name, Wish, Name)> {
    let signals = store.signals(&[Shard(1), Shard(2)], 9).await.unwrap();
    let shown = |Signal { run, wish, actor, .. }| (run, wish.unwrap(), actor);
    signals.into_iter().map(shown).collect()
}

async fn a_parent_is_told_of_the_end<S: Store + Shards + Intake>(store: S) {
    let tenant = "default".into();
    store.submit(&[submission("p", 1)]).await.unwrap();
    store.submit(&[child("c", "p"), child("d", "p")]).await.unwrap();
    let row = store.run(&tenant, &"c".into()).await.unwrap().unwrap();
    assert_eq!(row.parent.as_deref(), Some("p"));
    let filter = Filter { parent: Some("p".into()), most: 9, ..Filter::default() };
    let children = store.runs(&tenant, &filter).await.unwrap();
    let children: Vec<&str> = children.iter().map(|row| &*row.run).collect();
    assert_eq!(children, ["d", "c"]);
    assert_eq!(store.end_of(&tenant, &"c".into()).await.unwrap(), None);
    assert_eq!(signals(&store).await, []);

    end(&store, "c", 2).await;
    let (task, call) = (task(), "tool".into());
    let wish = Wish::ChildEnded { task, attempt: 3, call, run: "c".into() };
    assert_eq!(signals(&store).await, [("p".into(), wish, "run c".into())]);
    let ended = store.end_of(&tenant, &"c".into()).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.error.as_deref()), (Status::Stopped, Some("Aborted: away")));
    assert_eq!(store.end_of(&"others".into(), &"c".into()).await.unwrap(), None);
}

async fn children_are_told_to_stop<S: Store + Shards + Intake>(store: S) {
    store.submit(&[submission("p", 1), submission("other", 1)]).await.unwrap();
    store.submit(&[child("c", "p"), child("d", "p"), child("e", "other")]).await.unwrap();
    end(&store, "c", 2).await;
    let before = signals(&store).await.len();
    end(&store, "p", 1).await;
    let told = signals(&store).await.split_off(before);
    assert_eq!(told, [("d".into(), Wish::Stop, "run p".into())]);
    // its parent has ended: nobody has to be told
    end(&store, "d", 2).await;
    assert_eq!(signals(&store).await.len(), before + 1);
}

async fn a_parent_that_has_ended_gets_no_children<S: Store + Shards + Intake>(store: S) {
    let tenant = "default".into();
    store.submit(&[submission("p", 1)]).await.unwrap();
    end(&store, "p", 1).await;
    store.submit(&[child("c", "p"), child("d", "unknown"), submission("e", 2)]).await.unwrap();
    for (run, is_there) in [("c", false), ("d", false), ("e", true)] {
        let row = store.run(&tenant, &run.into()).await.unwrap();
        assert_eq!(row.is_some(), is_there, "{run}");
    }
}
