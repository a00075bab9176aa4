//! `flowmill test`: test files, what differs, exit codes, `JUnit`.

use super::*;

/// Asks a model for each number below three in a list, and gives their sum as text.
fn document_file() -> String {
    let edges = ["{source: s, target: m}", "{source: m, target: e}"];
    let start = start(r#"{"variable": "n", "label": "N", "type": "number", "required": true}"#);
    file("tested.yml", &workflow(&[&start, LLM, &end("text", "m, text")], &edges))
}

fn tests(name: &str, tests: &str) -> String {
    document_file();
    file(name, &format!("workflow: tested.yml\ntests:\n{tests}"))
}

const ANSWERS: &str = "mocks: {Ask: {outputs: {text: 'four, or so', list: [1, {a: 2}], n: 0.3}}}";

#[test]
fn tests_that_pass_say_so() {
    let file = tests(
        "passes.test.yml",
        &format!(
            "
  - name: an answer
    inputs: {{n: 4}}
    {ANSWERS}
    expect:
      exact_outputs: {{text: {{$contains: four, $not: five, $length: 11}}}}
      visited: [s, Ask, End]
      exceptions_count: 0
      nodes:
        m:
          status: succeeded
          runs: 1
          outputs:
            list: [1, {{a: {{$type: integer}}}}]
            n: {{$approx: 0.30001, $within: 0.001}}
  - name: no answer
    inputs: {{n: 4}}
    mocks: {{type:llm: {{error: busy today}}}}
    expect: {{status: failed, error: busy, visited: [m], not_visited: [e]}}
  - name: no number
    inputs: {{n: x}}
    {ANSWERS}
    expect: {{status: rejected, error: {{$matches: 'n in .* valid number'}}}}
"
        ),
    );
    let ran = flowmill(&["test", &file]).expect(0);
    assert!(ran.out.contains("passes.test.yml: an answer ("), "{ran}");
    assert!(ran.out.contains("3 passed, 0 failed in "), "{ran}");
    let ran = flowmill(&["test", &file, "--filter", "no a", "--jobs", "1"]).expect(0);
    assert!(ran.out.contains("1 passed, 0 failed, 2 left out in "), "{ran}");
    flowmill(&["test", &file, "--filter", "zzz"]).expect(2).says("no test has a name");
}

#[test]
fn what_differs_is_shown_with_what_was_expected() {
    let file = tests(
        "fails.test.yml",
        &format!(
            "
  - name: <a & b>
    inputs: {{n: 4}}
    {ANSWERS}
    expect:
      status: failed
      exact_outputs: {{other: 1}}
      not_visited: [Ask]
      nodes: {{m: {{runs: 2, outputs: {{list: [1, {{a: 3, b: 4}}], n: {{$has: {{x: 1}}}}}}}}}}
  - name: good
    inputs: {{n: 4}}
    {ANSWERS}
"
        ),
    );
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("junit.xml");
    let ran = flowmill(&["test", &file, "--junit", report.to_str().unwrap()]).expect(1);
    for text in [
        "fails.test.yml:4: <a & b> (",
        "status\n        expected  failed\n        found     succeeded",
        "outputs.other\n        expected  1\n        found     nothing: it is missing",
        "outputs.text\n        expected  nothing\n        found     \"four, or so\"",
        "not_visited\n        expected  Ask does not run\n        found     it ran",
        "nodes.m.runs\n        expected  2\n        found     1",
        "nodes.m.outputs.list[1].a\n        expected  3\n        found     2",
        "nodes.m.outputs.list[1].b\n        expected  4\n        found     nothing: it is missing",
        "nodes.m.outputs.n\n        expected  an object with x\n        found     0.3",
        "1 passed, 1 failed",
    ] {
        assert!(ran.out.contains(text), "{text:?} is missing in {ran}");
    }
    let xml = std::fs::read_to_string(report).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{xml}");
    assert!(xml.contains("<testcase name=\"&lt;a &amp; b&gt;\""), "{xml}");
    assert!(xml.contains("found     &quot;four, or so&quot;"), "{xml}");
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_and_nothing_runs() {
    let cases = [
        ("  - {name: a, expects: {}}", ":4: error: a test has no key \"expects\"; it has name"),
        ("  - {inputs: {}}", ":4: error: a test needs a name"),
        ("  - {name: a}\n  - {name: a}", ":5: error: there is a test \"a\" already"),
        ("  - name: a\n    expect: {status: done}", ":5: error: status is one of succeeded"),
        (
            "  - name: a\n    expect: {visited: [Zoo]}",
            ":5: error: the workflow has no node \"Zoo\"",
        ),
        (
            "  - name: a\n    mocks: {zoo: {outputs: {}}}",
            ":5: error: no node is answered by the mock",
        ),
        ("  - name: a\n    mocks: {m: 5}", ":5: error: mock m: must be an object or a list"),
        ("  - name: a\n    expect: {outputs: {x: {$is: 1}}}", ":5: error: unknown matcher \"$is\""),
        ("  - name: a\n    expect: {outputs: {x: {$matches: '('}}}", ":5: error: $matches: "),
        ("  - name: a\n    expect: {outputs: {x: {$type: text}}}", ":5: error: $type is one of"),
        ("  - name: a\n    timeout: soon", ":5: error: timeout: write it as"),
        ("  - name: a\n    name: b", ":5: error: "),
        ("  - name: [", ": error: "),
        ("", ":2: error: tests must be a list"),
    ];
    for (text, wanted) in cases {
        let text = if text.is_empty() { String::new() } else { format!("\n{text}\n") };
        let file = tests("wrong.test.yml", &text);
        let ran = flowmill(&["test", &file]).expect(2).says(wanted);
        assert_eq!(ran.out, "");
    }
    let file = file("no-workflow.test.yml", "workflow: none.yml\ntests: [{name: a}]\n");
    flowmill(&["test", &file]).expect(2).says("no-workflow.test.yml:1: error: failed to read");
    flowmill(&["test", "/does/not/exist.yml"]).expect(2).says("failed to read");
    flowmill(&["test"]).expect(2).says("Usage");
}

#[test]
fn a_test_that_takes_too_long_fails() {
    let file = tests(
        "slow.test.yml",
        "
  - name: slow
    inputs: {n: 1}
    timeout: 50ms
    mocks: {m: {delay_ms: 60000, outputs: {}}}
    expect: {status: stopped, error: deadline}
",
    );
    flowmill(&["test", &file]).expect(0);
}

#[test]
fn the_examples_pass_their_tests() {
    let folder = repository().join("examples/tests");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<String> = files.map(|path| path.to_str().unwrap().to_owned()).collect();
    let mut arguments = vec!["test"];
    arguments.extend(files.iter().map(String::as_str));
    flowmill(&arguments).expect(0);
}
