//! Runs that wait for people: answers given beforehand, in a terminal, by nobody.

use super::*;

/// Asks with a paragraph (default from the input) and a select, takes `yes` or `no`.
fn asks(extra: &str) -> String {
    let form = format!(
        "{{id: h, data: {{type: human-input, title: 'Sure?', form_content: 'Is {{{{#s.n#}}}} right? {{{{#$output.note#}}}}', \
         inputs: [{{type: paragraph, output_variable_name: note, default: {{type: variable, selector: [s, n]}}}}, \
         {{type: select, output_variable_name: how, option_source: {{type: constant, value: [fast, slow]}}}}], \
         user_actions: [{{id: yes1, title: Go on}}, {{id: no1, title: Stop}}]{extra}}}}}"
    );
    let end = "{id: e, data: {type: end, title: End, outputs: [\
        {variable: note, value_selector: [h, note]}, {variable: how, value_selector: [h, how]}, \
        {variable: action, value_selector: [h, __action_id]}, {variable: title, value_selector: [h, __action_value]}, \
        {variable: content, value_selector: [h, __rendered_content]}]}}";
    let edges = [
        "{source: s, target: h}",
        "{source: h, sourceHandle: yes1, target: e}",
        "{source: h, sourceHandle: __timeout, target: e}",
    ];
    workflow(&[&start(NUMBER), &form, end], &edges)
}

const ONE: [&str; 2] = ["--input", "n=1"];

fn answered(document: &str, arguments: &[&str]) -> Ran {
    run(document, &[&ONE[..], arguments].concat())
}

#[test]
fn an_answer_given_beforehand_takes_the_run_to_its_end() {
    let ran = answered(&asks(""), &["--answer", "h=yes1,how=slow,note=fine, thanks"]).expect(0);
    assert_eq!(
        ran.out,
        "note: fine, thanks\nhow: slow\naction: yes1\ntitle: Go on\ncontent: Is 1 right? fine, thanks\n"
    );
    // by its title; what is not given takes its default
    let ran = answered(&asks(""), &["--answer", "Sure?=yes1,how=fast"]).expect(0);
    assert!(ran.out.starts_with("note: 1\nhow: fast\n"), "{ran}");
    let ran = answered(&asks(""), &["--answer", "h=no1,how=fast"]).expect(0);
    assert_eq!(ran.out, "");
}

#[test]
fn without_an_answer_the_form_and_how_to_answer_are_shown() {
    answered(&asks(""), &[])
        .expect(4)
        .says("Sure? (h) asks; 36 h 00 m to answer")
        .says("  | Is 1 right? [note]\n")
        .says("  enter   note  text, default \"1\"\n")
        .says("  enter   how   one of fast, slow\n")
        .says("  choose  yes1  Go on\n")
        .says("node h waits for one of: yes1, no1")
        .says("answer it with --answer 'h=yes1,how=\u{2026}'");
}

#[test]
fn a_machine_is_told_what_is_asked() {
    let ran = answered(&asks(""), &["--output", "json"]).expect(4).json();
    let waiting = &ran["waiting"][0];
    assert_eq!(waiting["node_id"], "h");
    assert_eq!(waiting["form_content"], "Is 1 right? {{#$output.note#}}");
    assert_eq!(waiting["actions"][1]["id"], "no1");
    assert_eq!(waiting["inputs"][1]["option_source"]["value"][0], "fast");
}

#[test]
fn wrong_answers_are_refused_before_the_run_begins() {
    for (answer, says) in [
        ("h=maybe", "Invalid action: maybe (one of yes1, no1)"),
        ("h=yes1,who=me", "the form has no input \"who\" (it has note, how)"),
        ("x=yes1", "no node that asks a person is called so; there are h (Sure?)"),
        ("s=yes1", "there are h (Sure?)"),
        ("h", "NODE=ACTION"),
    ] {
        let ran = answered(&asks(""), &["--answer", answer]).expect(2).says(says);
        assert!(!ran.err.contains("Begin (start s)"), "it ran: {ran}");
    }
}

#[test]
fn an_answer_that_does_not_fit_the_form_leaves_the_run_waiting() {
    let ran = answered(&asks(""), &["--answer", "h=yes1,how=never"]).expect(4);
    ran.says("--answer h does not fit: Invalid value for how: must be one of fast, slow");
    answered(&asks(""), &["--answer", "h=yes1"])
        .expect(4)
        .says("Missing required inputs: how")
        .says("node h waits for one of");
}

#[test]
fn nobody_answers_in_no_time() {
    let ran = answered(&asks(", timeout: 0"), &["--answer", "h=yes1,how=fast"]).expect(0);
    assert_eq!(ran.out, "note: null\nhow: null\naction: \ntitle: \ncontent: Is 1 right? \n");
    let events = answered(&asks(", timeout: 0"), &["--output", "events"]).expect(0).lines();
    let timeout = events.iter().find(|event| event["event"] == "human_input_form_timeout").unwrap();
    assert_eq!(timeout["data"]["node_title"], "Sure?");
    assert!(timeout["data"]["expiration_time"].as_f64().unwrap() > 1e9);
}

#[test]
fn events_tell_what_is_asked_and_what_was_answered() {
    let arguments = ["--output", "events", "--answer", "h=yes1,how=slow,note=ok"];
    let events = answered(&asks(""), &arguments).expect(0).lines();
    let words: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let at = words.iter().position(|word| *word == "human_input_required").unwrap();
    assert_eq!(
        words[at..at + 5],
        [
            "human_input_required",
            "workflow_paused",
            "workflow_started",
            "human_input_form_filled",
            // the text of the end node, which may be shown once a branch leads to it
            "text_chunk"
        ]
    );
    let asked = &events[at]["data"];
    assert_eq!(asked["form_content"], "Is 1 right? {{#$output.note#}}");
    assert_eq!(asked["inputs"][0]["default"]["value"], "1");
    assert_eq!(asked["inputs"][1]["option_source"]["value"][1], "slow");
    assert_eq!(asked["actions"][0]["title"], "Go on");
    assert_eq!(asked["resolved_default_values"]["note"], "1");
    assert_eq!(asked["display_in_ui"], false);
    let wait = asked["expiration_time"].as_f64().unwrap() - asked["created_at"].as_f64().unwrap();
    assert!((wait - 36.0 * 3600.0).abs() < 1.0, "{asked}");
    assert_eq!(events[at + 2]["data"]["reason"], "resumption");
    let filled = &events[at + 3]["data"];
    assert_eq!(filled["action_id"], "yes1");
    assert_eq!(filled["action_text"], "Go on");
    assert_eq!(filled["rendered_content"], "Is 1 right? ok");
    assert_eq!(filled["submitted_data"], serde_json::json!({"note": "ok", "how": "slow"}));
}

#[test]
fn every_pass_of_a_container_can_ask() {
    let items =
        r#"{"variable": "items", "label": "items", "type": "json_object", "required": true}"#;
    let nodes = [
        &start(items),
        "{id: it, data: {type: iteration, title: Each, start_node_id: b, iterator_selector: [s, items, list], output_selector: [h, __rendered_content], is_parallel: true, parallel_nums: 2}}",
        "{id: b, parentId: it, data: {type: iteration-start}}",
        "{id: h, parentId: it, data: {type: human-input, title: 'Sure?', form_content: '{{#it.item#}} {{#$output.t#}}', inputs: [{type: paragraph, output_variable_name: t}], user_actions: [{id: ok, title: OK}]}}",
        &end("all", "it, output"),
    ];
    let edges = ["{source: s, target: it}", "{source: b, target: h}", "{source: it, target: e}"];
    let document = workflow(&nodes, &edges);
    let ask = |answers: &[&str]| {
        let mut arguments = vec!["--input", r#"items={"list": [1, 2, 3]}"#];
        for answer in answers {
            arguments.extend(["--answer", answer]);
        }
        run(&document, &arguments)
    };
    // the last answer is given again
    assert_eq!(ask(&["h=ok,t=a"]).expect(0).out, "all: [\"1 a\", \"2 a\", \"3 a\"]\n");
    assert_eq!(ask(&["h=ok,t=a", "h=ok,t=b"]).out, "all: [\"1 a\", \"2 b\", \"3 b\"]\n");
    let ran = ask(&["h=ok,t=a", "h@it[2]=ok,t=c"]);
    assert_eq!(ran.expect(0).out, "all: [\"1 a\", \"2 a\", \"3 c\"]\n");
    ask(&["h@it[0]=ok,t=a"]).expect(4).says("node h@it[1] waits for one of: ok");
}

#[test]
fn the_example_is_answered() {
    let arguments = ["--input", "item=a desk", "--input", "amount=900", "--answer"];
    let answer = "1764000004113=approve,remark=go";
    let ran = flowmill(&[&["run", &example("approval.yml")], &arguments[..], &[answer]].concat());
    assert!(ran.expect(0).out.contains("a desk"));
}
