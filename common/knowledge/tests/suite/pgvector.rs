//! What holds in a server with pgvector only.

use std::str::FromStr as _;

use flowmill_knowledge::shelf::Comparing;
use flowmill_knowledge::{Model, Settings};
use flowmill_services::knowledge::{Knowledge as _, KnowledgeErrorKind, Method};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{World, ask, document};

/// The database of the test server with pgvector: the extension is made in it.
pub(crate) fn url() -> String {
    let own = std::env::var("FLOWMILL_TEST_PGVECTOR");
    let usual = "postgres://postgres@127.0.0.1:54331/postgres?sslmode=disable";
    own.unwrap_or_else(|_| usual.to_owned())
}

/// A database of a test's own, without the extension; it stays, as the server is the tests' own.
async fn database() -> (String, PgConnection) {
    let options = PgConnectOptions::from_str(&url()).unwrap();
    let name = format!("t{}", uuid::Uuid::now_v7().simple());
    let server = PgConnection::connect_with(&options).await;
    let mut server =
        server.unwrap_or_else(|error| panic!("{error}; `./dev setup` starts a server"));
    server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let url = url().replace("/postgres?", &format!("/{name}?"));
    let options = PgConnectOptions::from_str(&url).unwrap();
    (url, PgConnection::connect_with(&options).await.unwrap())
}

fn by_vectors() -> Settings {
    let embedding = Model::parse("nobody/letters");
    Settings { embedding, method: Method::SemanticSearch, top_k: 3, ..Settings::default() }
}

/// Passages that differ in their letters.
fn passages() -> Vec<String> {
    let word = |number: u32| {
        let letter =
            |at: u32| char::from(b'a' + u8::try_from(number.pow(at) % 26 * 7 % 26).unwrap());
        (1..=5).map(letter).collect::<String>().repeat(1 + usize::try_from(number % 3).unwrap())
    };
    (1..=60).map(|number| format!("{} {number}", word(number))).collect()
}

async fn comparing(world: &World) -> Option<Comparing> {
    world.store.comparing(world.tenant(), "b").await.unwrap()
}

#[tokio::test]
async fn what_was_kept_before_is_compared_by_the_server_and_found_by_an_index() {
    let (url, mut database) = database().await;
    let world = World::at(&url, None);
    world.base(by_vectors()).await;
    assert_eq!(comparing(&world).await, Some(Comparing::Here));
    let refused = world.store.index(world.tenant(), "b", true).await.unwrap_err();
    assert!(refused.message.contains("it has no vectors yet"), "{refused}");
    database.execute("DROP EXTENSION vector").await.unwrap();
    let passages = passages();
    let texts: Vec<&str> = passages.iter().map(String::as_str).collect();
    world.keep("all", &texts).await;
    let asked = ["abcde", "zzz", "hello world", "qed"];
    let find = async || {
        let mut found = Vec::new();
        for query in asked {
            for passage in world.passages(ask(query)).await {
                found.push((passage.content.to_string(), passage.score));
            }
        }
        found
    };
    let here = find().await;
    assert_eq!(here.len(), 3 * asked.len());
    database.execute("CREATE SCHEMA \"odd one\"").await.unwrap();
    database.execute("CREATE EXTENSION vector SCHEMA \"odd one\"").await.unwrap();
    assert_eq!(comparing(&world).await, Some(Comparing::Server));
    assert_eq!(find().await, here);
    for _ in 0..2 {
        world.store.index(world.tenant(), "b", true).await.unwrap();
        assert_eq!(comparing(&world).await, Some(Comparing::Index));
        assert_eq!(find().await, here);
    }
    // it is used: that many scans of it have been counted
    let scans = "SELECT sum(idx_scan)::bigint FROM pg_stat_all_indexes WHERE indexrelname LIKE \
                 'vectors_near_%'";
    let mut scanned = 0_i64;
    for _ in 0..100 {
        scanned = sqlx::query_scalar(scans).fetch_one(&mut database).await.unwrap();
        if scanned > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(scanned > 0, "nobody used the index");
    // it follows what changes
    world.keep("more", &["zzzzzz"]).await;
    assert_eq!(world.find(ask("zzz")).await[0], "zzzzzz");
    world.store.index(world.tenant(), "b", false).await.unwrap();
    assert_eq!(comparing(&world).await, Some(Comparing::Server));
    database.execute("DROP EXTENSION vector").await.unwrap();
    assert_eq!(comparing(&world).await, Some(Comparing::Here));
    assert_eq!(world.find(ask("zzz")).await[0], "zzzzzz");
}

#[tokio::test]
async fn an_index_goes_with_its_base() {
    let world = World::indexed();
    world.base(by_vectors()).await;
    world.keep("one", &["apple"]).await;
    let name = "SELECT indexrelid::regclass::text FROM pg_index JOIN flowmill_knowledge.bases \
                ON indexrelid = to_regclass('flowmill_knowledge.vectors_near_' || key) WHERE tenant = $1";
    let options = PgConnectOptions::from_str(&url()).unwrap();
    let mut database = PgConnection::connect_with(&options).await.unwrap();
    let name: String =
        sqlx::query_scalar(name).bind(world.tenant()).fetch_one(&mut database).await.unwrap();
    world.store.drop_base(world.tenant(), "b").await.unwrap();
    let is_there = "SELECT to_regclass($1) IS NOT NULL";
    let is_there: bool =
        sqlx::query_scalar(is_there).bind(name).fetch_one(&mut database).await.unwrap();
    assert!(!is_there);
}

#[tokio::test]
async fn where_there_can_be_no_index_it_is_said_why() {
    let of_words = World::pgvector();
    of_words.base(Settings::default()).await;
    let error = of_words.store.index(of_words.tenant(), "b", true).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Refused);
    assert!(error.message.contains("made without --embedding"), "{error}");

    let in_file = World::sqlite();
    in_file.base(by_vectors()).await;
    let error = in_file.store.index(in_file.tenant(), "b", true).await.unwrap_err();
    assert!(error.message.contains("it lies in a file"), "{error}");

    let long = World::pgvector();
    long.base(by_vectors()).await;
    long.models.parts.store(2001, std::sync::atomic::Ordering::Relaxed);
    let kept = document("one", &["apple", "pear"]);
    long.store.keep("b", kept, &long.caller).await.unwrap();
    let error = long.store.index(long.tenant(), "b", true).await.unwrap_err();
    assert!(error.message.contains("takes at most 2000"), "{error}");
    assert_eq!(long.find(ask("apple")).await[0], "apple", "they are compared all the same");
}
