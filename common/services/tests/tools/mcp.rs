//! Tools of MCP servers: a process, and a server at an address.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use flowmill_services::tools::{ParameterKind, ToolErrorKind};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::offered::Offered;
use super::{call, call_in, describe, object, tools, wanted};

/// The server that is an example of this crate; it is built with the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("examples/mcp_server");
    assert!(program.exists(), "build the examples first: cargo build --workspace --all-targets");
    program
}

fn process(rest: &str) -> String {
    format!(
        "[[tools]]\nprovider = \"s\"\n[tools.mcp]\ncommand = [{:?}]\n{rest}\n",
        program().display().to_string()
    )
}

async fn over_http() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let offered = Offered::default();
    let service = StreamableHttpService::new(
        move || Ok(offered.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    tokio::spawn(async move {
        axum::serve(listener, Router::new().nest_service("/mcp", service)).await
    });
    format!("[[tools]]\nprovider = \"s\"\n[tools.mcp]\nurl = \"http://{address}/mcp\"\n")
}

async fn offers_its_tools(text: &str) {
    let tools = tools(text, Path::new("."));
    let described = describe(&tools, &wanted("s", "weather")).await.unwrap();
    assert_eq!(&*described.about, "Tells the weather.");
    let days = described.parameter("days").unwrap();
    assert_eq!((days.kind, days.required), (ParameterKind::Number, false));
    assert!(described.parameter("city").unwrap().required);
    let said = call(&tools, &wanted("s", "weather"), r#"{"city": "Oslo", "none": ""}"#).await;
    assert_eq!(said.unwrap(), ["text sunny in Oslo", "city = 'Oslo'", "days = 1"]);
    let said = call(&tools, &wanted("s", "picture"), "{}").await.unwrap();
    assert_eq!(said, ["blob 2 Some(\"image/png\") None"]);
    let error = call(&tools, &wanted("s", "fail"), "{}").await.unwrap_err();
    assert_eq!((error.kind, &*error.message), (ToolErrorKind::Failed, "no such city"));
    let error = call(&tools, &wanted("s", "gone"), "{}").await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::NoTool);
    assert!(error.message.contains("it has weather, picture"), "{error}");
    let error = call(&tools, &wanted("s", "weather"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "Missing required parameter city");
}

#[tokio::test]
async fn a_process_offers_its_tools() {
    offers_its_tools(&process("")).await;
}

#[tokio::test]
async fn a_server_at_an_address_offers_its_tools() {
    offers_its_tools(&over_http().await).await;
}

#[tokio::test]
async fn one_process_serves_all_and_is_replaced_when_it_dies() {
    // two entries, one server
    let text = format!("{}{}", process(""), process("").replace("\"s\"", "\"other\""));
    let tools = tools(&text, Path::new("."));
    let count = async |provider| call(&tools, &wanted(provider, "count"), "{}").await;
    assert_eq!(count("s").await.unwrap(), ["text 1"]);
    assert_eq!(count("other").await.unwrap(), ["text 2"]);
    let error = call(&tools, &wanted("s", "die"), "{}").await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::Connection, "{error}");
    assert_eq!(count("s").await.unwrap(), ["text 1"]);
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let text = process("env = {OFFERED_NEEDS = \"the key\"}");
    let error = describe(&tools(&text, Path::new(".")), &wanted("s", "count")).await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::Connection);
    assert!(error.message.contains("the key is not set"), "{error}");
    let text = "[[tools]]\nprovider = \"s\"\nmcp = {command = [\"/nowhere/server\"]}\n";
    let error = describe(&tools(text, Path::new(".")), &wanted("s", "x")).await.unwrap_err();
    assert!(error.message.contains("/nowhere/server cannot be started"), "{error}");
}

#[tokio::test]
async fn a_tool_may_have_another_name_and_its_time_ends() {
    let text = process("tool = \"sleep\"");
    let tools = tools(&text, Path::new("."));
    let short = Duration::from_millis(500);
    // connecting does not count
    describe(&tools, &wanted("s", "anything")).await.unwrap();
    let called = call_in(&tools, &wanted("s", "anything"), object("{}"), short).await;
    assert_eq!(called.unwrap_err().kind, ToolErrorKind::Timeout);
}
