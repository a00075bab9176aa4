//! Webhooks: endpoints are looked after, and hear of what happens, whatever they answer.

use std::time::Duration;

use flowmill_infra::seal::Keys;
use flowmill_infra::webhooks::EVENTS;
use flowmill_scheduler::api::Settings;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::receiver::{Receiver, Way};
use crate::sender::Sender;
use crate::server::{Answer, COMMON_SECRET, Server, asking, document, greeting, send};

const ENDPOINTS: &str = "/api/v1/webhooks/endpoints";

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn keys() -> Keys {
    Keys::parse(&"a".repeat(64)).unwrap()
}

async fn cluster() -> Cluster {
    Cluster::sealing(keys(), |settings| settings.allow_mocks = true).await
}

async fn add(server: &Server, body: Json) -> Json {
    server.post(ENDPOINTS, body.to_string()).await.json(201)
}

fn id(of: &Json) -> &str {
    of["id"].as_str().unwrap()
}

async fn endpoint(server: &Server, added: &Json) -> Json {
    server.get(&format!("{ENDPOINTS}/{}", id(added))).await.json(200)
}

async fn asked(server: &Server, method: Method, path: &str, body: Json) -> Answer {
    send(server.request(method, path).body(body.to_string())).await
}

/// Submits a greeting and waits for its end.
async fn greeted(server: &Server, more: Json) -> Json {
    let mut body = json!({"workflow": "greeting", "inputs": {"who": "Ada"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ended(server, &server.submit(body).await.json(202)).await
}

async fn ended(server: &Server, run: &Json) -> Json {
    server.get(&format!("/api/v1/runs/{}?wait=30s", id(run))).await.json(200)
}

/// The deliveries, the latest first.
async fn deliveries(server: &Server, query: &str) -> Vec<Json> {
    let page = server.get(&format!("/api/v1/webhooks/deliveries{query}")).await.json(200);
    page["data"].as_array().unwrap().clone()
}

/// The only delivery, once it is in this state.
async fn settled(server: &Server, state: &str) -> Json {
    let looking = async {
        loop {
            let all = deliveries(server, "").await;
            assert!(all.len() <= 1, "{all:?}");
            if let Some(found) = all.into_iter().find(|delivery| delivery["state"] == state) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), looking).await.ok();
    match found {
        Some(found) => found,
        None => panic!("it is not {state}: {:?}", deliveries(server, "").await),
    }
}

#[tokio::test]
async fn the_end_of_a_batch_is_told_with_its_counts() {
    let receiver = Receiver::start(&[]).await;
    let cluster = cluster().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    add(server, json!({"url": receiver.url, "events": ["batch.completed"]})).await;
    let _sender = Sender::over(server);
    let request = server.request(Method::POST, "/api/v1/batches?workflow=greeting");
    let lines = "{\"inputs\": {\"who\": \"Ada\"}}\n{}\n";
    let made = send(request.header("content-type", "application/jsonl").body(lines)).await;
    let batch = id(&made.json(202)).to_owned();
    let told = settled(server, "delivered").await;
    assert_eq!((&told["event"], &told["batch"]), (&json!("batch.completed"), &json!(batch)));
    assert_eq!(told["run"], Json::Null);
    let body = receiver.received(1).await[0].json();
    let data = &body["data"];
    assert_eq!((&body["type"], &data["batch_id"]), (&json!("batch.completed"), &json!(batch)));
    assert_eq!(
        (&data["status"], &data["batch_status"]),
        (&json!("PartialSuccess"), &json!("partial"))
    );
    assert_eq!((&data["lines"]["succeeded"], &data["lines"]["rejected"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_endpoint_is_added_changed_and_removed() {
    let server = Server::sealing(keys(), no_pokes(), |_| {}).await;
    let added = add(&server, json!({"url": "https://hooks.example:443/in?x=1"})).await;
    let secret = added["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && id(&added).starts_with("ep_"), "{added}");
    let shown = endpoint(&server, &added).await;
    let mut expected = added.clone();
    expected.as_object_mut().unwrap().remove("secret");
    expected["created_at"] = shown["created_at"].clone();
    assert_eq!(shown, expected);
    assert_eq!(shown["url"], "https://hooks.example/in?x=1");
    assert_eq!(
        (&shown["enabled"], &shown["runs"], &shown["format"]),
        (&json!(true), &json!("all"), &json!("standard"))
    );
    assert_eq!(shown["events"], json!(EVENTS), "all there are");

    let path = format!("{ENDPOINTS}/{}", id(&added));
    let change = json!({"events": ["run.failed", "run.failed"], "runs": "named", "enabled": false,
        "description": "mine", "format": "cloudevents", "status_names": {"failed": "Broken"}});
    let changed = asked(&server, Method::PATCH, &path, change).await.json(200);
    assert_eq!(changed["events"], json!(["run.failed"]));
    assert_eq!(
        (&changed["enabled"], &changed["disabled_reason"]),
        (&json!(false), &json!("by hand"))
    );
    assert_eq!(changed["status_names"], json!({"failed": "Broken"}));
    assert_eq!(changed, endpoint(&server, &added).await);

    let rotate = format!("{path}/rotate");
    let rotated = server.post(&rotate, "").await.json(200);
    assert_ne!(rotated["secret"].as_str().unwrap(), secret);
    assert!(rotated["older_secret_until"].is_string(), "{rotated}");
    let given = json!({"secret": COMMON_SECRET, "overlap": "0s"});
    let rotated = server.post(&rotate, given.to_string()).await.json(200);
    assert_eq!(
        (&rotated["secret"], &rotated["older_secret_until"]),
        (&json!(COMMON_SECRET), &Json::Null)
    );

    let all = server.get(ENDPOINTS).await.json(200);
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
    assert!(!all.to_string().contains("whsec_"));
    send(server.request(Method::DELETE, &path)).await.json(200);
    send(server.request(Method::DELETE, &path)).await.problem(404, "endpoint_not_found");
    server.get(&path).await.problem(404, "endpoint_not_found");
}

fn no_pokes() -> flowmill_infra::memory::MemoryCompletions {
    flowmill_infra::memory::MemoryBroker::new().3
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let server = Server::sealing(keys(), no_pokes(), |_| {}).await;
    let url = "https://hooks.example/";
    for (body, why) in [
        (json!({}), "url is missing"),
        (json!({"url": "hooks.example"}), "no address"),
        (json!({"url": "ftp://hooks.example"}), "https:// or http://"),
        (json!({"url": "https://me:hush@hooks.example"}), "user or a password"),
        (json!({"url": url, "events": []}), "run.succeeded"),
        (json!({"url": url, "events": ["run.ended"]}), "run.succeeded"),
        (json!({"url": url, "runs": "some"}), "\"named\""),
        (json!({"url": url, "format": "xml"}), "cloudevents"),
        (json!({"url": url, "status_names": {"done": "x"}}), "partial-succeeded"),
        (json!({"url": url, "status_names": {"failed": 1}}), "partial-succeeded"),
        (json!({"url": url, "enabled": "no"}), "true or false"),
        (json!({"url": url, "secret": "whsec_AAAA"}), "24 to 64 bytes"),
        (json!({"url": url, "secrets": []}), "unknown members: secrets"),
        (json!({"url": url, "description": "x".repeat(1001)}), "1000"),
    ] {
        let problem =
            server.post(ENDPOINTS, body.to_string()).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{body} {problem}");
    }
    // nothing that was secret would be
    let bare = Server::alone().await;
    let body = json!({"url": url}).to_string();
    bare.post(ENDPOINTS, body).await.problem(409, "key_missing");
}

#[tokio::test]
async fn what_a_submitter_attaches_is_checked_and_kept() {
    let allow = |settings: &mut Settings| {
        settings.allowed_urls = vec!["https://hooks.example/in/".parse().unwrap()];
    };
    let server = Server::sealing(keys(), no_pokes(), allow).await;
    server.push(&greeting()).await;
    let added = add(&server, json!({"url": "https://other.example/", "runs": "named"})).await;
    let with = |more: Json| {
        let mut body = json!({"workflow": "greeting", "inputs": {"who": "Ada"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let largest = "x".repeat((16 << 10) - "{\"a\":\"\"}".len());
    for (more, status, code) in [
        (json!({"metadata": []}), 422, "invalid_request"),
        (json!({"metadata": {"a": format!("{largest}x")}}), 422, "invalid_request"),
        (json!({"traceparent": "00-0-0-0"}), 422, "invalid_request"),
        (
            json!({"webhook": {"endpoint": id(&added), "url": "https://hooks.example/in/"}}),
            422,
            "invalid_request",
        ),
        (json!({"webhook": {"address": "x"}}), 422, "invalid_request"),
        (json!({"webhook": {"endpoint": "ep_0"}}), 404, "endpoint_not_found"),
        (json!({"webhook": {"url": "https://hooks.example/out"}}), 403, "webhook_refused"),
    ] {
        server.submit(with(more)).await.problem(status, code);
    }
    let run =
        async |answer: &Json| server.get(&format!("/api/v1/runs/{}", id(answer))).await.json(200);
    let metadata = json!({"a": largest});
    let first = with(json!({"metadata": metadata, "webhook": {"endpoint": id(&added)}}));
    let request = server.request(Method::POST, "/api/v1/runs").header("traceparent", TRACE);
    let first = send(request.body(first.to_string())).await.json(202);
    let shown = run(&first).await;
    assert_eq!(
        (&shown["metadata"], &shown["webhook"], &shown["traceparent"]),
        (&metadata, &added["id"], &json!(TRACE))
    );
    let plain = run(&server.submit(with(json!({}))).await.json(202)).await;
    assert_eq!([&plain["metadata"], &plain["webhook"], &plain["traceparent"]], [&Json::Null; 3]);

    // an address is one endpoint, which only hears of those runs
    let named = with(json!({"webhook": {"url": "https://HOOKS.example/in/1"}}));
    let one = run(&server.submit(named.clone()).await.json(202)).await;
    let two = run(&server.submit(named.clone()).await.json(202)).await;
    assert_eq!(one["webhook"], two["webhook"]);
    let made =
        server.get(&format!("{ENDPOINTS}/{}", one["webhook"].as_str().unwrap())).await.json(200);
    assert_eq!(
        (&made["url"], &made["runs"]),
        (&json!("https://hooks.example/in/1"), &json!("named"))
    );
    let off = json!({"enabled": false});
    asked(&server, Method::PATCH, &format!("{ENDPOINTS}/{}", id(&made)), off).await.json(200);
    let warned = server.submit(named).await.json(202);
    assert!(warned["warnings"][0].as_str().unwrap().contains("gets nothing"), "{warned}");
}

#[tokio::test]
async fn ends_are_told_signed_and_with_what_their_submitter_brought() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let sender = Sender::over(server);
    let receiver = Receiver::start(&[]).await;
    let names = json!({"succeeded": "Done"});
    let added = add(server, json!({"url": receiver.url, "status_names": names})).await;
    let secret = added["secret"].as_str().unwrap();
    server.push(&greeting()).await;
    server.push(&asking()).await;
    let run = greeted(server, json!({"metadata": {"order": 4711}, "traceparent": TRACE})).await;
    sender.told.notify_one();
    let received = receiver.received(1).await.remove(0);
    assert!(received.is_signed_with(secret) && !received.is_signed_with(COMMON_SECRET));
    assert_eq!(received.path, "/hook");
    assert_eq!(received.header("content-type"), "application/json");
    let told = received.json();
    assert_eq!(told["id"], received.header("webhook-id"));
    assert_eq!(told["type"], "run.succeeded");
    let data = &told["data"];
    let members = [
        "run_id",
        "status",
        "run_status",
        "outputs",
        "metadata",
        "errors",
        "finished_at",
        "trace_id",
    ];
    let found = members.map(|name| data[name].clone());
    let expected = json!([run["id"], "Done", "succeeded", run["outputs"], {"order": 4711}, [],
        run["finished_at"], "0af7651916cd43dd8448eb211c80319c"]);
    assert_eq!(json!(found), expected);
    assert_eq!(data["url"], format!("https://flows.example/api/v1/runs/{}", id(&run)));

    // of large outputs only the place is told, of errors what failed and how often
    let large = "x".repeat(200);
    let mocks = json!({"m": {"outputs": {"text": large}}});
    let body = json!({"workflow": "asking", "mocks": mocks});
    ended(server, &server.submit(body).await.json(202)).await;
    let told = receiver.received(2).await[1].json();
    assert_eq!(
        (&told["data"]["outputs"], &told["data"]["outputs_omitted"]),
        (&Json::Null, &json!(true))
    );
    let body = json!({"workflow": "asking", "mocks": {"m": {"error": "no model today"}}});
    ended(server, &server.submit(body).await.json(202)).await;
    let told = receiver.received(3).await[2].json();
    assert_eq!((&told["type"], &told["data"]["status"]), (&json!("run.failed"), &json!("Failure")));
    let error = &told["data"]["errors"][0];
    let members =
        ["node", "title", "message", "attempts", "handled"].map(|name| error[name].clone());
    assert_eq!(json!(members), json!(["m", "Ask", "no model today", 1, "unhandled"]), "{told}");
}

#[tokio::test]
async fn a_pause_is_told_and_a_cloud_event_is_one() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let receiver = Receiver::start(&[]).await;
    let wanted = json!({"url": receiver.url, "format": "cloudevents", "events": ["run.paused", "run.stopped"]});
    let added = add(server, wanted).await;
    server.push(&document(
        "waits",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: h, data: {type: human-input, title: Ask, form_content: '', inputs: [], user_actions: [{id: ok, title: OK, button_style: default}], timeout: 3, timeout_unit: day, delivery_methods: []}}",
            "{id: e, data: {type: end, title: End, outputs: []}}",
        ],
        &["{source: s, target: h}", "{source: h, sourceHandle: ok, target: e}"],
    ))
    .await;
    let body = json!({"workflow": "waits", "traceparent": TRACE});
    let run = server.submit(body).await.json(202);
    let mut sender = Sender::over(server);
    let paused = receiver.received(1).await.remove(0);
    assert_eq!(paused.header("content-type"), "application/cloudevents+json");
    assert!(paused.is_signed_with(added["secret"].as_str().unwrap()));
    let told = paused.json();
    let members =
        ["specversion", "id", "source", "type", "subject", "datacontenttype", "traceparent"];
    let found = members.map(|name| told[name].clone());
    let expected = json!([
        "1.0",
        paused.header("webhook-id"),
        "/flowmill",
        "flowmill.run.paused",
        run["id"],
        "application/json",
        TRACE
    ]);
    assert_eq!(json!(found), expected);
    assert_eq!(
        (&told["data"]["run_status"], &told["data"]["status"]),
        (&json!("paused"), &json!("Paused"))
    );
    server.post(&format!("/api/v1/runs/{}/cancel", id(&run)), "").await.json(202);
    let told = receiver.received(2).await[1].json();
    assert_eq!(
        (&told["type"], &told["data"]["reason"]),
        (&json!("flowmill.run.stopped"), &json!("user"))
    );
    sender.stop().await;
    assert!(deliveries(server, "?state=delivered").await.len() == 2);
}

/// Row 29 of the fault matrix: all that a receiver can do wrong, one after the other.
#[tokio::test]
async fn a_receiver_that_fails_hangs_redirects_or_dies_hears_again_under_the_same_id() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let elsewhere = Receiver::start(&[]).await;
    let receiver = Receiver::start(&[
        Way::Answer(500, "", "no\0 good"),
        Way::Hang,
        Way::Answer(302, "location: /elsewhere\r\n", ""),
        Way::Die,
        Way::Answer(503, "retry-after: 1\r\n", "later"),
        Way::Answer(204, "", ""),
    ])
    .await;
    let added = add(server, json!({"url": receiver.url})).await;
    server.push(&greeting()).await;
    greeted(server, json!({})).await;
    let _sender = Sender::over(server);
    let received = receiver.received(6).await;
    let delivered = settled(server, "delivered").await;
    assert_eq!((&delivered["tries"], &delivered["status"]), (&json!(6), &json!(204)));
    let secret = added["secret"].as_str().unwrap();
    assert!(received.iter().all(|request| request.is_signed_with(secret)));
    let ids: Vec<&str> = received.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids, [delivered["webhook_id"].as_str().unwrap(); 6]);
    let bodies: Vec<&str> = received.iter().map(|request| &*request.body).collect();
    assert_eq!(bodies, [bodies[0]; 6], "what is sent does not change");
    let stamps: Vec<u64> = received
        .iter()
        .map(|request| request.header("webhook-timestamp").parse().unwrap())
        .collect();
    assert!(stamps[5] > stamps[4], "it was left alone for a second: {stamps:?}");
    assert_eq!(elsewhere.count(), 0);
    assert_eq!(endpoint(server, &added).await["failures"], 0);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_can_come_back() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let receiver = Receiver::start(&[Way::Answer(410, "", "moved away")]).await;
    let added = add(server, json!({"url": receiver.url})).await;
    server.push(&greeting()).await;
    greeted(server, json!({})).await;
    let _sender = Sender::over(server);
    let given_up = settled(server, "exhausted").await;
    assert_eq!((&given_up["status"], &given_up["answer"]), (&json!(410), &json!("moved away")));
    let disabled = endpoint(server, &added).await;
    assert_eq!(disabled["disabled_reason"], "it answered 410 Gone");
    greeted(server, json!({})).await;
    assert_eq!(deliveries(server, "").await.len(), 1, "what happens now is not for it");
    let replay = format!("/api/v1/webhooks/deliveries/{}/replay", id(&given_up));
    server.post(&replay, "").await.problem(409, "endpoint_disabled");
    let path = format!("{ENDPOINTS}/{}", id(&added));
    asked(server, Method::PATCH, &path, json!({"enabled": true})).await.json(200);
    server.post(&replay, "").await.json(200);
    let received = receiver.received(2).await;
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(settled(server, "delivered").await["tries"], 1);
}

#[tokio::test]
async fn what_was_given_up_is_shown_and_sent_anew_by_time() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let refusals = vec![Way::Answer(500, "", "broken"); 8];
    let receiver = Receiver::start(&refusals).await;
    let added = add(server, json!({"url": receiver.url})).await;
    server.push(&greeting()).await;
    let run = greeted(server, json!({})).await;
    let _sender = Sender::over(server);
    let given_up = settled(server, "exhausted").await;
    assert_eq!((&given_up["tries"], &given_up["error"]), (&json!(8), &json!("it answered 500")));
    let shown =
        server.get(&format!("/api/v1/webhooks/deliveries/{}", id(&given_up))).await.json(200);
    assert_eq!(shown["body"]["data"]["run_id"], run["id"]);
    let of_run = deliveries(server, &format!("?run={}&state=exhausted", id(&run))).await;
    assert_eq!(of_run, std::slice::from_ref(&given_up));
    assert_eq!(deliveries(server, "?state=delivered").await, Vec::<Json>::new());
    let replay = async |body: Json| server.post("/api/v1/webhooks/replay", body.to_string()).await;
    let happened = given_up["happened_at"].as_str().unwrap();
    let before = json!({"from": "2020-01-01T00:00:00Z", "until": happened});
    assert_eq!(replay(before).await.json(200), json!({"replayed": 0, "next": null}));
    let of_other = json!({"from": happened, "endpoint": "ep_0"});
    assert_eq!(replay(of_other).await.json(200)["replayed"], 0);
    let all = json!({"from": happened, "endpoint": added["id"]});
    assert_eq!(replay(all).await.json(200)["replayed"], 1);
    assert_eq!(settled(server, "delivered").await["tries"], 1);
    for (body, why) in [
        (json!({}), "from is missing"),
        (json!({"from": "yesterday"}), "a point in time"),
        (json!({"from": happened, "state": "waiting"}), "sent without that"),
        (json!({"from": happened, "after": "x"}), "`next`"),
    ] {
        let problem = replay(body).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    server.get("/api/v1/webhooks/deliveries/0").await.problem(404, "delivery_not_found");
    server.get("/api/v1/webhooks/deliveries/x").await.problem(404, "delivery_not_found");
}

#[tokio::test]
async fn one_that_hangs_delays_nobody() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let slow = Receiver::start(&[Way::Hang, Way::Hang, Way::Hang, Way::Hang]).await;
    let quick = Receiver::start(&[]).await;
    add(server, json!({"url": slow.url})).await;
    server.push(&greeting()).await;
    greeted(server, json!({})).await;
    greeted(server, json!({})).await;
    let _sender = Sender::over(server);
    slow.received(2).await;
    add(server, json!({"url": quick.url})).await;
    greeted(server, json!({})).await;
    let received = quick.received(1).await;
    assert_eq!(received[0].json()["type"], "run.succeeded");
}

/// The receiver has it and said so, and nobody wrote that down.
#[tokio::test]
async fn a_sender_that_dies_before_it_writes_down_a_success_leaves_it_to_another() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let receiver = Receiver::start(&[Way::Hang]).await;
    add(server, json!({"url": receiver.url})).await;
    server.push(&greeting()).await;
    greeted(server, json!({})).await;
    let mut first = Sender::over(server);
    receiver.received(1).await;
    first.kill().await;
    receiver.go_on();
    assert_eq!(settled(server, "waiting").await["tries"], 1);
    let _second = Sender::over(server);
    let received = receiver.received(2).await;
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(settled(server, "delivered").await["tries"], 2);
}

#[tokio::test]
async fn a_sample_tells_what_comes_back() {
    let server = Server::sealing(keys(), no_pokes(), |_| {}).await;
    let receiver =
        Receiver::start(&[Way::Answer(201, "", "hello"), Way::Answer(400, "", "who?")]).await;
    let added = add(&server, json!({"url": receiver.url, "events": ["run.failed"]})).await;
    let test = async |added: &Json| {
        server.post(&format!("{ENDPOINTS}/{}/test", id(added)), "").await.json(200)
    };
    let first = test(&added).await;
    assert_eq!(
        (&first["delivered"], &first["status"], &first["answer"]),
        (&json!(true), &json!(201), &json!("hello"))
    );
    let received = receiver.received(1).await.remove(0);
    assert!(received.is_signed_with(added["secret"].as_str().unwrap()));
    let told = received.json();
    let members = [&told["type"], &told["data"]["test"], &told["data"]["run_status"]];
    assert_eq!(members, [&json!("run.failed"), &json!(true), &json!("failed")]);
    assert_eq!(first["webhook_id"], received.header("webhook-id"));
    let second = test(&added).await;
    assert_eq!(
        (&second["delivered"], &second["error"]),
        (&json!(false), &json!("it answered 400"))
    );
    assert_eq!(deliveries(&server, "").await, Vec::<Json>::new(), "a sample is no event");
    let metadata = add(&server, json!({"url": "http://169.254.169.254/latest"})).await;
    let denied = test(&metadata).await["error"].as_str().unwrap().to_owned();
    assert!(
        denied.contains("metadata") && denied.contains("webhooks.allow_net would allow it"),
        "{denied}"
    );
    let nobody = add(&server, json!({"url": "http://127.0.0.1:1/"})).await;
    assert_eq!(
        (&test(&nobody).await["status"], &test(&nobody).await["delivered"]),
        (&Json::Null, &json!(false))
    );
}

#[tokio::test]
async fn secrets_of_endpoints_are_sealed() {
    let server = Server::sealing(keys(), no_pokes(), |_| {}).await;
    let receiver = Receiver::start(&[]).await;
    let given = json!({"url": receiver.url, "secret": COMMON_SECRET});
    add(&server, given).await;
    // a process without the key still shows what it can
    let other = server.another_store().await;
    let found =
        flowmill_infra::webhooks::Webhooks::endpoints(&other, &"default".into()).await.unwrap();
    let error = found[0].secrets.as_ref().unwrap_err().to_string();
    assert!(error.contains("sealed with key") && !error.contains(COMMON_SECRET), "{error}");
}
