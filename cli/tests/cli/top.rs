//! `flowmill top`, over a server that has run something; and what such a server counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::serve::{Serving, folder};

/// What a server counts, as text.
fn metrics(serving: &Serving) -> String {
    let at = serving.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: {at}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    answer
}

#[test]
fn what_a_server_did_is_counted_and_shown() {
    let (_parent, folder) = folder();
    let serving = Serving::start(&folder, &["--slots", "code=3"]);
    let hello = example("hello.yml");
    for name in ["Ada", "Bob"] {
        let input = format!("name={name}");
        serving.ask(&["submit", &hello, "--input", &input, "--wait"]).expect(0);
    }
    let code = "{id: c, data: {type: code, title: C, code_language: python3, variables: [], \
        code: \"def main():\\n    return {'n': 7}\", outputs: {n: {type: number, children: null}}}}";
    let edges = ["{source: s, target: c}", "{source: c, target: e}"];
    let document = workflow(&[&start(""), code, &end("n", "c, n")], &edges);
    let document = file("top-code.yml", &document);
    serving.ask(&["submit", &document, "--wait"]).expect(0);
    let text = metrics(&serving);
    for line in [
        "flowmill_runs_started_total 3",
        "flowmill_runs_ended_total{status=\"succeeded\"} 3",
        "flowmill_runs_ended_total{status=\"failed\"} 0",
        "flowmill_nodes_ended_total{outcome=\"succeeded\",type=\"start\"} 3",
        "flowmill_nodes_ended_total{outcome=\"succeeded\",type=\"code\"} 1",
        "flowmill_submissions_total{entry=\"http\",outcome=\"accepted\"} 3",
        "flowmill_sandbox_runs_total{language=\"python\",outcome=\"ended\"} 1",
        "flowmill_sandbox_processes{language=\"python\"} 0",
        "flowmill_worker_slots{class=\"code\"} 3",
        "flowmill_shards_owned 1",
        "flowmill_runs_held 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for family in families.map(|line| line.split(' ').next().unwrap()) {
        let row = page.lines().find(|row| row.starts_with(&format!("| `{family}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md lacks {family}"));
        assert!(row.contains("serve |"), "{row}");
    }

    let shown = serving.ask(&["top", "--once"]).expect(0);
    assert!(shown.out.contains(": 1 of 1 answer\n"), "{shown}");
    assert!(shown.out.contains("ended     3 succeeded, 0 partial-succeeded, 0 failed"), "{shown}");
    let figures = serving.ask(&["top", "--once", "--json"]).expect(0).json();
    assert_eq!(figures["runs_ended"]["succeeded"], 3, "{figures}");
    assert_eq!(figures["classes"]["code"]["slots"], 3, "{figures}");
    assert_eq!(figures["odd"]["dead_letters"], 0, "{figures}");
    let nobody = "http://127.0.0.1:1";
    let both = serving.ask(&["top", "--once", "--json", &serving.base, nobody]).expect(0).json();
    assert_eq!((&both["answered"], &both["silent"][0]), (&1.into(), &nobody.into()), "{both}");
    flowmill(&["top", "--once", nobody]).expect(2).says("does not answer");
    serving.stop();

    let serving = Serving::start(&folder, &["--no-metrics"]);
    serving.ask(&["top", "--once"]).expect(2).says("404");
    serving.stop();
}
