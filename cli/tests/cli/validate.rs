//! `flowmill validate`.

use super::*;

const BROKEN: &str = "app: {mode: workflow, name: Broken}
kind: app
version: 0.3.0
workflow:
  graph:
    nodes:
    - id: s
      data: {type: start, title: Begin, variables: [{variable: n, label: n, type: numbr}]}
    - id: c
      data:
        type: if-else
        title: \"Is it\\nso\"
        cases:
        - case_id: big
          logical_operator: nor
          conditions:
          - {variable_selector: [s, n], comparison_operator: is bigger, value: '5'}
    - id: c
      data: {type: end, outputs: []}
    - id: t
      data: {type: itration}
    - id: e
      data: {type: end}
    edges:
    - {source: s, target: c}
    - {source: c, target: nowhere}
";

#[test]
fn all_problems_are_listed_with_their_lines() {
    let path = file("problems.yml", BROKEN);
    let ran = flowmill(&["validate", &path]).expect(1);
    assert_eq!(ran.err, "");
    for (line, text) in [
        (8, "error: node s \"Begin\": variables[0].type: must be one of "),
        (15, "error: node c \"Is it so\": cases[0].logical_operator: must be one of "),
        (17, "comparison_operator: must be one of "),
        (18, "error: node c: the id c is used twice, first on line 9"),
        (21, "error: node t: type: there is no node type \"itration\" (did you mean iteration?)"),
        (23, "error: node e: outputs: is missing"),
        (
            26,
            "error: the edge c -> nowhere has an unknown target, nowhere (remove the edge, or add the node)",
        ),
    ] {
        let start = format!("{path}:{line}: ");
        let found = ran.out.lines().any(|found| found.starts_with(&start) && found.contains(text));
        assert!(found, "{start}{text} is missing in {ran}");
    }
    assert_eq!(ran.out.lines().count(), 7, "{ran}");
}

#[test]
fn json_lists_the_same() {
    let good = file(
        "good.yml",
        &workflow(
            &[&start(NUMBER), LLM, &end("n", "s, n")],
            &["{source: s, target: m}", "{source: m, target: e}"],
        ),
    );
    let ran =
        flowmill(&["validate", "--format", "json", &good, &file("bad.yml", BROKEN)]).expect(1);
    let list = ran.json();
    assert_eq!(list[0]["ok"], true);
    assert_eq!(
        (&list[0]["mode"], &list[0]["nodes"], &list[0]["edges"]),
        (&"workflow".into(), &3.into(), &2.into())
    );
    let note = &list[0]["problems"][0];
    assert_eq!(
        (&note["severity"], &note["code"]),
        (&"warning".into(), &"needs_configuration".into())
    );
    assert!(note["message"].as_str().unwrap().contains("acme/ai/ai"));
    assert_eq!(list[1]["ok"], false);
    assert_eq!((&list[1]["errors"], &list[1]["warnings"]), (&7.into(), &0.into()));
    let first = &list[1]["problems"][0];
    assert_eq!(
        (&first["line"], &first["node"], &first["title"]),
        (&8.into(), &"s".into(), &"Begin".into())
    );
    assert_eq!(first["field"], "variables[0].type");
}

#[test]
fn good_files_are_ok_and_unreadable_ones_are_told_apart() {
    let names = [
        "approval.yml",
        "batch.yml",
        "chat-greeting.yml",
        "hello.yml",
        "retry-loop.yml",
        "triage.yml",
    ];
    let files: Vec<String> = names.iter().map(|name| example(name)).collect();
    let mut arguments: Vec<&str> = vec!["validate"];
    arguments.extend(files.iter().map(String::as_str));
    let ran = flowmill(&arguments).expect(0);
    assert_eq!(ran.out.lines().count(), names.len(), "{ran}");
    for (line, file) in ran.out.lines().zip(&files) {
        assert!(line.starts_with(&format!("{file}: ok (")), "{line}");
    }
    let bad = file("bad-too.yml", BROKEN);
    let ran = flowmill(&["validate", &bad, "/does/not/exist.yml", &files[3]]).expect(2);
    assert!(ran.out.contains("/does/not/exist.yml: error: failed to read"), "{ran}");
    assert!(ran.out.lines().last().unwrap().contains(": ok ("), "{ran}");
    let latin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("latin.yml");
    std::fs::write(&latin, b"app: \xe9\n").unwrap();
    flowmill(&["validate", latin.to_str().unwrap()]).expect(2);
    flowmill(&["validate"]).expect(2);
}

#[test]
fn reads_of_unknown_nodes_are_told_from_prose() {
    let llm = LLM.replace(
        "prompt_template: []",
        "prompt_template: [{role: user, text: 'Be nice. {{#s.n#}}. {{#gone.text#}}'}]",
    );
    let document = workflow(&[&start(NUMBER), &llm], &["{source: s, target: m}"]);
    let path = file("prose.yml", &document);
    let ran = flowmill(&["validate", &path]).expect(0);
    assert_eq!(ran.out.matches("but there is no node").count(), 1, "{ran}");
    assert!(ran.out.contains("it reads gone.text, but there is no node gone"), "{ran}");
    let plan = flowmill(&["plan", &path]).expect(0);
    assert!(plan.out.contains("reads s.n, gone.text\n"), "{plan}");
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let deep = file("deep.yml", &"[".repeat(100_000));
    let mut lines = vec!["b0: &b0 [x, x]".to_owned()];
    for n in 1..40 {
        let p = n - 1;
        lines.push(format!("b{n}: &b{n} [*b{p}, *b{p}, *b{p}, *b{p}]"));
    }
    let bomb = file("bomb.yml", &lines.join("\n"));
    flowmill(&["validate", &deep, &bomb]).expect(1);
}

#[test]
fn plain_text_with_dots_is_no_reference() {
    let answer = |text: &str| {
        let answer = format!("{{id: a, data: {{type: answer, title: A, answer: '{text}'}}}}");
        let document =
            document("advanced-chat", &[&start(""), &answer], &["{source: s, target: a}"]);
        flowmill(&["validate", &file("dots.yml", &document)]).expect(0)
    };
    for text in ["host.docker.internal", "See https://example.com/a.b for more", "s.x"] {
        let ran = answer(text);
        assert!(!ran.out.contains("warning") && !ran.err.contains("warning"), "{ran}");
    }
    let ran = answer("{{#host.docker#}}");
    assert!(format!("{ran}").contains("it reads host.docker, but there is no node host"), "{ran}");
}
