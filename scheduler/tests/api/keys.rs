//! Keys: told once, and of use for what they say, for as long as they say.

use std::time::Duration;

use flowmill_infra::seal::Keys;
use flowmill_infra::tenants::{ApiKey, MOST_KEYS, Rate, Tenants as _};
use flowmill_scheduler::api::{Pepper, Settings};
use reqwest::Method;
use serde_json::json;

use crate::asker::{ADMIN, Asker, id, locked, tenant};
use crate::server::{Schema, Server, for_ada, greeting};

#[tokio::test]
async fn a_key_is_told_once_and_says_who_asks() {
    let mut server = Server::with(locked).await;
    let admin = Asker::new(&server, ADMIN);
    let who = admin.get("/api/v1/keys/self").await.json(200);
    let all = json!(["read", "submit", "write", "admin"]);
    let of_server = json!({"tenant": "default", "actor": "api", "role": "admin", "scope": "admin",
        "scopes": all, "key": null});
    assert_eq!(who, of_server);
    admin.post("/api/v1/tenants", &json!({"name": "acme"})).await.json(201);
    let asked = json!({"tenant": "acme", "name": "nightly", "scope": "write", "expires_in": "90d"});
    let made = admin.post("/api/v1/keys", &asked).await.json(201);
    let key = made["key"].as_str().unwrap();
    assert!(
        key.starts_with(&format!("fm_{}_", id(&made))) && key.len() == 3 + 12 + 1 + 43,
        "{key}"
    );
    let mut row = made.clone();
    row.as_object_mut().unwrap().remove("key");
    assert!(row["expires_at"].is_string() && row["used_at"].is_null(), "{row}");
    let listed = admin.get("/api/v1/keys").await;
    assert!(!listed.text.contains(&key[16..]), "{}", listed.text);
    assert_eq!(listed.json(200)["data"][0]["id"], row["id"]);
    let of = async |tenant: &str| admin.get(&format!("/api/v1/keys?tenant={tenant}")).await;
    assert_eq!(of("acme").await.json(200)["data"][0]["name"], "nightly");
    assert_eq!(of("default").await.json(200)["data"], json!([]));
    of("nobody").await.problem(404, "tenant_not_found");

    let who = Asker::new(&server, key).get("/api/v1/keys/self").await.json(200);
    assert_eq!((&who["tenant"], &who["scope"]), (&json!("acme"), &json!("write")));
    assert_eq!((&who["actor"], &who["key"]["id"]), (&json!("nightly"), &row["id"]));
    // neither the key nor its secret is anywhere
    let kept = server.store.key(&id(&made).into()).await.unwrap().unwrap();
    assert_eq!(format!("{:?}", kept.hash), "KeyHash(***)");
    server.end().await;
    let kept = server.store.key(&id(&made).into()).await.unwrap().unwrap();
    assert!(kept.used_at.is_some(), "that it was used is written down in the end");
}

#[tokio::test]
async fn a_key_allows_what_its_scope_says() {
    let server = Server::with(locked).await;
    let [read, write, admin] = [
        tenant(&server, "r", "read").await,
        tenant(&server, "w", "write").await,
        tenant(&server, "a", "admin").await,
    ];
    let [read, write, admin] = [&read, &write, &admin].map(|key| Asker::new(&server, key));
    // to look
    for asker in [read, write, admin] {
        asker.get("/api/v1/runs").await.json(200);
    }
    // to change
    let push = async |asker: Asker<'_>| {
        asker.ask(Method::POST, "/api/v1/workflows", &greeting(), &[]).await
    };
    push(read).await.problem(403, "forbidden");
    push(write).await.json(201);
    push(admin).await.json(201);
    read.post("/api/v1/runs", &for_ada()).await.problem(403, "forbidden");
    read.delete("/api/v1/dead-letters/1").await.problem(403, "forbidden");
    read.post("/api/v1/webhooks/replay", &json!({})).await.problem(403, "forbidden");
    // to look after tenants and keys
    let new = json!({"name": "more"});
    let key = json!({"name": "k", "scope": "admin"});
    for asker in [read, write] {
        asker.get("/api/v1/tenants").await.problem(403, "forbidden");
        asker.get("/api/v1/tenants/w").await.problem(403, "forbidden");
        asker.get("/api/v1/keys").await.problem(403, "forbidden");
        asker.post("/api/v1/tenants", &new).await.problem(403, "forbidden");
        asker.post("/api/v1/keys", &key).await.problem(403, "forbidden");
        asker.delete("/api/v1/tenants/a").await.problem(403, "forbidden");
        asker.delete("/api/v1/keys/abcdefghijkl").await.problem(403, "forbidden");
    }
    admin.post("/api/v1/tenants", &new).await.json(201);
    // what a tenant may have of what all share is not for itself to say
    let set = async |asker: Asker<'_>, on: &str| {
        let path = format!("/api/v1/limits/{on}");
        asker.ask(Method::PUT, &path, r#"{"weight": 9}"#, &[]).await
    };
    for asker in [read, write] {
        set(asker, "tenant").await.problem(403, "forbidden");
        asker.delete("/api/v1/limits/tenant").await.problem(403, "forbidden");
    }
    set(write, "workflows/greeting").await.json(200);
    set(admin, "tenant").await.json(200);
    set(Asker { tenant: Some("w"), ..admin }, "tenant").await.json(200);
    let limits = write.get("/api/v1/limits").await.json(200);
    assert_eq!(limits["data"].as_array().unwrap().len(), 2, "{limits}");
    // a key of an admin's is of the admin's tenant unless it says otherwise
    assert_eq!(admin.post("/api/v1/keys", &key).await.json(201)["tenant"], "a");

    // whose
    for asker in [read, write] {
        Asker { tenant: Some("a"), ..asker }.get("/api/v1/runs").await.problem(403, "forbidden");
        Asker { tenant: Some("nobody"), ..asker }
            .get("/api/v1/runs")
            .await
            .problem(403, "forbidden");
    }
    Asker { tenant: Some("w"), ..write }.get("/api/v1/runs").await.json(200);
    let workflows = async |asker: Asker<'_>| {
        asker.get("/api/v1/workflows").await.json(200)["data"].as_array().unwrap().len()
    };
    assert_eq!(workflows(Asker { tenant: Some("w"), ..admin }).await, 1);
    assert_eq!(workflows(Asker { tenant: Some("r"), ..admin }).await, 0);
    assert_eq!(workflows(Asker::new(&server, ADMIN)).await, 0, "it is default, unless it says so");
    let stray = Asker { tenant: Some("nobody"), ..admin };
    stray.get("/api/v1/runs").await.problem(404, "tenant_not_found");
}

#[tokio::test]
async fn a_key_that_is_of_no_more_use_is_refused_and_says_so() {
    let server = Server::with(locked).await;
    let key = tenant(&server, "acme", "write").await;
    let admin = Asker::new(&server, ADMIN);
    let asked = json!({"tenant": "acme", "name": "short", "scope": "read", "expires_in": "1ms"});
    let short = admin.post("/api/v1/keys", &asked).await.json(201);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let refused_as = async |key: &str, code: &str| {
        let answer = Asker::new(&server, key).get("/api/v1/runs").await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        answer.problem(401, code)["detail"].as_str().unwrap().to_owned()
    };
    let refused = async |key: &str| refused_as(key, "unauthorized").await;
    let why = refused_as(short["key"].as_str().unwrap(), "key_expired").await;
    assert!(why.starts_with(&format!("key {} expired at 2", id(&short))), "{why}");

    Asker::new(&server, &key).get("/api/v1/runs").await.json(200);
    // somebody who knows the id alone hears nothing
    let wrong = format!("{}{}", &key[..16], "A".repeat(43));
    assert_eq!(refused(&wrong).await, "this is not a key of this server");
    let revoked = admin.delete(&format!("/api/v1/keys/{}", &key[3..15])).await.json(200);
    assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none(), "{revoked}");
    let why = refused_as(&key, "key_revoked").await;
    assert!(why.starts_with(&format!("key {} was revoked at 2", &key[3..15])), "{why}");
    assert_eq!(refused(&wrong).await, "this is not a key of this server");
    let twice = admin.delete(&format!("/api/v1/keys/{}", &key[3..15])).await.json(200);
    assert_eq!(twice["revoked_at"], revoked["revoked_at"]);
    for nobody in ["abcdefghijkl", "a%00", "self2"] {
        let path = format!("/api/v1/keys/{nobody}");
        admin.delete(&path).await.problem(404, "key_not_found");
    }
    for wrong in ["fm_abcdefghijkl_short", "fm_", "0123456789abcdeg"] {
        assert_eq!(refused(wrong).await, "this is not a key of this server", "{wrong}");
    }
}

#[tokio::test]
async fn under_another_pepper_all_keys_are_others() {
    let (schema, store) = Schema::migrated(Keys::default()).await;
    let other = schema.store().await;
    let (server, _) = Server::over(schema, store, locked).await;
    let key = tenant(&server, "acme", "write").await;
    Asker::new(&server, &key).get("/api/v1/runs").await.json(200);
    let (schema, _) = Schema::migrated(Keys::default()).await;
    let change = |settings: &mut Settings| {
        locked(settings);
        settings.pepper = Pepper::of("other");
    };
    let (another, _) = Server::over(schema, other, change).await;
    Asker::new(&another, &key).get("/api/v1/runs").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn without_a_configured_key_whoever_brings_none_may_do_everything() {
    let server = Server::alone().await;
    server.post("/api/v1/tenants", json!({"name": "acme"}).to_string()).await.json(201);
    let asked = json!({"tenant": "acme", "name": "k", "scope": "read"});
    let made = server.post("/api/v1/keys", asked.to_string()).await.json(201);
    let asker = Asker::new(&server, made["key"].as_str().unwrap());
    assert_eq!(asker.get("/api/v1/keys/self").await.json(200)["tenant"], "acme");
    asker.post("/api/v1/runs", &for_ada()).await.problem(403, "forbidden");
    // a key that is wrong is a mistake, also where none is needed
    Asker::new(&server, "something").get("/api/v1/runs").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn what_is_asked_of_keys_is_checked() {
    let server = Server::with(locked).await;
    let admin = Asker::new(&server, ADMIN);
    for (wrong, why) in [
        (json!({"scope": "read"}), "name is missing"),
        (json!({"name": "", "scope": "read"}), "name must be"),
        (json!({"name": "x".repeat(101), "scope": "read"}), "name must be"),
        (json!({"name": "k"}), "role is missing"),
        (json!({"name": "k", "scope": "all"}), "read, submit, write or admin"),
        (json!({"name": "k", "role": "boss"}), "viewer, submitter, operator or admin"),
        (json!({"name": "k", "role": "viewer", "scope": "read"}), "give one"),
        (json!({"name": "k", "role": "viewer", "rate": 0}), "rate must be"),
        (json!({"name": "k", "role": "viewer", "burst": 9}), "give that, too"),
        (json!({"name": "k", "scope": "read", "expires_in": "soon"}), "90d"),
        (json!({"name": "k", "scope": "read", "expires_in": "9999d"}), "3660d"),
        (json!({"name": "k", "scope": "read", "colour": "red"}), "colour"),
    ] {
        let problem = admin.post("/api/v1/keys", &wrong).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    for nobody in ["nobody", "a\0b"] {
        let stray = json!({"tenant": nobody, "name": "k", "scope": "read"});
        admin.post("/api/v1/keys", &stray).await.problem(404, "tenant_not_found");
    }
    // as many as there may be
    let one = tenant(&server, "default", "read").await;
    let key = server.store.key(&one[3..15].into()).await.unwrap().unwrap();
    for at in 1..MOST_KEYS {
        let id = format!("k{at}").into();
        server.store.add_key(&ApiKey { id, ..key.clone() }).await.unwrap();
    }
    let more = json!({"name": "k", "scope": "read"});
    admin.post("/api/v1/keys", &more).await.problem(409, "too_many_keys");
}

#[tokio::test]
async fn a_submitter_submits_and_changes_nothing_else() {
    let server = Server::with(locked).await;
    let admin = Asker::new(&server, ADMIN);
    admin.push(&greeting()).await;
    let asked = json!({"name": "program", "role": "submitter"});
    let made = admin.post("/api/v1/keys", &asked).await.json(201);
    assert_eq!((&made["role"], &made["scope"]), (&json!("submitter"), &json!("submit")));
    let asker = Asker::new(&server, made["key"].as_str().unwrap());
    let run = asker.submit(&for_ada()).await;
    asker.get(&format!("/api/v1/runs/{run}")).await.json(200);
    asker
        .ask(Method::POST, "/api/v1/files?name=a.txt", "a", &[("content-type", "text/plain")])
        .await
        .json(201);
    let why = asker.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await;
    let why = why.problem(403, "forbidden");
    let why = why["detail"].as_str().unwrap();
    assert!(why.contains("submitter") && why.contains("operator"), "{why}");
    for path in ["workflows", "webhooks/endpoints", "webhooks/replay", "dead-letters/1/replay"] {
        let path = format!("/api/v1/{path}");
        asker.post(&path, &json!({})).await.problem(403, "forbidden");
    }
    asker.get("/api/v1/audit").await.problem(403, "forbidden");
    asker.get("/api/v1/secrets").await.problem(403, "forbidden");
    asker.post("/api/v1/secrets/rotate", &json!({})).await.problem(403, "forbidden");
    // what has no row of its own needs the most that a tenant's key may do
    asker.ask(Method::PUT, "/api/v1/runs", "", &[]).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_key_gets_another_secret_and_both_work_for_a_while() {
    let mut server = Server::with(locked).await;
    let key = tenant(&server, "acme", "write").await;
    let id = key[3..15].to_owned();
    let admin = Asker::new(&server, ADMIN);
    let path = format!("/api/v1/keys/{id}/rotate");
    Asker::new(&server, &key).get("/api/v1/runs").await.json(200);
    let made = admin.post(&path, &json!({"overlap": "1h", "expires_in": "90d"})).await.json(200);
    let second = made["key"].as_str().unwrap().to_owned();
    assert!(second.starts_with(&format!("fm_{id}_")) && second != key);
    assert!(made["former_until"].is_string() && made["expires_at"].is_string(), "{made}");
    assert!(made["rotated_at"].is_string(), "{made}");
    for secret in [&key, &second] {
        let who = Asker::new(&server, secret).get("/api/v1/keys/self").await.json(200);
        assert_eq!((&who["tenant"], &who["key"]["id"]), (&json!("acme"), &json!(id)));
    }
    // once more: the first is gone, and without an overlap the second, too
    let third = admin.post(&path, &json!({"overlap": "0s"})).await.json(200);
    assert_eq!(third["former_until"], json!(null));
    let third = third["key"].as_str().unwrap().to_owned();
    let of = async |key: &str| Asker::new(&server, key).get("/api/v1/runs").await;
    of(&third).await.json(200);
    of(&key).await.problem(401, "unauthorized");
    let why = of(&second).await.problem(401, "key_expired");
    assert!(why["detail"].as_str().unwrap().contains("has another secret"), "{why}");

    for (wrong, why) in [("soon", "24h"), ("31d", "30d")] {
        let problem = admin.post(&path, &json!({ "overlap": wrong })).await;
        let problem = problem.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    admin.post("/api/v1/keys/abcdefghijkl/rotate", &json!({})).await.problem(404, "key_not_found");
    admin.delete(&format!("/api/v1/keys/{id}")).await.json(200);
    admin.post(&path, &json!({})).await.problem(409, "key_ended");
    server.end().await;
}

#[tokio::test]
async fn another_process_takes_a_new_secret_at_once() {
    let (schema, store) = Schema::migrated(Keys::default()).await;
    let other = schema.store().await;
    let (server, _) = Server::over(schema, store, locked).await;
    let (schema, _) = Schema::migrated(Keys::default()).await;
    let (another, _) = Server::over(schema, other, locked).await;
    let key = tenant(&server, "acme", "read").await;
    // it remembers the key as it is
    Asker::new(&another, &key).get("/api/v1/runs").await.json(200);
    let path = format!("/api/v1/keys/{}/rotate", &key[3..15]);
    let made = Asker::new(&server, ADMIN).post(&path, &json!({})).await.json(200);
    let second = made["key"].as_str().unwrap();
    Asker::new(&another, second).get("/api/v1/runs").await.json(200);
    Asker::new(&another, &key).get("/api/v1/runs").await.json(200);
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_ask_again() {
    let server = Server::with(|settings| {
        locked(settings);
        let number = |number| std::num::NonZeroU32::new(number).unwrap();
        settings.rate = Some(Rate { per_second: number(1), burst: number(2) });
    })
    .await;
    let admin = Asker::new(&server, ADMIN);
    let make = async |more: serde_json::Value| {
        let mut asked = json!({"name": "k", "role": "viewer"});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        admin.post("/api/v1/keys", &asked).await.json(201)
    };
    let usual = make(json!({})).await;
    let own = make(json!({"rate": 100_000})).await;
    assert_eq!((&own["rate"], &own["burst"]), (&json!(100_000), &json!(200_000)));
    assert_eq!((&usual["rate"], &usual["burst"]), (&json!(null), &json!(null)));
    let of = async |key: &serde_json::Value| {
        Asker::new(&server, key["key"].as_str().unwrap()).get("/api/v1/runs").await
    };
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(of(&usual).await);
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty() && refused.len() <= 10, "{}", refused.len());
    let problem = refused[0].problem(429, "too_many_requests");
    assert_eq!(refused[0].header("retry-after"), "1", "{problem}");
    for _ in 0..12 {
        of(&own).await.json(200);
        admin.get("/api/v1/runs").await.json(200);
    }
    // somebody with the id alone uses up nothing
    let wrong = json!({"key": format!("fm_{}_{}", id(&own), "A".repeat(43))});
    of(&wrong).await.problem(401, "unauthorized");
}
