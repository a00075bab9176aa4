//! Workflows that ask knowledge bases over a server that speaks both of Dify's protocols.

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use crate::{Ran, end, file, flowmill, start, workflow};

/// The id of a knowledge base in the Dify server.
const DATASET: &str = "5c7e9a04-1c8b-4f1e-9d63-0f4c8b2a7e11";

async fn answer(uri: Uri, body: Bytes) -> (StatusCode, String) {
    let sent: Json = serde_json::from_slice(&body).unwrap_or_default();
    let said = match uri.path().rsplit('/').next().unwrap_or_default() {
        "retrieval" => json!({"records": [
            {"content": format!("{} at four", sent["query"].as_str().unwrap()), "score": 0.4,
                "title": "tea.txt", "metadata": {"shelf": 3}},
        ]}),
        "retrieve" => json!({"records": [{
            "segment": {"id": "s-1", "position": 1, "content": "Greet with a smile.", "word_count": 4,
                "hit_count": 0, "document": {"id": "d-1", "name": "manners.md",
                "data_source_type": "upload_file"}},
            "score": 0.9,
        }]}),
        "metadata" => json!({"doc_metadata": [], "built_in_field_enabled": false}),
        "create-by-text" => json!({
            "document": {"id": "d-2", "name": sent["name"], "display_status": "queuing",
                "created_at": 1_700_000_000},
            "batch": "its own",
        }),
        "update-by-text" => return (StatusCode::NOT_FOUND, String::new()),
        _ => json!({"id": DATASET, "name": "Handbook", "description": "", "provider": "vendor"}),
    };
    (StatusCode::OK, said.to_string())
}

/// A server, a services file that names it twice, and the runtime that it is on.
fn world(name: &str) -> (String, Runtime) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let services = format!(
        "[[knowledge]]\nasked = \"Zm9v*\"\nname = \"Tea\"\n[knowledge.external]\nurl = \"{url}\"\n\
         knowledge_id = \"k\"\n\n[[knowledge]]\nasked = \"{DATASET}\"\n[knowledge.dify]\nurl = \
         \"{url}/v1\"\nkey = \"k\"\n"
    );
    (file(name, &services), runtime)
}

fn look_up(bases: &str) -> String {
    let node = format!(
        "{{id: k, data: {{type: knowledge-retrieval, title: Look, query_variable_selector: [s, word], \
         dataset_ids: [{bases}], retrieval_mode: multiple, multiple_retrieval_config: {{top_k: 3, \
         reranking_enable: false}}}}}}"
    );
    let word = r#"{"variable": "word", "label": "Word", "type": "text-input"}"#;
    let edges = [
        "{source: s, target: k, sourceHandle: source}",
        "{source: k, target: e, sourceHandle: source}",
    ];
    workflow(&[&start(word), &node, &end("found", "k, result")], &edges)
}

fn run(document: &str, services: &str, arguments: &[&str]) -> Ran {
    let base = ["--services", services, "--output", "json"];
    crate::run(document, &[&base, arguments].concat())
}

#[test]
fn passages_of_several_knowledge_bases_become_one_list() {
    let (services, _runtime) = world("knowledge-bases.toml");
    let document = look_up(&format!("Zm9vYmFy+/==, {DATASET}"));
    let ran = run(&document, &services, &["--input", "word=Tea"]).expect(0);
    let found = ran.json()["outputs"]["found"].clone();
    let contents: Vec<&Json> =
        found.as_array().unwrap().iter().map(|item| &item["content"]).collect();
    assert_eq!(contents, ["Greet with a smile.", "Tea at four"], "{ran}");
    assert_eq!(found[0]["metadata"]["dataset_name"], "Handbook");
    assert_eq!(found[1]["metadata"]["data_source_type"], "external");
    assert_eq!(found[1]["metadata"]["doc_metadata"]["shelf"], 3);
}

#[test]
fn a_knowledge_base_that_nobody_knows_is_told_with_what_to_add() {
    let (services, _runtime) = world("knowledge-unknown.toml");
    let ran = run(&look_up("elsewhere"), &services, &["--input", "word=Tea"]).expect(1);
    let error = ran.json()["error"].as_str().unwrap().to_owned();
    for way in ["store = ", "[knowledge.dify]", "[knowledge.external]"] {
        assert!(error.contains(&format!("[[knowledge]]\nasked = \"elsewhere\"\n{way}")), "{error}");
    }
    let path = file("knowledge-unknown.yml", &look_up("elsewhere"));
    let told = "a knowledge base (elsewhere) must be configured";
    let ran = flowmill(&["validate", &path]).expect(0);
    assert!(ran.err.contains(told) || ran.out.contains(told), "{ran}");
}

#[test]
fn a_workflow_keeps_passages_where_it_is_told_to() {
    let (services, _runtime) = world("knowledge-index.toml");
    let node = "{id: k, data: {type: knowledge-index, title: Keep, chunk_structure: text_model, \
                index_chunk_variable_selector: [s, chunks]}}";
    let chunks = r#"{"variable": "chunks", "label": "Chunks", "type": "json_object"}"#;
    let edges = ["{source: s, target: k, sourceHandle: source}"];
    let document = workflow(&[&start(chunks), node], &edges);
    let chunks = "chunks={\"general_chunks\": [{\"content\": \"one\"}]}";
    let base = format!("dataset_id={DATASET}");
    let given = ["--input", chunks, "--sys", &base, "--sys", "document_id=doc", "--sys", "batch=b"];
    let ran = run(&document, &services, &given).expect(0);
    let outputs = &ran.json()["outputs"];
    assert_eq!((&outputs["document_id"], &outputs["batch"]), (&json!("d-2"), &json!("b")), "{ran}");
    assert_eq!(outputs["display_status"], "queuing");
    let shown =
        run(&document, &services, &[&given[..], &["--sys", "invoke_from=debugger"]].concat());
    assert_eq!(shown.expect(0).json()["outputs"]["total_segments"], 1);
    let twice = run(&document, &services, &["--sys", "user_id=me"]).expect(2);
    twice.says("--sys gives sys.user_id, which the run has already");
}
