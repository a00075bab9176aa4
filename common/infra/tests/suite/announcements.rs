//! Notes of ends that others are to be told of: each end is noted once, until it is announced.

use flowmill_engine::fact::{Event, Fact, Reason, RunFinished, Status};
use flowmill_engine::time::Time;
use flowmill_infra::announcements::{Announcements, Unannounced};
use flowmill_infra::intake::Intake;
use flowmill_infra::shards::Shards;
use flowmill_infra::store::{Commit, Standing, Store};

use super::facts;
use super::shards::{broken, of, submission};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Shards + Intake + Announcements>(make: impl AsyncFn() -> S) {
    an_end_is_noted_until_it_is_announced(make().await).await;
    a_run_that_ends_at_once_is_noted(make().await).await;
}

fn end(seq: u64, status: Status, reason: Option<Reason>) -> Fact {
    let finished = RunFinished { status, reason, ..broken() };
    Fact { seq, at: Time(seq), event: Event::RunFinished(Box::new(finished)) }
}

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    let standing: Standing = of(1);
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing }
}

fn runs(waiting: &[Unannounced]) -> Vec<&str> {
    waiting.iter().map(|end| &*end.run.run).collect()
}

async fn an_end_is_noted_until_it_is_announced<S: Store + Intake + Announcements>(store: S) {
    let submissions = ["a", "b", "c"].map(|run| submission(run, 1));
    store.submit(&submissions).await.unwrap();
    let begun = ["a", "b", "c"].map(|run| commit(run, facts(1, 2)));
    store.commit(&together(begun)).await.unwrap();
    assert_eq!(store.unannounced(10).await.unwrap(), []);
    let stopped = end(3, Status::Stopped, Some(Reason::User));
    let ends = [commit("b", vec![stopped]), commit("a", vec![end(3, Status::Succeeded, None)])];
    for end in ends {
        store.commit(&together(vec![end])).await.unwrap();
    }
    let mut waiting = store.unannounced(10).await.unwrap();
    waiting.sort_by(|left, right| left.run.run.cmp(&right.run.run));
    assert_eq!(runs(&waiting), ["a", "b"]);
    assert_eq!(
        waiting.iter().map(|end| end.reason).collect::<Vec<_>>(),
        [None, Some(Reason::User)]
    );
    let row = store.run(&"default".into(), &"b".into()).await.unwrap().unwrap();
    assert_eq!((&waiting[1].run, &*waiting[1].tenant), (&row, "default"));
    let ids: Vec<i64> = waiting.iter().map(|end| end.id).collect();
    store.announced(&ids).await.unwrap();
    store.commit(&together(vec![commit("c", vec![end(3, Status::Failed, None)])])).await.unwrap();
    let waiting = store.unannounced(10).await.unwrap();
    assert_eq!(runs(&waiting), ["c"]);
    store.announced(&[waiting[0].id]).await.unwrap();
    assert_eq!(store.unannounced(10).await.unwrap(), []);
}

async fn a_run_that_ends_at_once_is_noted<S: Store + Announcements>(store: S) {
    let mut all = facts(1, 2);
    all.push(end(3, Status::PartialSucceeded, None));
    store.commit(&together(vec![commit("r", all)])).await.unwrap();
    let waiting = store.unannounced(1).await.unwrap();
    assert_eq!(runs(&waiting), ["r"]);
    assert_eq!(waiting[0].run.status, Some(Status::PartialSucceeded));
}
