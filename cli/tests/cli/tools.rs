//! Tools of every kind, called by the binary.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::{Ran, file, flowmill, run, workflow};

/// A server that answers every request with what it was asked, as JSON.
pub(crate) fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let asked = request(&mut stream);
            let line = asked.lines().next().unwrap_or_default();
            let body = asked.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let said = serde_json::json!({"line": line, "body": body}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{said}", said.len());
        }
    });
    format!("http://{address}")
}

/// A whole request.
fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if body.is_some_and(|body| body >= length.unwrap_or(0)) {
            return text;
        }
        match stream.read(&mut buffer) {
            Ok(more @ 1..) => read.extend_from_slice(&buffer[..more]),
            _ => return text,
        }
    }
}

/// A workflow of one tool whose outputs are the run's.
fn document(provider: &str, tool: &str, parameters: &str) -> String {
    let node = format!(
        "{{id: t, data: {{type: tool, title: T, provider_id: {provider}, provider_name: {provider}, \
         provider_type: builtin, tool_name: {tool}, tool_label: T, tool_configurations: {{}}, \
         tool_parameters: {{{parameters}}}}}}}"
    );
    let end = "{id: end, data: {type: end, title: End, outputs: [{variable: text, value_selector: [t, \
               text]}, {variable: json, value_selector: [t, json]}]}}";
    let start = "{id: start, data: {type: start, title: Start, variables: []}}";
    workflow(
        &[start, &node, end],
        &["{id: a, source: start, target: t}", "{id: b, source: t, target: end}"],
    )
}

/// Runs such a workflow with a services file.
fn called(name: &str, services: &str, document: &str) -> Ran {
    let services = file(&format!("tools-{name}.toml"), services);
    run(document, &["--services", &services, "--output", "json"])
}

fn output(ran: &Ran, name: &str) -> serde_json::Value {
    ran.json()["outputs"][name].clone()
}

#[test]
fn an_http_call_and_an_operation_answer() {
    let server = server();
    let services = format!(
        "[[tools]]\nprovider = \"search\"\n[tools.http]\nurl = \"{server}/find\"\njson = {{q = \
         \"{{query}}\"}}\n"
    );
    let asks = document("search", "find", "query: {type: mixed, value: 'a b'}");
    let ran = called("http", &services, &asks).expect(0);
    assert_eq!(output(&ran, "json")[0]["line"], "POST /find HTTP/1.1");
    assert_eq!(output(&ran, "json")[0]["body"], r#"{"q":"a b"}"#);

    let api = serde_json::json!({
        "openapi": "3.1.0",
        "servers": [{"url": server}],
        "paths": {"/tickets/{id}": {"get": {"operationId": "getTicket", "parameters": [
            {"name": "id", "in": "path", "schema": {"type": "string"}}]}}}
    });
    let api = file("tools-api.json", &api.to_string());
    let services = format!("[[tools]]\nprovider = \"tickets\"\nopenapi = {{schema = {api:?}}}\n");
    let asks = document("tickets", "getTicket", "id: {type: constant, value: 7}");
    let ran = called("openapi", &services, &asks).expect(0);
    assert_eq!(output(&ran, "json")[0]["line"], "GET /tickets/7 HTTP/1.1");
}

#[test]
fn a_server_of_mcp_answers() {
    let program = crate::repository().join("cli/tests/cli/mcp_server.py");
    let services = format!(
        "[[tools]]\nprovider = \"mcp\"\n[tools.mcp]\ncommand = [\"python3\", {:?}]\n",
        program.display().to_string()
    );
    let asks = document("mcp", "greet", "name: {type: mixed, value: Ada}");
    let ran = called("mcp", &services, &asks).expect(0);
    assert_eq!(output(&ran, "text"), "hello Ada");
    let services = file("tools-mcp-check.toml", &services);
    let ran = flowmill(&["tools", "check", "--services", &services]).expect(0);
    assert!(ran.out.contains("offers greet"), "{ran}");
}

#[test]
fn a_command_answers_and_is_held() {
    let script = "cat /etc/passwd >/dev/null 2>&1 && echo read\n\
                  (echo x > /var/tmp/flowmill-held) 2>/dev/null && echo written\n\
                  (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -qi 'not permitted' && echo offline\n\
                  env | grep -c HELD_ENVIRONMENT\n\
                  (setsid sleep 1) 2>/dev/null && echo left\n\
                  id -u\necho \"$1\"; cat\n";
    let services = format!(
        "[[tools]]\nprovider = \"c\"\n[tools.command]\nargv = [\"/bin/bash\", \"-c\", {script:?}, \
         \"x\", \"{{word}}\"]\nstdin = \"json\"\nenv = {{HELD_ENVIRONMENT = \"1\"}}\nresult = \
         \"text\"\n"
    );
    let asks = document("c", "any", "word: {type: mixed, value: '$(id); x'}");
    let ran = called("command", &services, &asks).expect(0);
    let said = output(&ran, "text");
    let said: Vec<&str> = said.as_str().unwrap().lines().collect();
    let [offline, environment, _, word, stdin] = said[..] else { panic!("{said:?}") };
    assert_eq!(
        [offline, environment, word, stdin],
        ["offline", "1", "$(id); x", r#"{"word":"$(id); x"}"#]
    );
}

/// How many processes have a word in their command line.
fn processes(word: &str) -> usize {
    let folders = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let lines = folders.filter_map(|folder| std::fs::read(folder.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())).count()
}

#[test]
fn a_command_fails_with_its_complaint_and_ends_in_time() {
    let services = |script: &str, more: &str| {
        format!(
            "[[tools]]\nprovider = \"c\"\n{more}\n[tools.command]\nargv = [\"/bin/sh\", \"-c\", \
             {script:?}]\noutput_bytes = 1000\n"
        )
    };
    let asks = document("c", "any", "");
    let failed = |name: &str, services: &str, why: &str| {
        let ran = called(name, services, &asks).expect(1);
        let error = ran.json()["error"].clone();
        assert!(error.as_str().is_some_and(|error| error.contains(why)), "{error}, not {why}");
    };
    let complaint = "Failed to invoke tool: the command ended with status 3: oh no";
    failed("fails", &services("echo oh no >&2; exit 3", ""), complaint);
    // what it started ends with it
    let endless = services("sleep 61.25 & sleep 61.25", "timeout = \"500ms\"");
    failed("endless", &endless, "within 500ms");
    assert_eq!(processes("61.25"), 0);
    failed("loud", &services("yes", ""), "the command wrote more than 1000 bytes");
    let none = "[[tools]]\nprovider = \"c\"\ncommand = {argv = [\"/nowhere/x\"]}\n";
    failed("none", none, "cannot run /nowhere/x");
}

#[test]
fn what_nobody_answers_for_is_told_with_the_lines_to_add() {
    let asks = document("vendor/plugin/thing", "do_it", "");
    let ran = called("nobody", "", &asks).expect(1);
    let error = ran.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("provider = \"vendor/plugin/thing\"\ntool = \"do_it\""), "{error}");
    let services = file("tools-list.toml", "");
    let asks = file("tools-list.yml", &asks);
    let ran = flowmill(&["tools", "list", "--services", &services, "--workflow", &asks]).expect(1);
    assert!(ran.out.contains("vendor/plugin/thing / do_it  NOBODY"), "{ran}");
    assert!(ran.out.contains("[[tools]]\nprovider = \"vendor/plugin/thing\"\ntool = \"do_it\""));
    let ran = flowmill(&["tools", "list", "--services", &services]).expect(0);
    assert!(ran.out.contains("built in: time/current_time"), "{ran}");
}

#[test]
fn small_tools_need_no_services_file() {
    let asks = document(
        "langgenius/time/time",
        "weekday",
        "year: {type: constant, value: 2024}, month: {type: mixed, value: '2'}, day: {type: mixed, value: \
         '29'}",
    );
    let ran = called("builtin", "", &asks).expect(0);
    assert_eq!(output(&ran, "text"), "February 29, 2024 is Thursday.");
}
