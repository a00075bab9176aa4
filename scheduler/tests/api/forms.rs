//! People are asked and answer; runs pause and go on.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, approval, asking};

/// A run, once it is so far.
async fn until(server: &Server, run: &Json, status: &str) -> Json {
    let path = path(run);
    let began = Instant::now();
    loop {
        let shown = server.get(&path).await.json(200);
        if shown["status"] == status {
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{status} did not come: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn path(run: &Json) -> String {
    format!("/api/v1/runs/{}", run["id"].as_str().unwrap())
}

/// The only form of a run that waits.
async fn form(server: &Server, run: &Json) -> (String, Json) {
    until(server, run, "paused").await;
    let forms = server.get(&format!("{}/forms", path(run))).await.json(200);
    let [form] = &forms["data"].as_array().unwrap()[..] else { panic!("{forms}") };
    (format!("{}/forms/{}", path(run), form["id"].as_str().unwrap()), form.clone())
}

async fn begun(server: &Server) -> Json {
    server.push(&approval()).await;
    server.submit(json!({"workflow": "approval", "inputs": {"what": "a desk"}})).await.json(202)
}

fn answer(action: &str, note: &str) -> String {
    let inputs = json!({"note": note, "how": "card"});
    json!({"action": action, "inputs": inputs, "user": "ada"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_says_all_that_a_person_needs_and_takes_one_answer() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let run = begun(server).await;
    let (path, form) = form(server, &run).await;
    assert_eq!((&form["state"], &form["node"]), (&json!("waiting"), &json!("h")));
    assert_eq!((&form["title"], &form["frame"]), (&json!("Approve"), &json!("")));
    assert_eq!(form["content"], "Buy a desk? {{#$output.note#}}");
    assert_eq!(form["inputs"][0]["output_variable_name"], "note");
    assert_eq!(form["inputs"][0]["default"]["value"], "a desk");
    assert_eq!(form["inputs"][1]["option_source"]["value"], json!(["cash", "card"]));
    assert_eq!(form["defaults"], json!({"note": "a desk"}));
    assert_eq!(
        form["actions"][1],
        json!({"id": "no", "title": "Leave it", "button_style": "ghost"})
    );
    let (asked, expires) = (form["asked_at"].as_str(), form["expires_at"].as_str());
    assert!(asked.unwrap() < expires.unwrap(), "{form}");
    for name in ["answered_at", "answered_by", "action", "values", "rendered_content"] {
        assert_eq!(form[name], Json::Null, "{name}");
    }
    assert_eq!(server.get(&path).await.json(200), form);

    // what does not fit is refused in Dify's words, and the form waits on
    for (body, why) in [
        (json!({"action": "maybe"}), "Invalid action: maybe"),
        (json!({"action": "yes"}), "Missing required inputs: note, how"),
        (
            json!({"action": "yes", "inputs": {"note": "", "how": "gold"}}),
            "Invalid value for how: must be one of cash, card",
        ),
    ] {
        let problem = server.post(&path, body.to_string()).await.problem(422, "invalid_answer");
        assert_eq!(problem["detail"], why);
    }
    server.post(&path, "{}").await.problem(422, "invalid_request");
    server.post(&path, r#"{"action": "yes", "why": 1}"#).await.problem(422, "invalid_request");
    let elsewhere = path.replace(form["id"].as_str().unwrap(), "0000000000000000");
    server.get(&elsewhere).await.problem(404, "form_not_found");
    server.post(&elsewhere, answer("yes", "")).await.problem(404, "form_not_found");

    let answered = server.post(&path, answer("yes", "now")).await.json(200);
    assert_eq!((&answered["state"], &answered["id"]), (&json!("submitted"), &form["id"]));
    assert_eq!((&answered["action"], &answered["answered_by"]), (&json!("yes"), &json!("ada")));
    assert_eq!(answered["values"], json!({"note": "now", "how": "card"}));
    assert_eq!(answered["rendered_content"], "Buy a desk? now");
    let ended = until(server, &run, "succeeded").await;
    assert_eq!(ended["outputs"], json!({"bought": "now", "how": "card"}));
    let late = server.post(&path, answer("no", "")).await.problem(409, "form_answered");
    assert_eq!((&late["form"], &late["detail"]), (&answered, &json!(late["detail"])));
    assert!(late["detail"].as_str().unwrap().ends_with("by ada"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_answers_at_once_one_counts() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let run = begun(server).await;
    let (path, _) = form(server, &run).await;
    let (notes, post) =
        (["a", "b", "c"], async |note| server.post(&path, answer("yes", note)).await);
    let (a, b, c) = tokio::join!(post(notes[0]), post(notes[1]), post(notes[2]));
    let answers = [a, b, c];
    let won: Vec<&str> = notes
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.status == 200)
        .map(|(note, _)| *note)
        .collect();
    let [won] = won[..] else { panic!("{answers:?}") };
    for lost in answers.iter().filter(|answer| answer.status != 200) {
        let problem = lost.problem(409, "form_answered");
        assert_eq!(problem["form"]["values"]["note"], won);
    }
    assert_eq!(until(server, &run, "succeeded").await["outputs"]["bought"], won);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_a_run_that_was_stopped() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let run = begun(server).await;
    let (path, _) = form(server, &run).await;
    server.post(&format!("{}/cancel", self::path(&run)), "").await.json(202);
    until(server, &run, "stopped").await;
    let problem = server.post(&path, answer("yes", "")).await.problem(409, "run_ended");
    assert_eq!(problem["form"]["state"], "cancelled");
    let unknown = "/api/v1/runs/00000000-0000-7000-8000-000000000000/forms";
    server.get(unknown).await.problem(404, "run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_nobody_answers_in_time_takes_no_answer() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&approval().replace("timeout: 36", "timeout: 0")).await;
    let body = json!({"workflow": "approval", "inputs": {"what": "a desk"}});
    let answer_to = server.submit(body).await;
    let run = answer_to.json(202);
    let ended = server.get(&format!("{}?wait=30s", path(&run))).await.json(200);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let forms = server.get(&format!("{}/forms", path(&run))).await.json(200);
    let form = &forms["data"][0];
    assert_eq!((&form["state"], &form["answered_by"]), (&json!("timeout"), &Json::Null));
    let path = format!("{}/forms/{}", path(&run), form["id"].as_str().unwrap());
    server.post(&path, answer("yes", "")).await.problem(409, "form_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_paused_and_goes_on() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let twice = asking()
        .replace("edges: [", "edges: [{source: m, target: n}, ")
        .replace("{source: m, target: e}", "{source: n, target: e}")
        .replace("nodes: [", "nodes: [{id: n, data: {type: llm, title: Again, model: {provider: acme/ai/ai, name: big, mode: chat}, prompt_template: [], context: {enabled: false}}}, ");
    server.push(&twice).await;
    let mock = |delay| json!({"outputs": {"text": "hi"}, "delay_ms": delay});
    let mocks = json!({"m": mock(1500), "n": mock(0)});
    let submit = || async {
        let body = json!({"workflow": "asking", "mocks": mocks, "options": {"dispatch": "hop"}});
        let run = server.submit(body).await.json(202);
        let began = Instant::now();
        while server.get(&path(&run)).await.json(200)["in_flight"] != 1 {
            assert!(began.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run
    };
    let run = submit().await;
    let verb = async |verb: &str| server.post(&format!("{}/{verb}", path(&run)), "").await;
    verb("resume").await.problem(409, "run_not_paused");
    // what is out ends first
    let paused = verb("pause").await.json(202);
    assert_eq!((&paused["status"], &paused["in_flight"]), (&json!("running"), &json!(1)));
    let paused = until(server, &run, "paused").await;
    assert_eq!(paused["in_flight"], 0);
    let nodes = server.get(&format!("{}/nodes", path(&run))).await.json(200);
    let names: Vec<&Json> =
        nodes["data"].as_array().unwrap().iter().map(|it| &it["node"]).collect();
    assert_eq!(names, ["s", "m"]);
    // asked for again it is what it is
    assert_eq!(verb("pause").await.json(202)["status"], "paused");
    verb("resume").await.json(202);
    assert_eq!(until(server, &run, "succeeded").await["outputs"], json!({"says": "hi"}));
    verb("pause").await.problem(409, "run_ended");
    verb("resume").await.problem(409, "run_ended");
    let unknown = "/api/v1/runs/00000000-0000-7000-8000-000000000000/pause";
    server.post(unknown, "").await.problem(404, "run_not_found");

    // a pause is taken back before it has come
    let run = submit().await;
    server.post(&format!("{}/pause", path(&run)), "").await.json(202);
    server.post(&format!("{}/resume", path(&run)), "").await.json(202);
    let nodes = until(server, &run, "succeeded").await;
    assert_eq!(nodes["outputs"], json!({"says": "hi"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_end_a_pause_that_somebody_asked_for() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let run = begun(server).await;
    let (path, _) = form(server, &run).await;
    server.post(&format!("{}/pause", self::path(&run)), "").await.json(202);
    let answered = server.post(&path, answer("no", "later")).await.json(200);
    assert_eq!(answered["state"], "submitted");
    assert_eq!(server.get(&self::path(&run)).await.json(200)["status"], "paused");
    server.post(&format!("{}/resume", self::path(&run)), "").await.json(202);
    let ended = until(server, &run, "succeeded").await;
    assert_eq!(ended["outputs"], json!({"left": "later", "how": "card"}));
}

#[tokio::test]
async fn a_run_that_is_queued_keeps_what_is_wanted_of_it() {
    let server = Server::alone().await;
    let run = begun(&server).await;
    // nobody runs it here
    let paused = server.post(&format!("{}/pause", path(&run)), "").await.json(202);
    assert_eq!(paused["status"], "queued");
    let forms = server.get(&format!("{}/forms", path(&run))).await.json(200);
    assert_eq!(forms, json!({"data": []}));
}
