//! Documents read and written again, against what `PyYAML` 6.0.4 wrote (fixtures/dump.py records
//! it). What is written reads back as the same.

use flowmill_engine::value::{Value, loads};
use flowmill_yaml::{Budget, Writer, load_all};

fn dump(text: &str) -> Option<String> {
    let mut writer = Writer::default();
    let read = load_all(text, &Budget::default(), |item| {
        writer.document(&item);
        true
    });
    read.ok().map(|()| writer.finish())
}

#[test]
fn as_pyyaml_writes() {
    let Ok(Value::Array(cases)) = loads(include_str!("fixtures/dump.json")) else {
        panic!("a list of cases");
    };
    let mut wrong = Vec::new();
    for case in cases.iter() {
        let Value::Object(case) = case else { panic!("a case") };
        let text = case["text"].as_str().unwrap();
        let expected = case.get("dump").and_then(Value::as_str);
        let written = dump(text);
        if written.as_deref() != expected {
            wrong.push(format!("{text:?}\n     got {written:?}\ninstead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
