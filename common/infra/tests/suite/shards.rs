//! The store for owners of shards: one owner at a time, an old one writes nothing, and what a
//! shard waits for is found.

use std::collections::BTreeSet;
use std::sync::Arc;

use flowmill_engine::fact::{Event, Fact, Reason, RunFinished, Status};
use flowmill_engine::run::{Input, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::intake::{Attached, Intake, Submission};
use flowmill_infra::message::{PlanKey, Shard};
use flowmill_infra::shards::{Announcement, Held, Journal, Shards, Signal, Wish};
use flowmill_infra::store::{Batch, Commit, Settled, Standing, Store, StoreError, Tenure};

use super::facts;
use super::store::plan;

/// `make` gives a store of 16 shards whose leases last, `hasty` another way into a new one, by which
/// leases end at once, and one by which they last.
pub(crate) async fn all<S: Store + Shards + Intake>(
    make: impl AsyncFn() -> S,
    hasty: impl AsyncFn() -> (S, S),
) {
    a_shard_has_one_owner(make().await).await;
    of_schedulers_that_race_each_has_its_own(make().await).await;
    a_lease_ends(hasty().await).await;
    an_old_owner_writes_nothing(make().await).await;
    marks_and_numbers_rise_until_queues_are_lost(make().await).await;
    accepted_runs_wait_in_order(make().await).await;
    what_an_owner_left_is_found(make().await).await;
    who_must_be_told_the_time_is_found(make().await).await;
    signals_wait_until_they_are_settled(make().await).await;
    journals_are_read_together(make().await).await;
    a_run_that_nobody_can_move_is_ended(make().await).await;
    runs_that_nobody_would_wake_are_told(make().await).await;
}

pub(crate) fn me(name: &str) -> Announcement {
    Announcement { scheduler: name.into(), reads: 1 }
}

fn shards(held: &Held) -> Vec<u16> {
    held.tenures.iter().map(|tenure| tenure.shard.0).collect()
}

/// The tenure of one shard.
pub(crate) fn tenure(held: &Held, shard: u16) -> Tenure {
    *held.tenures.iter().find(|tenure| tenure.shard.0 == shard).unwrap()
}

pub(crate) fn submission(run: &str, shard: u16) -> Submission {
    Submission {
        tenant: "default".into(),
        shard: Shard(shard),
        plan: PlanKey { workflow: "doc".into(), dify_sizes: true, mocks: Some("mock".into()) },
        start: start(run),
        wake_at: Time(1000),
        key: None,
        turn: None,
        attached: Attached::default(),
    }
}

pub(crate) fn start(run: &str) -> Start {
    let inputs = vec![("text".into(), "a\0b\u{1F600}".into())];
    Start { run: run.into(), workflow: "doc".into(), inputs, ..Start::default() }
}

/// A run's first facts, and the run.
pub(crate) fn begin(run: &str) -> (Run, Vec<Fact>) {
    Run::start(plan(), start(run), Time(7))
}

pub(crate) fn stop() -> Input {
    Input::Stop { reason: Reason::User, message: "away".into() }
}

fn commit(run: &str, facts: Vec<Fact>, standing: Standing) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing }
}

pub(crate) fn of(shard: u16) -> Standing {
    Standing { shard: Shard(shard), wake_at: Some(Time(500)), ..Standing::default() }
}

/// A commit of one run by the owner of its shard.
pub(crate) fn by(tenure: Tenure, run: &str, facts: Vec<Fact>, standing: Standing) -> Batch {
    let commits = vec![commit(run, facts, standing)];
    Batch { commits, tenures: vec![tenure], signals: Vec::new() }
}

async fn a_shard_has_one_owner<S: Shards>(store: S) {
    let held = store.hold(&me("a"), 10).await.unwrap();
    assert_eq!((held.tenures.len(), held.schedulers, held.shards), (10, 1, 16));
    assert!(held.now > Time(1_600_000_000_000_000), "{}", held.now);
    let first = held.tenures.clone();
    assert!(first.iter().all(|tenure| (tenure.epoch, tenure.mark, tenure.last) == (1, 0, 0)));

    let other = store.hold(&me("b"), 16).await.unwrap();
    assert_eq!((other.tenures.len(), other.schedulers), (6, 2));
    assert!(shards(&other).iter().all(|shard| !shards(&held).contains(shard)));
    let again = store.hold(&me("a"), 16).await.unwrap();
    assert_eq!(again.tenures, first, "a lease that is kept is of the same epoch");
    let fewer = store.hold(&me("a"), 2).await.unwrap();
    assert_eq!(fewer.tenures, first, "nothing is given away unasked");

    let given = [first[0].shard, first[3].shard, Shard(shards(&other)[0])];
    store.release(&me("a"), &given).await.unwrap();
    let other = store.hold(&me("b"), 16).await.unwrap();
    assert_eq!(other.tenures.len(), 8, "what another holds cannot be given away");
    assert_eq!((tenure(&other, given[0].0).epoch, tenure(&other, given[1].0).epoch), (2, 2));

    store.release(&me("b"), &[]).await.unwrap();
    let all = store.hold(&me("a"), 16).await.unwrap();
    assert_eq!((all.tenures.len(), all.schedulers), (16, 1));
    assert_eq!(tenure(&all, given[0].0).epoch, 3);
}

async fn of_schedulers_that_race_each_has_its_own<S: Shards>(store: S) {
    let store = Arc::new(store);
    for round in 0..2 {
        let hold = |number: u32| {
            let store = store.clone();
            tokio::spawn(async move { store.hold(&me(&format!("s{number}")), 7).await.unwrap() })
        };
        let racing: Vec<_> = (0..4).map(hold).collect();
        let mut held = Vec::new();
        for one in racing {
            held.extend(shards(&one.await.unwrap()));
        }
        // whoever lost a race for a shard has it the next time
        let own: BTreeSet<u16> = held.iter().copied().collect();
        assert_eq!(own.len(), held.len(), "round {round}: a shard is held twice: {held:?}");
        for number in 0..4 {
            store.release(&me(&format!("s{number}")), &[]).await.unwrap();
        }
    }
}

async fn a_lease_ends<S: Shards + Store>((hasty, store): (S, S)) {
    // they may have ended by the time they are read, so it does not matter what is answered
    hasty.hold(&me("a"), 16).await.unwrap();
    let mut taken: Vec<Tenure> = Vec::new();
    while taken.len() < 16 {
        taken = store.hold(&me("b"), 16).await.unwrap().tenures;
    }
    for now in &taken {
        assert_eq!(now.epoch, 2, "{now:?}");
        let old = Tenure { epoch: 1, ..*now };
        let batch = by(old, "r", facts(1, 1), of(old.shard.0));
        assert_eq!(store.commit(&batch).await, Err(StoreError::Fenced { shard: old.shard }));
    }
    assert!(hasty.hold(&me("a"), 16).await.unwrap().tenures.is_empty());
}

async fn an_old_owner_writes_nothing<S: Store + Shards>(store: S) {
    let held = store.hold(&me("a"), 16).await.unwrap();
    let (three, four) = (tenure(&held, 3), tenure(&held, 4));
    store.commit(&by(three, "r", facts(1, 2), of(3))).await.unwrap();
    store.release(&me("a"), &[Shard(3)]).await.unwrap();
    store.commit(&by(three, "r", facts(3, 3), of(3))).await.unwrap();
    let other = store.hold(&me("b"), 1).await.unwrap();
    assert_eq!(shards(&other), [3]);

    let fenced = Err(StoreError::Fenced { shard: Shard(3) });
    assert_eq!(store.commit(&by(three, "r", facts(4, 4), of(3))).await, fenced);
    // one shard that was lost keeps the whole batch from being written
    let batch = Batch {
        commits: vec![commit("q", facts(1, 1), of(4)), commit("r", facts(4, 4), of(3))],
        tenures: vec![four, three],
        signals: Vec::new(),
    };
    assert_eq!(store.commit(&batch).await, fenced);
    // a shard that nobody claims is not written either
    assert_eq!(store.commit(&by(four, "r", facts(4, 4), of(3))).await, fenced);
    assert!(store.journal(&"q".into()).await.unwrap().is_empty());
    assert_eq!(store.journal(&"r".into()).await.unwrap(), facts(1, 3));

    store.commit(&by(tenure(&other, 3), "r", facts(4, 4), of(3))).await.unwrap();
    store.commit(&by(four, "q", facts(1, 1), of(4))).await.unwrap();
}

async fn marks_and_numbers_rise_until_queues_are_lost<S: Store + Shards>(store: S) {
    let held = store.hold(&me("a"), 16).await.unwrap();
    let standing = |last_number| Standing { last_number, ..of(5) };
    let tenure_with = |mark| Tenure { mark, ..tenure(&held, 5) };
    for (seq, mark, last) in [(1, 0, 12), (2, 9, 0), (3, 4, 10)] {
        let batch = by(tenure_with(mark), "r", facts(seq, seq), standing(last));
        store.commit(&batch).await.unwrap();
    }
    // a batch that only tells how far the broker came
    let batch = Batch { tenures: vec![tenure_with(11)], ..Batch::default() };
    store.commit(&batch).await.unwrap();
    let again = store.hold(&me("a"), 16).await.unwrap();
    assert_eq!((tenure(&again, 5).mark, tenure(&again, 5).last), (11, 12));
    assert_eq!((tenure(&again, 6).mark, tenure(&again, 6).last), (0, 0));
    store.release(&me("a"), &[]).await.unwrap();
    let other = store.hold(&me("b"), 16).await.unwrap();
    assert_eq!(tenure(&other, 5), Tenure { shard: Shard(5), epoch: 2, mark: 11, last: 12 });

    let former = store.doubt(tenure(&held, 5)).await;
    assert_eq!(former, Err(StoreError::Fenced { shard: Shard(5) }));
    store.doubt(tenure(&other, 5)).await.unwrap();
    store.release(&me("b"), &[]).await.unwrap();
    let third = store.hold(&me("c"), 16).await.unwrap();
    assert_eq!(tenure(&third, 5), Tenure { shard: Shard(5), epoch: 3, mark: 0, last: 12 });
    let batch =
        Batch { tenures: vec![Tenure { mark: 3, ..tenure(&third, 5) }], ..Batch::default() };
    store.commit(&batch).await.unwrap();
    assert_eq!(tenure(&store.hold(&me("c"), 16).await.unwrap(), 5).mark, 3);
}

async fn accepted_runs_wait_in_order<S: Store + Shards + Intake>(store: S) {
    let waiting = async |shards: &[u16], most| -> Vec<String> {
        let shards: Vec<Shard> = shards.iter().map(|shard| Shard(*shard)).collect();
        let queued = store.queued(&shards, most).await.unwrap();
        queued.iter().map(|queued| queued.as_ref().unwrap().start.run.to_string()).collect()
    };
    assert!(waiting(&[1, 2], 10).await.is_empty());
    store.submit(&[submission("z", 1), submission("b", 2)]).await.unwrap();
    store.submit(&[submission("y", 1), submission("a", 2), submission("x", 3)]).await.unwrap();
    assert_eq!(waiting(&[1, 2], 10).await, ["z", "b", "y", "a"]);
    assert_eq!(waiting(&[2, 1], 3).await, ["z", "b", "y"]);
    assert_eq!(waiting(&[3], 10).await, ["x"]);

    let queued = store.queued(&[Shard(1)], 1).await.unwrap().remove(0).unwrap();
    let asked = submission("z", 1);
    assert_eq!((queued.plan, queued.tenant, queued.start), (asked.plan, asked.tenant, asked.start));
    let held = store.hold(&me("a"), 16).await.unwrap();
    store.commit(&by(tenure(&held, 1), "z", begin("z").1, of(1))).await.unwrap();
    assert_eq!(waiting(&[1, 2], 10).await, ["b", "y", "a"]);
}

async fn what_an_owner_left_is_found<S: Store + Shards + Intake>(store: S) {
    let held = store.hold(&me("a"), 16).await.unwrap();
    let eight = tenure(&held, 8);
    let ready = Standing { is_ready: true, ..of(8) };
    let out = |last_number| Standing { in_flight: 1, last_number, ..of(8) };
    store.submit(&[submission("queued", 8)]).await.unwrap();
    for (run, standing) in
        [("idle", of(8)), ("ready", ready), ("confirmed", out(40)), ("sent", out(41))]
    {
        store.commit(&by(eight, run, begin(run).1, standing)).await.unwrap();
    }
    store.commit(&by(tenure(&held, 9), "elsewhere", begin("elsewhere").1, of(9))).await.unwrap();
    let (mut run, mut facts) = begin("ended");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    let left = Standing { is_ready: true, in_flight: 1, last_number: 90, ..of(8) };
    store.commit(&by(eight, "ended", facts, left)).await.unwrap();

    let found = async |mark| store.unfinished(Tenure { mark, ..eight }).await.unwrap();
    let sorted = |mut runs: Vec<Name>| {
        runs.sort();
        runs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(sorted(found(40).await), ["ready", "sent"]);
    assert_eq!(sorted(found(39).await), ["confirmed", "ready", "sent"]);
    assert_eq!(sorted(found(41).await), ["ready"]);
}

async fn who_must_be_told_the_time_is_found<S: Store + Shards + Intake>(store: S) {
    let held = store.hold(&me("a"), 16).await.unwrap();
    let at = |shard, at| Standing { wake_at: Some(Time(at)), ..of(shard) };
    for (run, shard, time) in [("late", 1, 30), ("soon", 2, 10), ("next", 1, 20), ("far", 3, 15)] {
        let batch = by(tenure(&held, shard), run, begin(run).1, at(shard, time));
        store.commit(&batch).await.unwrap();
    }
    store.submit(&[submission("queued", 1)]).await.unwrap();
    let due = async |until, most| -> Vec<(u64, String)> {
        let due = store.due(&[Shard(1), Shard(2)], Time(until), most).await.unwrap();
        due.into_iter().map(|(time, run)| (time.0, run.to_string())).collect()
    };
    let told = |runs: &[(u64, &str)]| -> Vec<(u64, String)> {
        runs.iter().map(|(time, run)| (*time, (*run).to_owned())).collect()
    };
    assert_eq!(due(9, 10).await, told(&[]));
    assert_eq!(due(20, 10).await, told(&[(10, "soon"), (20, "next")]));
    assert_eq!(due(5000, 3).await, told(&[(10, "soon"), (20, "next"), (30, "late")]));
    assert_eq!(due(5000, 10).await.last().unwrap(), &(1000, "queued".to_owned()));
    // an end needs no time any more, whatever else is said of it
    let (mut run, begun) = begin("next");
    let ending = run.apply(Time(9), stop()).unwrap();
    assert_eq!(ending[0].seq, begun.len() as u64 + 1);
    store.commit(&by(tenure(&held, 1), "next", ending, at(1, 20))).await.unwrap();
    assert_eq!(due(20, 10).await, told(&[(10, "soon")]));
}

async fn signals_wait_until_they_are_settled<S: Store + Shards + Intake>(store: S) {
    let tenant: Name = "default".into();
    store.submit(&[submission("r", 1), submission("s", 2)]).await.unwrap();
    let answer = Wish::Answer {
        frame: "it[3]".into(),
        node: "ask".into(),
        action: "yes".into(),
        values: vec![("why".into(), "a\0b".into())],
    };
    for (run, wish) in [("r", &Wish::Pause), ("s", &Wish::Stop), ("r", &answer)] {
        let left = store.wish(&tenant, &run.into(), wish, &"ada".into()).await.unwrap();
        assert!(left.is_some());
    }
    let waiting = store.signals(&[Shard(1), Shard(2)], 10).await.unwrap();
    let shown: Vec<(&str, &Wish)> =
        waiting.iter().map(|Signal { run, wish, .. }| (&**run, wish.as_ref().unwrap())).collect();
    assert_eq!(shown, [("r", &Wish::Pause), ("s", &Wish::Stop), ("r", &answer)]);
    assert!(waiting.is_sorted_by_key(|signal| signal.id));
    assert_eq!(&*waiting[0].actor, "ada");
    assert_eq!(store.signals(&[Shard(1), Shard(2)], 2).await.unwrap(), waiting[..2]);
    assert_eq!(store.signals(&[Shard(2)], 10).await.unwrap(), waiting[1..2]);

    let held = store.hold(&me("a"), 16).await.unwrap();
    let settled = |signal: &Signal, refused: Option<&str>| Settled {
        signal: signal.id,
        refused: refused.map(Name::from),
    };
    let mut batch = by(tenure(&held, 1), "r", begin("r").1, of(1));
    batch.signals = vec![settled(&waiting[0], None), settled(&waiting[2], Some("no\0 form"))];
    // what is not committed is not settled
    let old = Tenure { epoch: 0, ..tenure(&held, 1) };
    let refused = store.commit(&Batch { tenures: vec![old], ..batch.clone() }).await;
    assert_eq!(refused, Err(StoreError::Fenced { shard: Shard(1) }));
    assert_eq!(store.signals(&[Shard(1)], 10).await.unwrap().len(), 2);
    store.commit(&batch).await.unwrap();
    assert_eq!(store.signals(&[Shard(1), Shard(2)], 10).await.unwrap(), waiting[1..2]);
    // without facts too
    let tenures = vec![tenure(&held, 2)];
    let signals = vec![settled(&waiting[1], None)];
    store.commit(&Batch { commits: Vec::new(), tenures, signals }).await.unwrap();
    assert!(store.signals(&[Shard(1), Shard(2)], 10).await.unwrap().is_empty());
}

async fn journals_are_read_together<S: Store + Shards + Intake>(store: S) {
    store.submit(&[submission("q", 1), submission("r", 1)]).await.unwrap();
    let held = store.hold(&me("a"), 16).await.unwrap();
    let (mut run, first) = begin("r");
    let second = run.apply(Time(9), stop()).unwrap();
    let journal: Vec<Fact> = first.iter().chain(&second).cloned().collect();
    store.commit(&by(tenure(&held, 1), "r", first, of(1))).await.unwrap();
    store.commit(&by(tenure(&held, 1), "r", second, of(1))).await.unwrap();
    store.commit(&by(tenure(&held, 2), "a", facts(1, 3), of(2))).await.unwrap();
    let asked: Vec<Name> = ["r", "q", "unknown", "a"].map(Name::from).to_vec();
    let found: Vec<Journal> =
        store.journals(&asked).await.unwrap().into_iter().map(Result::unwrap).collect();
    let runs: Vec<&str> = found.iter().map(|journal| &*journal.run).collect();
    assert_eq!(runs, ["r", "a"], "those that began, in the order in which they were asked for");
    assert_eq!(found[0].facts, journal);
    assert_eq!((&*found[0].tenant, &found[0].plan), ("default", &submission("r", 1).plan));
    assert_eq!(found[1].facts, facts(1, 3));
}

/// How a run ends that breaks something.
pub(crate) fn broken() -> RunFinished {
    RunFinished {
        status: Status::Failed,
        reason: Some(Reason::Internal),
        error: Some("internal error: it cannot be read".into()),
        outputs: Vec::new(),
        errors: Vec::new(),
        errors_omitted: 0,
        exceptions_count: 0,
        steps: 0,
        conversation: Vec::new(),
    }
}

async fn a_run_that_nobody_can_move_is_ended<S: Store + Shards + Intake>(store: S) {
    let tenant: Name = "default".into();
    store.submit(&[submission("q", 1), submission("r", 1), submission("s", 1)]).await.unwrap();
    let held = store.hold(&me("a"), 16).await.unwrap();
    let one = tenure(&held, 1);
    let busy = Standing { is_ready: true, in_flight: 2, last_number: 9, ..of(1) };
    store.commit(&by(one, "r", begin("r").1, busy)).await.unwrap();
    store.wish(&tenant, &"r".into(), &Wish::Pause, &"ada".into()).await.unwrap();
    // an owner of before ends nothing
    let old = Tenure { epoch: 0, ..one };
    let fenced = Err(StoreError::Fenced { shard: Shard(1) });
    assert_eq!(store.end(old, &"r".into(), &broken()).await, fenced);
    for (run, ends) in [("r", true), ("q", true), ("r", false), ("unknown", false)] {
        assert_eq!(store.end(one, &run.into(), &broken()).await, Ok(ends), "{run}");
    }
    for (run, begun) in [("r", begin("r").1), ("q", Vec::new())] {
        let journal = store.journal(&run.into()).await.unwrap();
        let kinds: Vec<bool> = journal
            .iter()
            .map(|fact| matches!(&fact.event, Event::RunFinished(end) if **end == broken()))
            .collect();
        assert_eq!(kinds.iter().filter(|ends| **ends).count(), 1);
        assert!(*kinds.last().unwrap() && journal.starts_with(&begun), "{journal:?}");
        assert!(matches!(&journal[0].event, Event::RunStarted(start) if &*start.run == run));
        let row = store.run(&tenant, &run.into()).await.unwrap().unwrap();
        assert_eq!((row.status, row.wake_at, row.in_flight), (Some(Status::Failed), None, 0));
        assert!(row.started_at.is_some() && row.finished_at.is_some());
    }
    assert!(store.signals(&[Shard(1)], 10).await.unwrap().is_empty());
    let queued = store.queued(&[Shard(1)], 10).await.unwrap();
    assert_eq!(
        queued.iter().map(|run| &*run.as_ref().unwrap().start.run).collect::<Vec<_>>(),
        ["s"]
    );
    assert!(store.unfinished(Tenure { mark: 0, ..one }).await.unwrap().is_empty());
}

async fn runs_that_nobody_would_wake_are_told<S: Store + Shards + Intake>(store: S) {
    let held = store.hold(&me("a"), 16).await.unwrap();
    store.submit(&[submission("queued", 1)]).await.unwrap();
    store.commit(&by(tenure(&held, 1), "fine", begin("fine").1, of(1))).await.unwrap();
    let (mut run, mut facts) = begin("ended");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    store.commit(&by(tenure(&held, 1), "ended", facts, of(1))).await.unwrap();
    let told = async |most| -> Vec<String> {
        let told = store.without_deadline(&[Shard(1), Shard(2)], most).await.unwrap();
        told.iter().map(ToString::to_string).collect()
    };
    assert!(told(10).await.is_empty());
    let never = |shard| Standing { wake_at: None, ..of(shard) };
    for (run, shard) in [("b", 1), ("a", 2), ("elsewhere", 3)] {
        store.commit(&by(tenure(&held, shard), run, begin(run).1, never(shard))).await.unwrap();
    }
    assert_eq!(told(10).await, ["a", "b"]);
    assert_eq!(told(1).await, ["a"]);
}
