//! http-request over real connections: a small server on 127.0.0.1 answers what a test tells it.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod files;
mod outbound;
mod server;

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::{Content, Fields, Item, Problems};
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Value, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::{ChunkSink, Execute, NodeContext};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::{HttpClient, Limits, Offline, Policy};
use flowmill_nodes::http_request::{HttpOptions, HttpRequest, NetworkClient};
use flowmill_nodes::mock::Mocks;
use flowmill_nodes::outbound::{Client, Options, OutboundPolicy};
use tokio::net::TcpListener;

use server::{Reply, Server, redirect, reply};

fn with_policy(policy: Policy) -> HttpOptions {
    HttpOptions { policy, ..HttpOptions::default() }
}

fn options() -> HttpOptions {
    with_policy(Policy { strict_statuses: false, ..Policy::default() })
}

fn item(value: &Value) -> Item {
    let content = match value {
        Value::None => Content::Null,
        Value::Bool(value) => Content::Bool(*value),
        Value::Int(value) => Content::Int(value.clone()),
        Value::Float(value) => Content::Float(*value),
        Value::Str(text) => Content::Str(text.clone()),
        Value::Array(items) => Content::Seq(items.iter().map(item).collect()),
        Value::Object(members) => {
            let pair = |(key, value): (&_, &_)| (item(&Value::Str(Arc::clone(key))), item(value));
            Content::Map(members.iter().map(pair).collect())
        }
        Value::File(_) => unreachable!("documents hold no files"),
    };
    Item { line: 1, content }
}

/// A node of a url and more members of its data, as JSON.
fn node(url: &str, more: &str) -> HttpRequest {
    let mut data = loads(
        r#"{"method": "get", "authorization": {"type": "no-auth"}, "headers": "", "params": ""}"#,
    )
    .unwrap();
    let more = loads(more).unwrap();
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        let data = Arc::make_mut(data);
        data.insert("url".into(), Value::from(url));
        data.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    let data = item(&data);
    let (id, mut problems) = ("n".into(), Problems::new());
    let node = HttpRequest::read(&mut Fields::new(&data, &id, "", &mut problems));
    assert!(problems.is_empty(), "{problems:?}");
    node
}

/// Tests are on this machine, so it is allowed.
fn local() -> Options {
    let policy = OutboundPolicy { allow_private: true, ..OutboundPolicy::default() };
    Options { policy, ..Options::default() }
}

fn client(options: HttpOptions, reach: Options) -> NetworkClient {
    NetworkClient::new(options, Arc::new(Client::new(reach).unwrap()))
}

async fn run_with(options: HttpOptions, url: &str, more: &str) -> Result<Success, NodeError> {
    let context = context(1, Arc::new(client(options, local())), None);
    node(url, more).execute(&Variables::default(), &context).await
}

/// The same by another way out.
async fn reaching(reach: Options, url: &str, more: &str) -> Result<Success, NodeError> {
    let context = context(1, Arc::new(client(options(), reach)), None);
    node(url, more).execute(&Variables::default(), &context).await
}

async fn run(url: &str, more: &str) -> Result<Success, NodeError> {
    run_with(options(), url, more).await
}

fn context(attempt: u32, http: Arc<dyn HttpClient>, chunks: Option<ChunkSink>) -> NodeContext {
    let code = Arc::new(CodeRunner::new(&CodeSettings::default()));
    let files = Arc::new(MemoryFiles::default());
    let documents = Arc::default();
    NodeContext {
        attempt,
        timeout: Duration::from_mins(1),
        code,
        http,
        files,
        documents,
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks,
    }
}

fn output(success: &Success, name: &str) -> Value {
    success.outputs.iter().find(|(held, _)| &**held == name).unwrap().1.value().clone()
}

fn body(success: &Success) -> String {
    output(success, "body").to_python()
}

#[tokio::test]
async fn an_answer_becomes_outputs() {
    let server = Server::start(|_| {
        reply(
            "201 Created",
            "Content-Type: application/json\r\nX-A: 1\r\nx-a: 2\r\n",
            b"{\"a\": 1}",
        )
    })
    .await;
    let more = r#"{"method": "post", "params": "q: a b\nq: c", "headers": "X-Own: 1",
        "authorization": {"type": "api-key", "config": {"type": "bearer", "api_key": "k"}},
        "body": {"type": "json", "data": "{'a': 'ž'}"}}"#;
    let success = run(&server.url("/x?old=1"), more).await.unwrap();
    assert_eq!(output(&success, "status_code"), Value::int(201));
    assert_eq!(body(&success), "{\"a\": 1}");
    assert_eq!(
        output(&success, "headers").repr(),
        "{'content-type': 'application/json', 'x-a': '1, 2', 'content-length': '8'}"
    );
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("POST /x?q=a+b&q=c HTTP/1.1\r\n"), "{seen}");
    let lower = seen.to_lowercase();
    for header in [
        "x-own: 1\r\n",
        "authorization: bearer k\r\n",
        "content-type: application/json\r\n",
        "accept: */*\r\n",
        "accept-encoding: gzip, deflate\r\n",
    ] {
        assert_eq!(lower.matches(header).count(), 1, "{header} in {seen}");
    }
    assert!(seen.ends_with("\r\n\r\n{\"a\":\"ž\"}"), "{seen}");
}

#[tokio::test]
async fn redirects_change_the_method_as_httpx_does() {
    fn script(path: &str) -> Reply {
        match path {
            "/301" => redirect("301 Moved", "/end"),
            "/302" => redirect("302 Found", "end"),
            "/303" => redirect("303 See Other", "/end"),
            "/307" => redirect("307 Temporary", "/end"),
            "/308" => redirect("308 Permanent", "/end"),
            _ => reply("200 OK", "", b"end"),
        }
    }
    let cases = [
        ("301", "post", "GET"),
        ("301", "put", "PUT"),
        ("302", "post", "GET"),
        ("302", "delete", "GET"),
        ("303", "put", "GET"),
        ("303", "head", "HEAD"),
        ("307", "post", "POST"),
        ("308", "patch", "PATCH"),
    ];
    for (status, method, wanted) in cases {
        let server = Server::start(script).await;
        let more =
            format!(r#"{{"method": "{method}", "body": {{"type": "raw-text", "data": "text"}}}}"#);
        run(&server.url(&format!("/{status}")), &more).await.unwrap();
        let last = server.seen().pop().unwrap();
        assert!(last.starts_with(&format!("{wanted} /end ")), "{status} {method}: {last}");
        assert_eq!(last.ends_with("text"), wanted != "GET", "{status} {method}: {last}");
    }
}

#[tokio::test]
async fn redirects_end_and_keep_cookies_but_no_secrets() {
    let server = Server::start(|path| match path {
        "/loop" => redirect("302 Found", "/loop"),
        "/login" => reply("302 Found", "Location: /home\r\nSet-Cookie: session=1; Path=/\r\n", b""),
        "/bad" => redirect("302 Found", "ftp://127.0.0.1/"),
        _ => reply("200 OK", "", b"home"),
    })
    .await;
    let error = run(&server.url("/loop"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "Exceeded maximum allowed redirects.");
    assert_eq!(server.seen().len(), 21);
    assert_eq!(&*run(&server.url("/bad"), "{}").await.unwrap_err().kind, "HttpRequestNodeError");
    run(&server.url("/login"), r#"{"headers": "Cookie: own=1"}"#).await.unwrap();
    let last = server.seen().pop().unwrap().to_lowercase();
    assert!(last.contains("cookie: session=1\r\n") && !last.contains("own=1"), "{last}");
}

#[tokio::test]
async fn secrets_stay_with_their_origin() {
    let other = Server::start(|_| reply("200 OK", "", b"other")).await;
    // a script knows no port, so the first server is told by the path
    let first = Server::start(|path| {
        let port = path.trim_start_matches('/');
        redirect("302 Found", &format!("http://127.0.0.1:{port}/end"))
    })
    .await;
    let more = r#"{"headers": "X-Key: k\nAuthorization: secret"}"#;
    run(&first.url(&format!("/{}", other.port)), more).await.unwrap();
    let last = other.seen().remove(0).to_lowercase();
    assert!(last.contains("x-key: k\r\n") && !last.contains("authorization"), "{last}");
    assert!(last.contains(&format!("host: 127.0.0.1:{}\r\n", other.port)), "{last}");
}

#[tokio::test]
async fn silence_times_out() {
    let server =
        Server::start(|path| if path == "/stall" { Reply::Stall } else { Reply::Silence }).await;
    for path in ["/silent", "/stall"] {
        let begun = Instant::now();
        let error = run(&server.url(path), r#"{"timeout": {"read": 1}}"#).await.unwrap_err();
        assert_eq!((&*error.kind, &*error.message), ("HttpRequestNodeError", "timed out"));
        assert_eq!(error.class, ErrorClass::Timeout);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn broken_connections_are_named() {
    let server = Server::start(|path| match path {
        "/short" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort".to_vec()),
        _ => Reply::Close,
    })
    .await;
    let error = run(&server.url("/"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "Server disconnected without sending a response.");
    assert_eq!(error.class, ErrorClass::Transient);
    let error = run(&server.url("/short"), "{}").await.unwrap_err();
    assert!(error.message.contains("complete message body"), "{}", error.message);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = run(&format!("http://127.0.0.1:{free}/"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "[Errno 111] Connection refused");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn content_is_unpacked_and_decoded() {
    let server = Server::start(|path| match path {
        "/gzip" => reply("200 OK", "Content-Encoding: gzip\r\n", &gzip(b"unpacked")),
        "/latin" => reply("200 OK", "Content-Type: text/plain; charset=latin-1\r\n", b"\xe9"),
        "/file" => reply("200 OK", "Content-Type: image/png\r\n", b"\x89PNG"),
        _ => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec(),
        ),
    })
    .await;
    assert_eq!(body(&run(&server.url("/gzip"), "{}").await.unwrap()), "unpacked");
    assert_eq!(body(&run(&server.url("/latin"), "{}").await.unwrap()), "é");
    assert_eq!(body(&run(&server.url("/chunked"), "{}").await.unwrap()), "abcde");
    let file = run(&server.url("/file"), "{}").await.unwrap();
    assert_eq!(body(&file), "");
    assert!(!output(&file, "files").is_falsy());
}

#[tokio::test]
async fn what_is_too_large_is_not_read_to_its_end() {
    let server = Server::start(|path| match path {
        "/text" => reply("200 OK", "", &vec![b'a'; 3000]),
        "/bomb" => reply("200 OK", "Content-Encoding: gzip\r\n", &gzip(&vec![b'a'; 5_000_000])),
        _ => reply("200 OK", "Content-Type: image/png\r\n", &vec![0; 1 << 20]),
    })
    .await;
    let limits = Limits { text_bytes: 2048, file_bytes: 4096 };
    let run = |path| run_with(with_policy(Policy { limits, strict_statuses: false }), path, "{}");
    let (text, bomb, file) = (server.url("/text"), server.url("/bomb"), server.url("/file"));
    let error = run(&text).await.unwrap_err();
    assert_eq!(&*error.kind, "ResponseSizeError");
    assert_eq!(
        &*error.message,
        "Text size is too large, max size is 0.00 MB, but current size is 2.93 KB."
    );
    for url in [&bomb, &file] {
        let error = run(url).await.unwrap_err();
        assert!(error.message.contains("current size is over 4.00 KB"), "{}", error.message);
    }
}

#[tokio::test]
async fn difys_statuses_are_refused_where_asked_for() {
    let server = Server::start(|path| reply(&format!("{} X", &path[1..]), "", b"")).await;
    let strict = HttpOptions::default;
    for status in ["429", "500", "502", "503", "504"] {
        let url = server.url(&format!("/{status}"));
        let error = run_with(strict(), &url, "{}").await.unwrap_err();
        assert_eq!(&*error.message, &*format!("Reached maximum retries for URL {url}"));
        assert_eq!(&*error.kind, "HttpRequestNodeError");
        assert!(run(&url, "{}").await.is_ok());
    }
    let error =
        run(&server.url("/404"), r#"{"retry_config": {"retry_enabled": true}}"#).await.unwrap_err();
    assert_eq!(&*error.message, "Request failed with status code 404");
    assert!(run_with(strict(), &server.url("/501"), "{}").await.is_ok());
}

#[tokio::test]
async fn proxies_are_only_those_given() {
    let proxy = Server::start(|_| reply("200 OK", "", b"by proxy")).await;
    let reach = Options { http_proxy: Some(proxy.url("")), ..Options::default() };
    let success = reaching(reach, "http://no-such-host.invalid/x", "{}").await.unwrap();
    assert_eq!(body(&success), "by proxy");
    assert!(proxy.seen()[0].starts_with("GET http://no-such-host.invalid/x "));
    let bad = Options { http_proxy: Some("::".to_owned()), ..Options::default() };
    assert!(Client::new(bad).is_err());
}

#[tokio::test]
async fn a_mocked_transport_lets_the_node_decide() {
    let mocks = Mocks::parse(
        r#"{"n": {"sequence": [{"error": "refused"}, {"http": {"status": 500, "body": {"é": 1}, "headers": {"X-Case": "1"}}}]}}"#,
    )
    .unwrap();
    let variables = Variables::default();
    let send = async |attempt, strict_statuses, more: &str| {
        let real: Arc<dyn Execute> = Arc::new(node("http://127.0.0.1/\u{7f}", more));
        let node = mocks.stand_in("n", "http-request", Some(real)).unwrap();
        let policy = Policy { limits: Limits::DIFY, strict_statuses };
        let client = client(with_policy(policy), local());
        node.execute(&variables, &context(attempt, Arc::new(client), None)).await
    };
    let error = send(1, false, "{}").await.unwrap_err();
    assert_eq!((&*error.kind, &*error.message), ("HttpRequestNodeError", "refused"));
    let success = send(2, false, "{}").await.unwrap();
    assert_eq!(body(&success), "{\"\\u00e9\": 1}");
    assert_eq!(output(&success, "headers").repr(), "{'X-Case': '1'}");
    let error = send(2, false, r#"{"error_strategy": "fail-branch"}"#).await.unwrap_err();
    assert_eq!(&*error.kind, "HTTPResponseCodeError");
    let error = send(2, true, "{}").await.unwrap_err();
    assert!(error.message.starts_with("Reached maximum retries"));
    let error = send(2, false, r#"{"method": "options"}"#).await.unwrap_err();
    assert_eq!(&*error.kind, "InvalidHttpMethodError");
}

#[tokio::test]
async fn a_mocked_node_streams_and_answers() {
    let mocks = Mocks::parse(
        r#"{"type:llm": [{"when": {"s.x": 1}, "chunks": ["a", "b"], "delay_ms": 1, "outputs": {"text": "ab"}}]}"#,
    )
    .unwrap();
    let node = mocks.stand_in("any", "llm", None).unwrap();
    let mut variables = Variables::default();
    variables.set(&"s".into(), &"x".into(), Variable::infer(Value::int(1)));
    let taken = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&taken);
    let sink = ChunkSink::new(move |chunk| sink.lock().unwrap().push_str(&chunk.text));
    let context = context(1, Arc::new(Offline), Some(sink));
    let success = node.execute(&variables, &context).await.unwrap();
    assert_eq!(output(&success, "text"), Value::from("ab"));
    assert_eq!(*taken.lock().unwrap(), "ab");
}
