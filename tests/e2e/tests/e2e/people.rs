//! People answer, stop runs and run them again, with real processes: walkthroughs 4 and 6 of the
//! design.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Api, Cluster, SLOTS};
use crate::documents::{approvals_of_list, calls_of_list, two_calls, two_calls_of_list};
use crate::http::{Answer, Counter};
use crate::process::until;

impl Api {
    async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = "content-type: application/json\r\n";
        self.ask("POST", &format!("/api/v1/runs/{path}"), headers, &body.to_string()).await
    }

    /// The forms of a run that wait.
    pub(crate) async fn open_forms(&self, run: &str) -> Vec<Value> {
        let answer = self.ask("GET", &format!("/api/v1/runs/{run}/forms"), "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let forms = answer.body["data"].as_array().unwrap().clone();
        forms.into_iter().filter(|form| form["state"] == "waiting").collect()
    }

    pub(crate) async fn answer(&self, run: &str, form: &Value, note: &str) -> Answer {
        let body = json!({ "action": "good", "inputs": { "note": note } });
        self.post(&format!("{run}/forms/{}", form["id"].as_str().unwrap()), &body).await
    }

    async fn until_paused(&self, run: &str) {
        until("its pause", async || self.run(run).await["status"] == "paused").await;
    }

    async fn rerun(&self, run: &str, body: &Value) -> String {
        let answer = self.post(&format!("{run}/rerun"), body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }
}

fn list(items: &[&str]) -> Value {
    json!({ "data": { "list": items } })
}

/// The run waits without a slot and outlives the scheduler; of two answers one counts.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_inside_of_an_iteration() {
    let calls = Counter::start(Duration::from_millis(20)).await;
    let mut cluster = Cluster::start(1, 1).await;
    let api = cluster.api.clone();
    let workflow = api.push(&approvals_of_list(calls.port)).await;
    let items: Vec<String> = (0..2 * SLOTS).map(|at| format!("w-{at}")).collect();
    let names: Vec<&str> = items.iter().map(String::as_str).collect();
    let run = api.submit(&workflow, list(&names), "one").await;
    api.until_paused(&run).await;
    cluster.schedulers[0].process.kill();
    cluster.schedulers[0].process.start();
    cluster.schedulers[0].ready().await;
    let shown = api.run(&run).await;
    assert_eq!((&shown["status"], &shown["in_flight"]), (&json!("paused"), &json!(0)));
    // whoever waits keeps nobody else from working
    let other = api.push(&two_calls(calls.port)).await;
    let other = api.submit(&other, json!({ "who": "other" }), "other").await;
    assert_eq!(api.end(&other).await["status"], "succeeded");

    let first = api.open_forms(&run).await.remove(0);
    let frame = first["frame"].as_str().unwrap();
    let at: usize = frame.trim_start_matches("it[").trim_end_matches(']').parse().unwrap();
    assert_eq!(first["content"], format!("Is w-{at} right?"));
    let (one, two) = tokio::join!(api.answer(&run, &first, "one"), api.answer(&run, &first, "two"));
    let (won, lost) = if one.status == 200 { ("one", two) } else { ("two", one) };
    assert_eq!((lost.status, &lost.body["code"]), (409, &json!("form_answered")), "{lost:?}");
    assert_eq!(lost.body["form"]["values"]["note"], won);

    let mut notes = vec![Value::Null; items.len()];
    notes[at] = json!(won);
    while api.run(&run).await["status"] != "succeeded" {
        for form in api.open_forms(&run).await {
            let frame = form["frame"].as_str().unwrap();
            let at: usize = frame.trim_start_matches("it[").trim_end_matches(']').parse().unwrap();
            let note = format!("note {at}");
            let answer = api.answer(&run, &form, &note).await;
            assert!(matches!(answer.status, 200 | 202), "{answer:?}");
            notes[at] = json!(note);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(api.run(&run).await["outputs"]["notes"], json!(notes));
    let seen = calls.seen();
    assert!(items.iter().all(|item| seen[&format!("/{item}")] == 1), "{seen:?}");
}

/// What is out is cut, nothing follows, and what was stopped never ends otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_a_chunk_is_out() {
    let calls = Counter::start(Duration::from_millis(300)).await;
    let cluster = Cluster::start(1, 2).await;
    let api = cluster.api.clone();
    let workflow = api.push(&calls_of_list(calls.port, "")).await;
    let items: Vec<String> = (0..1000).map(|at| format!("w-{at}")).collect();
    let inputs = json!({ "who": "w", "data": { "list": items } });
    let run = api.submit(&workflow, inputs, "one").await;
    until("calls", async || calls.total() > SLOTS).await;
    assert_eq!(api.post(&format!("{run}/cancel"), &json!({})).await.status, 202);
    let ended = api.end(&run).await;
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("stopped"), &json!("user")));
    // those that had begun may be seen still
    tokio::time::sleep(Duration::from_secs(1)).await;
    let total = calls.total();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(calls.total(), total, "nothing begins after the stop");
    assert_eq!(api.run(&run).await["finished_at"], ended["finished_at"]);
}

/// Whichever comes first, a run has one end, and every answer tells the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_races_the_last_completion_ends_in_one_state() {
    let calls = Counter::start(Duration::from_millis(30)).await;
    let cluster = Cluster::start(2, 1).await;
    let api = cluster.api.clone();
    let workflow = api.push(&two_calls(calls.port)).await;
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..24_u64 {
        let who = format!("r{number}");
        let run = api.submit(&workflow, json!({ "who": who }), &who).await;
        tokio::time::sleep(Duration::from_millis(8 * number)).await;
        let stopped = api.post(&format!("{run}/cancel"), &json!({})).await;
        assert!(matches!(stopped.status, 202 | 409), "{stopped:?}");
        let ended = api.end(&run).await;
        let status = ended["status"].as_str().unwrap();
        assert!(matches!(status, "stopped" | "succeeded"), "{ended}");
        if stopped.status == 409 {
            assert_eq!(status, "succeeded", "it had ended before it was stopped");
        }
        *ends.entry(status.to_owned()).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let again = api.run(&run).await;
        assert_eq!((&again["status"], &again["outputs"]), (&ended["status"], &ended["outputs"]));
    }
    eprintln!("ends: {ends:?}");
}

/// A run begins again at a node inside of an iteration, or with its failed elements: what is kept is
/// not paid for again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_for_is_kept_when_a_run_runs_again() {
    let calls = Counter::start(Duration::from_millis(5)).await;
    let cluster = Cluster::start(1, 2).await;
    let api = cluster.api.clone();
    let workflow = api.push(&two_calls_of_list(calls.port)).await;
    let items: Vec<String> = (0..50).map(|at| format!("w-{at}")).collect();
    let names: Vec<&str> = items.iter().map(String::as_str).collect();
    let run = api.submit(&workflow, list(&names), "one").await;
    let first = api.end(&run).await;
    assert_eq!(first["status"], "succeeded", "{first}");
    let again = api.rerun(&run, &json!({ "from": "b" })).await;
    let second = api.end(&again).await;
    assert_eq!((&second["status"], &second["outputs"]), (&first["status"], &first["outputs"]));
    assert_eq!(second["rerun_of"], json!(run));
    let seen = calls.seen();
    for item in &items {
        let counts = (seen[&format!("/{item}-a")], seen[&format!("/{item}-a-b")]);
        assert_eq!(counts, (1, 2), "{item}");
    }

    let mut names = names;
    names[7] = "fail-7";
    names[23] = "fail-23";
    let run = api.submit(&workflow, list(&names), "two").await;
    let first = api.end(&run).await;
    assert_eq!(first["status"], "partial-succeeded", "{first}");
    let before = calls.seen();
    let again = api.rerun(&run, &json!({ "failed_items": true })).await;
    let second = api.end(&again).await;
    assert_eq!(second["outputs"]["items"][8], "w-8-a-b");
    assert_eq!(second["outputs"]["items"][7], Value::Null, "it fails as before");
    let more: Vec<String> = calls
        .seen()
        .into_iter()
        .filter(|(path, count)| before.get(path) != Some(count))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(more, ["/fail-23-a", "/fail-7-a"]);
}
