//! Uploaded files, and what is asked of a run whose large values are handed out.

use flowmill_engine::fact::Event;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::contents::{Contents, Upload};
use flowmill_infra::intake::Intake;
use flowmill_infra::payloads::{Digest, Payload};
use flowmill_infra::store::{Commit, Store};

use super::shards::{begin, of, submission};
use super::store::plan;

pub(crate) async fn all<S: Store + Intake + Contents>(make: impl AsyncFn() -> S) {
    an_upload_is_its_tenants(make().await).await;
    a_run_tells_its_secrets(make().await).await;
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
