//! Code nodes for tests.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]
#![expect(unreachable_pub, reason = "each test is a crate of its own")]

use std::sync::Arc;

use flowmill_engine::graph::{Content, Item, Mode, Problems};
use flowmill_engine::plan::Source;
use flowmill_engine::value::Value;
use flowmill_nodes::context::Execute;
use flowmill_nodes::registry;

fn item(value: &Value) -> Item {
    let content = match value {
        Value::None => Content::Null,
        Value::Bool(value) => Content::Bool(*value),
        Value::Int(value) => Content::Int(value.clone()),
        Value::Float(value) => Content::Float(*value),
        Value::Str(text) => Content::Str(text.clone()),
        Value::Array(items) => Content::Seq(items.iter().map(item).collect()),
        Value::Object(members) => {
            let pair = |(key, value)| (item(&Value::Str(Arc::clone(key))), item(value));
            Content::Map(members.iter().map(pair).collect())
        }
        Value::File(_) => panic!("no data holds files"),
    };
    Item { line: 1, content }
}

/// A code node.
pub fn node(language: &Value, code: &Value, reads: &[Value], outputs: &Value) -> Arc<dyn Execute> {
    let read = |name: &Value| {
        let selector = Value::array(vec!["start".into(), name.clone()]);
        Value::object([("variable".into(), name.clone()), ("value_selector".into(), selector)])
    };
    let data = item(&Value::object([
        ("code_language".into(), language.clone()),
        ("code".into(), code.clone()),
        ("variables".into(), Value::array(reads.iter().map(read).collect())),
        ("outputs".into(), outputs.clone()),
    ]));
    let (id, mut problems) = ("c".into(), Problems::new());
    let (kind, title, mode) = ("code", "", Mode::Workflow);
    let source = Source { id: &id, kind, title, data: &data, mode, strict: true, dify_sizes: true };
    let compiled = registry::compile(&source, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    compiled.and_then(|(_, execute)| execute).expect("an executor")
}
