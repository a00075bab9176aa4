//! `flowmill serve`: what a cluster does, in one process over a folder that outlives it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use flowmill_scripted_provider::{Answer as ScriptedAnswer, Protocol, Provider, Rule, Script};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::crash::{self, Counter};

/// Waits for a server, a run or a signal: only a hang takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process that serves a folder.
pub(crate) struct Serving {
    child: Child,
    pub(crate) base: String,
    /// What it said so far.
    said: Arc<Mutex<String>>,
    rest: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start(folder: &str, more: &[&str]) -> Self {
        let serve =
            ["serve", "--data", folder, "--listen", "127.0.0.1:0", "--allow-private-network"];
        Self::of(&mut command(&[&serve, more].concat()), folder)
    }

    /// The same where no file may have more bytes than that: a write beyond it fails as on a full
    /// disk.
    fn with_room(folder: &str, bytes: u32) -> Self {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--fsize={bytes}:"));
        limited.args([
            "sh",
            "-c",
            "trap '' XFSZ; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_flowmill"),
        ]);
        limited.args(["serve", "--data", folder, "--listen", "127.0.0.1:0"]);
        limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(&mut limited, folder)
    }

    pub(crate) fn of(command: &mut Command, folder: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (mut first, mut before) = (String::new(), String::new());
        // where much is logged it says more before
        while !first.starts_with("serving ") {
            before.push_str(&first);
            first.clear();
            assert!(said.read_line(&mut first).unwrap() > 0, "it says {before:?}");
        }
        let at = first.strip_prefix("serving ").and_then(|rest| rest.split(',').next());
        let base = at.unwrap_or_else(|| panic!("it says {first:?}")).to_owned();
        assert!(first.contains(&format!("kept in {folder}")), "{first}");
        // it must not be held by what nobody reads
        let heard = Arc::new(Mutex::new(before));
        let words = heard.clone();
        let rest = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let mut words = words.lock().unwrap();
                words.push_str(&line);
                words.push('\n');
            }
        });
        Self { child, base, said: heard, rest: Some(rest) }
    }

    /// A verb that asks it.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = command(arguments);
        command.env("FLOWMILL_SERVER", &self.base).env_remove("FLOWMILL_API_KEY");
        Ran::of(command.output().unwrap())
    }

    /// Submits a document, and answers the run's id.
    pub(crate) fn submit(&self, arguments: &[&str]) -> String {
        let submit = [&["submit", "--json"], arguments].concat();
        self.ask(&submit).expect(0).json()["id"].as_str().unwrap().to_owned()
    }

    /// A run as it is now.
    fn run(&self, id: &str) -> Json {
        self.ask(&["runs", "show", id, "--json"]).expect(0).json()
    }

    /// A run when it is like this.
    pub(crate) fn run_once(&self, id: &str, is: impl Fn(&Json) -> bool) -> Json {
        let since = std::time::Instant::now();
        loop {
            let run = self.run(id);
            if is(&run) {
                return run;
            }
            assert!(since.elapsed() < PATIENCE, "{run}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(&self, id: &str) -> Json {
        self.run_once(id, |run| !run["finished_at"].is_null())
    }

    /// Waits until it has said this.
    fn says_once(&self, what: &str) {
        let since = std::time::Instant::now();
        while !self.said.lock().unwrap().contains(what) {
            assert!(since.elapsed() < PATIENCE, "{what:?} is not in {}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Told to stop by then: its exit code and what it said.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        self.rest.take().unwrap().join().unwrap();
        let said = self.said.lock().unwrap().clone();
        (code, said)
    }

    /// Stops in order.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.signal(Signal::SIGTERM);
        let (code, said) = self.ended();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("stopping") && !said.contains("ERROR"), "{said}");
    }

    /// Dies at once.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that tells of each request and holds it until it is given an answer.
struct Slow {
    port: u16,
    asked: Receiver<TcpStream>,
}

impl Slow {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 2 {
                    line.clear();
                }
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { port, asked }
    }

    /// The next request.
    fn next(&self) -> TcpStream {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// How many requests came that nobody looked at.
    fn others(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn answer(mut stream: &TcpStream, status: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n");
    // a client that is gone has nothing to say
    let _ = write!(stream, "{head}Content-Length: 2\r\n\r\nok");
}

/// start -> http-request -> end, the request tried again after a second.
fn calling(port: u16) -> String {
    let call = format!(
        "{{id: h, data: {{type: http-request, title: Call, method: get, \
         url: 'http://127.0.0.1:{port}/', authorization: {{type: no-auth, config: null}}, \
         headers: '', params: '', body: {{type: none, data: []}}, \
         retry_config: {{retry_enabled: true, max_retries: 1, retry_interval: 1000}}}}}}"
    );
    let edges = ["{source: s, target: h}", "{source: h, target: e}"];
    workflow(&[&start(""), &call, &end("body", "h, body")], &edges)
}

pub(crate) fn folder() -> (tempfile::TempDir, String) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data").to_str().unwrap().to_owned();
    (parent, folder)
}

#[test]
fn what_is_pushed_and_submitted_is_there_the_next_time() {
    let (_parent, folder) = folder();
    let serving = Serving::start(&folder, &[]);
    let hello = example("hello.yml");
    let ran = serving.ask(&["workflows", "push", &hello]).expect(0);
    assert!(ran.out.contains("Hello  (new"), "{ran}");
    let ran = serving.ask(&["submit", &hello, "--input", "name=Ada", "--wait"]).expect(0);
    assert!(ran.out.starts_with("greeting: Hello, Ada!"), "{ran}");
    serving.stop();

    let serving = Serving::start(&folder, &[]);
    let listed = serving.ask(&["runs", "list", "--json", "--status", "succeeded"]).expect(0);
    assert!(listed.lines().iter().any(|run| run["workflow"]["name"] == "Hello"), "{listed}");
    let ran = serving.ask(&["submit", "Hello", "--input", "name=Bob", "--wait"]).expect(0);
    assert!(ran.out.starts_with("greeting: Hello, Bob!"), "{ran}");
    let mocks = file("serve-mocks.json", "{}");
    serving.ask(&["submit", "Hello", "--mock", &mocks]).expect(2).says("mocks_refused");
    serving.stop();
}

#[test]
fn a_folder_is_served_once_and_strangers_need_a_key() {
    let (_parent, folder) = folder();
    let key = "0123456789abcdef";
    let serving = Serving::start(&folder, &["--key", key]);
    let second = flowmill(&["serve", "--data", &folder, "--listen", "127.0.0.1:0"]).expect(2);
    second.says(&format!("in use by process {}", serving.child.id()));
    serving.ask(&["runs", "list"]).expect(2).says("unauthorized");
    serving.ask(&["runs", "list", "--api-key", key]).expect(0);
    let at = serving.base.trim_start_matches("http://");
    let taken = flowmill(&["serve", "--data", &format!("{folder}2"), "--listen", at]).expect(2);
    taken.says(&format!("failed to listen on {at}")).says("--listen");
    for (arguments, told) in [
        (["--listen", "0.0.0.0:0"], "callers must have a key"),
        (["--key", "short"], "16 characters at least"),
        (["--slots", "gpu=1"], "light, code, http and llm"),
        (["--slots", "llm=0"], "1 to"),
        (["--log", "a=b=c"], "--log"),
    ] {
        flowmill(&[&["serve", "--data", &folder][..], &arguments].concat()).expect(2).says(told);
    }
    flowmill(&["runs", "list", "--store", &folder]).expect(2).says("flowmill serve");
    serving.stop();
}

#[test]
fn of_a_run_that_is_killed_no_more_is_paid_twice_than_was_under_way() {
    const ITEMS: usize = 120;
    const KILLS: usize = 4;
    const SLOTS: usize = 4;
    let counter = Counter::start();
    let (_parent, folder) = folder();
    let document = file("serve-crash.yml", &crash::document(counter.port));
    let list: Vec<usize> = (0..ITEMS).collect();
    let inputs = serde_json::json!({"order": {"items": list}}).to_string();
    let inputs = file("serve-crash.json", &inputs);
    let slots = format!("http={SLOTS}");
    let again = || Serving::start(&folder, &["--slots", &slots]);
    let mut serving = again();
    let id = serving.submit(&[&document, "--inputs", &inputs]);
    let mut total = 0;
    for kill in 1..=KILLS {
        counter.wait(|counts| counts.total >= total + ITEMS / (KILLS + 1));
        serving.kill();
        total = counter.counts().values().sum();
        assert!(total < ITEMS, "kill {kill} came too late");
        serving = again();
    }
    let run = serving.end(&id);
    let wanted: Vec<String> = list.iter().map(ToString::to_string).collect();
    assert_eq!(run["outputs"]["all"], serde_json::json!(wanted), "{run}");
    serving.stop();
    let counts = counter.counts();
    assert!((0..ITEMS).all(|item| counts[&item] >= 1));
    let repeated = counts.values().sum::<usize>() - ITEMS;
    assert!(repeated <= KILLS * SLOTS, "{repeated} calls were made again: {counts:?}");
}

#[test]
fn told_to_stop_it_lets_a_call_end_that_is_under_way() {
    let slow = Slow::start();
    let (_parent, folder) = folder();
    let document = file("serve-drain.yml", &calling(slow.port));
    let serving = Serving::start(&folder, &[]);
    let id = serving.submit(&[&document]);
    let call = slow.next();
    serving.signal(Signal::SIGTERM);
    // it takes nothing more, and waits for the answer
    let is_closed = || TcpStream::connect(serving.base.trim_start_matches("http://")).is_err();
    while !is_closed() {
        std::thread::sleep(Duration::from_millis(10));
    }
    answer(&call, "200 OK");
    let (code, said) = serving.ended();
    assert_eq!(code, Some(0), "{said}");
    let serving = Serving::start(&folder, &[]);
    assert_eq!(serving.end(&id)["outputs"]["body"], "ok");
    assert_eq!(slow.others(), 0, "the call was made again");
    serving.stop();
}

#[test]
fn told_twice_to_stop_it_hands_back_and_the_call_is_made_again() {
    let slow = Slow::start();
    let (_parent, folder) = folder();
    let document = file("serve-hurry.yml", &calling(slow.port));
    let serving = Serving::start(&folder, &["--drain", "1h"]);
    let id = serving.submit(&[&document]);
    let _never_answered = slow.next();
    serving.signal(Signal::SIGINT);
    // signals that come at the same time would count as one
    std::thread::sleep(Duration::from_millis(300));
    serving.signal(Signal::SIGINT);
    let (code, said) = serving.ended();
    assert_eq!(code, Some(0), "{said}");
    let serving = Serving::start(&folder, &[]);
    answer(&slow.next(), "200 OK");
    let run = serving.end(&id);
    assert_eq!((&run["status"], &run["exceptions_count"]), (&"succeeded".into(), &0.into()));
    serving.stop();
}

#[test]
fn a_wait_outlives_the_process() {
    let slow = Slow::start();
    let (_parent, folder) = folder();
    let document = file("serve-retry.yml", &calling(slow.port));
    let approval = example("approval.yml");
    let serving = Serving::start(&folder, &[]);
    let retried = serving.submit(&[&document]);
    answer(&slow.next(), "500 Internal Server Error");
    let paused = serving.submit(&[&approval, "--input", "item=a desk", "--input", "amount=900"]);
    serving.run_once(&paused, |run| run["status"] == "paused");
    // the first try has its answer, the second has not come
    serving.run_once(&retried, |run| run["in_flight"] == 0);
    serving.kill();

    let serving = Serving::start(&folder, &[]);
    answer(&slow.next(), "200 OK");
    let run = serving.end(&retried);
    assert_eq!((&run["outputs"]["body"], &run["exceptions_count"]), (&"ok".into(), &1.into()));
    assert_eq!(serving.run(&paused)["status"], "paused");
    let why = serving.ask(&["runs", "explain", &paused, "--json"]).expect(0).json();
    assert_eq!((&why["gate"], &why["code"]), (&"human".into(), &"waits_for_people".into()));
    assert_eq!(why["nodes"][0]["code"], "form_open", "{why}");
    assert!(why["nodes"][0]["until"].is_string(), "{why}");
    serving.ask(&["runs", "cancel", &paused]).expect(0);
    assert_eq!(serving.end(&paused)["status"], "stopped");
    serving.stop();
}

#[test]
fn it_has_no_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(folder.path().to_str().unwrap(), &[]);
    assert_eq!(serving.ask(&["dlq", "list", "--state", "all"]).expect(0).out, "");
    for verb in ["show", "replay", "drop"] {
        serving.ask(&["dlq", verb, "1"]).expect(2).says("letter_not_found");
    }
    serving.stop();
}

/// start -> a template that says it a million times -> end.
fn much() -> String {
    let template = "{id: t, data: {type: template-transform, title: Say, template: '{{ who * 1000000 }}', \
        variables: [{variable: who, value_selector: [s, who]}]}}";
    let who = "{variable: who, label: Who, type: text-input}";
    let edges = ["{source: s, target: t}", "{source: t, target: e}"];
    workflow(&[&start(who), template, &end("says", "t, output")], &edges)
}

#[test]
fn without_room_for_a_large_value_its_run_waits_and_goes_on() {
    let (parent, folder) = folder();
    let serving = Serving::with_room(&folder, 3_000_000);
    let document = parent.path().join("much.yml");
    std::fs::write(&document, much()).unwrap();
    let document = document.to_str().unwrap();
    let small = serving.submit(&[document, "--input", "who="]);
    assert_eq!(serving.end(&small)["status"], "succeeded");

    let large = serving.submit(&[document, "--input", "who=abcde"]);
    serving.says_once("there is no room for payloads");
    assert!(serving.run(&large)["finished_at"].is_null());
    let file = parent.path().join("large.txt");
    std::fs::write(&file, "x".repeat(4_000_000)).unwrap();
    let given = format!("sys.files={}", file.display());
    let refused = serving.ask(&["submit", document, "--file", &given]).expect(2);
    assert!(refused.err.contains("there is no room left"), "{}", refused.err);
    let drafts = std::fs::read_dir(Path::new(&folder).join("payloads/run").join(&large));
    let left = drafts.into_iter().flatten().flatten();
    let left = left.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap());
    assert_eq!(left.count(), 0, "nothing half-written stays");

    let raised = Command::new("prlimit")
        .args(["--pid", &serving.child.id().to_string(), "--fsize=unlimited:"])
        .status();
    assert!(raised.unwrap().success());
    assert_eq!(serving.end(&large)["status"], "succeeded");
    let outputs = parent.path().join("outputs.json");
    let outputs = outputs.to_str().unwrap();
    serving.ask(&["runs", "show", &large, "--outputs", outputs]).expect(0);
    let outputs: Json = serde_json::from_str(&std::fs::read_to_string(outputs).unwrap()).unwrap();
    assert!(outputs["says"] == "abcde".repeat(1_000_000));
    serving.ask(&["submit", document, "--file", &given]).expect(0);
    serving.kill();
}

#[test]
fn a_folder_keeps_tenants_and_their_keys() {
    let (_parent, folder) = folder();
    let admin = "0123456789abcdef";
    let serving = Serving::start(&folder, &["--key", admin, "--pepper", "hush"]);
    let as_admin = |serving: &Serving, arguments: &[&str]| {
        serving.ask(&[arguments, &["--api-key", admin]].concat())
    };
    as_admin(&serving, &["tenants", "create", "acme"]).expect(0);
    let create = ["keys", "create", "--tenant", "acme", "--name", "mine", "--scope", "write"];
    let key = as_admin(&serving, &create).expect(0).out.trim().to_owned();
    let hello = example("hello.yml");
    let submit = ["submit", &hello, "--input", "name=Ada", "--wait", "--api-key", &key];
    serving.ask(&submit).expect(0);
    let runs = |serving: &Serving, more: &[&str]| {
        as_admin(serving, &[&["runs", "list"], more].concat()).expect(0).out.lines().count()
    };
    assert_eq!((runs(&serving, &[]), runs(&serving, &["--tenant", "acme"])), (0, 1));
    serving.stop();

    let serving = Serving::start(&folder, &["--key", admin, "--pepper", "hush"]);
    serving.ask(&["runs", "list", "--api-key", &key]).expect(0);
    let listed = as_admin(&serving, &["keys", "list"]).expect(0).out;
    assert!(listed.contains("  acme  operator  mine  used 2"), "{listed}");
    serving.stop();
    let serving = Serving::start(&folder, &["--key", admin, "--pepper", "other"]);
    let refused = serving.ask(&["runs", "list", "--api-key", &key]).expect(2);
    refused.says("not a key of this server");
    serving.stop();
}

/// start -> a tool that is the workflow Approval -> end.
fn asking_for_approval() -> String {
    let tool = "{id: t, data: {type: tool, title: T, provider_id: asks, provider_name: asks, \
                provider_type: workflow, tool_name: asks, tool_label: T, tool_configurations: {}, \
                tool_parameters: {item: {type: constant, value: a desk}, amount: {type: constant, \
                value: 900}}}}";
    let edges = ["{source: s, target: t}", "{source: t, target: e}"];
    workflow(&[&start(""), tool, &end("json", "t, json")], &edges)
}

#[test]
fn a_tool_that_is_a_workflow_may_wait_for_a_person() {
    let (_parent, folder) = folder();
    let services = "[[tools]]\nprovider = \"asks\"\nworkflow = \"Approval\"\n";
    let services = file("serve-approval.toml", services);
    let document = file("serve-asking.yml", &asking_for_approval());
    let serving = Serving::start(&folder, &["--services", &services]);
    serving.ask(&["workflows", "push", &example("approval.yml"), "--name", "Approval"]).expect(0);
    // a child begins though its parent has the only place
    serving.ask(&["limits", "set", "--runs", "1"]).expect(0);
    let run = serving.submit(&[&document]);
    let child = || {
        let children = serving.ask(&["runs", "list", "--parent", &run, "--json"]).expect(0).out;
        let child = children.lines().next()?;
        let child: Json = serde_json::from_str(child).unwrap();
        (child["status"] == "paused").then(|| child["id"].as_str().unwrap().to_owned())
    };
    let since = std::time::Instant::now();
    let child = loop {
        assert!(since.elapsed() < PATIENCE, "{}", serving.run(&run));
        if let Some(child) = child() {
            break child;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(
        (&serving.run(&run)["status"], &serving.run(&run)["in_flight"]),
        (&"running".into(), &0.into())
    );
    let why = serving.ask(&["runs", "explain", &run, "--json"]).expect(0).json();
    assert_eq!(why["nodes"][0]["code"], "child_run", "{why}");
    serving.kill();

    let serving = Serving::start(&folder, &["--services", &services]);
    let answer = ["runs", "answer", &child, "--action", "approve", "--input", "remark=go"];
    serving.ask(&answer).expect(0);
    let ended = serving.end(&run);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(serving.run(&child)["parent"], run.as_str());
    serving.stop();
}

/// start -> llm -> end.
fn asking_a_model() -> String {
    let ask = "{id: m, data: {type: llm, title: Ask, model: {provider: openai, name: gpt-4o, mode: \
               chat, completion_params: {max_tokens: 10}}, prompt_template: [{role: user, text: \
               'Say {{#s.word#}}'}], context: {enabled: false}}}";
    let word = r#"{"variable": "word", "label": "Word", "type": "text-input"}"#;
    let edges = ["{source: s, target: m}", "{source: m, target: e}"];
    workflow(&[&start(word), ask, &end("said", "m, text")], &edges)
}

#[test]
fn a_batch_spends_no_more_than_its_budget() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = ScriptedAnswer { usage: Some((60, 40)), ..ScriptedAnswer::text("hello") };
    let provider = runtime.block_on(Provider::start(Script::of([Rule::always(said)]))).unwrap();
    let (_parent, folder) = folder();
    let url = provider.url(Protocol::OpenAi);
    let services = format!(
        "[providers.openai]\nurl = \"{url}\"\nkey = \"k\"\n[budgets]\nbatch = {{ tokens = 250 }}\n"
    );
    let services = file("serve-budget.toml", &services);
    let document = file("serve-model.yml", &asking_a_model());
    let lines = file("serve-lines.jsonl", &"{\"inputs\": {\"word\": \"a\"}}\n".repeat(5));
    let serving = Serving::start(&folder, &["--services", &services]);
    let batch = ["submit", &document, "--batch", &lines, "--concurrency", "1", "--follow"];
    // some of its lines failed
    serving.ask(&batch).expect(3);
    // the third still fitted, by what it might have taken
    assert_eq!(provider.seen().calls.len(), 3);
    let failed = serving.ask(&["runs", "list", "--status", "failed", "--json"]).expect(0).out;
    assert_eq!(failed.lines().count(), 2, "{failed}");
    let failed: Json = serde_json::from_str(failed.lines().next().unwrap()).unwrap();
    let run = serving.run(failed["id"].as_str().unwrap());
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("the batch ") && error.contains("of 250 tokens"), "{error}");
    // whoever is of no batch has no such budget
    let alone = serving.submit(&[&document, "--input", "word=b"]);
    assert_eq!(serving.end(&alone)["status"], "succeeded");
    serving.stop();
}

#[test]
fn a_node_says_which_provider_its_call_waits_for() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let slow = ScriptedAnswer { delay_ms: 60_000, ..ScriptedAnswer::text("hello") };
    let provider = runtime.block_on(Provider::start(Script::of([Rule::always(slow)]))).unwrap();
    let (_parent, folder) = folder();
    let url = provider.url(Protocol::OpenAi);
    let services = format!("[providers.openai]\nurl = \"{url}\"\nkey = \"$PATH\"\nat_once = 1\n");
    let services = file("serve-one-at-once.toml", &services);
    let document = file("serve-slow-model.yml", &asking_a_model());
    let serving = Serving::start(&folder, &["--services", &services]);
    let runs =
        ["a", "b"].map(|word| serving.submit(&[&document, "--input", &format!("word={word}")]));
    let since = std::time::Instant::now();
    let told = |run: &String| {
        let why = serving.ask(&["explain", run, "--json"]).expect(0).json();
        let node = &why["nodes"][0];
        node["gate"] == "provider"
            && node["code"] == "calls_at_once"
            && node["provider"] == "openai"
    };
    // one of them calls; the worker says so with a beat, and the scheduler with its next note
    while runs.iter().filter(|run| told(run)).count() != 1 {
        assert!(since.elapsed() < PATIENCE, "{}", serving.ask(&["explain", &runs[1]]).out);
        std::thread::sleep(Duration::from_millis(200));
    }
    for run in &runs {
        serving.ask(&["runs", "cancel", run]).expect(0);
        assert_eq!(serving.end(run)["status"], "stopped");
    }
    serving.stop();
}
