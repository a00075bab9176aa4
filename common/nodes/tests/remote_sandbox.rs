//! Code and templates in a sandbox service: a small server on 127.0.0.1 that speaks Dify's sandbox
//! API, and the error texts and types that Dify makes of its answers (spec/nodes.md §4.1).

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod outside;

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::{Integer, Name, Object, Value, loads};
use flowmill_nodes::code::{CodeSettings, RemoteSettings};
use flowmill_nodes::context::NodeContext;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use outside::{context, given, node, template};

/// How the service behaves.
#[derive(Clone)]
enum Service {
    /// Runs Python programs without any sandbox.
    Works,
    /// Gives this answer whatever it is asked.
    Answers(u16, String),
    /// Takes the request and says nothing.
    Silent,
    /// Says a part of its answer and nothing more.
    Stalls,
    /// Sends to another address.
    Moved,
}

/// What it was asked: the head of the request, its content.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

struct Server {
    port: u16,
    seen: Seen,
}

impl Server {
    async fn start(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, service.clone(), Arc::clone(&log)));
            }
        });
        Self { port, seen }
    }

    fn settings(&self) -> RemoteSettings {
        RemoteSettings::new(&format!("http://127.0.0.1:{}/", self.port), "a key").unwrap()
    }

    fn context(&self) -> NodeContext {
        context(&CodeSettings { remote: Some(self.settings()), ..CodeSettings::default() })
    }

    fn seen(&self) -> Vec<(String, Value)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, service: Service, seen: Seen) {
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut buffer = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
        if body.len() >= length.parse().unwrap() {
            break (head, loads(body).unwrap());
        }
    };
    seen.lock().unwrap().push((head, body.clone()));
    let (status, answer) = match service {
        Service::Works => (200, ran(&body).await),
        Service::Answers(status, answer) => (status, answer),
        Service::Silent => return std::future::pending().await,
        Service::Stalls => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await;
            return std::future::pending().await;
        }
        Service::Moved => {
            let _ = stream
                .write_all(b"HTTP/1.1 307 Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")
                .await;
            return;
        }
    };
    let length = answer.len();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // a client that stops reading closes the connection
    let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The service's answer for a program that is run here.
async fn ran(request: &Value) -> String {
    let interpreter = match object(request)["language"].as_str() {
        Some("python3") => "/usr/bin/python3",
        other => panic!("{other:?}"),
    };
    let code = object(request)["code"].as_str().unwrap().to_owned();
    let mut command = tokio::process::Command::new(interpreter);
    let output = command.args(["-c", &code]).stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    answer(&text(&output.stdout), &text(&output.stderr))
}

fn answer(stdout: &str, error: &str) -> String {
    let data = serde_json::json!({"stdout": stdout, "error": error});
    serde_json::json!({"code": 0, "message": "success", "data": data}).to_string()
}

fn object(value: &Value) -> &Object {
    let Value::Object(members) = value else { panic!("no object: {value:?}") };
    members
}

/// A code node with one input `x` and one output `y`.
async fn code(
    language: &str,
    text: &str,
    x: Value,
    context: &NodeContext,
) -> Result<Value, NodeError> {
    let data = serde_json::json!({
        "code_language": language,
        "code": text,
        "variables": [{"variable": "x", "value_selector": ["start", "x"]}],
        "outputs": {"y": {"type": "string"}},
    });
    let node = node("code", &loads(&data.to_string()).unwrap());
    let success = node.execute(&given([("x".into(), x)]), context).await?;
    Ok(success.outputs[0].1.value().clone())
}

async fn rendered(text: &str, context: &NodeContext) -> Result<String, NodeError> {
    let name: Name = "x".into();
    let success = template(text, [&name])
        .execute(&given([(name.clone(), "é<<RESULT>>'''".into())]), context)
        .await?;
    Ok(success.outputs[0].1.value().as_str().unwrap().to_owned())
}

#[tokio::test]
async fn programs_run_there_without_being_allowed_here() {
    let server = Server::start(Service::Works).await;
    let context = server.context();
    let text = "def main(x):\n  return {'y': x + '!'}\n";
    assert_eq!(code("python3", text, "é\"".into(), &context).await.unwrap(), "é\"!".into());
    let error = code("python3", "def main(x):\n  return 1 / 0", "".into(), &context).await;
    let error = error.unwrap_err();
    assert_eq!(&*error.kind, "CodeExecutionError");
    assert!(error.message.ends_with("ZeroDivisionError: division by zero\n"), "{}", error.message);
    let [(head, body), _] = &server.seen()[..] else { panic!("two requests") };
    assert!(head.starts_with("post /v1/sandbox/run http/1.1\r\n"), "{head}");
    for header in ["x-api-key: a key", "content-type: application/json"] {
        assert!(head.contains(header), "{head}");
    }
    let names: Vec<&str> = object(body).keys().map(|name| &**name).collect();
    assert_eq!(names, ["language", "code", "preload", "enable_network"]);
    assert_eq!(object(body)["preload"], "".into());
    assert_eq!(object(body)["enable_network"], Value::Bool(true));
}

#[tokio::test]
async fn javascript_is_written_for_node() {
    let answer = answer("a line\n<<RESULT>>{\"y\": \"z\"}<<RESULT>>\n", "");
    let server = Server::start(Service::Answers(200, answer)).await;
    let text = "function main({x}) { return {y: x} }";
    let result = code("javascript", text, "é".into(), &server.context()).await;
    assert_eq!(result.unwrap(), "z".into());
    let (_, body) = &server.seen()[0];
    assert_eq!(object(body)["language"], "nodejs".into());
    let expected = "function main({x}) { return {y: x} }\n\nvar inputs_obj = JSON.parse(\n    \
                    Buffer.from('eyJ4Ijoiw6kifQ==', 'base64').toString('utf-8')\n)\n\
                    var output_obj = main(inputs_obj)\n\
                    var output_json = JSON.stringify(output_obj)\n\
                    var result = `<<RESULT>>${output_json}<<RESULT>>`\nconsole.log(result)\n";
    assert_eq!(object(body)["code"], expected.into());
}

#[tokio::test]
async fn templates_go_there_if_they_are_refused_here() {
    let server =
        Server::start(Service::Answers(200, answer("<<RESULT>>a\n<<RESULT>>b<<RESULT>>", "")))
            .await;
    let context = server.context();
    assert_eq!(rendered("{{ 1 }}", &context).await.unwrap(), "1");
    assert!(server.seen().is_empty(), "the native path does not ask");
    assert_eq!(rendered("{{ [x] | random }}'''", &context).await.unwrap(), "a\n<<RESULT>>b");
    let (_, body) = &server.seen()[0];
    assert_eq!(object(body)["language"], "python3".into());
    assert!(object(body)["preload"].as_str().unwrap().contains("import jinja2"));
    let huge = Value::Int(Integer::parse("18446744073709551616").unwrap());
    let node = template("{{ [x] | random }}", [&"x".into()]);
    let error = node.execute(&given([("x".into(), huge)]), &context).await.unwrap_err();
    assert_eq!((&*error.kind, &*error.message), ("", "TypeError: Integer exceeds 64-bit range"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn the_template_program_renders() {
    let python =
        std::process::Command::new("/usr/bin/python3").args(["-c", "import jinja2"]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return;
    }
    let server = Server::start(Service::Works).await;
    let context = server.context();
    let text = rendered("{{ [x] | random }}\\n'''\n\n", &context).await.unwrap();
    assert_eq!(text, "é<<RESULT>>'''\\n'''\n");
    let error = rendered("{{ [x] | random }}{{ y.z }}", &context).await.unwrap_err();
    assert_eq!(&*error.kind, "");
    let last = "jinja2.exceptions.UndefinedError: 'y' is undefined\n";
    assert!(error.message.ends_with(last), "{}", error.message);
    let error = rendered("{{ [x] | random }}{{ 'é' * 400000 }}", &context).await.unwrap_err();
    assert_eq!(&*error.message, "Output length exceeds 400000 characters");
}

const NETWORK: &str = "Failed to execute code, which is likely a network issue, \
                       please check if the sandbox service is running. ( Error: ";

/// An answer of the service, and what becomes of it.
type Case = (u16, String, String, &'static str, ErrorClass);

const RUN: &str = "CodeExecutionError";

fn failures() -> Vec<Case> {
    use ErrorClass::{Denied, Invalid, Timeout, Transient};
    let case = |status, body: &str, message: &str, class| {
        (status, body.to_owned(), message.to_owned(), RUN, class)
    };
    let of = |status: u16| {
        format!(
            "{NETWORK}Failed to execute code, got status code {status}, \
             please check if the sandbox service is running )"
        )
    };
    let refused = r#"{"code": -400, "message": "network is disabled", "data": null}"#;
    let said = "Got error code: -400. Got error msg: network is disabled";
    vec![
        case(503, "{}", "Code execution service is unavailable", Transient),
        case(401, "", &of(401), Denied),
        case(400, refused, &of(400), Invalid),
        case(500, "", &of(500), Transient),
        case(200, "<html>", "Failed to parse response", Transient),
        case(200, refused, said, Invalid),
        case(200, "{}", "Got error code: None. Got error msg: None", Transient),
        case(200, "[]", "Code execution response must be a JSON object.", Invalid),
        case(200, &answer("", "a warning\n"), "a warning\n", Invalid),
        case(200, &answer("", "error: timeout"), "error: timeout", Timeout),
    ]
}

fn bad_results() -> Vec<Case> {
    let case = |body: String, message: &str, kind| {
        (200, body, message.to_owned(), kind, ErrorClass::Invalid)
    };
    let no_tag = "Failed to parse result: no result tag found in response. Response: ";
    let shown = format!("{no_tag}{}...", "x".repeat(200));
    let silent = r#"{"code": 0, "message": "success", "data": {"stdout": null}}"#.to_owned();
    let list = "Result must be a dict, got list";
    let broken = "Failed to parse JSON response: Expecting value: line 1 column 1 (char 0).";
    let result = |text: &str| answer(&format!("<<RESULT>>{text}<<RESULT>>"), "");
    vec![
        case(answer(&"x".repeat(300), ""), &shown, "WorkflowNodeError"),
        case(silent, &format!("{no_tag}..."), "WorkflowNodeError"),
        case(result("nothing"), broken, "WorkflowNodeError"),
        case(result("[1]"), list, "WorkflowNodeError"),
        case(result("{}"), "Output y is missing.", "OutputValidationError"),
    ]
}

#[tokio::test]
async fn answers_become_difys_errors() {
    for (status, body, message, kind, class) in [failures(), bad_results()].concat() {
        let server = Server::start(Service::Answers(status, body)).await;
        let context = server.context();
        let error = code("python3", "", "".into(), &context).await.unwrap_err();
        assert_eq!((&*error.message, &*error.kind, error.class), (&*message, kind, class));
        if kind == RUN {
            // of a template's errors Dify forgets the type
            let error = rendered("{{ [x] | random }}", &context).await.unwrap_err();
            assert_eq!((&*error.message, &*error.kind, error.class), (&*message, "", class));
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_network_issue() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let remote = RemoteSettings::new(&format!("http://127.0.0.1:{port}"), "k").unwrap();
    let context = context(&CodeSettings { remote: Some(remote), ..CodeSettings::default() });
    let error = code("python3", "", "".into(), &context).await.unwrap_err();
    assert_eq!(&*error.message, format!("{NETWORK}[Errno 111] Connection refused )"));
    assert_eq!((&*error.kind, error.class), ("CodeExecutionError", ErrorClass::Transient));
}

#[tokio::test]
async fn a_service_that_says_nothing_times_out() {
    for service in [Service::Silent, Service::Stalls] {
        let server = Server::start(service).await;
        let mut remote = server.settings();
        remote.read_timeout = Duration::from_millis(50);
        remote.write_timeout = Duration::from_millis(50);
        let context = context(&CodeSettings { remote: Some(remote), ..CodeSettings::default() });
        let error = code("python3", "", "".into(), &context).await.unwrap_err();
        assert_eq!(&*error.message, format!("{NETWORK}timed out )"));
        assert_eq!(error.class, ErrorClass::Timeout);
    }
}

#[tokio::test]
async fn the_key_goes_nowhere_else() {
    let server = Server::start(Service::Moved).await;
    let error = code("python3", "", "".into(), &server.context()).await.unwrap_err();
    assert!(error.message.contains("got status code 307"), "{}", error.message);
    assert_eq!(server.seen().len(), 1);
    let shown = format!("{:?}", server.context());
    assert!(shown.contains("***") && !shown.contains("a key"), "{shown}");
}

#[test]
fn addresses_and_keys_are_checked() {
    let error = |url, key| RemoteSettings::new(url, key).unwrap_err().to_string();
    let unix = "unix:///run/sandbox is not the address of a sandbox: \
                it must begin with http:// or https://";
    assert_eq!(error("unix:///run/sandbox", "k"), unix);
    assert!(error("sandbox:port", "k").contains("sandbox:port"));
    assert!(error("http://h", "a\nb").contains("API key"));
}
