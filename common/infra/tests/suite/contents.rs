//! Uploaded files, and what is asked of a run whose large values are handed out.

use std::sync::Arc;

use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::contents::{Contents, Upload};
use flowmill_infra::intake::Intake;
use flowmill_infra::payloads::{Digest, Owner, Payload};
use flowmill_infra::store::{Commit, Store};

use super::shards::{begin, of, stop, submission};
use super::store::plan;

pub(crate) async fn all<S: Store + Intake + Contents>(make: impl AsyncFn() -> S) {
    an_upload_is_its_tenants(make().await).await;
    a_run_tells_its_secrets(make().await).await;
    the_last_fact_is_read_without_large_values(make().await).await;
}

fn upload(id: &str, content: &[u8]) -> Upload {
    Upload {
        id: id.into(),
        name: "r\u{e9}sum\u{e9}.txt".into(),
        extension: Some(".txt".into()),
        mime_type: "text/plain".into(),
        bytes: content.len() as u64,
        digest: Digest::of(content),
        uploaded_at: Time(1_700_000_000_123_456),
        used_at: Time(1_700_000_000_123_456),
    }
}

async fn an_upload_is_its_tenants<S: Contents>(store: S) {
    let (ours, theirs) = (Name::from("default"), Name::from("other"));
    let (one, bare) = (upload("1", b"x"), Upload { extension: None, ..upload("2", b"") });
    store.content().put(&one.owner(&ours), &Payload::of(b"x".to_vec())).await.unwrap();
    for upload in [&one, &bare] {
        store.keep_upload(&ours, upload).await.unwrap();
        let again = Upload { name: "another".into(), ..upload.clone() };
        store.keep_upload(&ours, &again).await.unwrap();
    }
    let asked: Vec<Name> = ["2", "1", "3"].map(Name::from).into();
    let mut found = store.uploads(&ours, &asked).await.unwrap();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(found, [one.clone(), bare], "what was kept first stays");
    assert_eq!(store.uploads(&ours, &[]).await.unwrap(), []);
    assert_eq!(store.uploads(&theirs, &asked).await.unwrap(), []);
    assert_eq!(store.content().get(&one.owner(&ours), one.digest).await.unwrap(), b"x");
    assert!(store.content().get(&one.owner(&theirs), one.digest).await.is_err());
}

async fn a_run_tells_its_secrets<S: Store + Intake + Contents>(store: S) {
    let tenant = Name::from("default");
    store.submit(&[submission("r", 1)]).await.unwrap();
    assert_eq!(store.secrets(&tenant, &"r".into()).await.unwrap(), None, "it has not begun");
    assert_eq!(store.secrets(&tenant, &"unknown".into()).await.unwrap(), None);
    let (_, mut facts) = begin("r");
    let Some(Event::RunStarted(started)) = facts.first_mut().map(|fact| &mut fact.event) else {
        panic!("{facts:?}")
    };
    let open = Variable::infer(Value::from("open"));
    started.conversation = vec![("open".into(), open)];
    let commit = Commit { run: "r".into(), plan: plan(), facts: facts.into(), standing: of(1) };
    store.commit(&vec![commit].into()).await.unwrap();
    let told = store.secrets(&tenant, &"r".into()).await.unwrap().unwrap();
    assert_eq!(told, [], "it has none");
    assert_eq!(store.secrets(&"other".into(), &"r".into()).await.unwrap(), None);
}

async fn the_last_fact_is_read_without_large_values<S: Store + Intake + Contents>(store: S) {
    let tenant = Name::from("default");
    assert_eq!(store.last_fact(&tenant, &"r".into()).await.unwrap(), None);
    store.submit(&[submission("r", 1)]).await.unwrap();
    let (mut state, mut facts) = begin("r");
    facts.extend(state.apply(Time(9), stop()).unwrap());
    let (small, large) = (Value::from("small"), Value::from("x".repeat(100_000)));
    let Some(Event::RunFinished(end)) = facts.last_mut().map(|fact| &mut fact.event) else {
        panic!("{facts:?}")
    };
    end.outputs = vec![("small".into(), small.clone()), ("large".into(), large.clone())];
    let facts: Arc<[Fact]> = facts.into();
    let commit = Commit { run: "r".into(), plan: plan(), facts: facts.clone(), standing: of(1) };
    store.commit(&vec![commit].into()).await.unwrap();
    assert_eq!(store.last_fact(&"other".into(), &"r".into()).await.unwrap(), None);
    let last = store.last_fact(&tenant, &"r".into()).await.unwrap().unwrap();
    assert_eq!(Some(last.seq), facts.last().map(|fact| fact.seq));
    let Event::RunFinished(end) = last.event else { panic!("{last:?}") };
    assert_eq!(end.outputs[0].1, small);
    let Some(stash) = store.stash() else {
        assert_eq!(end.outputs[1].1, large, "it is no payload");
        return;
    };
    let (digest, bytes) = stash.ticket_in(&end.outputs[1].1).unwrap().unwrap();
    assert_eq!(stash.reference(&large), Some((digest, bytes)));
    assert_eq!((stash.ticket_in(&small).unwrap(), stash.reference(&small)), (None, None));
    let owner = Owner::Run("r".into());
    let payload = store.content().get(&owner, digest).await.unwrap();
    assert_eq!((payload.len(), payload), (bytes, serde_json::to_vec(&large).unwrap()));
}
