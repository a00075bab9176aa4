//! Jinja templates against recorded answers of the real Jinja2 (`fixtures/jinja/generate.py`):
//! each is rendered identically or refused, never differently.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "helpers of tests fail as tests do"
)]

use flowmill_engine::value::{Integer, Name, Value, loads};
use flowmill_nodes::jinja::{Context, Fail, Template};
use proptest::prelude::*;

/// Ordinary templates that are refused; it should stay short.
const REFUSED_ORDINARY: &[&str] = &[];

fn object(value: &Value) -> &flowmill_engine::value::Object {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other:?}"),
    }
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        other => panic!("not a list: {other:?}"),
    }
}

fn context_of(value: &Value) -> Context {
    let pairs = object(value).iter().map(|(name, value)| (name.clone(), value.clone()));
    Context::new(pairs).unwrap()
}

fn render(template: &str, context: &Context) -> Result<String, Fail> {
    Template::compile(template).render(context)
}

/// What came of a case: None if it was refused, else whether it is as recorded.
fn check(case: &Value, context: &Context) -> Option<Result<(), String>> {
    let case = object(case);
    let template = case["template"].as_str().unwrap();
    // where Python ran out of time or memory there is nothing to compare
    if matches!(case.get("refuse"), Some(Value::Str(why)) if &**why != "address") {
        return None;
    }
    let got = match render(template, context) {
        Ok(text) => ("output", text),
        Err(Fail::Raised { kind, message }) => ("error", format!("{kind}: {message}")),
        Err(Fail::Refused(_)) => return None,
    };
    if case.get(got.0).and_then(Value::as_str) == Some(&got.1) {
        return Some(Ok(()));
    }
    let want: Vec<&Value> = case.values().skip(1).collect();
    Some(Err(format!("{template:?}\n  got {got:?}\n  want {want:?}")))
}

#[test]
fn identical_or_refused() {
    let fixture = loads(include_str!("fixtures/jinja/cases.json")).unwrap();
    let fixture = object(&fixture);
    let context = context_of(&fixture["context"]);
    let cases = array(&fixture["cases"]);
    let Value::Int(ordinary) = &fixture["ordinary"] else { panic!("not a number") };
    let ordinary = usize::try_from(ordinary.to_i64().unwrap()).unwrap();
    assert!(cases.len() > 1000, "{}", cases.len());
    let (mut wrong, mut refused_ordinary, mut refused) = (Vec::new(), Vec::new(), 0);
    for (at, case) in cases.iter().enumerate() {
        match check(case, &context) {
            Some(Ok(())) => {}
            Some(Err(problem)) => wrong.push(problem),
            None => {
                refused += 1;
                if at < ordinary {
                    refused_ordinary.push(object(case)["template"].as_str().unwrap());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(refused_ordinary, REFUSED_ORDINARY);
    assert!(refused < 130, "{refused} refused");
}

/// More cases than are kept here: `JINJA_CASES` names a file that `generate.py fuzz` printed.
#[test]
fn identical_or_refused_in_a_file() {
    let Ok(path) = std::env::var("JINJA_CASES") else { return };
    let (mut wrong, mut same, mut refused) = (Vec::new(), 0, 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let case = loads(line).unwrap();
        let mut members = object(&case).clone();
        let context = context_of(&members.shift_remove("context").unwrap());
        match check(&Value::Object(std::sync::Arc::new(members)), &context) {
            Some(Ok(())) => same += 1,
            Some(Err(problem)) => wrong.push(problem),
            None => refused += 1,
        }
    }
    println!("{same} identical, {refused} refused");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn only_the_real_jinja_knows_these() {
    let context = Context::default();
    for (template, construct) in [
        ("{{ [1, 2] | random }}", "random"),
        ("{{ lipsum() }}", "lipsum"),
        ("{{ [1] | pprint }}", "pprint"),
        ("{{ 'x' | urlize }}", "urlize"),
        ("{% include 'a' %}", "include"),
        ("{% import 'a' as b %}", "import"),
        ("{% from 'a' import b %}", "from"),
        ("{% extends 'a' %}", "extends"),
        ("{% block a %}{% endblock %}", "block"),
        ("{% autoescape true %}{% endautoescape %}", "autoescape"),
        ("{% for x in [] recursive %}{% endfor %}", "recursive"),
        ("{{ [1] | map('string') }}", "generator"),
        ("{{ 'x'.upper }}", "method"),
        ("{{ ''.__class__ }}", "underscores"),
        ("{{ dict(**{}) }}", "`**`"),
        ("{{ 1e308 * 10 }}", "infinite"),
    ] {
        match render(template, &context) {
            Err(Fail::Refused(why)) => assert!(why.contains(construct), "{template}: {why}"),
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn what_never_ends_is_refused() {
    let context = Context::default();
    for template in [
        "{{ 'a' * 10 ** 9 }}",
        "{{ range(10 ** 9) | list }}",
        "{{ [0] * 10 ** 9 }}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(999) %}{% set ns.x = ns.x | map('abs') %}{% endfor %}",
        "{{ '%9999999d' | format(1) }}",
        "{{ 'a'.center(10 ** 12) }}",
        "{{ 10 ** (10 ** 10) }}",
        "{% set a = [1] %}{% set _ = a.append(a) %}{{ a }}",
    ] {
        let got = render(template, &context);
        assert!(matches!(got, Err(Fail::Refused(_))), "{template}: {got:?}");
    }
}

#[test]
fn long_chains_of_values_are_dropped_without_recursion() {
    for template in [
        "{% set ns = namespace(x=()) %}{% for i in range(90000) %}{% set ns.x = (ns.x,) %}{% endfor %}ok",
        "{% set ns = namespace(c=[]) %}{% for i in range(30000) %}{% set n = [] %}\
         {% set _ = ns.c.append(n) %}{% set ns.c = n %}{% endfor %}ok",
        "{% set ns = namespace(x=1) %}{% for i in range(20000) %}{% set ns.x = cycler(ns.x) %}{% endfor %}ok",
    ] {
        let got = render(template, &Context::default());
        assert!(matches!(got, Ok(_) | Err(Fail::Refused(_))), "{got:?}");
    }
}

#[test]
fn the_context_passes_through_json() {
    let file = Value::File(std::sync::Arc::default());
    let huge = Value::Int(Integer::parse("18446744073709551616").unwrap());
    let fails = |value: Value| match Context::new([("x".into(), value)]) {
        Err(Fail::Raised { kind, message }) => format!("{kind}: {message}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(fails(Value::array(vec![file])), "TypeError: Type is not JSON serializable: File");
    assert_eq!(fails(huge), "TypeError: Integer exceeds 64-bit range");
    let odd = Value::array(vec![Value::Float(f64::NAN), Value::Float(1.0)]);
    let context = Context::new([("x".into(), odd), ("range".into(), Value::int(5))]).unwrap();
    assert_eq!(render("{{ x }}{{ range }}", &context).unwrap(), "[None, 1.0]5");
}

proptest! {
    #[test]
    fn any_text_is_a_template(text in "[{}%#'\"a-z0-9 .|()\\[\\]\n*~,=<>:+-]{0,60}") {
        let _ = render(&text, &Context::default());
    }

    #[test]
    fn any_words_are_a_template(words in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{%", "%}", "-%}", "{#", "#}", "if", "else", "elif", "endif", "for", "in",
        "endfor", "set", "endset", "macro", "endmacro", "call", "endcall", "filter", "endfilter",
        "with", "endwith", "raw", "endraw", "x", "loop", "'s'", "1", "2.5", "(", ")", "[", "]",
        "{", "}", ",", ".", ":", "|", "upper", "list", "is", "not", "and", "or", "=", "==", "~",
        "**", "//", "range", "é", "名", "\n", "\\", "'",
    ]), 0..40)) {
        let text = words.join(" ");
        let context = Context::new([(Name::from("x"), Value::array(vec![Value::int(1)]))]).unwrap();
        let _ = render(&text, &context);
    }
}
