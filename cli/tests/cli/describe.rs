//! `flowmill plan` and `flowmill nodes`.

use super::*;

const EXAMPLES: [&str; 6] =
    ["approval.yml", "batch.yml", "chat-greeting.yml", "hello.yml", "retry-loop.yml", "triage.yml"];

fn plan(name: &str, format: &str) -> Ran {
    flowmill(&["plan", &example(name), "--format", format]).expect(0)
}

#[test]
fn text_tells_order_fan_in_reads_and_bodies() {
    for name in EXAMPLES {
        plan(name, "text");
    }
    let ran = plan("batch.yml", "text");
    for part in [
        "root: begins at 1764000001371",
        "  1. start 1764000001371 \"Order\"",
        "iterates over 1764000001371.order.items, 4 at a time, errors: terminated",
        "body of iteration 1764000002742 \"For each item\": begins at 1764000002742start",
        "reads 1764000002742.item, 1764000002742.index",
    ] {
        assert!(ran.out.contains(part), "{part} is missing in {ran}");
    }
    let ran = plan("triage.yml", "text");
    assert!(ran.out.contains("waits for 3: "), "{ran}");
    assert!(ran.out.contains("urgent -> 1764000004113"), "{ran}");
}

#[test]
fn json_tells_the_same() {
    for name in EXAMPLES {
        let plan = plan(name, "json").json();
        for scope in plan["scopes"].as_array().unwrap() {
            assert_eq!(
                scope["order"].as_array().unwrap().len(),
                scope["nodes"].as_array().unwrap().len()
            );
            let place =
                |id: &Json| scope["order"].as_array().unwrap().iter().position(|node| node == id);
            for node in scope["nodes"].as_array().unwrap() {
                for from in node["fan_in"].as_array().unwrap() {
                    assert!(place(&from["node"]) < place(&node["id"]), "every edge leads forward");
                }
            }
        }
    }
    let chained = workflow(
        &[&start(""), LLM, &LLM.replace("id: m", "id: m2"), &end("text", "m2, text")],
        &["{source: s, target: m}", "{source: m, target: m2}", "{source: m2, target: e}"],
    );
    let plan =
        flowmill(&["plan", &file("chained.yml", &chained), "--format", "json"]).expect(0).json();
    let node = &plan["scopes"][0]["nodes"][1];
    assert_eq!(node["chain"], serde_json::json!(["m", "m2"]));
    assert_eq!((&node["executor"], &node["class"]), (&"worker".into(), &"llm".into()));
}

#[test]
fn mermaid_is_well_formed() {
    for name in EXAMPLES {
        let ran = plan(name, "mermaid");
        let mut lines = ran.out.lines().map(str::trim);
        assert_eq!(lines.next(), Some("flowchart LR"));
        let (mut open, mut known) = (0_i32, std::collections::BTreeSet::new());
        for line in lines {
            let id: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
            if line == "end" {
                open -= 1;
            } else if let Some(rest) = line.strip_prefix("subgraph ") {
                open += 1;
                known.insert(rest.split('[').next().unwrap().to_owned());
                assert!(rest.ends_with("\"]"), "{line}");
            } else if line.contains("-->") {
                let target = line.rsplit(' ').next().unwrap();
                assert!(known.contains(&id) && known.contains(target), "{line}");
            } else if id.starts_with('n') {
                assert_eq!(line.matches('"').count(), 2, "{line}");
                known.insert(id);
            }
        }
        assert_eq!(open, 0, "{ran}");
    }
}

#[test]
fn a_document_that_does_not_run_has_no_plan() {
    flowmill(&["plan", &file("no-plan.yml", "graph: {nodes: []}")]).expect(2).says("error: ");
    flowmill(&["plan", "/does/not/exist.yml"]).expect(2).says("failed to read");
}

#[test]
fn the_catalogue_is_listed_and_explained() {
    let list = flowmill(&["nodes"]).expect(0).out;
    for name in
        ["start", "if-else", "iteration", "llm", "assigner v1", "assigner v2", "human-input"]
    {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {list}");
    }
    let ran = flowmill(&["nodes", "iteration"]).expect(0);
    for part in
        ["category  container", "iterator_selector", "(required)", "(default false)", "outputs"]
    {
        assert!(ran.out.contains(part), "{part} is missing in {ran}");
    }
    flowmill(&["nodes", "if_els"]).expect(2).says("did you mean if-else?");
    flowmill(&["nodes", "zzzzzzzzzz"]).expect(2).says("`flowmill nodes` lists all");
    let all = flowmill(&["nodes", "--format", "json"]).expect(0).json();
    assert_eq!(all.as_array().unwrap().len(), list.lines().count());
    let assigners = flowmill(&["nodes", "assigner", "--format", "json"]).expect(0).json();
    assert_eq!(assigners.as_array().unwrap().len(), 2);
    for kind in all.as_array().unwrap() {
        assert!(kind["about"].as_str().unwrap().ends_with('.'), "{kind}");
        assert!(kind["example"].is_object(), "{kind}");
    }
}

#[test]
fn every_verb_has_help_with_examples() {
    for verb in ["run", "validate", "plan", "nodes"] {
        let ran = flowmill(&[verb, "--help"]).expect(0);
        assert!(ran.out.contains("Examples:") && ran.out.contains("Usage: flowmill"), "{ran}");
    }
    flowmill(&["--version"]).expect(0);
}

#[test]
fn shells_can_complete_our_words() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = flowmill(&["completions", shell]).expect(0);
        assert!(ran.out.contains("answer") && ran.out.contains("validate"), "{shell}");
    }
    flowmill(&["completions", "csh"]).expect(2).says("possible values");
}

#[test]
fn help_has_its_verbs_in_groups_and_examples_everywhere() {
    let help = flowmill(&["--help"]).expect(0).out;
    assert!(help.contains("\nRun workflows:\n  run  "), "{help}");
    assert!(!help.contains("\nOthers:"), "a verb is in no group: {help}");
    let verbs = help.lines().take_while(|line| *line != "Options:");
    let verbs = verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for verb in verbs {
        let help = flowmill(&[verb, "--help"]).expect(0).out;
        assert!(help.contains("Examples:"), "{verb}: {help}");
    }
}
