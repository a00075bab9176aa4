//! Notes of ends that others are to be told of: each end is noted once, until it is announced.

use flowmill_engine::fact::{Event, Fact, Reason, RunFinished, Status};
use flowmill_engine::time::Time;
use flowmill_infra::announcements::{Announcements, Ended, Unannounced};
use flowmill_infra::batches::{Batches, State};
use flowmill_infra::intake::{Intake, RunRow};
use flowmill_infra::shards::Shards;
use flowmill_infra::store::{Commit, Standing, Store};

use super::batches::batch;
use super::facts;
use super::shards::{broken, of, submission};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Shards + Intake + Batches + Announcements>(
    make: impl AsyncFn() -> S,
) {
    an_end_is_noted_until_it_is_announced(make().await).await;
    a_run_that_ends_at_once_is_noted(make().await).await;
    the_end_of_a_batch_is_noted_beside_those_of_runs(make().await).await;
}

fn end(seq: u64, status: Status, reason: Option<Reason>) -> Fact {
    let finished = RunFinished { status, reason, ..broken() };
    Fact { seq, at: Time(seq), event: Event::RunFinished(Box::new(finished)) }
}

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    let standing: Standing = of(1);
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing }
}

fn run_of(end: &Unannounced) -> (&str, &RunRow, Option<Reason>) {
    match &end.ended {
        Ended::Run { tenant, run, reason } => (tenant, run, *reason),
        Ended::Batch(batch) => panic!("a batch: {batch:?}"),
    }
}

fn runs(waiting: &[Unannounced]) -> Vec<&str> {
    waiting.iter().map(|end| &*run_of(end).1.run).collect()
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
    waiting.sort_by(|left, right| run_of(left).1.run.cmp(&run_of(right).1.run));
    assert_eq!(runs(&waiting), ["a", "b"]);
    assert_eq!(
        waiting.iter().map(|end| run_of(end).2).collect::<Vec<_>>(),
        [None, Some(Reason::User)]
    );
    let row = store.run(&"default".into(), &"b".into()).await.unwrap().unwrap();
    assert_eq!(run_of(&waiting[1]), ("default", &row, Some(Reason::User)));
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
    assert_eq!(run_of(&waiting[0]).1.status, Some(Status::PartialSucceeded));
}

async fn the_end_of_a_batch_is_noted_beside_those_of_runs<
    S: Store + Intake + Batches + Announcements,
>(
    store: S,
) {
    for id in ["b", "c"] {
        store.create_batch(&batch(id)).await.unwrap();
    }
    assert_eq!(store.unannounced(10).await.unwrap(), []);
    assert!(store.end_batch(&"b".into(), State::Partial).await.unwrap());
    store.submit(&[submission("r", 1)]).await.unwrap();
    let mut all = facts(1, 2);
    all.push(end(3, Status::Succeeded, None));
    store.commit(&together(vec![commit("r", all)])).await.unwrap();
    let waiting = store.unannounced(10).await.unwrap();
    let row = store.batch(&"default".into(), &"b".into()).await.unwrap().unwrap();
    let batches: Vec<&Unannounced> =
        waiting.iter().filter(|end| matches!(end.ended, Ended::Batch(_))).collect();
    let [noted] = batches[..] else { panic!("{waiting:?}") };
    assert_eq!((waiting.len(), row.state), (2, State::Partial));
    assert_eq!(noted.ended, Ended::Batch(Box::new(row)));
    let ids: Vec<i64> = waiting.iter().map(|end| end.id).collect();
    store.announced(&ids).await.unwrap();
    assert!(!store.end_batch(&"b".into(), State::Partial).await.unwrap(), "it has ended");
    assert_eq!(store.unannounced(10).await.unwrap(), []);
    assert!(store.end_batch(&"c".into(), State::Stopped).await.unwrap());
    let waiting = store.unannounced(10).await.unwrap();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(!ids.contains(&waiting[0].id), "{waiting:?}");
}
