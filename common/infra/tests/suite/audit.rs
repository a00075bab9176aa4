//! What people did: noted once, never changed, found by who and what.

use std::net::IpAddr;

use flowmill_engine::time::Time;
use flowmill_infra::audit::{Audit, Deed, Entry, EntryFilter};

use super::server::Schema;

pub(crate) async fn all<S: Audit>(make: impl AsyncFn() -> S) {
    a_deed_is_kept_as_it_was_given(make().await).await;
    deeds_are_found_by_who_and_what(make().await).await;
}

fn deed(tenant: &str, actor: &str, action: &str) -> Deed {
    Deed {
        tenant: tenant.into(),
        actor: actor.into(),
        key: None,
        action: action.into(),
        object: "".into(),
        outcome: "done".into(),
        address: None,
    }
}

fn all_of(most: usize) -> EntryFilter {
    EntryFilter { most, ..EntryFilter::default() }
}

async fn a_deed_is_kept_as_it_was_given<S: Audit>(store: S) {
    let full = Deed {
        key: Some("k3v2mzq7yhpa".into()),
        object: "it's \u{1F600}".into(),
        outcome: "forbidden".into(),
        address: Some("2001:db8::1".parse::<IpAddr>().unwrap()),
        ..deed("acme", "nightly \u{1F600}", "keys.revoke")
    };
    let bare = deed("default", "api", "tenants.create");
    for deed in [&full, &bare] {
        store.note_deed(deed).await.unwrap();
    }
    let found = store.deeds(&all_of(9)).await.unwrap();
    let deeds: Vec<&Deed> = found.iter().map(|entry| &entry.deed).collect();
    assert_eq!(deeds, [&bare, &full]);
    let [last, first] = &*found else { panic!("{found:?}") };
    assert!(last.id > first.id && last.noted_at >= first.noted_at);
    assert!(first.noted_at > Time(1_600_000_000_000_000), "{first:?}");
}

async fn deeds_are_found_by_who_and_what<S: Audit>(store: S) {
    let keyed = Deed { key: Some("abc".into()), ..deed("acme", "ada", "runs.cancel") };
    let deeds =
        [deed("acme", "ada", "keys.create"), keyed, deed("default", "api", "keysmith.create")];
    for deed in &deeds {
        store.note_deed(deed).await.unwrap();
    }
    let all = store.deeds(&all_of(9)).await.unwrap();
    let found = async |filter: EntryFilter| {
        let found = store.deeds(&filter).await.unwrap();
        found.iter().map(|entry| entry.deed.action.to_string()).collect::<Vec<_>>()
    };
    let of = |change: &dyn Fn(&mut EntryFilter)| {
        let mut filter = all_of(9);
        change(&mut filter);
        filter
    };
    let acme = found(of(&|filter| filter.tenant = Some("acme".into()))).await;
    assert_eq!(acme, ["runs.cancel", "keys.create"]);
    let ada = found(of(&|filter| filter.actor = Some("ada".into()))).await;
    assert_eq!(ada, ["runs.cancel", "keys.create"]);
    assert_eq!(found(of(&|filter| filter.actor = Some("abc".into()))).await, ["runs.cancel"]);
    assert_eq!(found(of(&|filter| filter.action = Some("keys".into()))).await, ["keys.create"]);
    let exact = found(of(&|filter| filter.action = Some("runs.cancel".into()))).await;
    assert_eq!(exact, ["runs.cancel"]);
    assert!(found(of(&|filter| filter.action = Some("key".into()))).await.is_empty());
    let Entry { id, noted_at, .. } = all[1];
    assert_eq!(found(of(&|filter| filter.before = Some(id))).await, ["keys.create"]);
    assert_eq!(
        found(of(&|filter| filter.since = Some(Time(noted_at.0 + 60_000_000)))).await.len(),
        0
    );
    assert!(found(of(&|filter| filter.since = Some(noted_at))).await.len() >= 2);
    assert_eq!(found(all_of(1)).await, ["keysmith.create"]);
}

#[tokio::test]
async fn in_the_database_rows_are_only_ever_added() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    store.note_deed(&deed("default", "api", "keys.create")).await.unwrap();
    for change in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"] {
        let refused = schema.meddle(change).await.unwrap_err().to_string();
        assert!(refused.contains("only ever added"), "{change}: {refused}");
    }
    assert_eq!(store.deeds(&all_of(9)).await.unwrap().len(), 1);
}
