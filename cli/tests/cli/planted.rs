//! Secrets are nowhere but where they belong, also in one process over a folder.

use nix::sys::signal::Signal;

use super::*;
use crate::serve::Serving;

const VARIABLE: &str = "planted-variable-4711/x";
const TOKEN: &str = "planted-token-0815";
const ADMIN: &str = "planted-admin-key-99887766";
const PEPPER: &str = "planted-pepper-55443322";

/// What is no secret, and so must be found: else the search finds nothing.
const MARKER: &str = "visible-marker-31337";

/// A call with a secret that nobody answers, and an end.
fn document() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let call = format!(
        "{{id: c, data: {{type: http-request, title: {MARKER}, method: get, \
         url: 'http://127.0.0.1:{port}/', headers: 'x-token: {{{{#env.TOKEN#}}}}', params: '', \
         authorization: {{type: api-key, config: {{type: bearer, api_key: '{{{{#env.TOKEN#}}}}'}}}}, \
         body: {{type: none, data: []}}, timeout: {{}}}}}}"
    );
    let document = workflow(
        &[&start("{variable: q, label: q, type: text-input}"), &call, &end("said", "c, body")],
        &["{source: s, target: c}", "{source: c, target: e}"],
    );
    let variables = format!(
        "workflow:\n  environment_variables:\n  - {{id: k, name: KEY, value_type: secret, value: \
         {VARIABLE}}}\n  - {{id: l, name: TOKEN, value_type: secret, value: {TOKEN}}}\n"
    );
    document.replace("workflow:\n", &variables)
}

/// Which of the planted texts a text holds.
fn planted(bytes: &[u8], secrets: &[&str]) -> Vec<String> {
    let holds = |text: &&&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    secrets.iter().filter(holds).map(|text| (**text).to_owned()).collect()
}

/// All bytes of all files of a folder, the key that seals aside.
fn bytes(folder: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(bytes(&entry.path()));
        } else if entry.file_name() != "secret.key" {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

#[test]
fn planted_secrets_are_nowhere() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("served");
    let folder = path.to_str().unwrap();
    let mut serve = command(&["serve", "--data", folder, "--listen", "127.0.0.1:0"]);
    serve.arg("--allow-private-network");
    // the more is said, the more could be found
    serve.env("FLOWMILL_KEY", ADMIN).env("FLOWMILL_PEPPER", PEPPER).env("FLOWMILL_LOG", "debug");
    let serving = Serving::of(&mut serve, folder);
    let mut shown = String::new();
    let mut ask = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("FLOWMILL_SERVER", &serving.base).env("FLOWMILL_API_KEY", ADMIN);
        let ran = Ran::of(command.output().unwrap());
        shown.push_str(&ran.to_string());
        ran
    };
    let document = file("planted.yml", &document());
    let input = format!("q={MARKER}");
    let run = ask(&["submit", &document, "--input", &input, "--wait", "--json"]);
    let run = run.json()["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["runs", "show", &run][..],
        &["runs", "show", &run, "--json"],
        &["runs", "events", &run],
        &["runs", "list", "--json"],
        &["runs", "explain", &run],
        &["workflows", "list", "--json"],
        &["secrets", "status"],
        &["audit", "list", "--json"],
    ] {
        ask(arguments).expect(0);
    }
    let mut add = command(&["webhooks", "add", "http://127.0.0.1:9/x"]);
    add.env("FLOWMILL_SERVER", &serving.base).env("FLOWMILL_API_KEY", ADMIN);
    let told = Ran::of(add.output().unwrap()).expect(0).out;
    let hook = told.split_whitespace().find(|word| word.starts_with("whsec_")).unwrap().to_owned();
    let mut make = command(&["keys", "create", "--name", "x", "--role", "viewer"]);
    make.env("FLOWMILL_SERVER", &serving.base).env("FLOWMILL_API_KEY", ADMIN);
    let key = Ran::of(make.output().unwrap()).expect(0).out.trim_end().to_owned();
    serving.signal(Signal::SIGTERM);
    let (_, said) = serving.ended();

    let secrets = [VARIABLE, TOKEN, ADMIN, PEPPER, &hook, &key[16..]];
    assert!(shown.contains(MARKER), "{shown}");
    assert_eq!(planted(shown.as_bytes(), &secrets), Vec::<String>::new(), "{shown}");
    assert!(said.contains("DEBUG"), "{said}");
    assert_eq!(planted(said.as_bytes(), &secrets), Vec::<String>::new(), "{said}");
    let kept = bytes(&path);
    assert_eq!(planted(&kept, &[MARKER]), [MARKER]);
    assert_eq!(planted(&kept, &secrets), Vec::<String>::new());
}

#[test]
fn a_page_and_a_terminal_show_none() {
    let parent = tempfile::tempdir().unwrap();
    let store = parent.path().join("runs");
    let store = store.to_str().unwrap();
    let document = file("planted-run.yml", &document());
    let input = format!("q={MARKER}");
    let run = ["run", &document, "--input", &input, "--store", store, "--allow-private-network"];
    let ran = flowmill(&run);
    let listed = flowmill(&["runs", "list", "--format", "json", "--store", store]).expect(0);
    let id = listed.lines()[0]["id"].as_str().unwrap().to_owned();
    let mut shown = ran.to_string();
    for format in ["text", "json", "html"] {
        let page = flowmill(&["runs", "show", &id, "--format", format, "--store", store]);
        shown.push_str(&page.expect(0).to_string());
    }
    assert!(shown.contains(MARKER), "{shown}");
    assert_eq!(planted(shown.as_bytes(), &[VARIABLE, TOKEN]), Vec::<String>::new(), "{shown}");
}
