//! The store for whoever shares things out: shares are kept, schedulers together never have more than
//! a limit, and runs that wait are found by flow.

use flowmill_engine::fact::{BatchLine, Lane};
use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{Batches, NewBatch, State, Terms};
use flowmill_infra::flow::Flow;
use flowmill_infra::intake::{Document, Intake, Submission};
use flowmill_infra::message::{PlanKey, Shard};
use flowmill_infra::shards::{Damaged, Queued, Shards, Wish};
use flowmill_infra::shares::{Allotted, Amount, Party, Quota, Share, Shares, Usage};

use super::shards::{me, submission};

pub(crate) async fn all<S: Shares + Shards + Intake + Batches>(make: impl AsyncFn() -> S) {
    shares_are_set_and_cleared(make().await).await;
    schedulers_never_have_more_than_a_limit(make().await).await;
    what_a_scheduler_had_that_is_gone_is_free(make().await).await;
    a_batch_that_ended_has_no_share(make().await).await;
    flows_are_found_however_much_waits_in_them(make().await).await;
    what_is_wanted_of_runs_comes_before_they_begin(make().await).await;
}

fn share(weight: u32, runs: Option<u32>, tasks: Option<u32>) -> Share {
    Share { weight, runs, tasks }
}

async fn shares_are_set_and_cleared<S: Shares>(store: S) {
    let (acme, other) = (Name::from("acme"), Name::from("other"));
    let workflow = Party::Workflow("w".into());
    assert_eq!(store.shares(None).await.unwrap(), []);
    store.set_share(&other, &Party::Tenant, Some(&share(2, None, Some(0)))).await.unwrap();
    store.set_share(&acme, &workflow, Some(&share(7, Some(4_000_000_000), None))).await.unwrap();
    store.set_share(&acme, &Party::Tenant, Some(&share(1, Some(1), Some(2)))).await.unwrap();
    store.set_share(&acme, &Party::Tenant, Some(&share(3, None, Some(5)))).await.unwrap();
    let held = |tenant: &Name, party: &Party, share| {
        let (tenant, party) = (tenant.clone(), party.clone());
        Allotted { tenant, party, share }
    };
    let of_acme = [
        held(&acme, &Party::Tenant, share(3, None, Some(5))),
        held(&acme, &workflow, share(7, Some(4_000_000_000), None)),
    ];
    assert_eq!(store.shares(Some(&acme)).await.unwrap(), of_acme);
    let all = store.shares(None).await.unwrap();
    assert_eq!(
        (&all[..2], &all[2]),
        (&of_acme[..], &held(&other, &Party::Tenant, share(2, None, Some(0))))
    );
    store.set_share(&acme, &workflow, None).await.unwrap();
    store.set_share(&acme, &workflow, None).await.unwrap();
    assert_eq!(store.shares(Some(&acme)).await.unwrap(), of_acme[..1]);
}

fn usage(used: u32, wanted: u32) -> Usage {
    let amount = |runs| Amount { runs, tasks: runs * 2 };
    let (used, wanted) = (amount(used), amount(wanted));
    Usage { tenant: "acme".into(), party: Party::Tenant, used, wanted, held: Amount::default() }
}

fn quota(runs: u32, tasks: u32) -> Quota {
    let (runs, tasks) = (Some(runs), Some(tasks));
    Quota { tenant: "acme".into(), party: Party::Tenant, runs, tasks }
}

async fn schedulers_never_have_more_than_a_limit<S: Shares + Shards>(store: S) {
    let acme = Name::from("acme");
    store.set_share(&acme, &Party::Tenant, Some(&share(1, Some(10), Some(30)))).await.unwrap();
    for name in ["a", "b"] {
        store.hold(&me(name), 1).await.unwrap();
    }
    let (a, b) = (Name::from("a"), Name::from("b"));
    let other = Usage { party: Party::Workflow("free".into()), ..usage(1, 1) };
    let free = Quota { party: other.party.clone(), runs: None, tasks: None, tenant: acme.clone() };
    let alone = store.quotas(&a, &[usage(0, 100), other]).await.unwrap();
    assert_eq!(alone, [quota(10, 30), free], "whoever is alone may have all");
    assert_eq!(store.quotas(&b, &[usage(0, 100)]).await.unwrap(), [quota(0, 0)]);
    // the first gives back what it does not use, and then the other may have it
    assert_eq!(store.quotas(&a, &[usage(7, 93)]).await.unwrap(), [quota(7, 15)]);
    assert_eq!(store.quotas(&b, &[usage(0, 100)]).await.unwrap(), [quota(3, 15)]);
    let sum = Usage { used: Amount { runs: 7, tasks: 14 }, ..usage(0, 193) };
    assert_eq!(store.usages(Some(&acme)).await.unwrap(), [sum]);
    assert_eq!(store.usages(Some(&"nobody".into())).await.unwrap(), []);
    // what it does not name it gives back
    assert_eq!(store.quotas(&a, &[]).await.unwrap(), []);
    assert_eq!(store.quotas(&b, &[usage(3, 100)]).await.unwrap(), [quota(10, 30)]);
}

async fn what_a_scheduler_had_that_is_gone_is_free<S: Shares + Shards>(store: S) {
    let acme = Name::from("acme");
    store.set_share(&acme, &Party::Tenant, Some(&share(1, Some(10), Some(20)))).await.unwrap();
    for name in ["a", "b"] {
        store.hold(&me(name), 1).await.unwrap();
    }
    assert_eq!(store.quotas(&"a".into(), &[usage(10, 0)]).await.unwrap(), [quota(10, 20)]);
    assert_eq!(store.quotas(&"b".into(), &[usage(0, 9)]).await.unwrap(), [quota(0, 0)]);
    store.release(&me("a"), &[]).await.unwrap();
    assert_eq!(store.quotas(&"b".into(), &[usage(0, 9)]).await.unwrap(), [quota(9, 18)]);
    assert_eq!(store.usages(None).await.unwrap(), [usage(0, 9)]);
}

async fn a_batch_that_ended_has_no_share<S: Shares + Batches>(store: S) {
    let (tenant, batch) = (Name::from("default"), Name::from("b"));
    let new = NewBatch {
        batch: batch.clone(),
        tenant: tenant.clone(),
        workflow: "doc".into(),
        terms: Terms::default(),
        due_in: 1_000_000,
        rerun_of: None,
        key: None,
    };
    store.create_batch(&new).await.unwrap();
    for party in [Party::Batch(batch.clone()), Party::Batch("another".into()), Party::Tenant] {
        store.set_share(&tenant, &party, Some(&share(2, None, None))).await.unwrap();
    }
    store.begin_batch(&tenant, &batch).await.unwrap();
    assert!(store.end_batch(&batch, State::Succeeded).await.unwrap());
    let left: Vec<Party> =
        store.shares(None).await.unwrap().into_iter().map(|held| held.party).collect();
    assert_eq!(left, [Party::Tenant, Party::Batch("another".into())]);
}

/// A run of a tenant, in a batch or not.
fn run(number: u16, tenant: &str, workflow: &str, batch: Option<&str>) -> Submission {
    let run = format!("run-{number:03}");
    let mut start = Start { run: run.as_str().into(), ..Start::default() };
    start.options.lane = if batch.is_some() { Lane::Batch } else { Lane::Interactive };
    start.line = batch.map(|batch| BatchLine {
        batch: batch.into(),
        line: u64::from(number),
        custom_id: None,
    });
    let plan = PlanKey { workflow: workflow.into(), ..PlanKey::default() };
    Submission { tenant: tenant.into(), plan, start, ..submission(&run, number % 4) }
}

async fn flows_are_found_however_much_waits_in_them<S: Shards + Intake>(store: S) {
    let document = Document {
        digest: "doc".into(),
        name: "Greeting".into(),
        text: "text".into(),
        has_secrets: false,
        pushed_at: Time(1),
    };
    store.push(&"acme".into(), &document).await.unwrap();
    let mut runs: Vec<Submission> =
        (0..20).map(|number| run(number, "acme", "doc", None)).collect();
    runs.extend((20..24).map(|number| run(number, "acme", "doc", Some("b"))));
    runs.extend((24..26).map(|number| run(number, "other", "doc", None)));
    store.submit(&runs).await.unwrap();
    let shards: Vec<Shard> = (0..4).map(Shard).collect();
    let found = store.waiting_flows(&shards).await.unwrap();
    let flow = |lane, tenant: &str, workflow: &str, batch: Option<&str>| {
        let batch = batch.map(Name::from);
        Flow { lane, tenant: tenant.into(), workflow: workflow.into(), batch }
    };
    let flows: Vec<&Flow> = found.iter().map(|found| &found.flow).collect();
    let [first, second, third] = [
        flow(Lane::Interactive, "acme", "Greeting", None),
        // of a document that nobody pushed the name is not known
        flow(Lane::Interactive, "other", "", None),
        flow(Lane::Batch, "acme", "Greeting", Some("b")),
    ];
    assert_eq!(flows, [&first, &second, &third]);
    assert_eq!(store.waiting_flows(&[Shard(9)]).await.unwrap(), []);

    let asked: Vec<(Name, usize)> =
        found.iter().zip([6, 100, 1]).map(|(found, most)| (found.key.clone(), most)).collect();
    let queued = store.queued_of(&shards, &asked).await.unwrap();
    let queued: Vec<Queued> = queued.into_iter().map(ok).collect();
    let ids: Vec<&str> = queued.iter().map(|queued| &*queued.start.run).collect();
    let expected = [0, 1, 2, 3, 4, 5, 24, 25, 20].map(|number: u16| format!("run-{number:03}"));
    assert_eq!(ids, expected);
    assert_eq!((&*queued[0].name, &*queued[6].name), ("Greeting", ""));
    // of some shards only
    let some = store.queued_of(&[Shard(2)], &[(found[0].key.clone(), 3)]).await.unwrap();
    let ids: Vec<Name> = some.into_iter().map(|queued| ok(queued).start.run).collect();
    assert_eq!(ids, ["run-002", "run-006", "run-010"].map(Name::from));
}

async fn what_is_wanted_of_runs_comes_before_they_begin<S: Shards + Intake>(store: S) {
    let runs: Vec<Submission> = (0..4).map(|number| run(number, "acme", "doc", None)).collect();
    store.submit(&runs).await.unwrap();
    let shards: Vec<Shard> = (0..4).map(Shard).collect();
    let (wanted, tenant) = (Name::from("run-001"), Name::from("acme"));
    let signal = store.wish(&tenant, &wanted, &Wish::Pause, &"a".into()).await.unwrap();
    let ids = |queued: Vec<Result<Queued, Damaged>>| -> Vec<Name> {
        queued.into_iter().map(|queued| ok(queued).start.run).collect()
    };
    let others = ["run-000", "run-002", "run-003"].map(Name::from);
    assert_eq!(ids(store.queued(&shards, 10).await.unwrap()), others);
    let key = store.waiting_flows(&shards).await.unwrap()[0].key.clone();
    let of_flow = store.queued_of(&shards, &[(key, 10)]).await.unwrap();
    assert_eq!(ids(of_flow), others);
    let asked = [wanted.clone(), "run-003".into(), "nobody".into()];
    let mut found = ids(store.queued_runs(&asked).await.unwrap());
    found.sort();
    assert_eq!(found, asked[..2]);
    assert!(signal.is_some());
}

fn ok(queued: Result<Queued, Damaged>) -> Queued {
    queued.unwrap()
}
