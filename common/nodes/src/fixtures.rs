//! Runs pure nodes over recorded cases: what the reference engine answered for a node's data and
//! variables (`record_fixtures.py`).

use std::fmt::Write as _;

use flowmill_engine::graph::{Content, Item, Mode};
use flowmill_engine::plan::{Behaviour, Evaluation, Source};
use flowmill_engine::value::{Kind, Name, Value};
use flowmill_engine::variables::{Selector, Variable, Variables};
use serde::Deserialize;

use crate::registry;

#[derive(Deserialize)]
struct Case {
    r#type: Name,
    data: Value,
    variables: Vec<Given>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Given {
    selector: [Name; 2],
    kind: Kind,
    value: Value,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Expect {
    Succeeded {
        outputs: Vec<(Name, Kind, Value)>,
        handle: Name,
        writes: Vec<(Selector, Kind, Value)>,
    },
    Failed {
        error: Name,
        error_type: Name,
    },
    Invalid,
}

/// A value as a document would hold it.
pub(crate) fn item(value: &Value) -> Item {
    let content = match value {
        Value::None | Value::File(_) => Content::Null,
        Value::Bool(value) => Content::Bool(*value),
        Value::Int(value) => Content::Int(value.clone()),
        Value::Float(value) => Content::Float(*value),
        Value::Str(text) => Content::Str(text.clone()),
        Value::Array(items) => Content::Seq(items.iter().map(item).collect()),
        Value::Object(members) => {
            let key = |key: &Name| Item { line: 1, content: Content::Str(key.clone()) };
            Content::Map(members.iter().map(|(name, value)| (key(name), item(value))).collect())
        }
    };
    Item { line: 1, content }
}

impl Case {
    fn run(&self) -> Expect {
        let id: Name = "node".into();
        let data = item(&self.data);
        let source = Source {
            id: &id,
            kind: &self.r#type,
            title: "t",
            data: &data,
            mode: Mode::Workflow,
            strict: true,
            dify_sizes: true,
        };
        let mut problems = Vec::new();
        let Some((compiled, _)) = registry::compile(&source, &mut problems) else {
            return Expect::Invalid;
        };
        let Behaviour::Inline(node) = compiled.behaviour else { panic!("not inline") };
        let mut variables = Variables::default();
        for given in &self.variables {
            let [node, name] = &given.selector;
            variables.set(node, name, Variable::typed(given.kind, given.value.clone()));
        }
        match node.run(&variables) {
            Evaluation::Succeeded(success) => Expect::Succeeded {
                outputs: success
                    .outputs
                    .into_iter()
                    .map(|(name, variable)| (name, variable.kind, variable.value().clone()))
                    .collect(),
                handle: success.handle.unwrap_or_else(|| "source".into()),
                writes: success
                    .writes
                    .into_iter()
                    .map(|write| {
                        let value = write.variable.value().clone();
                        (write.selector, write.variable.kind, value)
                    })
                    .collect(),
            },
            Evaluation::Failed(error) => {
                Expect::Failed { error: error.message, error_type: error.kind }
            }
            Evaluation::NotInline => panic!("not inline"),
        }
    }

    /// The order of a start node's outputs, and what it says of the whole pool, are its own.
    fn comparable(&self, mut expect: Expect) -> Expect {
        if &*self.r#type == "start"
            && let Expect::Succeeded { outputs, .. } = &mut expect
        {
            outputs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        expect
    }
}

fn check(cases: Vec<(String, Case)>) {
    let mut wrong = String::new();
    let (total, mut count) = (cases.len(), 0);
    for (text, mut case) in cases {
        let got = case.comparable(case.run());
        let want = std::mem::replace(&mut case.expect, Expect::Invalid);
        let want = case.comparable(want);
        if got != want {
            count += 1;
            if count <= 10 {
                let _ = writeln!(wrong, "{text}\n  want {want:?}\n  got  {got:?}");
            }
        }
    }
    assert!(count == 0, "{count} of {total} differ:\n{wrong}");
}

fn parse(text: &str) -> Vec<(String, Case)> {
    let raw: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(text).unwrap();
    raw.iter().map(|raw| (raw.get().to_owned(), serde_json::from_str(raw.get()).unwrap())).collect()
}

#[test]
fn recorded_answers() {
    for (folder, text) in [
        ("start", include_str!("start/fixtures/recorded.json")),
        ("end", include_str!("end/fixtures/recorded.json")),
        ("answer", include_str!("answer/fixtures/recorded.json")),
        ("if_else", include_str!("if_else/fixtures/recorded.json")),
        ("variable_aggregator", include_str!("variable_aggregator/fixtures/recorded.json")),
        ("assigner/v1", include_str!("assigner/v1/fixtures/recorded.json")),
        ("assigner/v2", include_str!("assigner/v2/fixtures/recorded.json")),
        ("list_operator", include_str!("list_operator/fixtures/recorded.json")),
    ] {
        let cases = parse(text);
        assert!(cases.len() >= 15, "{folder} has too few cases");
        check(cases);
    }
}

/// Cases of one's own: `FLOWMILL_NODE_CASES=file`, one a line.
#[test]
fn more_answers() {
    let Ok(path) = std::env::var("FLOWMILL_NODE_CASES") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let cases = text.lines().map(|line| (line.to_owned(), serde_json::from_str(line).unwrap()));
    check(cases.collect());
}
