//! What a store in a folder does beyond its port: it locks, it outlives, it says what is wrong.

use std::path::Path;
use std::sync::Arc;

use flowmill_engine::fact::Reason;
use flowmill_engine::fact::{Event, Fact, FramePath, RunStarted, Status};
use flowmill_engine::plan::Plan;
use flowmill_engine::run::{Input, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::seal::Keys;
use flowmill_infra::sqlite::{Document, OpenError, Origin, SqliteStore, Which};
use flowmill_infra::store::{Commit, Standing, Store as _, StoreError};

use super::facts;
use super::store::{plan, together};

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: Standing::default() }
}

fn origin(text: &str) -> Origin {
    let document = Document {
        digest: text.into(),
        name: "Shout".into(),
        text: text.into(),
        has_secrets: false,
    };
    Origin { document, settings: r#"{"a": 1}"#.into() }
}

/// Runs SQL on a folder's database behind the store's back.
async fn meddle(folder: &Path, sql: &'static str) {
    use sqlx::Connection as _;
    let file = format!("sqlite://{}", folder.join("runs.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn facts_outlive_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    store.register(&"r".into(), &origin("text")).await.unwrap();
    assert_eq!(store.find(&"r".into()).await.unwrap(), None, "it has not begun");
    store.commit(&together([commit("r", facts(1, 3))])).await.unwrap();
    store.commit(&together([commit("r", facts(4, 200))])).await.unwrap();
    store.close().await;
    let closed = store.commit(&together([commit("r", facts(201, 201))])).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");

    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    assert_eq!(store.journal(&"r".into()).await.unwrap(), facts(1, 200));
    assert_eq!(store.origin(&"r".into()).await.unwrap().unwrap().settings, origin("text").settings);
    store.commit(&together([commit("r", facts(201, 201))])).await.unwrap();
}

#[tokio::test]
async fn a_run_is_listed_as_its_facts_say() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    for (number, id) in (1..).zip(["a", "b", "c"]) {
        let start = Start { run: id.into(), workflow: "text".into(), ..Start::default() };
        let (mut run, mut journal) = Run::start(plan(), start, Time(number));
        store.register(&id.into(), &origin("text")).await.unwrap();
        if id != "a" {
            journal.extend(run.apply(Time(9), Input::Pause { reason: "enough".into() }).unwrap());
        }
        if id == "c" {
            let stop = Input::Stop { reason: Reason::User, message: "away".into() };
            journal.extend(run.apply(Time(10), stop).unwrap());
        }
        store.commit(&together([commit(id, journal)])).await.unwrap();
    }
    let rows = store.runs(Which::default(), 10).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (&*row.id, row.status, row.finished_at)).collect();
    let paused = ("b", Status::Paused, None);
    assert_eq!(
        shown,
        [("c", Status::Stopped, Some(Time(10))), paused, ("a", Status::Running, None)]
    );
    assert_eq!((&*rows[0].name, rows[0].started_at), ("Shout", Time(3)));
    let of_one_status =
        store.runs(Which { status: Some(Status::Paused), is_held: None }, 10).await.unwrap();
    assert_eq!(of_one_status.iter().map(|row| &*row.id).collect::<Vec<_>>(), ["b"]);
    assert_eq!(store.runs(Which::default(), 2).await.unwrap().len(), 2);
    assert_eq!(store.find(&"b".into()).await.unwrap().as_ref(), Some(&rows[1]));
    store.forget(&"b".into()).await.unwrap();
    assert_eq!(store.origin(&"b".into()).await.unwrap(), None);
}

#[tokio::test]
async fn values_come_back_as_they_were() {
    let deep = (0..300).fold(Value::None, |inner, _| Value::array(vec![inner]));
    let values: Vec<(Name, Value)> = vec![
        ("nul".into(), "a\0b\u{1F600}".into()),
        ("nan".into(), Value::Float(f64::NAN)),
        ("deep".into(), deep),
        ("long".into(), "x".repeat(1 << 20).into()),
    ];
    let start = Start { run: "r".into(), inputs: values, ..Start::default() };
    let (_, journal) = Run::start(plan(), start, Time(1));
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    store.commit(&together([commit("r", journal.clone())])).await.unwrap();
    assert_eq!(store.journal(&"r".into()).await.unwrap(), journal);
    let Event::RunStarted(started) = &journal[0].event else { panic!("it begins with one") };
    let RunStarted { inputs, .. } = &**started;
    assert_eq!(inputs.len(), 4);
}

#[tokio::test]
async fn a_folder_has_one_writer_and_any_readers() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let missing = SqliteStore::look(&nowhere, Keys::default()).await;
    assert!(matches!(missing, Err(OpenError::Missing { .. })) && !nowhere.exists(), "{missing:?}");

    let inside = folder.path().join("a/b");
    let first = SqliteStore::open(&inside, Keys::default()).await.unwrap();
    first.commit(&together([commit("r", facts(1, 2))])).await.unwrap();
    let second = SqliteStore::open(&inside, Keys::default()).await.unwrap_err().to_string();
    let here = format!("in use by process {}", std::process::id());
    assert!(second.contains(&here) && second.contains("another folder"), "{second}");

    let reader = SqliteStore::look(&inside, Keys::default()).await.unwrap();
    assert_eq!(reader.journal(&"r".into()).await.unwrap().len(), 2);
    first.commit(&together([commit("r", facts(3, 3))])).await.unwrap();
    assert_eq!(reader.journal(&"r".into()).await.unwrap().len(), 3);
    assert!(reader.commit(&together([commit("r", facts(4, 4))])).await.is_err());

    first.close().await;
    let next = SqliteStore::open(&inside, Keys::default()).await.unwrap();
    next.commit(&together([commit("r", facts(4, 4))])).await.unwrap();
}

#[tokio::test]
async fn the_lock_tells_which_runs_a_process_has_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    let held = async |store: &SqliteStore| {
        let held = Which { is_held: Some(true), ..Which::default() };
        let runs = store.runs(held, 10).await.unwrap();
        runs.iter().map(|run| (run.id.to_string(), run.process)).collect::<Vec<_>>()
    };
    let first = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    first.commit(&together([commit("a", facts(1, 2))])).await.unwrap();
    first.close().await;
    let second = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    second.commit(&together([commit("b", facts(1, 2))])).await.unwrap();
    let reader = SqliteStore::look(folder.path(), Keys::default()).await.unwrap();
    let me = Some(std::process::id());
    assert_eq!(held(&reader).await, [("b".to_owned(), me)]);
    assert_eq!(reader.find(&"a".into()).await.unwrap().unwrap().process, None);
    second.commit(&together([commit("a", facts(3, 3))])).await.unwrap();
    assert_eq!(held(&reader).await, [("b".to_owned(), me), ("a".to_owned(), me)]);
    second.close().await;
    assert_eq!(held(&reader).await, []);
    let free = Which { is_held: Some(false), ..Which::default() };
    assert_eq!(reader.runs(free, 10).await.unwrap().len(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_is_its_owners_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("runs");
    let store = SqliteStore::open(&folder, Keys::default()).await.unwrap();
    store.commit(&together([commit("r", facts(1, 1))])).await.unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn many_writers_share_transactions_and_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path(), Keys::default()).await.unwrap());
    let write = |number: u64| {
        let store = store.clone();
        // every tenth does not follow what is held
        let first = if number.is_multiple_of(10) { 2 } else { 1 };
        let commit = commit(&format!("r{number}"), facts(first, 3));
        tokio::spawn(async move { store.commit(&together([commit])).await })
    };
    let writes: Vec<_> = (1..=100).map(write).collect();
    for (number, outcome) in (1..).zip(writes) {
        assert_eq!(outcome.await.unwrap().is_err(), number % 10 == 0, "{number}");
    }
    assert_eq!(store.runs(Which::default(), 1000).await.unwrap().len(), 90);
}

#[tokio::test]
async fn a_damaged_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs.db");
    std::fs::write(&file, "this is no database, however long one looks at it".repeat(100)).unwrap();
    let error = SqliteStore::open(folder.path(), Keys::default()).await.unwrap_err();
    assert!(matches!(&error, OpenError::Database { why: StoreError::Corrupt(_), .. }), "{error:?}");
    assert!(error.to_string().contains("runs.db"), "{error}");
    std::fs::remove_file(&file).unwrap();

    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    for run in ["torn", "lost", "moved", "later"] {
        store.commit(&together([commit(run, facts(1, 2))])).await.unwrap();
        store.commit(&together([commit(run, facts(3, 4))])).await.unwrap();
    }
    store.close().await;
    meddle(
        folder.path(),
        "UPDATE journal SET facts = substr(facts, 1, 20) WHERE run = 1 AND first = 3;
         DELETE FROM journal WHERE run = 2 AND first = 3;
         UPDATE journal SET facts = (SELECT facts FROM journal WHERE run = 3 AND first = 1)
             WHERE run = 3 AND first = 3;
         UPDATE journal SET version = 99 WHERE run = 4 AND first = 1;",
    )
    .await;
    let store = SqliteStore::look(folder.path(), Keys::default()).await.unwrap();
    for (run, told) in [
        ("torn", "fact 3 of run torn: it cannot be read"),
        ("lost", "fact 3 of run lost: it is missing"),
        ("moved", "fact 3 of run moved: fact 1 is in its place"),
        ("later", "later release"),
    ] {
        let error = store.journal(&run.into()).await.unwrap_err();
        let is_later = matches!(error, StoreError::Later(_));
        assert!(is_later == (run == "later"), "{error:?}");
        assert!(is_later || matches!(error, StoreError::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn databases_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    SqliteStore::open(folder.path(), Keys::default()).await.unwrap().close().await;
    meddle(folder.path(), "PRAGMA user_version = 99").await;
    for error in [
        SqliteStore::open(folder.path(), Keys::default()).await.unwrap_err(),
        SqliteStore::look(folder.path(), Keys::default()).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("later release"), "{error}");
    }
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("runs.db"), "").unwrap();
    meddle(other.path(), "CREATE TABLE theirs (a)").await;
    let theirs = std::fs::read(other.path().join("runs.db")).unwrap();
    let error = SqliteStore::open(other.path(), Keys::default()).await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(other.path().join("runs.db")).unwrap(), theirs);
}

#[tokio::test]
async fn a_report_is_folded_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Keys::default()).await.unwrap();
    for first in 1..=150 {
        store.commit(&together([commit("r", facts(first, first))])).await.unwrap();
    }
    let plan: Arc<Plan> = plan();
    let report = store.report(&plan, &"r".into()).await.unwrap().unwrap();
    assert_eq!(report.finished(), 150);
    assert_eq!(report.nodes().next().unwrap().frame, FramePath::default());
}
