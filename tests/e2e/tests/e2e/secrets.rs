//! Secrets are nowhere but where they belong: planted ones are looked for in all that a cluster keeps,
//! sends, logs and shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flowmill_scripted_provider::{Answer, Protocol, Provider, Rule, Script};
use serde_json::{Value, json};

use crate::cluster::{Asked, Cluster, Terms, ours};
use crate::http::{Counter, Lines};
use crate::process::{free_port, until};
use crate::servers::folder;

/// A secret variable of a document.
const VARIABLE: &str = "planted/variable+4711 (\u{fc}ber)";
/// One that travels in a header, and so is plain.
const TOKEN: &str = "planted-token-0815+x/y";
/// The credential of a provider.
const CREDENTIAL: &str = "sk-planted-credential-2342";
/// What signs webhooks: of an endpoint, and of addresses that submissions name.
const HOOK: &str = "whsec_cGxhbnRlZC1lbmRwb2ludC1zZWNyZXQtMTIz";
const HOOKS: &str = "whsec_cGxhbnRlZC1jb21tb24tc2VjcmV0LTQ1Njc4";
/// The key of whoever looks after the deployment, and what other keys are hashed with.
const ADMIN: &str = "planted-admin-key-99887766";
const PEPPER: &str = "planted-pepper-55443322";
/// The password in the address of the database.
const PASSWORD: &str = "planted-password-112233";
/// The key that seals.
const SEALING: &str = "9f3c51d07b8e4a6290ab1cd2ef34567890abcdef1234567890fedcba98765432";

/// What is no secret, and so must be found: else the search finds nothing.
const MARKER: &str = "visible-marker-31337";

/// Runs with tasks that are out.
const OUT: &str = "SELECT run FROM runs WHERE in_flight > 0";

/// The document: a model, a call that goes well and one that cannot, each with what is secret.
fn document(port: u16) -> String {
    let closed = free_port();
    let call = |id: &str, scheme: &str, port: u16| {
        format!(
            "    - id: {id}
      data:
        type: http-request
        title: {id}
        method: get
        url: '{scheme}://127.0.0.1:{port}/{id}'
        headers: 'x-token: {{{{#env.TOKEN#}}}}'
        params: ''
        authorization: {{type: api-key, config: {{type: bearer, api_key: '{{{{#env.TOKEN#}}}}'}}}}
        body: {{type: none, data: []}}
        timeout: {{}}
"
        )
    };
    format!(
        "kind: app
version: 0.6.0
app: {{name: planted, mode: workflow}}
workflow:
  environment_variables:
  - {{id: a, name: KEY, value_type: secret, value: '{VARIABLE}'}}
  - {{id: b, name: TOKEN, value_type: secret, value: '{TOKEN}'}}
  graph:
    nodes:
    - id: s
      data: {{type: start, title: S, variables: [{{variable: q, label: q, type: text-input}}]}}
    - id: m
      data:
        type: llm
        title: {MARKER}
        model: {{provider: langgenius/openai/openai, name: gpt-4o, mode: chat, completion_params: {{}}}}
        prompt_template: [{{role: user, text: '{{{{#s.q#}}}}'}}]
        context: {{enabled: false}}
{}{}    - id: e
      data: {{type: end, title: E, outputs: [{{variable: said, value_selector: [m, text]}}]}}
    edges:
    - {{source: s, target: m}}
    - {{source: m, target: good}}
    - {{source: good, target: bad}}
    - {{source: bad, target: e}}
",
        call("good", "http", port),
        // the proxy opens no way for it
        call("bad", "https", closed),
    )
}

/// A text, and what it looks like where it was encoded.
fn forms(secret: &str) -> Vec<String> {
    let hex = |text: &str, start: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            // writing to text cannot fail
            let _ = write!(out, "{start}{byte:02x}");
            out
        })
    };
    let percent = secret.bytes().fold(String::new(), |mut out, byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let _ =
            if is_plain { write!(out, "{}", char::from(byte)) } else { write!(out, "%{byte:02X}") };
        out
    });
    let escaped = secret.chars().fold(String::new(), |mut out, letter| {
        let _ = match letter {
            letter if letter.is_ascii() => write!(out, "{letter}"),
            letter => write!(out, "\\u{:04x}", u32::from(letter)),
        };
        out
    });
    // of base64 the letters at the ends depend on what stands around
    let inner = |text: String| text[2..text.len() - 2].to_owned();
    let mut all = vec![
        secret.to_owned(),
        percent.to_lowercase(),
        percent.replace("%20", "+"),
        percent,
        escaped,
        hex(secret, ""),
        hex(secret, "").to_uppercase(),
    ];
    for skipped in 0..3 {
        let part = &secret.as_bytes()[skipped..];
        all.push(inner(STANDARD_NO_PAD.encode(part)));
        all.push(inner(URL_SAFE_NO_PAD.encode(part)));
    }
    all
}

/// Where texts were found.
#[derive(Default)]
struct Search {
    secrets: Vec<(&'static str, Vec<String>)>,
    found: Vec<String>,
    has_marker: bool,
}

impl Search {
    fn of(secrets: &[(&'static str, &str)]) -> Self {
        let secrets = secrets.iter().map(|(name, secret)| (*name, forms(secret))).collect();
        Self { secrets, ..Self::default() }
    }

    fn look(&mut self, place: &str, bytes: &[u8]) {
        // servers write many megabytes: they are looked through once, by the first byte of all forms
        let mut begins = vec![Vec::new(); 256];
        begins[usize::from(MARKER.as_bytes()[0])].push(("", MARKER));
        for (name, forms) in &self.secrets {
            for form in forms {
                begins[usize::from(form.as_bytes()[0])].push((*name, form));
            }
        }
        let mut found = BTreeMap::new();
        for (at, byte) in bytes.iter().enumerate() {
            for (name, form) in &begins[usize::from(*byte)] {
                if bytes[at..].starts_with(form.as_bytes()) {
                    found.insert(*name, *form);
                }
            }
        }
        self.has_marker |= found.remove("").is_some();
        let found = found.iter().map(|(name, form)| format!("{name} as {form:?} in {place}"));
        self.found.extend(found);
    }

    /// Looks into all files of a folder; it may change meanwhile.
    fn look_below(&mut self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                self.look_below(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.look(&path.display().to_string(), &bytes);
            }
        }
    }

    /// Says that it could find something, and forgets that for the next place.
    fn found_marker(&mut self, place: &str) {
        assert!(std::mem::take(&mut self.has_marker), "the search finds nothing at all in {place}");
    }
}

fn services(folder: &Path, provider: &Provider, proxy: u16) -> Asked {
    let url = provider.url(Protocol::OpenAi);
    let text = format!(
        "[providers.scripted]
kind = \"openai\"
url = \"{url}\"
key = \"{CREDENTIAL}\"

[[models]]
asked = {{ provider = \"*\", model = \"*\" }}
provider = \"scripted\"
"
    );
    let file = folder.join("services.toml");
    std::fs::write(&file, text).unwrap();
    Asked { file, proxy: format!("http://127.0.0.1:{proxy}") }
}

fn settings() -> Vec<(&'static str, String)> {
    let settings = [
        ("FLOWMILL_API__KEY", ADMIN),
        ("FLOWMILL_API__PEPPER", PEPPER),
        ("FLOWMILL_SECRETS__KEY", SEALING),
        ("FLOWMILL_WEBHOOKS__URL_SECRET", HOOKS),
        // the more is said, the more could be found
        ("FLOWMILL_LOG__FILTER", "debug"),
    ];
    settings.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Somebody who asks, and keeps all answers.
struct Asker<'a> {
    cluster: &'a Cluster,
    headers: String,
    answers: Vec<(String, String)>,
}

impl Asker<'_> {
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.cluster.api.ask(method, path, &self.headers, body).await;
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        // what is told this once is told
        let is_told = path.ends_with("/endpoints") && method == "POST";
        if !is_told {
            self.answers.push((format!("{method} {path}"), answer.body.to_string()));
        }
        answer.body
    }

    async fn ended(&mut self, run: &str) -> Value {
        let path = format!("/api/v1/runs/{run}");
        let mut last = Value::Null;
        until("the end of the run", async || {
            last = self.cluster.api.ask("GET", &path, &self.headers, "").await.body;
            !matches!(last["status"].as_str(), Some("queued" | "running"))
        })
        .await;
        last
    }
}

/// Asks for all that is shown of a run.
async fn ask_for_all(asker: &mut Asker<'_>, run: &str, workflow: &str) {
    for path in [
        format!("runs/{run}"),
        format!("runs/{run}/nodes"),
        format!("runs/{run}/explain"),
        format!("runs/{run}/forms"),
        format!("workflows/{workflow}"),
        "runs".to_owned(),
        "workflows".to_owned(),
        "webhooks/endpoints".to_owned(),
        "webhooks/deliveries".to_owned(),
        "dead-letters".to_owned(),
        "limits".to_owned(),
        "keys".to_owned(),
        "keys/self".to_owned(),
        "audit".to_owned(),
        "secrets".to_owned(),
    ] {
        asker.ask("GET", &format!("/api/v1/{path}"), "").await;
    }
    let path = format!("/api/v1/runs/{run}/events?follow=false");
    let mut lines = Lines::of(asker.cluster.api.port(0), &path, &asker.headers).await;
    while let Some(line) = lines.next().await {
        asker.answers.push((path.clone(), line));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_nowhere() {
    let outside = folder();
    let provider = Provider::start(Script::of([Rule::always(Answer::text("yes"))])).await.unwrap();
    let calls = Counter::start(Duration::from_millis(5)).await;
    let asked = services(outside.path(), &provider, calls.port);
    let terms = Terms {
        services: Some(asked),
        settings: settings(),
        password: PASSWORD,
        ..Terms::default()
    };
    let mut cluster = Cluster::make(1, 1, terms).await;
    let headers = format!("authorization: Bearer {ADMIN}\r\n");
    let mut asker = Asker { cluster: &cluster, headers, answers: Vec::new() };
    let body = json!({"name": "planted", "role": "operator"}).to_string();
    let made = cluster.api.ask("POST", "/api/v1/keys", &asker.headers, &body).await;
    let key = made.body["key"].as_str().unwrap().to_owned();
    let own = format!("authorization: Bearer {key}\r\n");
    asker.headers.clone_from(&own);
    let hook = json!({"url": format!("http://127.0.0.1:{}/hook", calls.port), "secret": HOOK});
    asker.ask("POST", "/api/v1/webhooks/endpoints", &hook.to_string()).await;
    let pushed = asker.ask("POST", "/api/v1/workflows", &document(calls.port)).await;
    let workflow = pushed["id"].as_str().unwrap().to_owned();
    let body = json!({"workflow": workflow, "inputs": {"q": MARKER}}).to_string();
    let run = asker.ask("POST", "/api/v1/runs", &body).await["id"].as_str().unwrap().to_owned();
    let end = asker.ended(&run).await;
    assert_eq!(end["status"], "failed", "nobody listens where the last node calls: {end}");
    until("the webhook", async || calls.seen().contains_key("/hook")).await;
    assert!(calls.seen().keys().any(|path| path.ends_with("/good")), "{:?}", calls.seen());
    asker.headers = format!("authorization: Bearer {ADMIN}\r\n");
    ask_for_all(&mut asker, &run, &workflow).await;
    let answers = std::mem::take(&mut asker.answers);

    let mut search = Search::of(&[
        ("the variable", VARIABLE),
        ("the token", TOKEN),
        ("the credential", CREDENTIAL),
        ("the secret of the endpoint", HOOK),
        ("the common secret of webhooks", HOOKS),
        ("the key of the deployment", ADMIN),
        ("the pepper", PEPPER),
        ("the password", PASSWORD),
        ("the key that seals", SEALING),
        ("the secret of a key", &key[16..]),
    ]);
    for (path, text) in &answers {
        search.look(path, text.as_bytes());
    }
    search.found_marker("the API's answers");
    search.look("a dump of the database", cluster.postgres.dump().as_bytes());
    search.found_marker("a dump of the database");
    for program in ["flowmill-scheduler", "flowmill-worker"] {
        let printed = ours(program).envs(settings()).arg("--print-config").output().unwrap();
        search.look("the printed settings", &[printed.stdout, printed.stderr].concat());
    }

    // tasks lie in the broker while their worker stands still
    cluster.workers[0].process.freeze();
    let taken = cluster.api.ask("POST", "/api/v1/runs", &own, &body).await;
    let second = taken.body["id"].as_str().unwrap().to_owned();
    until("a task in the broker", async || cluster.postgres.ask(OUT).contains(&second)).await;
    cluster.redis.dump().await;
    assert!(cluster.folder().join("dump.rdb").exists(), "Redis wrote nothing");
    // whatever a server has not written yet it writes within a second
    tokio::time::sleep(Duration::from_secs(2)).await;
    search.look_below(cluster.folder());
    search.found_marker("the files of servers and programs");
    cluster.workers[0].process.thaw();
    assert!(search.found.is_empty(), "{}", search.found.join("\n"));
}

#[test]
fn a_search_finds_what_was_encoded() {
    let mut search = Search::of(&[("it", VARIABLE)]);
    let around = [b"user:".as_slice(), VARIABLE.as_bytes(), b":x"].concat();
    let encoded = STANDARD_NO_PAD.encode(&around);
    let json = Value::from(VARIABLE).to_string();
    let hex = VARIABLE.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    for text in [encoded.as_str(), &json, &hex, "%70 planted%2Fvariable%2B4711%20%28%C3%BCber%29"] {
        let before = search.found.len();
        search.look("x", text.as_bytes());
        assert_eq!(search.found.len(), before + 1, "{text}");
    }
    search.look("y", b"nothing of it");
    assert_eq!(search.found.len(), 4);
}
