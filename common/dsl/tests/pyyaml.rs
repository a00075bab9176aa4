//! `yaml::load` against the answers that `PyYAML` 6.0.4 gave (fixtures/pyyaml.py records them).

use flowmill_dsl::yaml::{Budget, load};
use flowmill_engine::graph::{Content, Item};
use serde_json::Value;

#[test]
fn every_snippet_is_read_as_pyyaml_reads_it() {
    let recorded: Vec<(String, Value)> =
        serde_json::from_str(include_str!("fixtures/pyyaml.json")).unwrap();
    assert!(recorded.len() > 700, "only {} snippets", recorded.len());
    let mut differences = Vec::new();
    for (text, answer) in &recorded {
        match (load(text, &Budget::default()), answer.get("value")) {
            (Ok(reading), Some(value)) if is_same(&reading.root, value) => {}
            (Err(_), None) => {}
            (ours, _) => differences.push(format!("{text:?}\n  want {answer}\n  have {ours:?}")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn is_same(item: &Item, recorded: &Value) -> bool {
    match &item.content {
        Content::Null => recorded.is_null(),
        Content::Bool(value) => recorded.as_bool() == Some(*value),
        Content::Str(text) => recorded.as_str() == Some(text),
        Content::Int(value) => recorded["i"].as_str() == Some(&value.to_string()),
        Content::Float(value) => {
            let want = recorded["f"].as_str().and_then(|text| text.parse::<f64>().ok());
            want.is_some_and(|want| {
                value.to_bits() == want.to_bits() || value.is_nan() && want.is_nan()
            })
        }
        Content::Seq(items) => recorded["l"].as_array().is_some_and(|want| {
            want.len() == items.len() && items.iter().zip(want).all(|(a, b)| is_same(a, b))
        }),
        Content::Map(members) => recorded["m"].as_array().is_some_and(|want| {
            let pair = |((key, value), want): (&(Item, Item), &Value)| {
                is_same(key, &want[0]) && is_same(value, &want[1])
            };
            want.len() == members.len() && members.iter().zip(want).all(pair)
        }),
        Content::Other(name, _) => recorded["o"].as_str() == Some(name),
    }
}
