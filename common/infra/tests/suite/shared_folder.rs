//! What a shared store in a folder does beyond its ports: it locks, it outlives, it keeps secrets
//! and large values.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::audit::{Audit as _, Deed, EntryFilter};
use flowmill_infra::checkpoints::Checkpoints as _;
use flowmill_infra::intake::{Accepted, IdempotencyKey, Intake as _, Submission};
use flowmill_infra::message::Shard;
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::{Shards as _, Wish};
use flowmill_infra::sqlite::{OpenError, SharedFolder, SqliteStore};
use flowmill_infra::store::{Batch, Commit, Standing, Store as _, StoreError};

use super::checkpoints::{checkpoint, key};
use super::shards::{begin, by, me, of, start, submission, tenure};
use super::store::{plan, together};
use super::{facts, secrets};

/// A folder of 16 shards.
pub(crate) async fn open(folder: &Path) -> SharedFolder {
    SharedFolder::open(folder, 16, Keys::default()).await.unwrap()
}

/// All bytes of all files below a folder, its key aside.
fn bytes(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(bytes(&entry.path()));
        } else if entry.file_name() != "secret.key" {
            all.extend(fs::read(entry.path()).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Runs SQL on a folder's database behind the store's back.
async fn meddle(folder: &Path, sql: &'static str) -> Result<(), sqlx::Error> {
    use sqlx::Connection as _;
    let file = format!("sqlite://{}", folder.join("serve.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&file).await?;
    sqlx::raw_sql(sql).execute(&mut connection).await?;
    connection.close().await
}

#[tokio::test]
async fn all_outlives_the_process_but_who_owned_what() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = "default".into();
    let keyed = |run: &str| Submission {
        key: Some(IdempotencyKey { key: "k".into(), fingerprint: "f".into() }),
        ..submission(run, 1)
    };
    let store = open(folder.path()).await;
    store.submit(&[keyed("r"), submission("q", 1)]).await.unwrap();
    let held = store.hold(&me("a"), 16).await.unwrap();
    let one = tenure(&held, 1);
    let out = Standing { in_flight: 1, last_number: 7, ..of(1) };
    let mut batch = by(one, "r", begin("r").1, out);
    batch.tenures[0].mark = 5;
    store.commit(&batch).await.unwrap();
    assert!(store.save(&[checkpoint(&key("n", 1), "done")]).await.unwrap().is_empty());
    assert_eq!(store.seen_again(&key("n", 1)).await.unwrap(), 1);
    let left = store.wish(&tenant, &"r".into(), &Wish::Pause, &"ada".into()).await.unwrap();
    assert!(left.is_some());
    store.close().await;
    let closed = store.commit(&together([])).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");

    // another number of shards than it was made with is not what it has
    let store = SharedFolder::open(folder.path(), 1, Keys::default()).await.unwrap();
    assert_eq!(store.shards().await.unwrap(), 16);
    assert_eq!(store.journal(&"r".into()).await.unwrap(), begin("r").1);
    assert_eq!(store.submit(&[keyed("s")]).await.unwrap(), [Accepted::Before("r".into())]);
    assert_eq!(store.queued(&[Shard(1)], 9).await.unwrap().len(), 1);
    assert_eq!(store.signals(&[Shard(1)], 9).await.unwrap().len(), 1);
    assert!(store.outcome(&key("n", 1)).await.unwrap().is_some());
    assert_eq!(store.seen_again(&key("n", 1)).await.unwrap(), 2);
    // the process of before holds nothing, however fresh its lease is, and writes nothing
    let held = store.hold(&me("b"), 16).await.unwrap();
    let now = tenure(&held, 1);
    assert_eq!((held.tenures.len(), held.schedulers), (16, 1));
    assert_eq!((now.epoch, now.mark, now.last), (one.epoch + 1, 5, 7));
    assert_eq!(store.unfinished(now).await.unwrap(), [Name::from("r")]);
    let late = store.commit(&by(one, "r", facts(9, 9), of(1))).await;
    assert_eq!(late, Err(StoreError::Fenced { shard: Shard(1) }));
}

#[tokio::test]
async fn a_folder_has_one_writer_of_any_kind() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    let first = open(&folder).await;
    let here = format!("in use by process {}", std::process::id());
    let second = SharedFolder::open(&folder, 1, Keys::default()).await.unwrap_err().to_string();
    assert!(second.contains(&here) && second.contains("another folder"), "{second}");
    let second = SqliteStore::open(&folder, Keys::default()).await.unwrap_err().to_string();
    assert!(second.contains(&here), "{second}");
    first.close().await;
    // single runs and a shared store lie side by side
    let single = SqliteStore::open(&folder, Keys::default()).await.unwrap();
    single.commit(&together([commit("r")])).await.unwrap();
    single.close().await;
    let again = open(&folder).await;
    assert!(again.journal(&"r".into()).await.unwrap().is_empty());
    again.close().await;

    meddle(&folder, "PRAGMA user_version = 99").await.unwrap();
    let later = SharedFolder::open(&folder, 1, Keys::default()).await.unwrap_err();
    assert!(matches!(&later, OpenError::Foreign { .. }), "{later}");
    assert!(later.to_string().contains("later release"), "{later}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let rights = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights(&folder), 0o700);
        assert_eq!(rights(&folder.join("serve.db")), 0o600);
    }
}

fn commit(run: &str) -> Commit {
    let facts = begin(run).1.into();
    Commit { run: run.into(), plan: plan(), facts, standing: Standing::default() }
}

#[tokio::test]
async fn a_secret_is_in_no_file_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    secrets::fill(&store).await;
    secrets::is_there(&store).await;
    store.close().await;
    let found = bytes(folder.path());
    assert!(holds(&found, "shown") && !holds(&found, secrets::PLAIN));
    let store = open(folder.path()).await;
    secrets::is_there(&store).await;
    store.close().await;

    // without its key it is told what is missing, and where it belongs
    fs::remove_file(folder.path().join("secret.key")).unwrap();
    let store = SharedFolder::open(folder.path(), 16, secrets::key("b")).await.unwrap();
    let told = store.journal(&"r".into()).await.unwrap_err();
    assert!(matches!(told, StoreError::Sealed(_)), "{told}");
    assert!(told.to_string().contains("its file secret.key"), "{told}");
}

#[tokio::test]
async fn what_people_did_is_only_ever_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let deed = Deed {
        tenant: "default".into(),
        actor: "api".into(),
        key: None,
        action: "keys.create".into(),
        object: "".into(),
        outcome: "done".into(),
        address: None,
    };
    store.note_deed(&deed).await.unwrap();
    for change in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let refused = meddle(folder.path(), change).await.unwrap_err().to_string();
        assert!(refused.contains("only ever added"), "{change}: {refused}");
    }
    let filter = EntryFilter { most: 9, ..EntryFilter::default() };
    assert_eq!(store.deeds(&filter).await.unwrap()[0].deed, deed);
    store.close().await;
}

#[tokio::test]
async fn large_values_are_files_and_go_with_their_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let long: Value = "long ".repeat(100_000).as_str().into();
    let start = Start { inputs: vec![("text".into(), long)], ..start("r") };
    let submission = Submission { start: start.clone(), ..submission("r", 1) };
    store.submit(&[submission]).await.unwrap();
    let queued = store.queued(&[Shard(1)], 1).await.unwrap().remove(0).unwrap();
    assert_eq!(queued.start.inputs, start.inputs);
    let (_, begun) = flowmill_engine::run::Run::start(plan(), start, Time(7));
    let standing = of(1);
    let commit = Commit { run: "r".into(), plan: plan(), facts: begun.clone().into(), standing };
    store.commit(&Batch::from(vec![commit])).await.unwrap();
    store.close().await;
    assert!(fs::metadata(folder.path().join("serve.db")).unwrap().len() < 300_000);

    let store = open(folder.path()).await;
    assert_eq!(store.journal(&"r".into()).await.unwrap(), begun);
    let payloads = folder.path().join("payloads/run/r");
    assert!(payloads.is_dir());
    store.forget(&"r".into()).await.unwrap();
    assert!(!payloads.exists());
}

#[tokio::test]
async fn an_end_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (mut run, mut ended) = begin("r");
    ended.extend(run.apply(Time(9), super::shards::stop()).unwrap());
    let next = ended.len() as u64 + 1;
    let commit = Commit { facts: ended.into(), ..commit("r") };
    store.commit(&together([commit.clone()])).await.unwrap();
    let more = Commit { facts: facts(next, next).into(), ..commit };
    let refused = store.commit(&together([more])).await;
    assert_eq!(refused, Err(StoreError::Conflict { run: "r".into(), seq: next }));
    let meddled = meddle(folder.path(), "UPDATE runs SET status = 'succeeded'").await;
    assert!(meddled.unwrap_err().to_string().contains("never changes"));
}

#[tokio::test]
async fn what_cannot_be_read_concerns_its_run_only() {
    const DAMAGE: &str = "
        UPDATE runs SET start = '{' WHERE run = 'odd';
        UPDATE journal SET facts = '[' WHERE run = 'torn';
        DELETE FROM journal WHERE run = 'lost'";
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let held = store.hold(&me("a"), 16).await.unwrap();
    let one = tenure(&held, 1);
    store.submit(&[submission("odd", 1), submission("even", 1)]).await.unwrap();
    for run in ["torn", "sound", "lost"] {
        store.commit(&by(one, run, facts(1, 2), of(1))).await.unwrap();
    }
    meddle(folder.path(), DAMAGE).await.unwrap();
    let queued = store.queued(&[Shard(1)], 9).await.unwrap();
    let [Err(odd), Ok(even)] = &queued[..] else { panic!("{queued:?}") };
    assert_eq!((&*odd.run, &*even.start.run), ("odd", "even"));
    let read = store.journals(&["torn", "sound", "lost"].map(Into::into)).await.unwrap();
    let [Err(torn), Ok(sound), Err(lost)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&*torn.run, &*sound.run, &*lost.run), ("torn", "sound", "lost"));
    assert!(matches!((&torn.why, &lost.why), (StoreError::Corrupt(_), StoreError::Corrupt(_))));
    for run in ["torn", "lost", "odd"] {
        let ended = store.end(one, &run.into(), &super::shards::broken()).await;
        assert_eq!(ended, Ok(true), "{run}");
    }
}

#[tokio::test]
async fn many_commits_at_once_share_transactions_and_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).await);
    let write = |writer: u32| {
        let store = store.clone();
        tokio::spawn(async move {
            let run = format!("r{writer}");
            let mut refused = 0;
            for seq in 1..=20 {
                let facts = facts(seq, seq);
                let commit =
                    Commit { run: run.as_str().into(), facts: facts.into(), ..commit("r") };
                store.commit(&together([commit.clone()])).await.unwrap();
                // again: that one is refused, whatever shares its transaction
                refused += usize::from(store.commit(&together([commit])).await.is_err());
            }
            refused
        })
    };
    let writers: Vec<_> = (0..8).map(write).collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), 20);
    }
    for writer in 0..8 {
        let journal = store.journal(&format!("r{writer}").as_str().into()).await.unwrap();
        assert_eq!(journal, facts(1, 20));
    }
}
