//! Releases beside each other over one database: all write what all read, and nobody gets a shard
//! with facts that it does not read.

use flowmill_infra::intake::Intake as _;
use flowmill_infra::postgres::{PostgresStore, Program, Settings};
use flowmill_infra::shards::{Announcement, Damaged, Held, Shards as _};
use flowmill_infra::store::{Store as _, StoreError};
use flowmill_infra::versions::Versions;

use super::facts;
use super::server::Schema;
use super::shards::{broken, by, me, of, tenure};

/// Who owns shards in the present release and in the next.
fn both() -> [Announcement; 2] {
    [me("present"), Announcement { reads: 2, ..me("next") }]
}

/// A program of a release that reads up to this version.
async fn reading(url: String, schema: &Schema, reads: u8) -> PostgresStore {
    let versions = Versions::among_others(reads);
    PostgresStore::open(&Settings { url, versions, ..schema.settings() }).await.unwrap()
}

fn has(held: &Held, shard: u16) -> bool {
    held.tenures.iter().any(|tenure| tenure.shard.0 == shard)
}

const SCHEDULER: Program<'_> = Program { kind: "scheduler", name: "a" };
const WORKER: Program<'_> = Program { kind: "worker", name: "a" };

#[tokio::test]
async fn all_write_what_all_read() {
    let schema = Schema::migrated().await;
    let [present, next] = both();
    let scheduler = reading(schema.url_with("-c role=flowmill_scheduler"), &schema, 3).await;
    // a name is one among those of its kind
    let worker = reading(schema.url_with("-c role=flowmill_worker"), &schema, 2).await;
    assert_eq!(scheduler.live_beside(SCHEDULER).await, Ok(3));
    assert_eq!(worker.live_beside(WORKER).await, Ok(2));
    assert_eq!(scheduler.live_beside(SCHEDULER).await, Ok(2));
    // one of a release that says it only where shards are shared
    scheduler.hold(&present, 0).await.unwrap();
    assert_eq!(worker.live_beside(WORKER).await, Ok(1));
    scheduler.release(&present, &[]).await.unwrap();
    scheduler.hold(&next, 0).await.unwrap();
    assert_eq!(worker.live_beside(WORKER).await, Ok(2));
    // who leaves does not count, nor does who has been silent for long
    worker.depart(WORKER).await.unwrap();
    scheduler.release(&next, &[]).await.unwrap();
    assert_eq!(scheduler.live_beside(SCHEDULER).await, Ok(3));
    assert_eq!(worker.live_beside(WORKER).await, Ok(2));
    let silent = "UPDATE programs SET seen_at = seen_at - 61000000 WHERE kind = 'worker'";
    schema.meddle(silent).await.unwrap();
    assert_eq!(scheduler.live_beside(SCHEDULER).await, Ok(3));
    let gone = "UPDATE programs SET seen_at = seen_at - 86400000000";
    schema.meddle(gone).await.unwrap();
    assert_eq!(scheduler.live_beside(SCHEDULER).await, Ok(3));
    assert_eq!(schema.number("SELECT count(*) FROM programs").await, 1);
}

#[tokio::test]
async fn a_shard_with_facts_of_a_later_release_goes_to_no_scheduler_of_an_earlier_one() {
    let schema = Schema::migrated().await;
    let [present, next] = both();
    let early = reading(schema.url(), &schema, 1).await;
    let late = reading(schema.url(), &schema, 2).await;
    // as long as the present release lives, the next one writes what that reads
    early.hold(&present, 16).await.unwrap();
    let lowest = late.live_beside(SCHEDULER).await.unwrap();
    assert_eq!((lowest, late.versions().hear(lowest), late.versions().writes()), (1, None, 1));
    early.release(&present, &[]).await.unwrap();
    let held = late.hold(&next, 16).await.unwrap();
    late.commit(&by(tenure(&held, 3), "r", facts(1, 2), of(3))).await.unwrap();
    assert_eq!(early.later_shards().await, Ok((0, 0)));
    assert_eq!(early.journal(&"r".into()).await, Ok(facts(1, 2)));
    late.versions().hear(late.live_beside(SCHEDULER).await.unwrap());
    late.commit(&by(tenure(&held, 3), "r", facts(3, 4), of(3))).await.unwrap();
    late.commit(&by(tenure(&held, 4), "ended", facts(1, 1), of(4))).await.unwrap();
    assert_eq!(schema.number("SELECT count(*) FROM shards WHERE version = 2").await, 2);
    assert_eq!(early.later_shards().await, Ok((2, 2)));
    // what is written of a run without knowing it counts as well
    schema.meddle("UPDATE shards SET version = 1 WHERE shard = 4").await.unwrap();
    assert_eq!(late.end(tenure(&held, 4), &"ended".into(), &broken()).await, Ok(true));
    assert_eq!(early.later_shards().await, Ok((2, 2)));
    // the present release comes back by mistake
    late.release(&next, &[]).await.unwrap();
    let held = early.hold(&present, 16).await.unwrap();
    assert_eq!(held.tenures.len(), 14);
    assert!(!has(&held, 3) && !has(&held, 4));
    let read = early.journals(&["r".into()]).await.unwrap();
    let [Err(Damaged { why: StoreError::Later(why), .. })] = &read[..] else { panic!("{read:?}") };
    let told = "fact 3 of run r: it is of version 2, which a later release of flowmill wrote; \
                this one reads up to 1";
    assert_eq!(why, told);
    assert!(matches!(
        early.facts(&"default".into(), &"r".into(), 0).await,
        Err(StoreError::Later(_))
    ));
    // one that it has is taken away when such facts come into it
    schema.meddle("UPDATE shards SET version = 2 WHERE shard = 5").await.unwrap();
    let held = early.hold(&present, 16).await.unwrap();
    assert!(!has(&held, 5) && held.tenures.len() == 13);
    // the shares of those who read all are as if it were not there
    let held = late.hold(&next, 16).await.unwrap();
    assert_eq!(held.tenures.iter().map(|tenure| tenure.shard.0).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(held.schedulers, 1);
    let read = late.journals(&["r".into()]).await.unwrap();
    assert_eq!(read[0].as_ref().unwrap().facts, facts(1, 4));
    // who writes for it still writes nothing, whatever the version
    assert!(late.commit(&by(tenure(&held, 3), "r", facts(5, 5), of(3))).await.is_ok());
}
