//! The store for intake and queries: what was accepted is there once, and each tenant sees its own.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Fact, Status};
use flowmill_engine::run::Input;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::intake::{Accepted, Document, Filter, IdempotencyKey, Intake, Submission};
use flowmill_infra::shards::{Shards, Wish};
use flowmill_infra::store::{Batch, Commit, Settled, Standing, Store};
use flowmill_infra::texts::Texts;
use uuid::Uuid;

use super::shards::{begin, of, stop, submission};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Shards + Intake + Texts>(make: impl AsyncFn() -> S) {
    a_name_means_its_latest_document(make().await).await;
    documents_belong_to_their_tenant(make().await).await;
    mocks_are_kept_beside_documents(make().await).await;
    an_accepted_run_is_there(make().await).await;
    a_key_means_one_run(make().await).await;
    a_key_means_one_run_within_a_call(make().await).await;
    of_many_submitters_of_a_key_one_is_first(make().await).await;
    a_run_is_shown_as_its_facts_say(make().await).await;
    lists_are_turned_by_pages(make().await).await;
    lists_are_cut_by_time(make().await).await;
    ends_are_told_of_many_runs_at_once(make().await).await;
    wishes_need_a_run_that_goes_on(make().await).await;
    what_became_of_wishes_is_told_of_many_at_once(make().await).await;
    facts_are_read_on_from_a_number(make().await).await;
    news_are_told_of_many_runs_at_once(make().await).await;
}

fn tenant() -> Name {
    "default".into()
}

fn document(digest: &str, name: &str, at: u64) -> Document {
    let text = format!("text of {digest} \0 \u{1F600}").into();
    Document {
        digest: digest.into(),
        name: name.into(),
        text,
        has_secrets: false,
        pushed_at: Time(at),
    }
}

fn keyed(run: &str, key: &str, fingerprint: &str) -> Submission {
    let key = IdempotencyKey { key: key.into(), fingerprint: fingerprint.into() };
    Submission { key: Some(key), ..submission(run, 1) }
}

fn before(run: &str) -> Accepted {
    Accepted::Before(run.into())
}

fn other(run: &str) -> Accepted {
    Accepted::Other(run.into())
}

fn commit(run: &str, facts: Vec<Fact>, standing: Standing) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing }
}

async fn ids<S: Intake>(store: &S, filter: Filter) -> Vec<String> {
    let rows = store.runs(&tenant(), &filter).await.unwrap();
    rows.iter().map(|row| row.run.to_string()).collect()
}

async fn a_name_means_its_latest_document<S: Intake>(store: S) {
    let named = async |named: &str| store.document(&tenant(), named).await.unwrap();
    assert_eq!(named("shout").await, None);
    let (first, second) = (document("d1", "shout", 1), document("d2", "shout", 2));
    store.push(&tenant(), &first).await.unwrap();
    store.push(&tenant(), &second).await.unwrap();
    assert_eq!(named("shout").await.unwrap(), second);
    assert_eq!(named("d1").await.unwrap(), first);
    let asked = ["d2", "whisper", "shout", "d1", "d2"].map(Name::from);
    let bare = |document: &Document| Some(Document { text: "".into(), ..document.clone() });
    let (of_first, of_second) = (bare(&first), bare(&second));
    assert_eq!(
        store.versions(&tenant(), &asked).await.unwrap(),
        [of_second.clone(), None, of_second.clone(), of_first, of_second]
    );
    // going back to an earlier text: it is the latest again, and as old as it was
    store.push(&tenant(), &Document { pushed_at: Time(3), ..first.clone() }).await.unwrap();
    assert_eq!(named("shout").await.unwrap(), first);
    store.push(&tenant(), &document("d3", "echo", 4)).await.unwrap();
    let listed = store.documents(&tenant()).await.unwrap();
    let listed: Vec<_> =
        listed.iter().map(|found| (&*found.name, &*found.digest, &*found.text)).collect();
    assert_eq!(listed, [("echo", "d3", ""), ("shout", "d1", "")]);
}

async fn documents_belong_to_their_tenant<S: Intake>(store: S) {
    let others: Name = "others".into();
    store.push(&others, &document("d1", "shout", 1)).await.unwrap();
    for named in ["d1", "shout"] {
        assert_eq!(store.document(&tenant(), named).await.unwrap(), None);
        assert_eq!(store.versions(&tenant(), &[named.into()]).await.unwrap(), [None]);
    }
    assert!(store.documents(&tenant()).await.unwrap().is_empty());
    store.push(&tenant(), &document("d1", "whisper", 2)).await.unwrap();
    let theirs = store.document(&others, "d1").await.unwrap().unwrap();
    assert_eq!((&*theirs.name, theirs.pushed_at), ("shout", Time(1)));
}

async fn an_accepted_run_is_there<S: Store + Intake>(store: S) {
    assert!(store.submit(&[]).await.unwrap().is_empty());
    store.push(&tenant(), &document("doc", "shout", 1)).await.unwrap();
    let accepted = store.submit(&[submission("r", 1), submission("s", 1)]).await.unwrap();
    assert_eq!(accepted, [Accepted::New, Accepted::New]);
    let row = store.run(&tenant(), &"r".into()).await.unwrap().unwrap();
    assert_eq!((&*row.run, &*row.workflow, &*row.name), ("r", "doc", "shout"));
    assert_eq!((row.status, row.started_at, row.finished_at), (None, None, None));
    assert_eq!((row.wake_at, row.in_flight), (Some(Time(1000)), 0));
    assert!(row.accepted_at > Time(1_600_000_000_000_000), "{}", row.accepted_at);
    assert!(store.journal(&"r".into()).await.unwrap().is_empty());
    let others: Name = "others".into();
    assert_eq!(store.run(&others, &"r".into()).await.unwrap(), None);
    assert!(store.facts(&others, &"r".into(), 0).await.unwrap().is_none());
    let all = Filter { most: 10, ..Filter::default() };
    assert!(store.runs(&others, &all).await.unwrap().is_empty());
}

async fn a_key_means_one_run<S: Intake>(store: S) {
    assert_eq!(store.submit(&[keyed("r", "k", "f")]).await.unwrap(), [Accepted::New]);
    let batch = [keyed("s", "k", "f"), submission("t", 1), keyed("u", "k", "other")];
    let accepted = store.submit(&batch).await.unwrap();
    assert_eq!(accepted, [before("r"), Accepted::New, other("r")]);
    let theirs = Submission { tenant: "others".into(), ..keyed("v", "k", "f") };
    assert_eq!(store.submit(&[theirs]).await.unwrap(), [Accepted::New]);
    assert_eq!(ids(&store, Filter { most: 10, ..Filter::default() }).await, ["t", "r"]);
    // whoever lost the answer asks again
    assert_eq!(store.submit(&[keyed("r", "k", "f")]).await.unwrap(), [Accepted::New]);
    assert_eq!(ids(&store, Filter { most: 10, ..Filter::default() }).await, ["t", "r"]);
}

async fn a_key_means_one_run_within_a_call<S: Intake>(store: S) {
    let batch = [keyed("r", "k", "f"), keyed("s", "k", "f"), keyed("t", "k", "g")];
    let accepted = store.submit(&batch).await.unwrap();
    assert_eq!(accepted, [Accepted::New, before("r"), other("r")]);
    assert_eq!(ids(&store, Filter { most: 10, ..Filter::default() }).await, ["r"]);
}

async fn of_many_submitters_of_a_key_one_is_first<S: Intake>(store: S) {
    let store = Arc::new(store);
    let submit = |number: u32| {
        let store = store.clone();
        // each with the same keys, in its own order
        let mut batch: Vec<Submission> = (0..10)
            .map(|key| keyed(&format!("r{number}-{key}"), &format!("k{key}"), "f"))
            .collect();
        batch.rotate_left(number as usize);
        tokio::spawn(async move { store.submit(&batch).await.unwrap() })
    };
    let submitters: Vec<_> = (0..4).map(submit).collect();
    let mut accepted = Vec::new();
    for submitter in submitters {
        accepted.extend(submitter.await.unwrap());
    }
    let new = accepted.iter().filter(|accepted| **accepted == Accepted::New).count();
    let before = accepted.iter().filter(|one| matches!(one, Accepted::Before(_))).count();
    assert_eq!((new, before), (10, 30), "{accepted:?}");
    assert_eq!(ids(&*store, Filter { most: 100, ..Filter::default() }).await.len(), 10);
}

async fn a_run_is_shown_as_its_facts_say<S: Store + Intake>(store: S) {
    store.submit(&[submission("r", 1)]).await.unwrap();
    let (mut run, begun) = begin("r");
    let standing = Standing { in_flight: 2, ..of(1) };
    let row = async || store.run(&tenant(), &"r".into()).await.unwrap().unwrap();
    store.commit(&together([commit("r", begun, standing)])).await.unwrap();
    let shown = row().await;
    assert_eq!((shown.status, shown.started_at), (Some(Status::Running), Some(Time(7))));
    assert_eq!((shown.wake_at, shown.in_flight), (Some(Time(500)), 2));
    let paused = run.apply(Time(8), Input::Pause { reason: "enough".into() }).unwrap();
    store.commit(&together([commit("r", paused, of(1))])).await.unwrap();
    assert_eq!(row().await.status, Some(Status::Paused));
    let stopped = run.apply(Time(9), stop()).unwrap();
    store.commit(&together([commit("r", stopped, of(1))])).await.unwrap();
    let shown = row().await;
    assert_eq!((shown.status, shown.finished_at), (Some(Status::Stopped), Some(Time(9))));
    assert_eq!((shown.started_at, shown.wake_at), (Some(Time(7)), None));
}

async fn lists_are_turned_by_pages<S: Store + Intake>(store: S) {
    for run in ["c", "a", "b", "d"] {
        store.submit(&[submission(run, 1)]).await.unwrap();
    }
    let mut elsewhere = submission("e", 1);
    elsewhere.plan.workflow = "other".into();
    store.submit(&[elsewhere]).await.unwrap();
    store.commit(&together([commit("b", begin("b").1, of(1))])).await.unwrap();

    let filter = |most| Filter { most, ..Filter::default() };
    assert_eq!(ids(&store, filter(10)).await, ["e", "d", "b", "a", "c"]);
    assert_eq!(ids(&store, filter(2)).await, ["e", "d"]);
    assert_eq!(ids(&store, Filter { before: Some("d".into()), ..filter(2) }).await, ["b", "a"]);
    assert_eq!(ids(&store, Filter { before: Some("c".into()), ..filter(2) }).await, [""; 0]);
    let oldest = |most| Filter { is_oldest_first: true, ..filter(most) };
    assert_eq!(ids(&store, oldest(10)).await, ["c", "a", "b", "d", "e"]);
    assert_eq!(ids(&store, Filter { after: Some("a".into()), ..oldest(2) }).await, ["b", "d"]);
    assert_eq!(ids(&store, Filter { after: Some("a".into()), ..filter(2) }).await, ["e", "d"]);
    assert_eq!(ids(&store, Filter { after: Some("e".into()), ..oldest(2) }).await, [""; 0]);
    assert_eq!(ids(&store, Filter { after: Some("none".into()), ..oldest(2) }).await, [""; 0]);
    let of_doc = Filter { workflow: Some("doc".into()), ..filter(2) };
    assert_eq!(ids(&store, of_doc).await, ["d", "b"]);
    let running = Filter { status: Some(Status::Running), ..filter(10) };
    assert_eq!(ids(&store, running).await, ["b"]);
    let queued = Filter { is_queued: true, ..filter(10) };
    assert_eq!(ids(&store, queued).await, ["e", "d", "a", "c"]);
    store.push(&tenant(), &document("other", "named", 1)).await.unwrap();
    let named = Filter { workflow: Some("named".into()), ..filter(10) };
    assert_eq!(ids(&store, named).await, ["e"]);
}

async fn lists_are_cut_by_time<S: Intake>(store: S) {
    let most = 10;
    let nothing = Filter { since: Some(Time(1)), most, ..Filter::default() };
    assert_eq!(ids(&store, nothing).await, [""; 0]);
    for _ in 0..4 {
        store.submit(&[submission(&Uuid::now_v7().to_string(), 1)]).await.unwrap();
    }
    let all = store.runs(&tenant(), &Filter { most, ..Filter::default() }).await.unwrap();
    // the latest first; two may have been accepted in the same microsecond
    let of = |shown: &dyn Fn(Time) -> bool| -> Vec<String> {
        let shown = all.iter().filter(|row| shown(row.accepted_at));
        shown.map(|row| row.run.to_string()).collect()
    };
    let (late, early) = (all[0].accepted_at, all[2].accepted_at);
    let since = Filter { since: Some(early), most, ..Filter::default() };
    let until = Filter { until: Some(late), most, ..Filter::default() };
    assert_eq!(ids(&store, since.clone()).await, of(&|time| time >= early));
    assert_eq!(ids(&store, until.clone()).await, of(&|time| time < late));
    let both = Filter { until: Some(late), ..since.clone() };
    assert_eq!(ids(&store, both).await, of(&|time| (early..late).contains(&time)));
    // by pages
    let cursor = Some(all[0].run.clone());
    let (page, all_of) = (Filter { before: cursor, most: 1, ..since }, of(&|_| true));
    assert_eq!(ids(&store, page).await, all_of[1..2]);
    // long before and long after
    let (before, after) = (Time(early.0 / 2), late.after(Duration::from_hours(1)));
    for (since, until, shown) in [
        (Some(before), Some(after), all_of),
        (Some(after), None, Vec::new()),
        (None, Some(before), Vec::new()),
    ] {
        let filter = Filter { since, until, most, ..Filter::default() };
        assert_eq!(ids(&store, filter).await, shown, "{since:?} {until:?}");
    }
}

async fn ends_are_told_of_many_runs_at_once<S: Store + Intake>(store: S) {
    for run in ["a", "b", "c"] {
        store.submit(&[submission(run, 1)]).await.unwrap();
    }
    let (mut run, mut facts) = begin("b");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    store.commit(&together([commit("b", facts, of(1))])).await.unwrap();
    store.commit(&together([commit("c", begin("c").1, of(1))])).await.unwrap();
    let asked = ["a", "b", "c", "d"].map(Name::from);
    assert_eq!(store.ended(&asked).await.unwrap(), [Name::from("b")]);
    assert!(store.ended(&[]).await.unwrap().is_empty());
}

async fn mocks_are_kept_beside_documents<S: Intake + Texts>(store: S) {
    let (digest, text) = ("m".into(), "{} \0".into());
    for _ in 0..2 {
        store.keep(&tenant(), &digest, &text).await.unwrap();
    }
    assert_eq!(store.text(&tenant(), &digest).await.unwrap(), Some(text));
    assert_eq!(store.text(&"others".into(), &digest).await.unwrap(), None);
    assert!(store.documents(&tenant()).await.unwrap().is_empty());
}

async fn wishes_need_a_run_that_goes_on<S: Store + Intake>(store: S) {
    let wish = async |tenant: &Name, run: &str| {
        let left = store.wish(tenant, &run.into(), &Wish::Stop, &"ada".into()).await.unwrap();
        left.is_some()
    };
    assert!(!wish(&tenant(), "r").await);
    store.submit(&[submission("r", 1)]).await.unwrap();
    assert!(wish(&tenant(), "r").await);
    assert!(!wish(&"others".into(), "r").await);
    let (mut run, mut facts) = begin("r");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    store.commit(&together([commit("r", facts, of(1))])).await.unwrap();
    assert!(!wish(&tenant(), "r").await);
}

async fn what_became_of_wishes_is_told_of_many_at_once<S: Store + Intake>(store: S) {
    store.submit(&[submission("r", 1), submission("s", 1)]).await.unwrap();
    let (_, begun) = begin("r");
    store.commit(&together([commit("r", begun, of(1))])).await.unwrap();
    let wish = async |run: &str| {
        let left = store.wish(&tenant(), &run.into(), &Wish::Pause, &"ada".into()).await.unwrap();
        left.unwrap()
    };
    let (first, second, third) = (wish("r").await, wish("r").await, wish("s").await);
    assert!(first < second && second < third, "{first} {second} {third}");
    let asked = [third, first, second, third + 1];
    let told = async || {
        let mut told = store.settled(&asked).await.unwrap();
        told.sort_by_key(|settled| settled.signal);
        told
    };
    assert_eq!(told().await, []);
    let applied = Settled { signal: first, refused: None };
    let refused = Settled { signal: second, refused: Some("too \u{1F600} late".into()) };
    let signals = vec![applied.clone(), refused.clone()];
    store.commit(&Batch { signals, ..Batch::default() }).await.unwrap();
    assert_eq!(told().await, [applied, refused]);
    assert_eq!(store.settled(&[]).await.unwrap(), []);
}

async fn facts_are_read_on_from_a_number<S: Store + Intake>(store: S) {
    let read = async |after| {
        let found = store.facts(&tenant(), &"r".into(), after).await.unwrap();
        found.map(|(plan, facts)| (plan, facts.iter().map(|fact| fact.seq).collect::<Vec<_>>()))
    };
    assert_eq!(read(0).await, None);
    store.submit(&[submission("r", 1)]).await.unwrap();
    let plan = submission("r", 1).plan;
    assert_eq!(read(0).await, Some((plan.clone(), Vec::new())));
    for (first, last) in [(1, 3), (4, 4), (5, 7)] {
        let facts = super::facts(first, last);
        store.commit(&together([commit("r", facts, of(1))])).await.unwrap();
    }
    assert_eq!(read(0).await, Some((plan.clone(), (1..=7).collect())));
    assert_eq!(read(3).await, Some((plan.clone(), (4..=7).collect())));
    assert_eq!(read(5).await, Some((plan.clone(), vec![6, 7])));
    assert_eq!(read(7).await, Some((plan, Vec::new())));
}

async fn news_are_told_of_many_runs_at_once<S: Store + Intake>(store: S) {
    for run in ["a", "b", "c"] {
        store.submit(&[submission(run, 1)]).await.unwrap();
    }
    for (run, first, last) in [("a", 1, 3), ("b", 1, 1), ("a", 4, 4), ("b", 2, 6)] {
        let facts = super::facts(first, last);
        store.commit(&together([commit(run, facts, of(1))])).await.unwrap();
    }
    let news = async |asked: &[(&str, u64)]| {
        let asked: Vec<(Name, u64)> =
            asked.iter().map(|(run, after)| ((*run).into(), *after)).collect();
        let news = store.news(&asked).await.unwrap();
        let numbers = |facts: &Vec<Fact>| facts.iter().map(|fact| fact.seq).collect::<Vec<_>>();
        news.iter().map(numbers).collect::<Vec<_>>()
    };
    let all = [("b", 3), ("a", 0), ("c", 0), ("d", 7), ("a", 4), ("a", 1)];
    let told = [vec![4, 5, 6], vec![1, 2, 3, 4], vec![], vec![], vec![], vec![2, 3, 4]];
    assert_eq!(news(&all).await, told);
    assert!(news(&[]).await.is_empty());
    // of a long journal it is the beginning; what is left is told after it
    for at in 0..200 {
        let facts = super::facts(at + 1, at + 1);
        store.commit(&together([commit("c", facts, of(1))])).await.unwrap();
    }
    let (mut known, mut parts) = (0, 0);
    loop {
        let part = news(&[("c", known)]).await.remove(0);
        let Some(last) = part.last() else { break };
        assert_eq!(part, (known + 1..=*last).collect::<Vec<_>>());
        (known, parts) = (*last, parts + 1);
    }
    assert!(known == 200 && parts <= 200, "{known} in {parts} parts");
}
