//! Code nodes from their data to their outputs, against what the reference engine makes of them.
//! Needs a Python interpreter. The answers are recorded by `fixtures/code/record.py`.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::{Content, Item, Mode, Problems};
use flowmill_engine::plan::{Source, Success};
use flowmill_engine::value::{Object, Value, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use flowmill_nodes::registry;
use futures::stream::{self, StreamExt};

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

fn node(language: &Value, code: &Value, reads: &[Value], outputs: &Value) -> Arc<dyn Execute> {
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

fn context(unsafe_code: bool) -> NodeContext {
    // Generous, as other tests run beside these.
    let timeout = Duration::from_mins(1);
    let settings = CodeSettings { unsafe_code, timeout, ..CodeSettings::default() };
    let code = Arc::new(CodeRunner::new(&settings));
    let files = Arc::new(MemoryFiles::default());
    NodeContext {
        attempt: 1,
        timeout,
        code,
        http: Arc::new(Offline),
        files,
        documents: Arc::default(),
        chunks: None,
    }
}

async fn execute(case: &Object, context: &NodeContext) -> Result<Success, NodeError> {
    let Some(Value::Object(inputs)) = case.get("inputs") else { panic!("no inputs") };
    let mut variables = Variables::default();
    for (name, value) in inputs.iter() {
        variables.set(&"start".into(), name, Variable::infer(value.clone()));
    }
    let reads: Vec<Value> = match case.get("reads") {
        Some(Value::Array(names)) => names.to_vec(),
        _ => inputs.keys().cloned().map(Value::Str).collect(),
    };
    let node = node(&case["language"], &case["code"], &reads, &case["outputs"]);
    node.execute(&variables, context).await
}

/// The reference writes what JSON lacks as text.
fn recorded(value: &Value) -> Value {
    match value {
        Value::Float(number) if number.is_nan() => "NaN".into(),
        other => other.clone(),
    }
}

/// What differs from the recorded answer, if anything.
async fn difference(case: &Object, context: &NodeContext) -> Option<String> {
    let text = |name: &str| case.get(name).and_then(Value::as_str);
    let result = execute(case, context).await;
    let same = match &result {
        Ok(success) => {
            let outputs = success.outputs.iter();
            let outputs = outputs.map(|(name, found)| (name.clone(), recorded(found.value())));
            case.get("result") == Some(&Value::object(outputs))
        }
        Err(error) => {
            let program = &*error.kind == "CodeExecutionError";
            // The engines word their errors differently.
            let worded = !(program && text("language") == Some("javascript"));
            let last = error.message.trim().rsplit('\n').next();
            text("error_type") == Some(&error.kind) && (!worded || last == text("error"))
        }
    };
    (!same).then(|| format!("{:?}\n  gave {result:?}\n  recorded {case:?}", text("code")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_end_as_recorded() {
    let cases = loads(include_str!("fixtures/code/programs.json")).unwrap();
    let Value::Array(cases) = cases else { panic!("no list") };
    assert!(cases.len() > 100);
    let context = context(true);
    let differences = stream::iter(cases.iter())
        .map(|case| {
            let Value::Object(case) = case else { panic!("no object") };
            difference(case, &context)
        })
        .buffer_unordered(16)
        .filter_map(std::future::ready);
    let differences: Vec<String> = differences.collect().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn nothing_runs_unless_it_is_allowed() {
    for language in ["python3", "javascript"] {
        let node = node(&language.into(), &"".into(), &[], &Value::object([]));
        let error = node.execute(&Variables::default(), &context(false)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied);
        assert_eq!(&*error.kind, "CodeExecutionError");
        assert!(error.message.contains("pass --unsafe-code"), "{}", error.message);
    }
}

#[tokio::test]
async fn time_runs_out_with_its_own_class() {
    let programs = [("python3", "while True: pass"), ("javascript", "while (true) {}")];
    for (language, code) in programs {
        let node = node(&language.into(), &code.into(), &[], &Value::object([]));
        let context = NodeContext { timeout: Duration::from_millis(300), ..context(true) };
        let error = node.execute(&Variables::default(), &context).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout);
        assert_eq!(&*error.message, "error: timeout");
    }
}
