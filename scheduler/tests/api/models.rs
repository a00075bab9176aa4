//! How providers of models stand, and what was spent, as callers are told of it.

use std::time::Duration;

use flowmill_services::models::config::Limits;
use flowmill_services::models::limits::{Asking, Cost, Limited, Limiter as _, Outcome, Party};
use serde_json::{Value as Json, json};

use crate::server::{Server, for_ada, greeting};

fn call(permit: &str) -> Asking {
    let limits = Limits { at_once: Some(4), ..Limits::default() };
    let keys = vec![Limited { key: "openai".into(), limits }];
    Asking { permit: permit.into(), keys, tokens: 10, lasts: Duration::from_mins(1) }
}

fn party(key: &str, tokens: Option<u64>, money: Option<u64>) -> Party {
    Party { key: key.into(), tokens, money, per: None }
}

#[tokio::test]
async fn providers_and_budgets_are_shown_to_those_whose_they_are() {
    let server = Server::alone().await;
    let nothing = json!({"is_known": true, "data": [], "budgets": []});
    assert_eq!(server.get("/api/v1/models").await.json(200), nothing);

    let limiter = &server.limiter;
    for permit in ["a", "b"] {
        limiter.acquire(&call(permit)).await;
    }
    limiter.settle(&call("a"), Outcome::Cooled(Some(Duration::from_mins(1))), 0).await;
    server.push(&greeting()).await;
    let submitted = server.submit(for_ada()).await.json(202);
    let run = submitted["id"].as_str().unwrap();
    let parties = [
        party("tenant:default", None, Some(50_000_000)),
        party(&format!("run:{run}"), Some(200), None),
        party("tenant:other", Some(5), None),
    ];
    let cost = Cost { tokens: 3, money: 1_500_000 };
    limiter.reserve(&parties, cost).await.unwrap();

    let told = server.get("/api/v1/models").await.json(200);
    let [row] = &told["data"].as_array().unwrap()[..] else { panic!("{told}") };
    assert!(row["cools_until"].as_str().is_some_and(|time| time.ends_with('Z')), "{row}");
    let mut rest = row.clone();
    rest["cools_until"] = Json::Null;
    let expected = json!({
        "provider": "openai", "model": null, "circuit": "closed", "open_until": null,
        "failures_in_a_row": 0, "cools_until": null, "in_flight": 1, "at_once": 4,
        "at_once_for_now": 1, "requests_per_minute": null, "tokens_per_minute": null
    });
    assert_eq!(rest, expected);
    let of_tenant = json!({
        "kind": "tenant", "name": "default", "tokens": 3, "tokens_limit": null, "money": "0.15",
        "money_limit": "5", "begins_anew_at": null
    });
    assert_eq!(told["budgets"], json!([of_tenant]), "and nothing of other tenants");

    let told = server.get(&format!("/api/v1/models?run={run}")).await.json(200);
    let of_run = json!({
        "kind": "run", "name": run, "tokens": 3, "tokens_limit": 200, "money": "0.15",
        "money_limit": null, "begins_anew_at": null
    });
    assert_eq!(told["budgets"], json!([of_tenant, of_run]));
    server.get("/api/v1/models?run=nothing").await.problem(404, "run_not_found");
    server.get("/api/v1/models?batch=nothing").await.problem(404, "batch_not_found");
    server.get("/api/v1/models?colour=blue").await.problem(422, "invalid_request");
}
