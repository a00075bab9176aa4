//! A server for both protocols that remembers what it was asked, and what tests ask through it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flowmill_services::caller::Caller;
use flowmill_services::file::ServicesFile;
use flowmill_services::knowledge::{
    About, BoundKnowledge, Indexed, Kept, Knowledge, KnowledgeError, Passage, Search,
};
use serde_json::{Value as Json, json};

/// A knowledge base of the Dify server.
pub(super) const DATASET: &str = "5c7e9a04-1c8b-4f1e-9d63-0f4c8b2a7e11";
/// One that only passes questions on.
pub(super) const PASSED_ON: &str = "0d0d9a04-1c8b-4f1e-9d63-0f4c8b2a7e22";
/// One that keeps passages with smaller pieces, without vectors.
pub(super) const ECONOMY: &str = "eeee9a04-1c8b-4f1e-9d63-0f4c8b2a7e33";
/// The key of both.
pub(super) const KEY: &str = "dataset-sesame-0123456789";

/// What a server was asked: `POST /v1/datasets`, and what was sent.
pub(super) type Asked = Arc<Mutex<Vec<(String, Json)>>>;

/// A server with its address and what it was asked.
#[derive(Clone)]
pub(super) struct World {
    pub(super) url: String,
    pub(super) asked: Asked,
}

impl World {
    pub(super) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let router = Router::new().fallback(answer).with_state(asked.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    /// What was asked of a path that ends so, the last time.
    pub(super) fn sent(&self, path: &str) -> Json {
        let asked = self.asked.lock().unwrap();
        let found = asked.iter().rev().find(|(line, _)| line.ends_with(path));
        let Some((_, sent)) = found else { panic!("no {path} in {asked:#?}") };
        sent.clone()
    }

    /// The lines of all that was asked.
    pub(super) fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    /// The knowledge bases of a services file, in which `URL` is this server.
    pub(super) fn bound(&self, text: &str) -> Bases {
        self.bound_with(text, None)
    }

    /// The same beside a built-in store.
    pub(super) fn bound_with(&self, text: &str, store: Option<Arc<dyn Knowledge>>) -> Bases {
        let look = |name: &str| match name {
            "KEY" => Some(KEY.to_owned()),
            "WRONG" => Some("dataset-wrong-9876543210".to_owned()),
            _ => None,
        };
        let text = text.replace("URL", &self.url);
        let file = ServicesFile::read("s.toml", &text, &look).unwrap();
        Bases(BoundKnowledge::new(file.knowledge, store).unwrap())
    }
}

/// Knowledge bases, asked on nobody's behalf.
pub(super) struct Bases(pub(super) BoundKnowledge);

impl Bases {
    pub(super) async fn about(&self, base: &str) -> Result<About, KnowledgeError> {
        self.0.about(base, &Caller::default()).await
    }

    pub(super) async fn search(
        &self,
        base: &str,
        search: &Search,
    ) -> Result<Vec<Passage>, KnowledgeError> {
        self.0.search(base, search, &Caller::default()).await
    }

    pub(super) async fn keep(&self, base: &str, kept: Kept) -> Result<Indexed, KnowledgeError> {
        self.0.keep(base, kept, &Caller::default()).await
    }
}

/// A question.
pub(super) fn question(query: &str) -> Search {
    Search { query: query.into(), top_k: 3, ..Search::default() }
}

async fn answer(
    State(asked): State<Asked>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let sent: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    asked.lock().unwrap().push((format!("{method} {}", uri.path()), sent.clone()));
    let key = headers.get("authorization").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let is_external = uri.path().ends_with("/retrieval");
    if key != format!("Bearer {KEY}") {
        // both repeat what they were given, as careless servers do
        let said = format!("Access token is invalid: {key}");
        let answer = if is_external {
            (StatusCode::FORBIDDEN, fault(1002, &said))
        } else {
            (StatusCode::UNAUTHORIZED, refused("unauthorized", &said))
        };
        return answer.into_response();
    }
    let asked_for = sent["query"].as_str().unwrap_or_default();
    match asked_for {
        "busy" => {
            let retry = [("retry-after", "7")];
            return (StatusCode::TOO_MANY_REQUESTS, retry, "slower").into_response();
        }
        "down" => return (StatusCode::BAD_GATEWAY, "no upstream").into_response(),
        "away" => {
            return (StatusCode::FOUND, [("location", "http://localhost:1/")]).into_response();
        }
        "html" => return ([("content-type", "text/html")], "<p>hello</p>").into_response(),
        "empty" => return json!({}).to_string().into_response(),
        "slow" => tokio::time::sleep(Duration::from_secs(30)).await,
        _ => {}
    }
    if is_external { external(&sent) } else { dify(&method, uri.path(), &sent) }.into_response()
}

fn external(sent: &Json) -> (StatusCode, String) {
    if sent["knowledge_id"] != "k-1" {
        return (StatusCode::OK, fault(2001, "The knowledge does not exist"));
    }
    let records = json!({"records": [
        {"content": "Tea at four.", "score": 0.9, "title": "tea.txt", "metadata": {"path": "/tea"}},
        {"content": "Cake.", "score": "0.5", "title": "cake.txt", "metadata": null},
        {"title": "nothing"},
    ]});
    (StatusCode::OK, records.to_string())
}

fn dify(method: &Method, path: &str, sent: &Json) -> (StatusCode, String) {
    let path = path.strip_prefix("/v1/datasets").unwrap_or("/elsewhere");
    let mut parts = path.split('/').skip(1);
    let Some(dataset) = parts.next() else {
        return (StatusCode::OK, json!({"data": [], "total": 0}).to_string());
    };
    let rest: Vec<&str> = parts.collect();
    let is_known = [DATASET, PASSED_ON, ECONOMY].contains(&dataset);
    if !is_known {
        let said = match path {
            "/elsewhere" => "The requested URL was not found on the server.",
            _ => "Dataset not found.",
        };
        return (StatusCode::NOT_FOUND, refused("not_found", said));
    }
    match (method, &rest[..]) {
        (&Method::GET, []) => (StatusCode::OK, described(dataset).to_string()),
        (&Method::GET, ["metadata"]) if dataset == DATASET => {
            let fields = json!([{"id": "f1", "name": "author", "type": "string", "count": 2}]);
            let said = json!({"doc_metadata": fields, "built_in_field_enabled": true});
            (StatusCode::OK, said.to_string())
        }
        (&Method::POST, ["retrieve"]) if dataset == PASSED_ON => {
            external(&json!({"knowledge_id": "k-1"}))
        }
        (&Method::POST, ["retrieve"]) => (
            StatusCode::OK,
            json!({"query": {"content": sent["query"]}, "records": found()}).to_string(),
        ),
        (&Method::POST, ["document", "create-by-text"]) => (StatusCode::OK, kept("d-new", sent)),
        (&Method::POST, ["documents", id @ "d-old", "update-by-text"]) => {
            (StatusCode::OK, kept(id, sent))
        }
        _ => (StatusCode::NOT_FOUND, refused("not_found", "Document not found.")),
    }
}

fn described(dataset: &str) -> Json {
    match dataset {
        PASSED_ON => json!({
            "id": dataset, "name": "elsewhere", "description": null, "provider": "external",
            "doc_metadata": [{"id": "f2", "name": "shelf", "type": "number"}],
            "built_in_field_enabled": false,
            "external_retrieval_model": {"top_k": 9, "score_threshold": 0.0},
        }),
        ECONOMY => json!({
            "id": dataset, "name": "cheap", "provider": "vendor", "indexing_technique": "economy",
            "doc_form": "hierarchical_model", "retrieval_model_dict": null,
        }),
        _ => json!({
            "id": dataset, "name": "Handbook", "description": "how we work", "provider": "vendor",
            "indexing_technique": "high_quality", "doc_form": "text_model",
            "retrieval_model_dict": {
                "search_method": "hybrid_search", "reranking_enable": true,
                "reranking_model": {
                    "reranking_provider_name": "cohere", "reranking_model_name": "rerank-1",
                },
                "top_k": 5, "score_threshold_enabled": true, "score_threshold": 0.4,
                // this is how the server tells that there are none
                "weights": {"weight_type": null, "keyword_setting": {"keyword_weight": null}},
            },
        }),
    }
}

fn found() -> Json {
    json!([
        {
            "segment": {
                "id": "s-1", "position": 2, "document_id": "d-1", "content": "raw",
                "sign_content": "How do we greet?", "answer": "With a smile.", "word_count": 4,
                "hit_count": 7, "index_node_hash": "abc",
                "document": {
                    "id": "d-1", "data_source_type": "upload_file", "name": "manners.md",
                    "doc_metadata": {"year": 2024, "author": "Ann"},
                },
            },
            "child_chunks": [{"id": "c-1", "content": "greet", "position": 1, "score": 0.7}],
            "score": 0.8, "summary": "Greetings.",
            "files": [{
                "id": "f-1", "name": "smile.png", "size": 3, "extension": "png",
                "mime_type": "image/png", "source_url": "https://h/smile.png",
            }],
        },
        {"segment": null, "score": 0.1},
    ])
}

fn kept(id: &str, sent: &Json) -> String {
    let document = json!({
        "id": id, "name": sent["name"], "created_at": 1_700_000_000, "display_status": "queuing",
    });
    json!({"document": document, "batch": "b-1"}).to_string()
}

fn refused(code: &str, message: &str) -> String {
    json!({"code": code, "message": message}).to_string()
}

fn fault(code: u16, message: &str) -> String {
    json!({"error_code": code, "error_msg": message}).to_string()
}
