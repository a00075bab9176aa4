//! Payloads: what was put is had, by its owner, whole or in part, or said to be lost.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use flowmill_infra::memory::MemoryPayloads;
use flowmill_infra::payloads::{
    CACHED_BYTES, CachedPayloads, Digest, FilePayloads, Owner, Payload, PayloadCache, PayloadError,
    Payloads,
};

use super::server::Schema;

pub(crate) async fn all<P: Payloads>(make: impl AsyncFn() -> P) {
    what_was_put_is_had_whole_and_in_part(make().await).await;
    owners_do_not_mix(make().await).await;
    many_put_the_same_at_once(make().await).await;
}

/// A run whose rows have a partition of their own, and one whose have not.
fn runs() -> [Owner; 2] {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let time = format!("{:012x}", now.as_millis());
    let id = format!("{}-{}-7000-8000-000000000001", &time[..8], &time[8..]);
    [Owner::Run(id.as_str().into()), Owner::Run("../r".into())]
}

fn upload(tenant: &str, upload: &str) -> Owner {
    Owner::Upload { tenant: tenant.into(), upload: upload.into() }
}

fn payload(bytes: &[u8]) -> Payload {
    Payload::of(bytes.to_vec())
}

async fn what_was_put_is_had_whole_and_in_part<P: Payloads>(payloads: P) {
    // small ones, one that a database keeps apart, one that no cache takes
    let large: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    for owner in &runs() {
        for bytes in [&b""[..], b"a\0b\xff", &large[..100_000], &large] {
            let put = payload(bytes);
            payloads.put(owner, &put).await.unwrap();
            payloads.put(owner, &put).await.unwrap();
            assert_eq!(payloads.get(owner, put.digest()).await.unwrap(), bytes);
            let total = u64::try_from(bytes.len()).unwrap();
            let part = async |range| {
                let part = payloads.get_range(owner, put.digest(), range).await.unwrap();
                assert_eq!(part.total, total);
                part.bytes
            };
            assert_eq!(part(1..3).await, bytes.get(1..3).unwrap_or_default());
            assert_eq!(part(0..u64::MAX).await, bytes);
            assert_eq!(part(0..0).await, b"");
            assert_eq!(part(total / 2..total).await, &bytes[bytes.len() / 2..]);
            assert_eq!(part(total + 1..total + 6).await, b"");
        }
    }
}

async fn owners_do_not_mix<P: Payloads>(payloads: P) {
    let owners = [
        Owner::Run("r".into()),
        Owner::Run("R".into()),
        Owner::Run("workflow".into()),
        Owner::Workflow { tenant: "a".into() },
        Owner::Workflow { tenant: "b".into() },
        upload("a", "u"),
        upload("b", "u"),
        upload("a", "u/u"),
    ];
    let put = payload(b"x");
    let lost = Err(PayloadError::Lost { digest: put.digest() });
    for owner in &owners {
        assert_eq!(payloads.get(owner, put.digest()).await, lost, "{owner:?}");
        let part = payloads.get_range(owner, put.digest(), 0..1).await;
        assert_eq!(part.map(|part| part.bytes), lost, "{owner:?}");
        payloads.put(owner, &put).await.unwrap();
    }
    for (gone, owner) in owners.iter().enumerate() {
        payloads.remove(owner).await.unwrap();
        payloads.remove(owner).await.unwrap();
        for other in &owners[gone + 1..] {
            assert_eq!(payloads.get(other, put.digest()).await.unwrap(), b"x", "{other:?}");
        }
    }
    let never = Digest::of(b"never");
    let lost = Err(PayloadError::Lost { digest: never });
    assert_eq!(payloads.get(&owners[0], never).await, lost);
}

async fn many_put_the_same_at_once<P: Payloads>(payloads: P) {
    let (payloads, put) = (Arc::new(payloads), Arc::new(payload(&vec![7; 300_000])));
    let owner = Owner::Run("r".into());
    let puts = (0..8).map(|_| {
        let (payloads, put, owner) = (payloads.clone(), put.clone(), owner.clone());
        tokio::spawn(async move { payloads.put(&owner, &put).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    assert_eq!(payloads.get(&owner, put.digest()).await.unwrap(), put.bytes());
}

#[tokio::test]
async fn what_was_changed_on_a_disk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let payloads = FilePayloads::new(folder.path().join("p"));
    let (owner, put) = (Owner::Run("../../r".into()), payload(b"right"));
    payloads.put(&owner, &put).await.unwrap();
    let name = put.digest().to_string();
    let file = folder.path().join("p/run/%2E%2E%2F%2E%2E%2Fr").join(&name[..2]).join(&name);
    std::fs::write(&file, b"wrong").unwrap();
    let damaged = Err(PayloadError::Damaged { digest: put.digest() });
    assert_eq!(payloads.get(&owner, put.digest()).await, damaged);
    // a folder stands where a file should: no answer is made up
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let told = payloads.get(&owner, put.digest()).await;
    assert!(matches!(told, Err(PayloadError::Unavailable(_))), "{told:?}");
}

#[tokio::test]
async fn what_was_changed_in_a_row_is_told() {
    let schema = Schema::migrated().await;
    let payloads = schema.store().await.payloads();
    let (owner, put) = (Owner::Run("r".into()), payload(b"right"));
    payloads.put(&owner, &put).await.unwrap();
    schema.meddle("UPDATE payloads SET bytes = 'wrong'").await.unwrap();
    let damaged = Err(PayloadError::Damaged { digest: put.digest() });
    assert_eq!(payloads.get(&owner, put.digest()).await, damaged);
}

/// A cache in memory.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

impl PayloadCache for Shelf {
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>> {
        let found = self.0.lock().unwrap().get(key).cloned();
        Box::pin(std::future::ready(found))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.0.lock().unwrap().insert(key.to_owned(), bytes.to_owned());
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_cache_saves_reading_and_is_not_believed() {
    let (shelf, behind) = (Arc::new(Shelf::default()), Arc::new(MemoryPayloads::default()));
    let payloads = CachedPayloads::new(shelf.clone(), behind.clone());
    let owner = Owner::Run("r".into());
    let (small, large) = (payload(b"small"), payload(&vec![1; CACHED_BYTES + 1]));
    for put in [&small, &large] {
        payloads.put(&owner, put).await.unwrap();
    }
    assert_eq!(shelf.0.lock().unwrap().len(), 1, "large ones would push out others");
    behind.remove(&owner).await.unwrap();
    assert_eq!(payloads.get(&owner, small.digest()).await.unwrap(), b"small");
    behind.put(&owner, &small).await.unwrap();
    let key = shelf.0.lock().unwrap().keys().next().unwrap().clone();
    shelf.put(&key, b"wrong").await;
    assert_eq!(payloads.get(&owner, small.digest()).await.unwrap(), b"small");
    let shelved: Vec<Vec<u8>> = shelf.0.lock().unwrap().values().cloned().collect();
    assert_eq!(shelved, [b"small"], "and what was wrong is replaced");
}
