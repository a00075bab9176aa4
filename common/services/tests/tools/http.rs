//! Tools that are HTTP calls, over a server that tells what it is asked.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flowmill_services::tools::ToolErrorKind;

use super::{call, call_in, object, tools, wanted};

/// What a server was asked, as JSON; or what its path says it is to do.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    match uri.path() {
        "/busy" => {
            let said = format!("not so fast, {}", header("authorization"));
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], said).into_response();
        }
        "/png" => return ([("content-type", "image/png")], "ab").into_response(),
        "/away" => {
            return (StatusCode::FOUND, [("location", "http://localhost:1/")]).into_response();
        }
        "/near" => {
            return (StatusCode::TEMPORARY_REDIRECT, [("location", "/there")]).into_response();
        }
        "/slow" => tokio::time::sleep(Duration::from_secs(30)).await,
        "/files" => {
            let said = r#"{"data": [{"b64": "YWI="}, {"url": "https://h/x.png"}]}"#;
            return ([("content-type", "application/json")], said).into_response();
        }
        _ => {}
    }
    let type_of = header("content-type");
    let said = serde_json::json!({
        "asked": format!("{method} {uri}"),
        "auth": header("authorization"),
        "type": type_of.split(';').next(),
        "body": String::from_utf8_lossy(&body),
    });
    ([("content-type", "application/json")], said.to_string()).into_response()
}

/// A server that tells what it is asked; gives its address.
pub(super) async fn server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    format!("http://{address}")
}

fn entry(server: &str, path: &str, rest: &str) -> String {
    format!("[[tools]]\nprovider = \"p\"\n[tools.http]\nurl = \"{server}{path}\"\n{rest}\n")
}

#[tokio::test]
async fn a_call_goes_where_it_is_bound_and_its_answer_is_told() {
    let server = server().await;
    let text = entry(
        &server,
        "/v1/{id}?x={q}",
        "headers = {Authorization = \"Bearer $KEY\"}\njson = {q = \"{q}\", n = \"{n}\"}",
    );
    let said =
        call(&tools(&text, Path::new(".")), &wanted("p", "t"), r#"{"id": "a/../b", "q": "x&y"}"#)
            .await
            .unwrap();
    assert_eq!(
        said[0],
        "json {'asked': 'POST /v1/a%2F..%2Fb?x=x%26y', 'auth': 'Bearer sesame-key', 'type': \
         'application/json', 'body': '{\"q\":\"x&y\"}'}"
    );
    assert!(said[1].starts_with("text {\"asked\":\"POST "), "{said:?}");
}

#[tokio::test]
async fn parts_of_answers_and_files_are_told() {
    let server = server().await;
    let said = async |path: &str, rest: &str| {
        let text = entry(&server, path, rest);
        call(&tools(&text, Path::new(".")), &wanted("p", "t"), "{}").await.unwrap()
    };
    assert_eq!(said("/x", "path = \"asked\"\nresult = \"text\"").await, ["text GET /x"]);
    assert_eq!(said("/png", "").await, ["blob 2 Some(\"image/png\") None"]);
    assert_eq!(
        said("/files", "result = \"file\"\npath = \"data.0.b64\"").await,
        ["blob 2 None None"]
    );
    let at = said("/files", "result = \"file\"\npath = \"data.1.url\"").await;
    assert_eq!(at, ["At { url: \"https://h/x.png\", is_image: false }"]);
    // within its own server a redirect is followed
    assert_eq!(said("/near", "path = \"asked\"").await, ["text GET /there"]);
}

#[tokio::test]
async fn failures_are_told_without_keys() {
    let server = server().await;
    let failed = async |path: &str, rest: &str| {
        let text = entry(&server, path, rest);
        call(&tools(&text, Path::new(".")), &wanted("p", "t"), "{}").await.unwrap_err()
    };
    let error = failed("/busy", "headers = {Authorization = \"Bearer $KEY\"}").await;
    assert_eq!(error.kind, ToolErrorKind::RateLimited);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(&*error.message, "Request failed with status code 429 and not so fast, Bearer ***");
    // what leads to another server is not followed
    let error = failed("/away", "").await;
    assert_eq!((error.kind, error.message.contains("302")), (ToolErrorKind::Failed, true));
    let error = failed("/x", "headers = {A = \"$UNSET\"}").await;
    assert_eq!(error.kind, ToolErrorKind::Misconfigured);
    assert_eq!(&*error.message, "the environment variable UNSET is not set");
    let text = "[[tools]]\nprovider = \"p\"\n[tools.http]\nurl = \"http://127.0.0.1:1/\"\n";
    let error = call(&tools(text, Path::new(".")), &wanted("p", "t"), "{}").await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::Connection);
    assert!(error.message.starts_with("cannot ask 127.0.0.1:1: "), "{error}");
}

#[tokio::test]
async fn a_call_ends_in_time() {
    let server = server().await;
    let text = entry(&server, "/slow", "");
    let tools = tools(&text, Path::new("."));
    let short = Duration::from_millis(100);
    let called = call_in(&tools, &wanted("p", "t"), object("{}"), short).await;
    assert_eq!(called.unwrap_err().kind, ToolErrorKind::Timeout);
}

#[tokio::test]
async fn parameters_have_defaults_and_are_missed() {
    let server = server().await;
    let text = format!(
        "[[tools]]\nprovider = \"p\"\nparameters = [{{name = \"a\", default = 5}}, {{name = \"b\", \
         required = true}}]\n[tools.http]\nurl = \"{server}/{{a}}/{{b}}\"\npath = \"asked\"\n"
    );
    let tools = tools(&text, Path::new("."));
    let said = call(&tools, &wanted("p", "t"), r#"{"b": "x"}"#).await.unwrap();
    assert_eq!(said, ["text GET /5/x"]);
    let error = call(&tools, &wanted("p", "t"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "Missing required parameter b");
}
