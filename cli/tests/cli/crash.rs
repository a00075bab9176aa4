//! A run whose process is killed at any moment goes on: nothing that was answered is lost, and
//! nothing that had ended happens again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::{command, end, file, flowmill, start, workflow};

/// How often the run is killed.
const KILLS: usize = 20;

/// How long a step may take before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that counts how often each path was asked for, and answers with the path.
#[derive(Clone)]
pub(crate) struct Counter {
    pub(crate) port: u16,
    state: Arc<(Mutex<Counts>, Condvar)>,
}

#[derive(Default)]
pub(crate) struct Counts {
    by_path: BTreeMap<usize, usize>,
    pub(crate) total: usize,
    /// Connections that are not closed.
    open: usize,
}

impl Counter {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let counter = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let server = counter.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                server.change(|counts| counts.open += 1);
                let server = server.clone();
                std::thread::spawn(move || {
                    server.answer(stream);
                    server.change(|counts| counts.open -= 1);
                });
            }
        });
        counter
    }

    /// Answers one request. A client that died on the way has nothing to say.
    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(&stream);
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        if path == "mark" {
            self.wait(|counts| counts.open == 1);
        }
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        if let Ok(item) = path.parse::<usize>() {
            self.change(|counts| {
                *counts.by_path.entry(item).or_default() += 1;
                counts.total += 1;
            });
        }
        let length = path.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
        let _ = write!(&stream, "{head}Content-Length: {length}\r\n\r\n{path}");
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }

    pub(crate) fn wait(&self, until: impl Fn(&Counts) -> bool) {
        let guard = self.state.0.lock().unwrap();
        let (_guard, waited) =
            self.state.1.wait_timeout_while(guard, PATIENCE, |counts| !until(counts)).unwrap();
        assert!(!waited.timed_out(), "the server waited in vain");
    }

    /// What was counted, once everything that clients sent before has been.
    pub(crate) fn counts(&self) -> BTreeMap<usize, usize> {
        let mut mark = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        mark.write_all(b"GET /mark HTTP/1.1\r\n\r\n").unwrap();
        mark.read_to_end(&mut Vec::new()).unwrap();
        self.state.0.lock().unwrap().by_path.clone()
    }
}

/// Numbers that differ from one test to the next, and can be had again from the seed.
struct Random(u64);

impl Random {
    /// A number in `1..=most`.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + usize::try_from(self.0 % most.max(1) as u64).unwrap()
    }
}

/// An iteration over `order.items`, ten at a time, that asks a counter for each.
pub(crate) fn document(port: u16) -> String {
    let order =
        r#"{"variable": "order", "label": "Order", "type": "json_object", "required": true}"#;
    let iteration = "{id: it, data: {type: iteration, title: Each, start_node_id: b, \
        iterator_selector: [s, order, items], output_selector: [h, body], output_type: 'array[string]', \
        is_parallel: true, parallel_nums: 10, error_handle_mode: terminated}}";
    let begin = "{id: b, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}";
    let call = format!(
        "{{id: h, parentId: it, data: {{type: http-request, title: Call, isInIteration: true, \
         iteration_id: it, method: get, url: 'http://127.0.0.1:{port}/{{{{#it.item#}}}}', \
         authorization: {{type: no-auth, config: null}}, headers: '', params: '', \
         body: {{type: none, data: []}}}}}}"
    );
    workflow(
        &[&start(order), iteration, begin, &call, &end("all", "it, output")],
        &["{source: s, target: it}", "{source: b, target: h}", "{source: it, target: e}"],
    )
}

/// What lets nodes reach this machine, where that is asked for.
fn reach() -> Vec<&'static str> {
    let flag = "--allow-private-network";
    if flowmill(&["run", "--help"]).out.contains(flag) { vec![flag] } else { Vec::new() }
}

/// A process under way, and what it says.
struct Going {
    child: Child,
    id: Option<String>,
}

impl Going {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        if arguments[0] == "run" {
            said.read_line(&mut first).unwrap();
        }
        // it must not be held by what nobody reads
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let id = first.split(' ').nth(1).map(str::to_owned);
        Self { child, id }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// The items whose call is known to have ended.
fn done(id: &str, folder: &str) -> BTreeSet<usize> {
    let ran = flowmill(&["runs", "events", id, "--store", folder]).expect(0);
    let is_call = |event: &serde_json::Value| {
        event["event"] == "node_finished" && event["data"]["node_id"] == "h"
    };
    let index = |event: &serde_json::Value| event["data"]["iteration_index"].as_u64().unwrap();
    let calls = ran.lines().iter().filter(|event| is_call(event)).map(index).collect::<Vec<_>>();
    calls.into_iter().map(|index| usize::try_from(index).unwrap()).collect()
}

/// `FLOWMILL_CRASH_ITEMS=1000` makes it as long as it takes.
#[test]
fn a_run_that_is_killed_at_any_moment_goes_on() {
    let items = std::env::var("FLOWMILL_CRASH_ITEMS").map_or(200, |text| text.parse().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = u64::try_from(now.as_nanos()).unwrap() | 1;
    println!("seed {seed}");
    let mut random = Random(seed);

    let counter = Counter::start();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("runs").to_str().unwrap().to_owned();
    let document = file("crash.yml", &document(counter.port));
    let list: Vec<usize> = (0..items).collect();
    let inputs = file("crash.json", &serde_json::json!({"order": {"items": list}}).to_string());
    let reach = reach();
    let begin = [&["run", &document, "--inputs", &inputs, "--store", &folder], &*reach].concat();

    let mut going = Going::start(&begin);
    let id = going.id.clone().unwrap();
    let resume = [&["resume", &*id, "--store", &folder], &*reach].concat();
    let mut before = BTreeMap::new();
    let mut known = BTreeSet::new();
    let mut repeated = 0;
    for kill in 0..KILLS {
        // as many calls further, or so much later: whatever the process is at then
        let calls = random.up_to(2 * (items - known.len()) / (KILLS - kill));
        let later = Duration::from_millis(random.up_to(200) as u64);
        let by_time = kill > 0 && random.up_to(2) == 1;
        let target = before.values().sum::<usize>() + calls;
        let since = Instant::now();
        while !going.has_ended() && (!by_time || since.elapsed() < later) {
            let total = counter.state.0.lock().unwrap().total;
            if !by_time && total >= target {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "nothing happens");
            std::thread::sleep(Duration::from_micros(200));
        }
        going.kill();
        let counts = counter.counts();
        for item in 0..items {
            let count = |counts: &BTreeMap<usize, usize>| counts.get(&item).copied().unwrap_or(0);
            let more = count(&counts) - count(&before);
            assert!(
                more <= usize::from(!known.contains(&item)),
                "kill {kill}, item {item}: {more}"
            );
            repeated += usize::from(more > 0 && count(&before) > 0);
        }
        known = done(&id, &folder);
        before = counts;
        going = Going::start(&resume);
    }
    let last = going.child.wait().unwrap().code();
    let ran = flowmill(&[&*resume, &["--output", "json"]].concat()).expect(0);
    let wanted: Vec<String> = list.iter().map(ToString::to_string).collect();
    assert_eq!(ran.json()["outputs"]["all"], serde_json::json!(wanted), "{ran}");
    assert_eq!(last, Some(0));
    let counts = counter.counts();
    assert!((0..items).all(|item| counts[&item] >= 1));
    println!(
        "{} calls for {items} items, {repeated} of them again",
        counts.values().sum::<usize>()
    );
}
