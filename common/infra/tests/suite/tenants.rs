//! Tenants and keys: who there is, and by what callers are known.

use std::num::NonZeroU32;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{Batches, Cause, NewBatch, State, Steer, Terms};
use flowmill_infra::dead_letters::{DeadLetter, DeadLetters, LetterBox, LetterFilter};
use flowmill_infra::intake::{Intake, Submission};
use flowmill_infra::store::Store;
use flowmill_infra::tenants::{
    AddedKey, AddedTenant, ApiKey, DEFAULT_TENANT, Former, KeyHash, MOST_KEYS, Rate, RemovedTenant,
    Role, Rotated, Rotation, Tenants,
};

use super::shards::{begin, of, stop, submission};
use super::store::{plan, together};

pub(crate) async fn all<S>(make: impl AsyncFn() -> S)
where
    S: Tenants + Intake + Batches + Store,
{
    one_tenant_is_always_there(make().await).await;
    a_tenant_is_added_once(make().await).await;
    a_tenant_that_is_at_work_stays(make().await).await;
    a_key_is_kept_as_it_was_given(make().await).await;
    a_key_gets_another_secret(make().await).await;
    a_key_is_revoked_once(make().await).await;
    keys_go_with_their_tenant(make().await).await;
    keys_are_bounded_and_old_ones_forgotten(make().await).await;
    uses_are_noted_coarsely(make().await).await;
}

fn key(id: &str, tenant: &str) -> ApiKey {
    ApiKey {
        id: id.into(),
        tenant: tenant.into(),
        name: "nightly \u{1F600}".into(),
        role: Role::Operator,
        hash: KeyHash(std::array::from_fn(|at| u8::try_from(at).unwrap() ^ 0x80)),
        created_at: Time(0),
        expires_at: Some(Time(4_000_000_000_000_000)),
        revoked_at: None,
        used_at: None,
        former: None,
        rotated_at: None,
        rate: None,
    }
}

async fn names<S: Tenants>(store: &S) -> Vec<String> {
    store.tenants().await.unwrap().iter().map(|tenant| tenant.name.to_string()).collect()
}

async fn ids<S: Tenants>(store: &S, tenant: Option<&str>) -> Vec<String> {
    let tenant = tenant.map(Name::from);
    let keys = store.keys(tenant.as_ref()).await.unwrap();
    keys.iter().map(|key| key.id.to_string()).collect()
}

async fn one_tenant_is_always_there<S: Tenants>(store: S) {
    assert_eq!(names(&store).await, [DEFAULT_TENANT]);
    let gone = store.remove_tenant(&DEFAULT_TENANT.into()).await.unwrap();
    assert_eq!(gone, RemovedTenant::Needed);
    assert_eq!(store.add_tenant(&DEFAULT_TENANT.into()).await.unwrap(), AddedTenant::There);
    assert_eq!(names(&store).await, [DEFAULT_TENANT]);
    assert_eq!(store.tenant(&"acme".into()).await.unwrap(), None);
}

async fn a_tenant_is_added_once<S: Tenants>(store: S) {
    for name in ["zeta", "acme-1"] {
        assert_eq!(store.add_tenant(&name.into()).await.unwrap(), AddedTenant::New);
        assert_eq!(store.add_tenant(&name.into()).await.unwrap(), AddedTenant::There);
    }
    assert_eq!(names(&store).await, ["acme-1", DEFAULT_TENANT, "zeta"]);
    let found = store.tenant(&"zeta".into()).await.unwrap().unwrap();
    assert!(&*found.name == "zeta" && found.created_at > Time(1_600_000_000_000_000), "{found:?}");
    assert_eq!(store.remove_tenant(&"zeta".into()).await.unwrap(), RemovedTenant::Gone);
    assert_eq!(store.remove_tenant(&"zeta".into()).await.unwrap(), RemovedTenant::Unknown);
    assert_eq!(names(&store).await, ["acme-1", DEFAULT_TENANT]);
}

async fn a_tenant_that_is_at_work_stays<S: Tenants + Intake + Batches + Store>(store: S) {
    let acme = Name::from("acme");
    store.add_tenant(&acme).await.unwrap();
    // those of others are in nobody's way
    store.submit(&[submission("o", 1)]).await.unwrap();
    store.submit(&[Submission { tenant: acme.clone(), ..submission("r", 1) }]).await.unwrap();
    let remove = async || store.remove_tenant(&acme).await.unwrap();
    assert_eq!(remove().await, RemovedTenant::Needed, "a run is queued");
    let (mut run, begun) = begin("r");
    let commit = |facts: Vec<_>, standing| flowmill_infra::store::Commit {
        run: "r".into(),
        plan: plan(),
        facts: facts.into(),
        standing,
    };
    store.commit(&together([commit(begun, of(1))])).await.unwrap();
    assert_eq!(remove().await, RemovedTenant::Needed, "it runs");
    let ended = run.apply(Time(9), stop()).unwrap();
    store.commit(&together([commit(ended, of(1))])).await.unwrap();

    let batch = NewBatch {
        batch: "b".into(),
        tenant: acme.clone(),
        workflow: "doc".into(),
        terms: Terms::default(),
        due_in: 1 << 40,
        rerun_of: None,
        key: None,
    };
    store.create_batch(&batch).await.unwrap();
    assert_eq!(remove().await, RemovedTenant::Needed, "a batch is on");
    let steer = Steer::Stop(Cause::User);
    store.steer_batch(&acme, &batch.batch, steer, &"ada".into()).await.unwrap().unwrap();
    store.end_batch(&batch.batch, State::Stopped).await.unwrap();
    assert_eq!(remove().await, RemovedTenant::Gone);
    assert_eq!(store.add_tenant(&acme).await.unwrap(), AddedTenant::Leaving);
}

async fn a_key_is_kept_as_it_was_given<S: Tenants>(store: S) {
    assert_eq!(store.add_key(&key("a", "acme")).await.unwrap(), AddedKey::NoTenant);
    store.add_tenant(&"acme".into()).await.unwrap();
    let rate = Rate { per_second: NonZeroU32::MAX, burst: NonZeroU32::MIN };
    let bare = ApiKey { expires_at: None, rate: Some(rate), ..key("b", DEFAULT_TENANT) };
    let bare = ApiKey { role: Role::Submitter, ..bare };
    let stale = ApiKey { revoked_at: Some(Time(7)), used_at: Some(Time(7)), ..bare };
    for added in [key("a", "acme"), stale.clone()] {
        assert_eq!(store.add_key(&added).await.unwrap(), AddedKey::New);
    }
    let found = store.key(&"a".into()).await.unwrap().unwrap();
    assert!(found.created_at > Time(1_600_000_000_000_000), "{found:?}");
    assert_eq!(found, ApiKey { created_at: found.created_at, ..key("a", "acme") });
    let found = store.key(&"b".into()).await.unwrap().unwrap();
    let fresh = ApiKey { revoked_at: None, used_at: None, ..stale };
    assert_eq!(found, ApiKey { created_at: found.created_at, ..fresh });
    assert_eq!(store.key(&"c".into()).await.unwrap(), None);
    let mut all = ids(&store, None).await;
    all.sort();
    assert_eq!(all, ["a", "b"]);
    assert_eq!(ids(&store, Some("acme")).await, ["a"]);
    assert!(ids(&store, Some("nobody")).await.is_empty());
}

/// Whether two times are the same but for what a clock counts while it is read twice.
fn is_about(one: Time, other: Time) -> bool {
    one.since(other).max(other.since(one)) < Duration::from_millis(100)
}

async fn a_key_gets_another_secret<S: Tenants>(store: S) {
    let second = KeyHash([2; 32]);
    let overlap = Duration::from_mins(1);
    let rotation = Rotation { hash: second, overlap, expires_at: None };
    let rotate =
        async |id: &str, rotation: Rotation| store.rotate_key(&id.into(), &rotation).await.unwrap();
    assert_eq!(rotate("a", rotation).await, Rotated::Unknown);
    store.add_key(&key("a", DEFAULT_TENANT)).await.unwrap();
    let found = async |id: &str| store.key(&id.into()).await.unwrap().unwrap();
    let before = found("a").await;
    assert_eq!(rotate("a", rotation).await, Rotated::Done);
    let after = found("a").await;
    let at = after.rotated_at.unwrap();
    let until = after.former.unwrap().until;
    assert!(is_about(until, at.after(overlap)), "{after:?}");
    let former = Some(Former { hash: before.hash, until });
    let expected = ApiKey { hash: second, former, rotated_at: Some(at), ..before.clone() };
    assert_eq!(after, expected);
    // the one of before that is gone, and the key lives longer
    let later = Time(5_000_000_000_000_000);
    let third = Rotation { hash: KeyHash([3; 32]), overlap: Duration::ZERO, ..rotation };
    assert_eq!(rotate("a", Rotation { expires_at: Some(later), ..third }).await, Rotated::Done);
    let last = found("a").await;
    assert_eq!((last.hash, last.expires_at), (third.hash, Some(later)));
    let former = last.former.unwrap();
    assert!(former.hash == second && is_about(former.until, last.rotated_at.unwrap()), "{last:?}");
    // what is of no more use stays so
    store.add_key(&ApiKey { expires_at: Some(Time(9)), ..key("b", DEFAULT_TENANT) }).await.unwrap();
    store.revoke_key(&"a".into()).await.unwrap();
    for id in ["a", "b"] {
        let before = found(id).await;
        assert_eq!(rotate(id, rotation).await, Rotated::Ended);
        assert_eq!(found(id).await, before);
    }
}

async fn a_key_is_revoked_once<S: Tenants>(store: S) {
    store.add_key(&key("a", DEFAULT_TENANT)).await.unwrap();
    assert!(!store.revoke_key(&"b".into()).await.unwrap());
    assert!(store.revoke_key(&"a".into()).await.unwrap());
    let at = store.key(&"a".into()).await.unwrap().unwrap().revoked_at.unwrap();
    assert!(store.revoke_key(&"a".into()).await.unwrap());
    assert_eq!(store.key(&"a".into()).await.unwrap().unwrap().revoked_at, Some(at));
}

async fn keys_go_with_their_tenant<S: Tenants>(store: S) {
    store.add_tenant(&"acme".into()).await.unwrap();
    for added in [key("a", "acme"), key("b", DEFAULT_TENANT)] {
        store.add_key(&added).await.unwrap();
    }
    store.remove_tenant(&"acme".into()).await.unwrap();
    assert_eq!(ids(&store, None).await, ["b"]);
    store.add_tenant(&"acme".into()).await.unwrap();
    assert_eq!(store.key(&"a".into()).await.unwrap(), None);
}

async fn keys_are_bounded_and_old_ones_forgotten<S: Tenants>(store: S) {
    let expired = ApiKey { expires_at: Some(Time(9)), ..key("old", DEFAULT_TENANT) };
    store.add_tenant(&"acme".into()).await.unwrap();
    for tenant in ["acme", DEFAULT_TENANT] {
        let id = format!("old-{tenant}").into();
        store.add_key(&ApiKey { id, tenant: tenant.into(), ..expired.clone() }).await.unwrap();
    }
    for at in 0..MOST_KEYS {
        let added = store.add_key(&key(&format!("k{at}"), "acme")).await.unwrap();
        assert_eq!(added, AddedKey::New, "{at}");
    }
    assert_eq!(store.add_key(&key("more", "acme")).await.unwrap(), AddedKey::Full);
    assert_eq!(ids(&store, Some("acme")).await.len(), MOST_KEYS);
    assert_eq!(ids(&store, Some(DEFAULT_TENANT)).await, ["old-default"], "that of another stays");
    // one that somebody just revoked is shown for a while
    store.revoke_key(&"k0".into()).await.unwrap();
    assert_eq!(store.add_key(&key("more", "acme")).await.unwrap(), AddedKey::Full);
}

async fn uses_are_noted_coarsely<S: Tenants>(store: S) {
    for id in ["a", "b"] {
        store.add_key(&key(id, DEFAULT_TENANT)).await.unwrap();
    }
    let used = async |id: &str| store.key(&id.into()).await.unwrap().unwrap().used_at;
    store.note_uses(&["a".into(), "gone".into()]).await.unwrap();
    let at = used("a").await.unwrap();
    assert!(at > Time(1_600_000_000_000_000), "{at:?}");
    assert_eq!(used("b").await, None);
    store.note_uses(&["a".into(), "b".into()]).await.unwrap();
    assert_eq!(used("a").await, Some(at));
    assert!(used("b").await.is_some());
    store.note_uses(&[]).await.unwrap();
}

pub(crate) async fn letters_are_their_tenants<S>(store: S)
where
    S: Tenants + DeadLetters + LetterBox,
{
    store.add_tenant(&"acme".into()).await.unwrap();
    for (queue, tenant) in [("one", Some("acme")), ("two", Some("nobody")), ("three", None)] {
        let headers = tenant.map(|tenant| ("flowmill-tenant".into(), tenant.into()));
        let letter = DeadLetter {
            queue: queue.into(),
            origin: None,
            reason: "no JSON".into(),
            run: None,
            headers: headers.into_iter().collect(),
            properties: Vec::new(),
            body: b"{".to_vec(),
            unanswered: None,
            is_odd: true,
        };
        store.park(&letter).await.unwrap();
    }
    let queues = async |tenant: &str| {
        let filter = LetterFilter { most: 9, ..LetterFilter::default() };
        let found = store.letters(&tenant.into(), &filter).await.unwrap();
        found.iter().map(|parked| parked.letter.queue.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(queues("acme").await, ["one"]);
    assert_eq!(queues(DEFAULT_TENANT).await, ["three", "two"]);
}
