//! The keys that seal secrets: counted, and replaced while the API answers.

use flowmill_infra::memory::MemoryBroker;
use flowmill_infra::payloads::{Owner, Payload, Payloads as _};
use flowmill_infra::seal::Keys;
use serde_json::{Value as Json, json};

use crate::asker::{ADMIN, Asker, locked};
use crate::server::{Schema, Server};

fn key(digit: &str) -> Keys {
    Keys::parse(&digit.repeat(64)).unwrap()
}

#[tokio::test]
async fn what_a_key_of_before_sealed_is_sealed_with_the_present_one() {
    let (mut schema, _) = Schema::migrated(key("a")).await;
    let old = schema.store().await;
    schema.seal_with(key("a").and(key("b")));
    let both = schema.store().await;
    let (before, _) = Server::over(Schema::migrated(key("a")).await.0, old, locked).await;
    let hook = json!({"url": "https://hooks.example/x"});
    Asker::new(&before, ADMIN).post("/api/v1/webhooks/endpoints", &hook).await.json(201);
    // a large value of a run, which lies apart
    let run = Owner::Run("r".into());
    let sealed = key("a").seal("run/r", &"x".repeat(100_000)).unwrap();
    let value = Payload::of(format!("\"{sealed}\"").into_bytes());
    both.payloads().put(&run, &value).await.unwrap();
    let (server, _) = Server::over(schema, both.clone(), locked).await;
    let admin = Asker::new(&server, ADMIN);
    let (a, b) = (key("a").sealing().unwrap().to_owned(), key("b").sealing().unwrap().to_owned());
    let all = async |changes: bool| {
        let (mut sealed, mut resealed, mut from) = (serde_json::Map::new(), 0, json!(null));
        loop {
            let step = if changes {
                admin.post("/api/v1/secrets/rotate", &json!({ "from": from })).await.json(200)
            } else {
                let place = from.as_str().map(|from| from.replace('[', "%5B").replace('"', "%22"));
                let query = place.map(|place| format!("?from={}", place.replace(']', "%5D")));
                admin.get(&format!("/api/v1/secrets{}", query.unwrap_or_default())).await.json(200)
            };
            assert_eq!(step["key"], b);
            for (key, count) in step["sealed"].as_object().unwrap() {
                let before = sealed.get(key).and_then(Json::as_u64).unwrap_or_default();
                sealed.insert(key.clone(), json!(before + count.as_u64().unwrap()));
            }
            resealed += step["resealed"].as_u64().unwrap();
            from = step["next"].clone();
            if from.is_null() {
                return (json!(sealed), resealed);
            }
        }
    };
    assert_eq!(all(false).await, (json!({ a: 2 }), 0));
    assert_eq!(all(true).await, (json!({ &b: 2 }), 2));
    assert_eq!(all(false).await, (json!({ &b: 2 }), 0));
    assert_eq!(all(true).await.1, 0);
    let again = both.payloads().get(&run, value.digest()).await.unwrap();
    let again = String::from_utf8(again).unwrap();
    let opened = key("b").open("run/r", again.trim_matches('"')).unwrap();
    assert_eq!(*opened, "x".repeat(100_000));
    // that it was begun is noted, not each step
    let noted = admin.get("/api/v1/audit?action=secrets").await.json(200);
    assert_eq!(noted["data"].as_array().unwrap().len(), 2, "{noted}");
    admin.post("/api/v1/secrets/rotate", &json!({"from": "x"})).await.problem(500, "internal");
}

#[tokio::test]
async fn without_a_key_nothing_is_sealed() {
    let (_, _, _, nobody) = MemoryBroker::new();
    let server = Server::sealing(Keys::default(), nobody, locked).await;
    let admin = Asker::new(&server, ADMIN);
    assert_eq!(admin.get("/api/v1/secrets").await.json(200)["key"], json!(null));
    admin.post("/api/v1/secrets/rotate", &json!({})).await.problem(409, "key_missing");
}
