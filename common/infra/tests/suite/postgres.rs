//! What a store in `PostgreSQL` does beyond its ports: takeovers and broken connections in the
//! middle of a commit, ends that stay, the form of its tables, and what a worker's role may do.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Fact, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{Batches as _, NewBatch, Terms};
use flowmill_infra::dead_letters::{DeadLetter, DeadLetters as _};
use flowmill_infra::intake::{Document, Intake as _, Submission};
use flowmill_infra::message::Shard;
use flowmill_infra::payloads::{Owner, Payload, Payloads as _};
use flowmill_infra::postgres::{OpenError, PostgresStore, Settings, maintain, migrate};
use flowmill_infra::shards::{Shards as _, Wish};
use flowmill_infra::store::{Batch, Commit, Standing, Store as _, StoreError, Tenure};
use flowmill_infra::texts::Texts as _;
use sqlx::{Connection as _, PgConnection};

use super::facts;
use super::proxy::{Cut, Proxy};
use super::server::{Schema, address};
use super::shards::{begin, broken, by, me, of, stop, submission, tenure};
use super::store::{plan, together};

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: Standing::default() }
}

fn fenced() -> Result<(), StoreError> {
    Err(StoreError::Fenced { shard: Shard(3) })
}

/// Waits until somebody waits for a lock that this connection holds.
async fn somebody_waits(holder: &mut PgConnection) {
    const WAITING: &str = "
        SELECT count(*) FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    loop {
        let waiting = sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut *holder).await.unwrap();
        if waiting > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A store and the tenure of its shard 3.
async fn owned(schema: &Schema) -> (Arc<PostgresStore>, Tenure) {
    let store = schema.store().await;
    let held = store.hold(&me("a"), 16).await.unwrap();
    (Arc::new(store), tenure(&held, 3))
}

#[tokio::test]
async fn a_takeover_waits_for_the_commit_before_it() {
    let schema = Schema::migrated().await;
    let (store, old) = owned(&schema).await;
    // a commit that has seen its epoch and is not done
    let mut connection = schema.connection().await;
    let mut busy = connection.begin().await.unwrap();
    let lock = "SELECT shard FROM shards WHERE shard = 3 FOR NO KEY UPDATE";
    sqlx::query(lock).execute(&mut *busy).await.unwrap();

    store.release(&me("a"), &[Shard(3)]).await.unwrap();
    let next = {
        let store = store.clone();
        tokio::spawn(async move { store.hold(&me("b"), 1).await.unwrap() })
    };
    somebody_waits(&mut busy).await;
    assert!(!next.is_finished(), "it took a shard that is being written");
    // and renewals do not wait with it
    assert_eq!(store.hold(&me("a"), 0).await.unwrap().tenures.len(), 15);
    busy.commit().await.unwrap();
    assert_eq!(tenure(&next.await.unwrap(), 3).epoch, 2);
    assert_eq!(store.commit(&by(old, "r", facts(1, 1), of(3))).await, fenced());
}

#[tokio::test]
async fn a_takeover_in_the_middle_of_a_commit_is_seen() {
    let schema = Schema::migrated().await;
    let (store, old) = owned(&schema).await;
    store.commit(&by(old, "r", facts(1, 1), of(3))).await.unwrap();
    // the takeover began first, so the commit sees the old epoch and waits
    let mut connection = schema.connection().await;
    let mut takeover = connection.begin().await.unwrap();
    let raise = "UPDATE shards SET epoch = epoch + 1 WHERE shard = 3";
    sqlx::query(raise).execute(&mut *takeover).await.unwrap();
    let late = {
        let (store, batch) = (store.clone(), by(old, "r", facts(2, 2), of(3)));
        tokio::spawn(async move { store.commit(&batch).await })
    };
    somebody_waits(&mut takeover).await;
    takeover.commit().await.unwrap();
    assert_eq!(late.await.unwrap(), fenced());
    assert_eq!(store.journal(&"r".into()).await.unwrap(), facts(1, 1));
}

#[tokio::test]
async fn a_commit_is_written_once_however_the_connection_breaks() {
    let schema = Schema::migrated().await;
    let proxy = Proxy::to(address(), b"node_succeeded").await;
    let settings = Settings { url: schema.url_by(proxy.port), ..schema.settings() };
    let store = PostgresStore::open(&settings).await.unwrap();
    store.commit(&together([commit("r", facts(1, 1))])).await.unwrap();
    for (seq, cut) in (2..).zip([Cut::Question, Cut::Answer, Cut::Answer]) {
        proxy.next(cut);
        let batch =
            together([commit("r", facts(seq, seq)), commit(&format!("r{seq}"), facts(1, 2))]);
        assert_eq!(store.commit(&batch).await, Ok(()), "{cut:?}");
        assert!(proxy.has_cut());
        assert_eq!(store.journal(&"r".into()).await.unwrap(), facts(1, seq), "{cut:?}");
    }
    // others wrote in the meantime: that is no answer to ours
    let other = schema.store().await;
    other.commit(&together([commit("r", facts(5, 6))])).await.unwrap();
    proxy.next(Cut::Question);
    let conflict = StoreError::Conflict { run: "r".into(), seq: 5 };
    assert_eq!(store.commit(&together([commit("r", facts(5, 5))])).await, Err(conflict));
    assert!(proxy.has_cut());

    proxy.next(Cut::Everything);
    let lost = store.commit(&together([commit("r", facts(7, 7))])).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert_eq!(other.journal(&"r".into()).await.unwrap(), facts(1, 6));
}

#[tokio::test]
async fn a_submission_is_accepted_once_however_the_connection_breaks() {
    let schema = Schema::migrated().await;
    let proxy = Proxy::to(address(), b"\"workflow\":\"doc\"").await;
    let settings = Settings { url: schema.url_by(proxy.port), ..schema.settings() };
    let store = PostgresStore::open(&settings).await.unwrap();
    for (run, cut) in [("a", Cut::Question), ("b", Cut::Answer)] {
        proxy.next(cut);
        let accepted = store.submit(&[submission(run, 1)]).await;
        assert!(proxy.has_cut());
        assert_eq!(accepted, Ok(vec![flowmill_infra::intake::Accepted::New]), "{cut:?}");
    }
    assert_eq!(schema.number("SELECT count(*) FROM runs").await, 2);
}

#[tokio::test]
async fn an_end_never_changes() {
    let schema = Schema::migrated().await;
    let (store, tenure) = owned(&schema).await;
    let (mut run, mut facts) = begin("r");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    store.commit(&by(tenure, "r", facts, of(3))).await.unwrap();
    let changed = schema.meddle("UPDATE runs SET status = 'running' WHERE run = 'r'").await;
    let error = changed.unwrap_err().to_string();
    assert!(error.contains("run r ended as stopped, which never changes"), "{error}");
    assert!(schema.meddle("UPDATE runs SET status = NULL WHERE run = 'r'").await.is_err());
    // what does not touch it may be written
    schema.meddle("UPDATE runs SET last_number = 7 WHERE run = 'r'").await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_form_is_refused() {
    let schema = Schema::new().await;
    let refused = async || PostgresStore::open(&schema.settings()).await.unwrap_err();
    let error = refused().await.to_string();
    assert!(error.contains("none of flowmill's tables; `flowmill migrate`"), "{error}");

    let url = schema.url();
    let (one, two) = tokio::join!(migrate(&url, 4), migrate(&url, 4));
    assert_eq!((one.unwrap(), two.unwrap()), (4, 4));
    assert_eq!(migrate(&url, 64).await.unwrap(), 4, "runs lie by the number of shards");
    assert_eq!(maintain(&url).await.unwrap(), 0);
    schema.meddle("DROP TABLE runs_default, journal_default").await.unwrap();
    let last = "SELECT 'DROP TABLE ' || max(relname::text) FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^runs_[0-9_]+$'";
    let drop: String =
        sqlx::query_scalar(last).fetch_one(&mut schema.connection().await).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut schema.connection().await).await.unwrap();
    assert_eq!(maintain(&url).await.unwrap(), 1);
    PostgresStore::open(&schema.settings()).await.unwrap();

    schema.meddle("UPDATE _sqlx_migrations SET success = false").await.unwrap();
    assert!(matches!(refused().await, OpenError::Outdated { .. }));
    // a newer form is one that has grown, unless it says that it is not
    let newer = "UPDATE _sqlx_migrations SET version = 99
        WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    schema.meddle(newer).await.unwrap();
    schema.meddle("UPDATE _sqlx_migrations SET success = true").await.unwrap();
    PostgresStore::open(&schema.settings()).await.unwrap();
    schema.meddle("UPDATE readers SET oldest = 99").await.unwrap();
    assert!(matches!(refused().await, OpenError::Later { .. }));
    let error = migrate(&url, 4).await.unwrap_err();
    assert!(matches!(error, OpenError::Migration { .. }), "{error}");
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_told_without_its_password() {
    let open = async |url: &str| PostgresStore::open(&Settings::of(url)).await.unwrap_err();
    let error = open("postgres://me:hush@127.0.0.1:1/flows").await;
    assert!(matches!(&error, OpenError::Unreachable { why: StoreError::Unavailable(_), .. }));
    let told = format!("{error} {error:?} {:?}", Settings::of("postgres://me:hush@h/flows"));
    assert!(told.contains("127.0.0.1:1/flows") && !told.contains("hush"), "{told}");
    let error = open("mysql://me:hush@h").await.to_string();
    assert!(error.contains("looks like postgres://") && !error.contains("hush"), "{error}");
}

#[tokio::test]
async fn runs_of_a_month_lie_together() {
    const PLACES: &str = "
        SELECT count(*) FROM (SELECT tableoid::regclass::text AS part FROM runs UNION ALL
            SELECT tableoid::regclass::text FROM journal) AS parts
        WHERE part !~ '_default$'";
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let now = "SELECT flowmill_first_id(now() AT TIME ZONE 'UTC')";
    let now: String =
        sqlx::query_scalar(now).fetch_one(&mut schema.connection().await).await.unwrap();
    let run = format!("{now}-7000-8000-000000000001");
    let batch = together([commit(&run, facts(1, 2)), commit("r", facts(1, 2))]);
    store.commit(&batch).await.unwrap();
    assert_eq!(schema.number(PLACES).await, 2);
    assert_eq!(store.journal(&run.as_str().into()).await.unwrap(), facts(1, 2));
}

#[tokio::test]
async fn a_worker_may_write_down_what_it_did_and_nothing_else() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let tenant: Name = "default".into();
    let (digest, text) = (Name::from("d"), Name::from("a\0b"));
    let document = Document {
        digest,
        name: "n".into(),
        text: text.clone(),
        has_secrets: false,
        pushed_at: Time(1),
    };
    store.push(&tenant, &document).await.unwrap();
    let settings =
        Settings { url: schema.url_with("-c role=flowmill_worker"), ..schema.settings() };
    let worker = async || PostgresStore::open(&settings).await.unwrap();
    super::checkpoints::all(async || {
        schema.meddle("DELETE FROM checkpoints").await.unwrap();
        worker().await
    })
    .await;
    let worker = worker().await;
    // there is nothing that it could see of other tenants
    assert!(!worker.is_divided());
    assert_eq!(worker.text(&tenant, &"d".into()).await.unwrap(), Some(text));
    assert_eq!(worker.text(&"others".into(), &"d".into()).await.unwrap(), None);
    let refused = worker.commit(&together([commit("r", facts(1, 1))])).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    assert!(worker.run(&tenant, &"r".into()).await.is_err());
    let (owner, payload) = (Owner::Run("r".into()), Payload::of(b"x".to_vec()));
    worker.payloads().put(&owner, &payload).await.unwrap();
    assert_eq!(worker.payloads().get(&owner, payload.digest()).await.unwrap(), b"x");
    assert!(worker.payloads().remove(&owner).await.is_err());
    for change in ["DELETE FROM checkpoints", "UPDATE payloads SET bytes = ''"] {
        let mut connection = PgConnection::connect(&settings.url).await.unwrap();
        assert!(sqlx::query(change).execute(&mut connection).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let schema = Schema::migrated().await;
    let (store, tenure) = owned(&schema).await;
    for run in ["torn", "lost", "moved", "later"] {
        for (first, last) in [(1, 2), (3, 4)] {
            store.commit(&by(tenure, run, facts(first, last), of(3))).await.unwrap();
        }
    }
    let meddled = schema.meddle(
        "UPDATE journal SET facts = left(facts, 20) WHERE run = 'torn' AND first = 3;
         DELETE FROM journal WHERE run = 'lost' AND first = 3;
         UPDATE journal SET facts = (SELECT facts FROM journal WHERE run = 'moved' AND first = 1)
             WHERE run = 'moved' AND first = 3;
         UPDATE journal SET version = 99 WHERE run = 'later' AND first = 1;",
    );
    meddled.await.unwrap();
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
    // one that waits and cannot be read does not keep others from beginning
    store.submit(&[submission("odd", 3), submission("even", 3)]).await.unwrap();
    schema.meddle("UPDATE runs SET start = '{' WHERE run = 'odd'").await.unwrap();
    let queued = store.queued(&[Shard(3)], 10).await.unwrap();
    let [Err(odd), Ok(even)] = &queued[..] else { panic!("{queued:?}") };
    assert_eq!((&*odd.run, &*even.start.run), ("odd", "even"));
    assert!(matches!(odd.why, StoreError::Corrupt(_)));
    // nor do journals
    store.commit(&by(tenure, "sound", facts(1, 2), of(3))).await.unwrap();
    let asked = ["torn", "sound", "lost", "later"].map(Name::from);
    let read = store.journals(&asked).await.unwrap();
    let [Err(torn), Ok(sound), Err(lost), Err(later)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&*torn.run, &*lost.run, &*later.run), ("torn", "lost", "later"));
    assert!(matches!((&torn.why, &lost.why), (StoreError::Corrupt(_), StoreError::Corrupt(_))));
    assert!(matches!(later.why, StoreError::Later(_)));
    assert_eq!(sound.facts, facts(1, 2));
    // nor a wish that cannot be read
    let wish =
        async |wish| store.wish(&"default".into(), &"even".into(), wish, &"ada".into()).await;
    for wanted in [&Wish::Pause, &Wish::Stop] {
        assert!(wish(wanted).await.unwrap().is_some());
    }
    schema.meddle("UPDATE signals SET wish = '{' WHERE wish LIKE '%pause%'").await.unwrap();
    let signals = store.signals(&[Shard(3)], 10).await.unwrap();
    let wishes: Vec<_> = signals.iter().map(|signal| signal.wish.clone().ok()).collect();
    assert_eq!(wishes, [None, Some(Wish::Stop)]);
    // what can neither be read nor moved still ends
    for run in ["torn", "lost", "odd"] {
        assert_eq!(store.end(tenure, &run.into(), &broken()).await, Ok(true), "{run}");
        let row = store.run(&"default".into(), &run.into()).await.unwrap().unwrap();
        assert_eq!(row.status, Some(Status::Failed));
    }
}

#[tokio::test]
async fn batches_that_nobody_looks_after_any_more_come_to_others() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let new = |batch: &str| NewBatch {
        batch: batch.into(),
        tenant: "default".into(),
        workflow: "doc".into(),
        terms: Terms::default(),
        due_in: 3_600_000_000,
        rerun_of: None,
        key: None,
    };
    let claimed = async |who: &str| {
        let found = store.claim_batches(&who.into(), 9).await.unwrap();
        found.iter().map(|batch| batch.batch.to_string()).collect::<Vec<_>>()
    };
    for batch in ["comes", "runs", "waits"] {
        store.create_batch(&new(batch)).await.unwrap();
    }
    store.begin_batch(&"default".into(), &"runs".into()).await.unwrap();
    assert_eq!(claimed("one").await, ["runs"]);
    assert!(claimed("other").await.is_empty());
    // ten seconds and an hour are over
    let later = "UPDATE batches SET claimed_until = claimed_until - 10000000 WHERE batch = 'runs';
        UPDATE batches SET grown_at = grown_at - 3600000000 WHERE batch = 'waits'";
    schema.meddle(later).await.unwrap();
    assert_eq!(claimed("other").await, ["runs", "waits"]);
    assert!(claimed("one").await.is_empty());
}

#[tokio::test]
async fn dead_letters_are_kept_for_people() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let theirs = Submission { tenant: "others".into(), ..submission("r", 3) };
    store.submit(&[theirs]).await.unwrap();
    for run in [None, Some("r"), Some("gone\0")] {
        let letter = DeadLetter {
            queue: "q".into(),
            origin: Some("p".into()),
            reason: "read a message: \0".into(),
            run: run.map(Name::from),
            headers: vec![("x".into(), "\0\"".into())],
            properties: Vec::new(),
            body: vec![0, 255, 3],
            unanswered: None,
            is_odd: true,
        };
        store.park(&letter).await.unwrap();
    }
    let whole = "
        SELECT count(*) FROM dead_letters WHERE message = '\\x00ff03' AND queue = 'q'
            AND headers = '[[\"x\",\"\\u0000\\\"\"]]' AND put_at > 0";
    assert_eq!(schema.number(whole).await, 3);
    let theirs = "SELECT count(*) FROM dead_letters WHERE run = 'r' AND tenant = 'others'";
    assert_eq!(schema.number(theirs).await, 1);
}

#[tokio::test]
async fn many_commits_at_once_do_not_lock_each_other_up() {
    let schema = Schema::migrated().await;
    let (store, _) = owned(&schema).await;
    let held = store.hold(&me("a"), 16).await.unwrap();
    let write = |writer: usize| {
        let mut tenures = held.tenures.clone();
        tenures.rotate_left(writer);
        let runs = (0..16).map(|shard| {
            let last_number = writer as u64;
            let standing = Standing { last_number, ..of(shard) };
            Commit { standing, ..commit(&format!("r{writer}-{shard}"), facts(1, 3)) }
        });
        let batch = Batch { commits: runs.rev().collect(), tenures, signals: Vec::new() };
        let store = store.clone();
        tokio::spawn(async move { store.commit(&batch).await })
    };
    let writers: Vec<_> = (0..6).map(write).collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Ok(()));
    }
    let last = store.hold(&me("a"), 16).await.unwrap();
    assert!(last.tenures.iter().all(|tenure| tenure.last == 5), "{last:?}");
}
