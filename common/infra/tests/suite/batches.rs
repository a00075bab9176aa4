//! The store for batches: each line becomes one thing, once, and what became of it is counted.

use flowmill_engine::fact::{BatchLine, Event, Fact, RunFinished, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{
    Batches, Cause, Counts, Fed, NewBatch, State, Steer, Steered, Terms, Which,
};
use flowmill_infra::intake::{Accepted, IdempotencyKey, Intake};
use flowmill_infra::message::Shard;
use flowmill_infra::shards::{Shards, Wish};
use flowmill_infra::store::{Commit, Store};

use super::facts;
use super::shards::{broken, me, of, submission, tenure};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Shards + Intake + Batches>(make: impl AsyncFn() -> S) {
    a_batch_is_there_once(make().await).await;
    lines_follow_each_other(make().await).await;
    a_line_becomes_one_thing_once(make().await).await;
    ends_are_counted_once(make().await).await;
    runs_that_nobody_can_move_are_counted(make().await).await;
    what_became_of_lines_is_told_in_order(make().await).await;
    a_batch_that_pauses_takes_its_runs_with_it(make().await).await;
    a_batch_that_is_stopped_feeds_nothing(make().await).await;
    batches_with_work_are_claimed(make().await).await;
    batches_belong_to_their_tenant(make().await).await;
}

const HOUR: u64 = 3_600_000_000;

fn tenant() -> Name {
    "default".into()
}

pub(crate) fn batch(id: &str) -> NewBatch {
    let terms = Terms { concurrency: Some(7), stops_on_error: true, ..Terms::default() };
    NewBatch {
        batch: id.into(),
        tenant: tenant(),
        workflow: "doc".into(),
        terms,
        due_in: HOUR,
        rerun_of: None,
        key: None,
    }
}

fn lines(from: u64, to: u64) -> Vec<Name> {
    (from..=to).map(|line| format!("{{\"line\": {line}}}").as_str().into()).collect()
}

fn run(batch: &str, line: u64) -> Fed {
    let mut submission = submission(&format!("{batch}-{line}"), 1);
    let custom_id = Some(format!("id {line}").as_str().into());
    submission.start.line = Some(BatchLine { batch: batch.into(), line, custom_id });
    Fed::Run(Box::new(submission))
}

fn rejected(line: u64) -> Fed {
    let custom_id = Some(format!("id {line}").as_str().into());
    Fed::Rejected { custom_id, problem: "{\"code\":\"odd\"}".into() }
}

/// A batch of so many lines that runs.
async fn running<S: Batches>(store: &S, id: &str, count: u64) {
    assert_eq!(store.create_batch(&batch(id)).await.unwrap(), Accepted::New);
    assert!(store.add_lines(&tenant(), &id.into(), 1, &lines(1, count)).await.unwrap());
    assert!(store.begin_batch(&tenant(), &id.into()).await.unwrap());
}

async fn feed<S: Batches>(store: &S, id: &str, after: u64, fed: &[Fed]) -> bool {
    store.feed(&id.into(), after, fed).await.unwrap()
}

async fn steer<S: Batches>(store: &S, id: &str, steer: Steer) -> Option<Steered> {
    store.steer_batch(&tenant(), &id.into(), steer, &"api".into()).await.unwrap()
}

/// Ends a run that was fed.
async fn end<S: Store>(store: &S, run: &str, status: Status) {
    let finished = RunFinished { status, ..broken() };
    let mut all = facts(1, 2);
    all.push(Fact { seq: 3, at: Time(3), event: Event::RunFinished(Box::new(finished)) });
    let commit = Commit { run: run.into(), plan: plan(), facts: all.into(), standing: of(1) };
    store.commit(&together(vec![commit])).await.unwrap();
}

async fn found<S: Batches>(store: &S, id: &str) -> flowmill_infra::batches::Batch {
    store.batch(&tenant(), &id.into()).await.unwrap().unwrap()
}

async fn a_batch_is_there_once<S: Batches>(store: S) {
    assert_eq!(store.batch(&tenant(), &"b".into()).await.unwrap(), None);
    let key = |fingerprint: &str| {
        Some(IdempotencyKey { key: "k".into(), fingerprint: fingerprint.into() })
    };
    let first = NewBatch { key: key("f"), ..batch("b") };
    assert_eq!(store.create_batch(&first).await.unwrap(), Accepted::New);
    assert_eq!(store.create_batch(&first).await.unwrap(), Accepted::New, "another try");
    let same = NewBatch { key: key("f"), ..batch("c") };
    assert_eq!(store.create_batch(&same).await.unwrap(), Accepted::Before("b".into()));
    let other = NewBatch { key: key("g"), ..batch("d") };
    assert_eq!(store.create_batch(&other).await.unwrap(), Accepted::Other("b".into()));
    let row = found(&store, "b").await;
    assert_eq!((&row.terms, row.state, row.lines, row.fed), (&first.terms, State::Importing, 0, 0));
    assert!(row.created_at > Time(1_600_000_000_000_000), "{}", row.created_at);
    let due_in = row.due_at.0 - row.created_at.0;
    assert!((HOUR..HOUR + 1_000_000).contains(&due_in), "{due_in}");
    assert_eq!((row.started_at, row.finished_at, row.cause), (None, None, None));
    assert_eq!(store.batch(&tenant(), &"c".into()).await.unwrap(), None);
}

async fn lines_follow_each_other<S: Batches>(store: S) {
    store.create_batch(&batch("b")).await.unwrap();
    let (of, id) = (tenant(), Name::from("b"));
    assert!(store.add_lines(&of, &id, 1, &lines(1, 3)).await.unwrap());
    assert!(!store.add_lines(&of, &id, 1, &lines(1, 3)).await.unwrap(), "they are there");
    assert!(!store.add_lines(&of, &id, 5, &lines(5, 6)).await.unwrap(), "one is missing");
    assert!(store.add_lines(&of, &id, 4, &lines(4, 8)).await.unwrap());
    assert_eq!(found(&store, "b").await.lines, 8);
    for (first, last) in [(1, 8), (2, 3), (3, 6), (4, 4), (8, 8)] {
        let most = usize::try_from(last - first + 1).unwrap();
        assert_eq!(store.lines(&id, first, most).await.unwrap(), lines(first, last));
    }
    assert_eq!(store.lines(&id, 7, 100).await.unwrap(), lines(7, 8));
    assert!(store.lines(&id, 9, 100).await.unwrap().is_empty());
    assert!(!feed(&store, "b", 0, &[run("b", 1)]).await, "it has not begun");
    assert!(store.begin_batch(&of, &id).await.unwrap());
    assert!(!store.begin_batch(&of, &id).await.unwrap());
    assert!(!store.add_lines(&of, &id, 9, &lines(9, 9)).await.unwrap(), "it is complete");
    let row = found(&store, "b").await;
    assert_eq!((row.state, row.lines), (State::Running, 8));
    assert!(row.started_at.is_some());
}

async fn a_line_becomes_one_thing_once<S: Intake + Batches>(store: S) {
    running(&store, "b", 4).await;
    let first = [run("b", 1), rejected(2)];
    assert!(feed(&store, "b", 0, &first).await);
    assert!(!feed(&store, "b", 0, &first).await, "others did so");
    assert!(!feed(&store, "b", 1, &[run("b", 2)]).await);
    assert!(!feed(&store, "b", 2, &[run("b", 3), run("b", 4), run("b", 5)]).await, "too many");
    assert!(feed(&store, "b", 2, &[run("b", 3), run("b", 4)]).await);
    let row = found(&store, "b").await;
    assert_eq!((row.fed, row.rejected, row.live()), (4, 1, 3));
    for (line, is_there) in [(1, true), (2, false), (3, true), (4, true), (5, false)] {
        let run = store.run(&tenant(), &format!("b-{line}").as_str().into()).await.unwrap();
        assert_eq!(run.is_some(), is_there, "line {line}");
    }
}

async fn ends_are_counted_once<S: Store + Batches>(store: S) {
    running(&store, "b", 6).await;
    let all: Vec<Fed> = (1..=6).map(|line| run("b", line)).collect();
    assert!(feed(&store, "b", 0, &all).await);
    let ends = [Status::Succeeded, Status::PartialSucceeded, Status::Failed, Status::Stopped];
    for (line, status) in (1..).zip(ends) {
        end(&store, &format!("b-{line}"), status).await;
    }
    let counts = Counts { succeeded: 1, partial: 1, failed: 1, stopped: 1 };
    let row = found(&store, "b").await;
    assert_eq!((row.counts, row.live(), row.bad()), (counts, 2, 2));
    end(&store, "b-5", Status::Succeeded).await;
    end(&store, "b-6", Status::Succeeded).await;
    let row = found(&store, "b").await;
    assert_eq!((row.counts.succeeded, row.live()), (3, 0));
    assert!(store.end_batch(&"b".into(), State::Partial).await.unwrap());
    assert!(!store.end_batch(&"b".into(), State::Failed).await.unwrap(), "an end never changes");
    let row = found(&store, "b").await;
    assert_eq!((row.state, row.finished_at.is_some()), (State::Partial, true));
}

async fn runs_that_nobody_can_move_are_counted<S: Shards + Batches>(store: S) {
    running(&store, "b", 1).await;
    assert!(feed(&store, "b", 0, &[run("b", 1)]).await);
    let held = store.hold(&me("a"), 16).await.unwrap();
    assert!(store.end(tenure(&held, 1), &"b-1".into(), &broken()).await.unwrap());
    let row = found(&store, "b").await;
    assert_eq!((row.counts.failed, row.live()), (1, 0));
}

async fn what_became_of_lines_is_told_in_order<S: Store + Batches>(store: S) {
    running(&store, "b", 5).await;
    let fed = [run("b", 1), rejected(2), run("b", 3), run("b", 4), rejected(5)];
    assert!(feed(&store, "b", 0, &fed).await);
    end(&store, "b-4", Status::Failed).await;
    end(&store, "b-1", Status::Succeeded).await;
    let (of, id) = (tenant(), Name::from("b"));
    let told = async |after, most, which| {
        let results = store.results(&of, &id, after, most, which).await.unwrap();
        results.iter().map(|found| found.line).collect::<Vec<u64>>()
    };
    assert_eq!(told(0, 9, Which::Ended).await, [1, 2, 4, 5]);
    assert_eq!(told(0, 2, Which::Ended).await, [1, 2]);
    assert_eq!(told(2, 1, Which::Ended).await, [4]);
    assert_eq!(told(0, 9, Which::Good).await, [1]);
    assert_eq!(told(0, 9, Which::Bad).await, [2, 4, 5]);
    let results = store.results(&of, &id, 0, 9, Which::Ended).await.unwrap();
    let (row, end) = results[0].result.clone().unwrap();
    assert_eq!((&*row.run, row.status), ("b-1", Some(Status::Succeeded)));
    assert_eq!(end.unwrap().status, Status::Succeeded);
    assert_eq!(results[0].custom_id.as_deref(), Some("id 1"));
    assert_eq!(results[1].result, Err("{\"code\":\"odd\"}".into()));
    assert_eq!(results[1].custom_id.as_deref(), Some("id 2"));
    assert!(store.results(&"others".into(), &id, 0, 9, Which::Ended).await.unwrap().is_empty());
}

async fn a_batch_that_pauses_takes_its_runs_with_it<S: Store + Shards + Batches>(store: S) {
    running(&store, "b", 3).await;
    assert!(feed(&store, "b", 0, &[run("b", 1), run("b", 2)]).await);
    end(&store, "b-2", Status::Succeeded).await;
    let paused = steer(&store, "b", Steer::Pause).await;
    assert_eq!(paused, Some(Steered::Done(vec!["b-1".into()])));
    assert!(!feed(&store, "b", 2, &[run("b", 3)]).await);
    let signals = store.signals(&[Shard(1)], 9).await.unwrap();
    assert_eq!((&*signals[0].run, &signals[0].wish), ("b-1", &Ok(Wish::Pause)));
    assert_eq!(steer(&store, "b", Steer::Pause).await, Some(Steered::Refused(State::Paused)));
    // the run did not pause before the batch goes on, but is about to: it is told both
    let resumed = steer(&store, "b", Steer::Resume).await;
    assert_eq!(resumed, Some(Steered::Done(vec!["b-1".into()])));
    assert!(feed(&store, "b", 2, &[run("b", 3)]).await);
    assert_eq!(steer(&store, "c", Steer::Pause).await, None);
}

async fn a_batch_that_is_stopped_feeds_nothing<S: Store + Shards + Batches>(store: S) {
    running(&store, "b", 3).await;
    assert!(feed(&store, "b", 0, &[run("b", 1)]).await);
    let stopped = steer(&store, "b", Steer::Stop(Cause::User)).await;
    assert_eq!(stopped, Some(Steered::Done(vec!["b-1".into()])));
    assert!(!feed(&store, "b", 1, &[run("b", 2)]).await);
    let row = found(&store, "b").await;
    assert_eq!((row.state, row.cause, row.live()), (State::Stopping, Some(Cause::User), 1));
    end(&store, "b-1", Status::Stopped).await;
    assert_eq!(found(&store, "b").await.live(), 0);
    let again = steer(&store, "b", Steer::Stop(Cause::Deadline)).await;
    assert_eq!(again, Some(Steered::Refused(State::Stopping)));
    // one whose lines are not complete can be stopped too
    store.create_batch(&batch("c")).await.unwrap();
    let stopped = steer(&store, "c", Steer::Stop(Cause::Abandoned)).await;
    assert_eq!(stopped, Some(Steered::Done(Vec::new())));
    let row = found(&store, "c").await;
    assert_eq!((row.state, row.live()), (State::Stopping, 0));
}

async fn batches_with_work_are_claimed<S: Batches>(store: S) {
    let claim = async |who: &str| {
        let claimed = store.claim_batches(&who.into(), 9).await.unwrap();
        claimed.iter().map(|row| row.batch.to_string()).collect::<Vec<_>>()
    };
    assert!(claim("me").await.is_empty());
    store.create_batch(&batch("a")).await.unwrap();
    running(&store, "b", 1).await;
    running(&store, "c", 1).await;
    let overdue = NewBatch { due_in: 0, ..batch("d") };
    store.create_batch(&overdue).await.unwrap();
    assert_eq!(claim("me").await, ["b", "c", "d"]);
    assert_eq!(claim("me").await, ["b", "c", "d"], "whoever has them keeps them");
    steer(&store, "c", Steer::Pause).await;
    assert!(store.end_batch(&"d".into(), State::Stopped).await.unwrap());
    let claimed = claim("me").await;
    assert!(claimed.contains(&"b".to_owned()) && !claimed.contains(&"d".to_owned()));
}

async fn batches_belong_to_their_tenant<S: Batches>(store: S) {
    for id in ["a", "b", "c"] {
        running(&store, id, 1).await;
    }
    let others = Name::from("others");
    let theirs = NewBatch { tenant: others.clone(), ..batch("d") };
    store.create_batch(&theirs).await.unwrap();
    let listed = async |of: &Name, before: Option<&str>, most| {
        let before = before.map(Name::from);
        let found = store.batches(of, before.as_ref(), most).await.unwrap();
        found.iter().map(|row| row.batch.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&tenant(), None, 9).await, ["c", "b", "a"]);
    assert_eq!(listed(&tenant(), Some("c"), 1).await, ["b"]);
    assert_eq!(listed(&others, None, 9).await, ["d"]);
    assert_eq!(store.batch(&others, &"a".into()).await.unwrap(), None);
    assert!(!store.begin_batch(&tenant(), &"d".into()).await.unwrap());
    assert!(!store.add_lines(&tenant(), &"d".into(), 1, &lines(1, 1)).await.unwrap());
    let refused = store.steer_batch(&others, &"a".into(), Steer::Pause, &"api".into()).await;
    assert_eq!(refused.unwrap(), None);
}

/// Where several processes share a store, one of them makes runs of a batch.
pub(crate) async fn a_claim_keeps_others_out<S: Batches>(store: S) {
    running(&store, "b", 1).await;
    assert_eq!(store.claim_batches(&"me".into(), 9).await.unwrap().len(), 1);
    assert!(store.claim_batches(&"other".into(), 9).await.unwrap().is_empty());
}
