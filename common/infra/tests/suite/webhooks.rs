//! Webhooks: each event is told to whom it concerns, by one sender at a time, until it is settled.

use std::time::Duration;

use flowmill_engine::fact::{Event, Fact, RunFinished, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{Batches, NewBatch, State as BatchState, Terms};
use flowmill_infra::intake::{Attached, Filter, Intake, Submission};
use flowmill_infra::shards::Shards;
use flowmill_infra::store::{Commit, Store};
use flowmill_infra::webhooks::{
    Added, Answer, BATCH_COMPLETED, Backlog, Claim, Claimed, Deliveries, Delivery, DeliveryFilter,
    Endpoint, Failure, Format, MOST_ENDPOINTS, Replay, SUSPECT, Secret, State, Webhooks,
};

use super::facts;
use super::shards::{broken, me, of, submission, tenure};
use super::store::{plan, together};

const DAY: Duration = Duration::from_hours(24);

pub(crate) async fn all<S>(make: impl AsyncFn() -> S)
where
    S: Store + Shards + Intake + Webhooks + Deliveries + Batches,
{
    what_is_attached_to_a_run_stays_with_it(make().await).await;
    an_endpoint_is_kept_as_it_was_given(make().await).await;
    of_two_changes_of_an_endpoint_one_counts(make().await).await;
    endpoints_are_bounded_and_belong_to_their_tenant(make().await).await;
    the_end_of_a_batch_is_told_once(make().await).await;
    an_event_is_told_to_whom_it_concerns(make().await).await;
    a_run_that_is_ended_without_its_owner_is_told(make().await).await;
    a_delivery_is_claimed_once_until_its_lease_is_over(make().await).await;
    what_is_sent_is_written_once(make().await).await;
    no_endpoint_takes_the_places_of_others(make().await).await;
    an_endpoint_that_fails_is_left_alone(make().await).await;
    an_endpoint_that_is_gone_gets_nothing_more(make().await).await;
    a_late_success_counts_and_a_late_failure_does_not(make().await).await;
    what_was_settled_can_be_sent_anew(make().await).await;
    what_nobody_waits_for_is_put_away(make().await).await;
}

fn tenant() -> Name {
    "default".into()
}

fn endpoint(id: &str) -> Endpoint {
    let secret = Secret { text: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into(), until: None };
    Endpoint {
        id: id.into(),
        url: format!("https://example.com/{id}").into(),
        events: vec!["run.failed".into(), "run.succeeded".into()],
        is_for_all: true,
        description: "mine \u{1F600}".into(),
        format: Format::Standard,
        status_names: vec![("failed".into(), "Broken".into())],
        disabled: None,
        secrets: Ok(vec![secret]),
        created_at: Time(0),
        revision: 0,
        failures: 0,
        rests_until: None,
    }
}

async fn add<S: Webhooks>(store: &S, endpoint: Endpoint) {
    assert_eq!(store.add_endpoint(&tenant(), &endpoint).await.unwrap(), Added::New);
}

async fn found<S: Webhooks>(store: &S, id: &str) -> Endpoint {
    store.endpoint(&tenant(), &id.into()).await.unwrap().unwrap()
}

fn end(status: Status) -> Fact {
    let finished = RunFinished { status, ..broken() };
    Fact { seq: 3, at: Time(9), event: Event::RunFinished(Box::new(finished)) }
}

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: of(1) }
}

/// A run that was submitted with this endpoint, and ended so.
async fn ended<S: Store + Intake>(store: &S, run: &str, named: Option<&str>, status: Status) {
    let attached = Attached { endpoint: named.map(Name::from), ..Attached::default() };
    store.submit(&[Submission { attached, ..submission(run, 1) }]).await.unwrap();
    store.commit(&together([commit(run, facts(1, 2))])).await.unwrap();
    store.commit(&together([commit(run, vec![end(status)])])).await.unwrap();
}

async fn listed<S: Webhooks>(store: &S, filter: DeliveryFilter) -> Vec<Delivery> {
    let filter = DeliveryFilter { most: 1000, ..filter };
    store.deliveries(&tenant(), &filter).await.unwrap()
}

/// Which endpoints hear of which runs, and how far that came.
async fn told<S: Webhooks>(store: &S) -> Vec<(String, String, State)> {
    let deliveries = listed(store, DeliveryFilter::default()).await;
    let row = |it: &Delivery| (it.subject.to_string(), it.endpoint.to_string(), it.state);
    let mut told: Vec<_> = deliveries.iter().map(row).collect();
    told.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
    told
}

fn claim(most: usize) -> Claim {
    Claim { most, each: 8, held: Vec::new(), lease: DAY }
}

async fn claimed<S: Deliveries>(store: &S, claim: &Claim) -> Vec<Claimed> {
    let mut claimed = store.claim(claim).await.unwrap();
    claimed.sort_by_key(|claimed| claimed.delivery.id);
    claimed
}

fn endpoints_of(claimed: &[Claimed]) -> Vec<&str> {
    let mut endpoints: Vec<&str> = claimed.iter().map(|it| &*it.endpoint.id).collect();
    endpoints.sort_unstable();
    endpoints
}

fn refused(status: u16) -> Failure {
    let error = Some(format!("it answered {status}").into());
    let answer = Answer { status: Some(status), text: "no".into(), error, elapsed_ms: 7 };
    Failure { answer, again: Some(Duration::ZERO), rest: Some(Duration::ZERO), disables: None }
}

fn taken() -> Answer {
    Answer { status: Some(204), text: "".into(), error: None, elapsed_ms: 3 }
}

async fn what_is_attached_to_a_run_stays_with_it<S: Store + Intake>(store: S) {
    let attached = Attached {
        metadata: Some(r#"{"order":"\u0000 \u00e9"}"#.into()),
        endpoint: Some("ep".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let with = Submission { attached: attached.clone(), ..submission("r", 1) };
    store.submit(&[with, submission("s", 1)]).await.unwrap();
    store.commit(&together([commit("r", facts(1, 2))])).await.unwrap();
    let run = async |run: &str| store.run(&tenant(), &run.into()).await.unwrap().unwrap();
    assert_eq!(run("r").await.attached, attached);
    assert_eq!(run("s").await.attached, Attached::default());
    let rows = store.runs(&tenant(), &Filter { most: 9, ..Filter::default() }).await.unwrap();
    let bare = Attached { metadata: None, ..attached };
    assert_eq!(
        rows.iter().map(|row| row.attached.clone()).collect::<Vec<_>>(),
        [Attached::default(), bare]
    );
}

async fn an_endpoint_is_kept_as_it_was_given<S: Webhooks>(store: S) {
    assert_eq!(store.endpoint(&tenant(), &"ep".into()).await.unwrap(), None);
    let given = endpoint("ep");
    add(&store, given.clone()).await;
    assert_eq!(store.add_endpoint(&tenant(), &endpoint("ep")).await.unwrap(), Added::There);
    let first = found(&store, "ep").await;
    assert!(first.created_at > Time(1_600_000_000_000_000), "{}", first.created_at);
    let like = Endpoint { created_at: first.created_at, revision: first.revision, ..given };
    assert_eq!(first, like);
    let other = Secret { text: "whsec_BBBB".into(), until: Some(Time(77)) };
    let changed = Endpoint {
        url: "http://example.org/".into(),
        events: vec!["run.paused".into()],
        is_for_all: false,
        description: "".into(),
        format: Format::CloudEvents,
        status_names: Vec::new(),
        disabled: Some("by hand".into()),
        secrets: Ok(vec![other]),
        ..first.clone()
    };
    assert!(store.change_endpoint(&tenant(), &changed).await.unwrap());
    let second = found(&store, "ep").await;
    assert_eq!(second, Endpoint { revision: first.revision + 1, ..changed });
    assert!(store.remove_endpoint(&tenant(), &"ep".into()).await.unwrap());
    assert!(!store.remove_endpoint(&tenant(), &"ep".into()).await.unwrap());
    assert_eq!(store.endpoints(&tenant()).await.unwrap(), []);
    // the name is free again, also where traces of the first are left
    add(&store, endpoint("ep")).await;
    assert_eq!(store.endpoints(&tenant()).await.unwrap().len(), 1);
    assert_eq!(found(&store, "ep").await.disabled, None);
}

async fn of_two_changes_of_an_endpoint_one_counts<S: Webhooks>(store: S) {
    add(&store, endpoint("ep")).await;
    let seen = found(&store, "ep").await;
    let other = |url: &str| Endpoint { url: url.into(), ..seen.clone() };
    assert!(store.change_endpoint(&tenant(), &other("https://a.example")).await.unwrap());
    assert!(!store.change_endpoint(&tenant(), &other("https://b.example")).await.unwrap());
    assert_eq!(&*found(&store, "ep").await.url, "https://a.example");
}

async fn endpoints_are_bounded_and_belong_to_their_tenant<S: Webhooks + Deliveries>(store: S) {
    let bare = |id: &str| Endpoint { secrets: Ok(Vec::new()), ..endpoint(id) };
    for number in 0..MOST_ENDPOINTS {
        add(&store, bare(&format!("ep{number}"))).await;
    }
    let one_more = store.add_endpoint(&tenant(), &bare("more")).await.unwrap();
    assert_eq!(one_more, Added::Full);
    let other = Name::from("others");
    assert_eq!(store.endpoint(&other, &"ep0".into()).await.unwrap(), None);
    assert!(!store.remove_endpoint(&other, &"ep0".into()).await.unwrap());
    assert_eq!(store.add_endpoint(&other, &bare("ep0")).await.unwrap(), Added::New);
    assert!(store.remove_endpoint(&tenant(), &"ep0".into()).await.unwrap());
    assert_eq!(store.endpoints(&other).await.unwrap().len(), 1);
    add(&store, bare("more")).await;
    let ids = store.endpoints(&tenant()).await.unwrap();
    assert_eq!((&*ids[0].id, &*ids[MOST_ENDPOINTS - 1].id), ("ep1", "more"));
}

async fn the_end_of_a_batch_is_told_once<S: Webhooks + Deliveries + Batches>(store: S) {
    let ends = || vec![BATCH_COMPLETED.into()];
    add(&store, Endpoint { events: ends(), ..endpoint("all") }).await;
    add(&store, Endpoint { events: ends(), is_for_all: false, ..endpoint("named") }).await;
    add(&store, Endpoint { events: vec!["run.failed".into()], ..endpoint("runs") }).await;
    let batch = NewBatch {
        batch: "b".into(),
        tenant: tenant(),
        workflow: "doc".into(),
        terms: Terms::default(),
        due_in: 1_000_000,
        rerun_of: None,
        key: None,
    };
    store.create_batch(&batch).await.unwrap();
    assert!(told(&store).await.is_empty());
    assert!(store.end_batch(&"b".into(), BatchState::Partial).await.unwrap());
    assert!(!store.end_batch(&"b".into(), BatchState::Failed).await.unwrap());
    assert_eq!(told(&store).await, [("b".to_owned(), "all".to_owned(), State::Waiting)]);
}

async fn an_event_is_told_to_whom_it_concerns<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    add(&store, Endpoint { is_for_all: false, ..endpoint("named") }).await;
    add(&store, Endpoint { disabled: Some("why".into()), ..endpoint("off") }).await;
    add(&store, Endpoint { events: vec!["run.paused".into()], ..endpoint("pauses") }).await;
    let other = Name::from("others");
    assert_eq!(store.add_endpoint(&other, &endpoint("theirs")).await.unwrap(), Added::New);
    ended(&store, "a", None, Status::Succeeded).await;
    ended(&store, "b", Some("named"), Status::Failed).await;
    ended(&store, "c", Some("off"), Status::Stopped).await;
    let waiting = |run: &str, endpoint: &str| (run.to_owned(), endpoint.to_owned(), State::Waiting);
    assert_eq!(
        told(&store).await,
        [waiting("a", "all"), waiting("b", "all"), waiting("b", "named")]
    );

    // a pause is told when it is there, each time
    store.commit(&together([commit("d", facts(1, 2))])).await.unwrap();
    let fact = |seq, event| Fact { seq, at: Time(seq), event };
    let resumed = || Event::RunResumed { reactivated: Vec::new() };
    let pauses = [
        vec![fact(3, Event::RunPaused)],
        vec![fact(4, resumed())],
        vec![fact(5, Event::RunPaused), fact(6, resumed())],
        vec![fact(7, Event::RunPaused)],
    ];
    for facts in pauses {
        store.commit(&together([commit("d", facts)])).await.unwrap();
    }
    let of_pauses = DeliveryFilter { endpoint: Some("pauses".into()), ..DeliveryFilter::default() };
    let heard = listed(&store, of_pauses).await;
    let heard: Vec<(&str, u64)> = heard.iter().map(|it| (&*it.message, it.seq)).collect();
    assert_eq!(heard, [("msg_d_7", 7), ("msg_d_3", 3)]);

    // one that begins and ends at once
    let mut at_once = facts(1, 2);
    at_once.push(end(Status::Succeeded));
    store.commit(&together([commit("e", at_once)])).await.unwrap();
    let of_run = DeliveryFilter { subject: Some("e".into()), ..DeliveryFilter::default() };
    let heard = listed(&store, of_run).await;
    assert_eq!(heard.len(), 1);
    assert_eq!((&*heard[0].message, &*heard[0].event), ("msg_e_3", "run.succeeded"));
    assert!(heard[0].noted_at > Time(1_600_000_000_000_000) && heard[0].last.is_none());
    assert_eq!(
        store
            .deliveries(&other, &DeliveryFilter { most: 9, ..DeliveryFilter::default() })
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.delivery(&other, heard[0].id).await.unwrap(), None);
}

async fn a_run_that_is_ended_without_its_owner_is_told<S>(store: S)
where
    S: Store + Shards + Intake + Webhooks,
{
    add(&store, endpoint("all")).await;
    store.submit(&[submission("r", 1)]).await.unwrap();
    let held = store.hold(&me("a"), 16).await.unwrap();
    assert!(store.end(tenure(&held, 1), &"r".into(), &broken()).await.unwrap());
    let heard = listed(&store, DeliveryFilter::default()).await;
    let run = store.run(&tenant(), &"r".into()).await.unwrap().unwrap();
    assert_eq!(
        heard.iter().map(|it| (&*it.event, it.seq)).collect::<Vec<_>>(),
        [("run.failed", run.seq)]
    );
}

async fn a_delivery_is_claimed_once_until_its_lease_is_over<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    ended(&store, "a", None, Status::Succeeded).await;
    ended(&store, "b", None, Status::Succeeded).await;
    let hasty = Claim { lease: Duration::ZERO, ..claim(1) };
    let first = claimed(&store, &hasty).await;
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].delivery.tries, &first[0].endpoint.id), (1, &"all".into()));
    assert_eq!(first[0].endpoint, found(&store, "all").await);
    // whoever has it said nothing: both are there to be had, and then none
    let second = claimed(&store, &claim(9)).await;
    assert_eq!(second.len(), 2);
    let again = second.iter().find(|it| it.delivery.id == first[0].delivery.id).unwrap();
    assert_eq!(again.delivery.tries, 2);
    assert_eq!(again.delivery.message, first[0].delivery.message);
    assert_eq!(claimed(&store, &claim(9)).await, []);
}

async fn what_is_sent_is_written_once<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    ended(&store, "a", None, Status::Succeeded).await;
    let hasty = Claim { lease: Duration::ZERO, ..claim(1) };
    let id = claimed(&store, &hasty).await[0].delivery.id;
    assert_eq!(&*store.freeze(id, &"{\"a\":1}".into()).await.unwrap(), "{\"a\":1}");
    assert_eq!(&*store.freeze(id, &"{\"b\":2}".into()).await.unwrap(), "{\"a\":1}");
    let again = claimed(&store, &hasty).await;
    assert_eq!(again[0].delivery.body.as_deref(), Some("{\"a\":1}"));
    let shown = store.delivery(&tenant(), id).await.unwrap().unwrap();
    assert_eq!(shown.body.as_deref(), Some("{\"a\":1}"));
    assert_eq!(listed(&store, DeliveryFilter::default()).await[0].body, None);
    assert!(store.freeze(id + 1, &"{}".into()).await.is_err());
}

async fn no_endpoint_takes_the_places_of_others<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("slow")).await;
    for run in 0..20 {
        ended(&store, &format!("r{run:02}"), None, Status::Succeeded).await;
    }
    add(&store, endpoint("quick")).await;
    ended(&store, "s", None, Status::Succeeded).await;
    let three = Claim { each: 3, ..claim(100) };
    let first = claimed(&store, &three).await;
    assert_eq!(endpoints_of(&first), ["quick", "slow", "slow", "slow"]);
    // its places are taken; the others are free
    ended(&store, "t", None, Status::Succeeded).await;
    let held = vec![("slow".into(), 3)];
    let second = claimed(&store, &Claim { held: held.clone(), ..three.clone() }).await;
    assert_eq!(endpoints_of(&second), ["quick"]);
    let held = vec![("slow".into(), 1), ("quick".into(), 2)];
    let third = claimed(&store, &Claim { held, ..three }).await;
    assert_eq!(endpoints_of(&third), ["slow", "slow"]);
    // of few places none goes to who has most under way
    ended(&store, "u", None, Status::Succeeded).await;
    let one = Claim { each: 9, held: vec![("slow".into(), 5)], ..claim(1) };
    assert_eq!(endpoints_of(&claimed(&store, &one).await), ["quick"]);
}

async fn an_endpoint_that_fails_is_left_alone<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    for run in ["a", "b", "c"] {
        ended(&store, run, None, Status::Succeeded).await;
    }
    let first = claimed(&store, &Claim { lease: Duration::ZERO, ..claim(3) }).await;
    for _ in 1..SUSPECT {
        let tried = claimed(&store, &claim(1)).await;
        let Delivery { id, tries, .. } = tried[0].delivery;
        store.failed(id, tries, &refused(500)).await.unwrap();
    }
    assert_eq!(found(&store, "all").await.failures, SUSPECT - 1);
    let several = claimed(&store, &Claim { lease: Duration::ZERO, ..claim(9) }).await;
    assert_eq!(several.len(), 3, "it may still be a matter of the deliveries");
    let Delivery { id, tries, .. } = several[0].delivery;
    store.failed(id, tries, &refused(500)).await.unwrap();
    let one = Claim { lease: Duration::ZERO, ..claim(9) };
    assert_eq!(claimed(&store, &one).await.len(), 1, "one tells whether it works again");
    assert_eq!(claimed(&store, &Claim { held: vec![("all".into(), 1)], ..claim(9) }).await, []);
    let tried = claimed(&store, &claim(9)).await;
    let Delivery { id, tries, .. } = tried[0].delivery;
    store.failed(id, tries, &Failure { rest: Some(DAY), ..refused(503) }).await.unwrap();
    let rests = found(&store, "all").await;
    assert_eq!(rests.failures, SUSPECT + 1);
    assert!(rests.rests_until > Some(rests.created_at.after(DAY / 2)));
    assert_eq!(claimed(&store, &one).await, []);
    let shown = store.delivery(&tenant(), id).await.unwrap().unwrap();
    assert_eq!(shown.last, Some(refused(503).answer));
    assert!(shown.tried_at.is_some() && shown.settled_at.is_none());
    // whoever changes it wants to see it tried
    assert!(store.change_endpoint(&tenant(), &rests).await.unwrap());
    let tried = claimed(&store, &claim(9)).await;
    assert!(!tried.is_empty() && tried.len() <= first.len());
    store.delivered(tried[0].delivery.id, &taken()).await.unwrap();
    assert_eq!(
        (found(&store, "all").await.failures, found(&store, "all").await.rests_until),
        (0, None)
    );
}

async fn an_endpoint_that_is_gone_gets_nothing_more<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    for run in ["a", "b"] {
        ended(&store, run, None, Status::Succeeded).await;
    }
    let waits = store.backlog().await.unwrap();
    assert!(waits.waiting == 2 && waits.oldest < DAY, "{waits:?}");
    let seen = found(&store, "all").await;
    let Delivery { id, tries, .. } = claimed(&store, &claim(1)).await[0].delivery;
    let gone = Failure { again: None, disables: Some("gone".into()), ..refused(410) };
    store.failed(id, tries, &gone).await.unwrap();
    let disabled = found(&store, "all").await;
    assert_eq!(disabled.disabled.as_deref(), Some("gone"));
    assert!(!store.change_endpoint(&tenant(), &seen).await.unwrap(), "it is not as it was seen");
    assert_eq!(claimed(&store, &claim(9)).await, []);
    ended(&store, "c", None, Status::Succeeded).await;
    assert_eq!(told(&store).await.len(), 2, "nothing is noted for it");
    assert_eq!(store.tidy(DAY, DAY).await.unwrap(), 1);
    assert_eq!(store.backlog().await.unwrap(), Backlog::default());
    let exhausted = DeliveryFilter { state: Some(State::Exhausted), ..DeliveryFilter::default() };
    let given_up = listed(&store, exhausted).await;
    let why: Vec<&str> =
        given_up.iter().map(|it| &**it.last.as_ref().unwrap().error.as_ref().unwrap()).collect();
    assert_eq!(why, ["the endpoint is disabled", "it answered 410"]);
    assert!(given_up.iter().all(|it| it.settled_at.is_some()));
    assert!(store.replay(&tenant(), &Replay::One(id)).await.unwrap().is_empty());
}

async fn a_late_success_counts_and_a_late_failure_does_not<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("all")).await;
    ended(&store, "a", None, Status::Succeeded).await;
    let hasty = Claim { lease: Duration::ZERO, ..claim(1) };
    let first = claimed(&store, &hasty).await.remove(0).delivery;
    let second = claimed(&store, &claim(1)).await.remove(0).delivery;
    assert_eq!((first.tries, second.tries), (1, 2));
    let last = Failure { again: None, ..refused(500) };
    store.failed(first.id, first.tries, &last).await.unwrap();
    let shown = async || store.delivery(&tenant(), first.id).await.unwrap().unwrap();
    assert_eq!((shown().await.state, shown().await.last), (State::Waiting, None));
    store.failed(second.id, second.tries, &last).await.unwrap();
    assert_eq!(shown().await.state, State::Exhausted);
    store.delivered(first.id, &taken()).await.unwrap();
    assert_eq!((shown().await.state, shown().await.last), (State::Delivered, Some(taken())));
    store.failed(second.id, second.tries, &last).await.unwrap();
    assert_eq!(shown().await.state, State::Delivered);
    assert_eq!(claimed(&store, &hasty).await, []);
    // nothing happens to what is not there
    store.delivered(first.id + 99, &taken()).await.unwrap();
    store.failed(first.id + 99, 1, &last).await.unwrap();
}

async fn what_was_settled_can_be_sent_anew<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("a")).await;
    add(&store, endpoint("b")).await;
    for run in ["r", "s", "t"] {
        ended(&store, run, None, Status::Succeeded).await;
    }
    for Claimed { delivery, .. } in claimed(&store, &claim(9)).await {
        if &*delivery.subject == "r" {
            store.delivered(delivery.id, &taken()).await.unwrap();
        } else {
            let last = Failure { again: None, rest: None, ..refused(500) };
            store.failed(delivery.id, delivery.tries, &last).await.unwrap();
        }
    }
    assert_eq!(found(&store, "a").await.failures, 0, "it is not to blame");
    let all = listed(&store, DeliveryFilter::default()).await;
    let times: Vec<Time> = all.iter().map(|it| it.noted_at).collect();
    let (from, until) = (*times.iter().min().unwrap(), times.iter().max().unwrap().after(DAY));
    let range = |endpoint: Option<&str>, state, after, most| Replay::Range {
        endpoint: endpoint.map(Name::from),
        state,
        from,
        until,
        after,
        most,
    };
    let replay = async |which: &Replay| store.replay(&tenant(), which).await.unwrap();
    let early = Replay::Range {
        endpoint: None,
        state: None,
        from: Time(0),
        until: from,
        after: 0,
        most: 9,
    };
    assert!(replay(&early).await.is_empty());
    let first = replay(&range(Some("a"), Some(State::Exhausted), 0, 1)).await;
    assert_eq!(first.len(), 1);
    let second = replay(&range(Some("a"), Some(State::Exhausted), first[0], 9)).await;
    assert_eq!(second.len(), 1);
    assert!(second[0] > first[0]);
    let again = claimed(&store, &claim(9)).await;
    assert_eq!(again.iter().map(|it| it.delivery.id).collect::<Vec<_>>(), [first[0], second[0]]);
    assert_eq!((again[0].delivery.tries, again[0].delivery.settled_at), (1, None));
    let before = all.iter().find(|it| it.id == first[0]).unwrap();
    assert_eq!(again[0].delivery.message, before.message, "the receiver knows it again");
    // what waits is none of a range, but one may be hurried
    assert_eq!(replay(&range(None, None, 0, 9)).await.len(), 4);
    assert_eq!(replay(&Replay::One(first[0])).await, [first[0]]);
    assert!(replay(&Replay::One(i64::MAX)).await.is_empty());
    let theirs = store.replay(&"others".into(), &Replay::One(first[0])).await.unwrap();
    assert!(theirs.is_empty());
}

async fn what_nobody_waits_for_is_put_away<S>(store: S)
where
    S: Store + Intake + Webhooks + Deliveries,
{
    add(&store, endpoint("a")).await;
    add(&store, endpoint("b")).await;
    ended(&store, "r", None, Status::Succeeded).await;
    assert_eq!(store.tidy(DAY, DAY).await.unwrap(), 0);
    assert!(store.remove_endpoint(&tenant(), &"a".into()).await.unwrap());
    assert_eq!(store.tidy(DAY, DAY).await.unwrap(), 1);
    let given_up = |endpoint: &str| DeliveryFilter {
        endpoint: Some(endpoint.into()),
        state: Some(State::Exhausted),
        ..DeliveryFilter::default()
    };
    let why = async |endpoint: &str| {
        let found = listed(&store, given_up(endpoint)).await;
        found[0].last.clone().unwrap().error.unwrap().to_string()
    };
    assert_eq!(why("a").await, "the endpoint was removed");
    // what waits longer than anybody is patient
    assert_eq!(store.tidy(Duration::ZERO, DAY).await.unwrap(), 1);
    assert_eq!(why("b").await, "it could not be delivered in time");
    assert_eq!(store.tidy(DAY, DAY).await.unwrap(), 0);
    assert_eq!(store.tidy(DAY, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(told(&store).await, []);
}
