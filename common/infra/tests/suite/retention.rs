//! What need not be kept is removed, and nothing else is.

use std::time::Duration;

use flowmill_engine::fact::Parent;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::announcements::Announcements as _;
use flowmill_infra::batches::{Batches, Cause, State, Steer};
use flowmill_infra::contents::{Contents, Upload};
use flowmill_infra::intake::{
    Accepted, Document, Filter, IdempotencyKey, Intake, Submission, Turn,
};
use flowmill_infra::payloads::{Digest, Owner, Payload, PayloadError};
use flowmill_infra::postgres::{PostgresPurge, PostgresStore};
use flowmill_infra::retention::{Keeping, Kind, Limits, Purge, Purged, Terms, purge};
use flowmill_infra::store::{Commit, Store};
use flowmill_infra::tenants::{AddedTenant, RemovedTenant, Tenants};

use super::batches::batch;
use super::server::Schema;
use super::shards::{begin, of, stop, submission};
use super::store::{plan, together};

/// A store that can be purged, for whoever does so.
pub(crate) trait Kept: Store + Intake + Batches + Tenants + Contents + Keeping {}

impl<S: Store + Intake + Batches + Tenants + Contents + Keeping> Kept for S {}

/// `make` gives a new store in the hands of the one who purges; `tell` whoever waits for ends.
pub(crate) async fn all<S: Kept, P: Purge>(make: impl AsyncFn() -> (S, P), tell: impl AsyncFn(&S)) {
    terms_are_the_tenants_own(make().await.0).await;
    what_ended_goes_with_all_that_is_its_own(make().await, &tell).await;
    what_goes_on_stays(make().await, &tell).await;
    terms_of_a_tenant_count_before_those_of_all(make().await, &tell).await;
    nothing_goes_when_it_is_only_said_what_would(make().await, &tell).await;
    a_child_stays_until_its_parent_has_ended(make().await, &tell).await;
    a_batch_goes_as_a_whole(make().await, &tell).await;
    a_file_stays_while_a_run_may_need_it(make().await, &tell).await;
    conversations_go_when_nobody_goes_on_with_them(make().await).await;
    a_name_of_a_submission_outlives_its_run(make().await, &tell).await;
    values_of_runs_that_never_came_go(make().await).await;
    nothing_of_a_removed_tenant_is_left(make().await, &tell).await;
    many_go_in_steps(make().await, &tell).await;
}

/// The id of a run that was made in January of 2020; `number` tells it from others.
pub(crate) fn id(number: u32) -> String {
    format!("016f61a2-{number:04x}-7000-8000-000000000000")
}

fn tenant() -> Name {
    "default".into()
}

/// What ended goes at once.
pub(crate) fn limits() -> Limits {
    Limits {
        usual: Kind::ALL.map(|kind| (kind, Some(Duration::ZERO))).into(),
        keys: Duration::from_hours(1),
        letters: None,
        share: 1.0,
        is_dry: false,
    }
}

pub(crate) async fn purged<P: Purge>(store: &mut P, limits: &Limits) -> Purged {
    purge(store, limits, &mut |_| ()).await.unwrap()
}

async fn runs<P: Purge>(store: &mut P) -> u64 {
    purged(store, &limits()).await.runs
}

/// A run that began, and was stopped if it `ends`.
pub(crate) async fn work<S: Store>(store: &S, run: &str, ends: bool) {
    let (mut begun, mut facts) = begin(run);
    if ends {
        facts.extend(begun.apply(Time(9), stop()).unwrap());
    }
    let standing = of(1);
    let commit = Commit { run: run.into(), plan: plan(), facts: facts.into(), standing };
    store.commit(&together([commit])).await.unwrap();
}

async fn is_there<S: Intake>(store: &S, run: &str) -> bool {
    store.run(&tenant(), &run.into()).await.unwrap().is_some()
}

fn large() -> Payload {
    Payload::of(b"large".to_vec())
}

fn owner(run: &str) -> Owner {
    Owner::Run(run.into())
}

async fn terms_are_the_tenants_own<S: Keeping>(store: S) {
    let (ours, theirs) = (tenant(), Name::from("acme"));
    assert_eq!(store.terms(&ours).await.unwrap(), Terms::new());
    let terms = Terms::from([
        (Kind::Failed, None),
        (Kind::Uploads, Some(Duration::from_hours(24))),
        (Kind::Partial, Some(Duration::from_millis(60_001))),
    ]);
    store.set_terms(&ours, &terms).await.unwrap();
    assert_eq!(store.terms(&ours).await.unwrap(), terms);
    assert_eq!(store.terms(&theirs).await.unwrap(), Terms::new());
    let fewer = Terms::from([(Kind::Failed, Some(Duration::from_hours(1)))]);
    store.set_terms(&ours, &fewer).await.unwrap();
    assert_eq!(store.terms(&ours).await.unwrap(), fewer);
    store.set_terms(&ours, &Terms::new()).await.unwrap();
    assert_eq!(store.terms(&ours).await.unwrap(), Terms::new());
}

async fn what_ended_goes_with_all_that_is_its_own<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    let (gone, other) = (id(1), id(2));
    store.submit(&[submission(&gone, 1), submission(&other, 1)]).await.unwrap();
    for run in [&gone, &other] {
        store.content().put(&owner(run), &large()).await.unwrap();
    }
    work(&store, &gone, true).await;
    work(&store, &other, false).await;
    tell(&store).await;
    assert_eq!(runs(&mut hand).await, 1);
    assert!(!is_there(&store, &gone).await && is_there(&store, &other).await);
    assert_eq!(store.journal(&gone.as_str().into()).await.unwrap(), []);
    let digest = large().digest();
    let lost = Err(PayloadError::Lost { digest });
    assert_eq!(store.content().get(&owner(&gone), digest).await, lost);
    assert_eq!(store.content().get(&owner(&other), digest).await.unwrap(), b"large");
    assert_eq!(runs(&mut hand).await, 0, "it is done");
    assert!(hand.stock().await.unwrap().purged_at.is_some());
}

async fn what_goes_on_stays<S: Kept, P: Purge>((store, mut hand): (S, P), tell: &impl AsyncFn(&S)) {
    let (queued, running) = (id(1), id(2));
    store.submit(&[submission(&queued, 1), submission(&running, 1)]).await.unwrap();
    work(&store, &running, false).await;
    tell(&store).await;
    assert_eq!(runs(&mut hand).await, 0);
    assert!(is_there(&store, &queued).await && is_there(&store, &running).await);
}

async fn terms_of_a_tenant_count_before_those_of_all<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    store.submit(&[submission(&id(1), 1)]).await.unwrap();
    work(&store, &id(1), true).await;
    tell(&store).await;
    store.set_terms(&tenant(), &Terms::from([(Kind::Stopped, None)])).await.unwrap();
    assert_eq!(runs(&mut hand).await, 0);
    let good = Limits { usual: Terms::new(), ..limits() };
    let terms = Terms::from([(Kind::Stopped, Some(Duration::from_hours(1)))]);
    store.set_terms(&tenant(), &terms).await.unwrap();
    assert_eq!(purged(&mut hand, &good).await.runs, 1);
    assert_eq!(purged(&mut hand, &good).await, Purged::default());
}

async fn nothing_goes_when_it_is_only_said_what_would<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    store.submit(&[submission(&id(1), 1)]).await.unwrap();
    work(&store, &id(1), true).await;
    tell(&store).await;
    let dry = Limits { is_dry: true, ..limits() };
    for _ in 0..2 {
        let due = [(tenant(), 1)].into();
        assert_eq!(purged(&mut hand, &dry).await, Purged { runs: 1, due, ..Purged::default() });
    }
    assert!(is_there(&store, &id(1)).await);
    assert_eq!(hand.stock().await.unwrap().purged_at, None, "it is still to be done");
}

async fn a_child_stays_until_its_parent_has_ended<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    let (parent, child) = (id(1), id(2));
    let mut called = submission(&child, 2);
    called.start.parent = Some(Parent {
        run: parent.as_str().into(),
        task: super::children::task(),
        attempt: 1,
        call: "tool".into(),
        depth: 1,
        root: None,
        batch: None,
    });
    store.submit(&[submission(&parent, 1)]).await.unwrap();
    store.submit(&[called]).await.unwrap();
    work(&store, &parent, false).await;
    work(&store, &child, true).await;
    tell(&store).await;
    assert_eq!(runs(&mut hand).await, 0, "the parent has yet to read what became of it");
    let (mut run, begun) = begin(&parent);
    let end = run.apply(Time(9), stop()).unwrap();
    assert!(!begun.is_empty());
    let (facts, standing) = (end.into(), of(1));
    let commit = Commit { run: parent.as_str().into(), plan: plan(), facts, standing };
    store.commit(&together([commit])).await.unwrap();
    tell(&store).await;
    assert_eq!(runs(&mut hand).await, 2);
}

async fn a_batch_goes_as_a_whole<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    store.create_batch(&batch("b")).await.unwrap();
    let mut line = submission(&id(1), 1);
    line.start.line =
        Some(flowmill_engine::fact::BatchLine { batch: "b".into(), line: 1, custom_id: None });
    store.submit(&[line]).await.unwrap();
    work(&store, &id(1), true).await;
    tell(&store).await;
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.batches), (0, 0), "others of the batch are still to come");
    let steer = Steer::Stop(Cause::User);
    store.steer_batch(&tenant(), &"b".into(), steer, &"ada".into()).await.unwrap().unwrap();
    store.end_batch(&"b".into(), State::Stopped).await.unwrap();
    tell(&store).await;
    let long = Some(Duration::from_hours(1));
    let late = Limits { usual: Kind::ALL.map(|kind| (kind, long)).into(), ..limits() };
    assert_eq!(purged(&mut hand, &late).await.runs, 0, "the batch has ended a moment ago");
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.batches), (1, 1));
    assert!(store.batch(&tenant(), &"b".into()).await.unwrap().is_none());
}

fn upload(id: &str) -> Upload {
    Upload {
        id: id.into(),
        name: "a.txt".into(),
        extension: Some(".txt".into()),
        mime_type: "text/plain".into(),
        bytes: 1,
        digest: Digest::of(b"x"),
        uploaded_at: Time(1_577_900_000_000_000),
        used_at: Time(1_577_900_000_000_000),
    }
}

async fn a_file_stays_while_a_run_may_need_it<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    for id in ["used", "unused"] {
        let upload = upload(id);
        store.content().put(&upload.owner(&tenant()), &Payload::of(b"x".to_vec())).await.unwrap();
        store.keep_upload(&tenant(), &upload).await.unwrap();
    }
    let asked = ["used".into(), "other".into()];
    assert_eq!(store.use_uploads(&tenant(), &asked).await.unwrap(), [Name::from("used")]);
    store.submit(&[submission(&id(1), 1)]).await.unwrap();
    work(&store, &id(1), false).await;
    tell(&store).await;
    let names = async || {
        let asked = ["used".into(), "unused".into()];
        let found = store.uploads(&tenant(), &asked).await.unwrap();
        found.iter().map(|upload| upload.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(purged(&mut hand, &limits()).await.uploads, 1);
    assert_eq!(names().await, ["used"]);
    let get = async |id: &str| {
        let upload = upload(id);
        store.content().get(&upload.owner(&tenant()), upload.digest).await
    };
    assert!(get("unused").await.is_err() && get("used").await.is_ok());
    let (mut run, _) = begin(&id(1));
    let facts = run.apply(Time(9), stop()).unwrap().into();
    let commit = Commit { run: id(1).as_str().into(), plan: plan(), facts, standing: of(1) };
    store.commit(&together([commit])).await.unwrap();
    tell(&store).await;
    assert_eq!(purged(&mut hand, &limits()).await.uploads, 1);
    assert_eq!(names().await, Vec::<String>::new());
}

async fn conversations_go_when_nobody_goes_on_with_them<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
) {
    let turn = Turn { conversation: "c".into(), app: "chat".into(), counts: true };
    store.submit(&[Submission { turn: Some(turn), ..submission(&id(1), 1) }]).await.unwrap();
    let long = Some(Duration::from_hours(1));
    let late = Limits { usual: Kind::ALL.map(|kind| (kind, long)).into(), ..limits() };
    assert_eq!(purged(&mut hand, &late).await.conversations, 0);
    assert_eq!(purged(&mut hand, &limits()).await.conversations, 1);
    assert_eq!(store.conversation(&tenant(), &"c".into()).await.unwrap(), None);
}

async fn a_name_of_a_submission_outlives_its_run<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    let key = Some(IdempotencyKey { key: "k".into(), fingerprint: "f".into() });
    let keyed = |run: u32| Submission { key: key.clone(), ..submission(&id(run), 1) };
    store.submit(&[keyed(1)]).await.unwrap();
    let none = Limits { keys: Duration::ZERO, ..limits() };
    assert_eq!(purged(&mut hand, &none).await.keys, 0, "its run is there");
    work(&store, &id(1), true).await;
    tell(&store).await;
    assert_eq!(runs(&mut hand).await, 1);
    let before = Accepted::Before(id(1).as_str().into());
    assert_eq!(store.submit(&[keyed(2)]).await.unwrap(), [before], "it was used a moment ago");
    assert_eq!(purged(&mut hand, &none).await.keys, 1);
    assert_eq!(store.submit(&[keyed(3)]).await.unwrap(), [Accepted::New]);
}

async fn values_of_runs_that_never_came_go<S: Kept, P: Purge>((store, mut hand): (S, P)) {
    let soon = uuid::Uuid::now_v7().to_string();
    store.submit(&[submission(&id(2), 1)]).await.unwrap();
    for run in [&id(1), &id(2), &soon] {
        store.content().put(&owner(run), &large()).await.unwrap();
    }
    assert_eq!(purged(&mut hand, &limits()).await.payloads, 1);
    let digest = large().digest();
    assert!(store.content().get(&owner(&id(1)), digest).await.is_err());
    for run in [&id(2), &soon] {
        assert!(store.content().get(&owner(run), digest).await.is_ok(), "{run}");
    }
}

async fn nothing_of_a_removed_tenant_is_left<S: Kept, P: Purge>(
    (store, mut hand): (S, P),
    tell: &impl AsyncFn(&S),
) {
    let acme = Name::from("acme");
    store.add_tenant(&acme).await.unwrap();
    let document = Document {
        digest: "d".into(),
        name: "n".into(),
        text: "text".into(),
        has_secrets: false,
        pushed_at: Time(7),
    };
    store.push(&acme, &document).await.unwrap();
    store.push(&tenant(), &document).await.unwrap();
    let file = upload("u");
    store.content().put(&file.owner(&acme), &Payload::of(b"x".to_vec())).await.unwrap();
    store.keep_upload(&acme, &file).await.unwrap();
    let theirs = Submission { tenant: acme.clone(), ..submission(&id(1), 1) };
    store.submit(&[theirs, submission(&id(2), 1)]).await.unwrap();
    for run in [id(1), id(2)] {
        work(&store, &run, true).await;
    }
    tell(&store).await;
    assert_eq!(store.remove_tenant(&acme).await.unwrap(), RemovedTenant::Gone);
    assert_eq!(store.add_tenant(&acme).await.unwrap(), AddedTenant::Leaving);
    // of others, all is kept for good
    let good = Limits { usual: Terms::new(), ..limits() };
    let purge = purged(&mut hand, &good).await;
    assert_eq!((purge.runs, purge.tenants), (1, 1));
    assert_eq!(store.add_tenant(&acme).await.unwrap(), AddedTenant::New);
    let all = Filter { most: 9, ..Filter::default() };
    assert_eq!(store.runs(&acme, &all).await.unwrap(), []);
    assert_eq!(store.documents(&acme).await.unwrap(), []);
    assert_eq!(store.uploads(&acme, &["u".into()]).await.unwrap(), []);
    assert!(store.content().get(&file.owner(&acme), file.digest).await.is_err());
    assert!(is_there(&store, &id(2)).await);
    assert_eq!(store.document(&tenant(), "n").await.unwrap().unwrap().text, Name::from("text"));
    // one that had nothing leaves no trace
    store.add_tenant(&"bare".into()).await.unwrap();
    store.remove_tenant(&"bare".into()).await.unwrap();
    assert_eq!(store.add_tenant(&"bare".into()).await.unwrap(), AddedTenant::New);
}

async fn many_go_in_steps<S: Kept, P: Purge>((store, mut hand): (S, P), tell: &impl AsyncFn(&S)) {
    const MANY: u32 = 1120;
    const MANY_DUE: u64 = 1008;
    let submissions: Vec<_> = (0..MANY).map(|number| submission(&id(number), 1)).collect();
    store.submit(&submissions).await.unwrap();
    for number in 0..MANY {
        // each tenth goes on
        work(&store, &id(number), number % 10 > 0).await;
    }
    tell(&store).await;
    let mut told = Vec::new();
    purge(&mut hand, &limits(), &mut |so_far| told.push(so_far.runs)).await.unwrap();
    let steps = (1..).map(|step| MANY_DUE.min(step * P::AT_ONCE as u64));
    let steps: Vec<u64> = steps.take_while(|so_far| *so_far < MANY_DUE).chain([MANY_DUE]).collect();
    assert_eq!(told[..steps.len()], steps);
    let left = store.runs(&tenant(), &Filter { most: 200, ..Filter::default() }).await.unwrap();
    assert_eq!(left.len(), 112);
    assert!(left.iter().all(|row| row.finished_at.is_none()));
}

/// A month of which all runs lie in parts of their own.
const MONTH: &str = "
    CREATE TABLE runs_2020_01 PARTITION OF runs FOR VALUES FROM ('016f5e66-e800') TO ('016ffe0c-0c00');
    CREATE TABLE journal_2020_01 PARTITION OF journal
        FOR VALUES FROM ('016f5e66-e800') TO ('016ffe0c-0c00');
    CREATE TABLE checkpoints_2020_01 PARTITION OF checkpoints
        FOR VALUES FROM ('016f5e66-e800') TO ('016ffe0c-0c00');
    CREATE TABLE payloads_2020_01 PARTITION OF payloads
        FOR VALUES FROM ('016f5e66-e800') TO ('016ffe0c-0c00')";

const PARTS: &str = "
    SELECT count(*) FROM pg_class
    WHERE relname LIKE '%\\_2020\\_01' AND relkind = 'r'
        AND relnamespace = current_schema()::regnamespace";

#[tokio::test]
async fn a_month_goes_at_once_when_all_of_it_is_due() {
    let schema = Schema::migrated().await;
    schema.meddle(MONTH).await.unwrap();
    let (store, mut hand) = schema.purged().await;
    let months = hand.months().await.unwrap();
    assert_eq!(months.first().map(|month| &*month.name), Some("2020_01"), "{months:?}");
    assert_eq!(months[0].end, "016ffe0c-0c00");
    for number in 1..=3 {
        store.submit(&[submission(&id(number), 1)]).await.unwrap();
        work(&store, &id(number), number < 3).await;
    }
    assert_eq!(schema.number(PARTS).await, 4);
    // two that ended go one by one, for the third goes on
    tell(&store).await;
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.months, schema.number(PARTS).await), (2, 0, 4));
    let (mut run, _) = begin(&id(3));
    let facts = run.apply(Time(9), stop()).unwrap().into();
    let commit = Commit { run: id(3).as_str().into(), plan: plan(), facts, standing: of(1) };
    store.commit(&together([commit])).await.unwrap();
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.months), (0, 0), "its end is to be announced");
    tell(&store).await;
    // whoever reads does so until the end of a transaction
    let mut reader = schema.connection().await;
    let mut reading = sqlx::Connection::begin(&mut reader).await.unwrap();
    sqlx::query("SELECT FROM journal").execute(&mut *reading).await.unwrap();
    let month = hand.months().await.unwrap().remove(0);
    let begun = std::time::Instant::now();
    let dropped = hand.drop_month(&month, Time(1 << 60)).await.unwrap();
    assert!(dropped.is_none() && begun.elapsed() < Duration::from_secs(30), "it waits for nobody");
    reading.rollback().await.unwrap();
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.months, schema.number(PARTS).await), (1, 1, 0));
    assert!(!is_there(&store, &id(3)).await);
    // whoever comes with such an id after all finds a place
    store.submit(&[submission(&id(4), 1)]).await.unwrap();
    assert!(is_there(&store, &id(4)).await);
}

#[tokio::test]
async fn a_month_stays_that_somebody_keeps_for_good() {
    let schema = Schema::migrated().await;
    schema.meddle(MONTH).await.unwrap();
    let (store, mut hand) = schema.purged().await;
    store.submit(&[submission(&id(1), 1)]).await.unwrap();
    work(&store, &id(1), true).await;
    tell(&store).await;
    store.set_terms(&"acme".into(), &Terms::from([(Kind::Failed, None)])).await.unwrap();
    let purge = purged(&mut hand, &limits()).await;
    assert_eq!((purge.runs, purge.months), (1, 0));
}

#[tokio::test]
async fn one_purges_at_a_time() {
    let schema = Schema::migrated().await;
    let (_store, hand) = schema.purged().await;
    assert!(PostgresPurge::open(&schema.url()).await.unwrap().is_none());
    let other = Schema::migrated().await;
    assert!(PostgresPurge::open(&other.url()).await.unwrap().is_some(), "another installation");
    hand.close().await;
    schema.purged().await;
}

#[tokio::test]
async fn what_people_did_is_removed_by_whoever_owns_it() {
    let schema = Schema::migrated().await;
    schema
        .meddle(
            "INSERT INTO audit (noted_at, tenant, actor, action, object, outcome) VALUES
                (1, 'default', 'ada', 'keys.create', '', 'done'),
                (flowmill_now(), 'default', 'ada', 'keys.create', '', 'done')",
        )
        .await
        .unwrap();
    let url = schema.url_with("-c role=flowmill_scheduler");
    let mut scheduler = PostgresPurge::open(&url).await.unwrap().unwrap();
    let hour = Duration::from_hours(1);
    assert!(scheduler.remove_audit(hour, false).await.is_err());
    scheduler.close().await;
    let (_store, mut hand) = schema.purged().await;
    assert_eq!(hand.remove_audit(hour, true).await.unwrap(), 1);
    assert_eq!(hand.remove_audit(hour, false).await.unwrap(), 1);
    assert_eq!(schema.number("SELECT count(*) FROM audit").await, 1);
    assert!(schema.meddle("DELETE FROM audit").await.is_err(), "the guard is there again");
}

/// Whoever waits for ends is told of all there are.
pub(crate) async fn tell(store: &PostgresStore) {
    loop {
        let notes = store.unannounced(1000).await.unwrap();
        if notes.is_empty() {
            return;
        }
        store.announced(&notes.iter().map(|note| note.id).collect::<Vec<_>>()).await.unwrap();
    }
}
