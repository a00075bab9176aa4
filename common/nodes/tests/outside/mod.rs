//! Nodes as documents hold them, for tests of what nodes do outside of themselves.

#![expect(unreachable_pub, reason = "each test is a crate of its own")]
#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::graph::{Content, Item, Mode, Problems};
use flowmill_engine::plan::Source;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
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

/// What executes a node of this type with this data, within Dify's sizes.
pub fn node(kind: &str, data: &Value) -> Arc<dyn Execute> {
    let data = item(data);
    let (id, mut problems) = ("n".into(), Problems::new());
    let (title, mode) = ("", Mode::Workflow);
    let source = Source { id: &id, kind, title, data: &data, mode, strict: true, dify_sizes: true };
    let compiled = registry::compile(&source, &mut problems);
    compiled.and_then(|(_, execute)| execute).expect("an executor")
}

/// A template-transform node that reads these outputs of a node `start` by their names.
pub fn template<'a>(text: &str, names: impl IntoIterator<Item = &'a Name>) -> Arc<dyn Execute> {
    let read = |name: &Name| {
        let selector = Value::array(vec!["start".into(), Value::Str(name.clone())]);
        Value::object([
            ("variable".into(), Value::Str(name.clone())),
            ("value_selector".into(), selector),
        ])
    };
    let variables = Value::array(names.into_iter().map(read).collect());
    let data = [("template".into(), text.into()), ("variables".into(), variables)];
    node("template-transform", &Value::object(data))
}

/// What a node `start` gave.
pub fn given(values: impl IntoIterator<Item = (Name, Value)>) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in values {
        variables.set(&"start".into(), &name, Variable::infer(value));
    }
    variables
}

/// The outside with these settings of code.
pub fn context(settings: &CodeSettings) -> NodeContext {
    NodeContext {
        attempt: 1,
        timeout: Duration::from_mins(1),
        code: Arc::new(CodeRunner::new(settings)),
        http: Arc::new(Offline),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::default(),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    }
}
