//! Code nodes from their data to their outputs, against what the reference engine makes of them.
//! Needs a Python interpreter. The answers are recorded by `fixtures/code/record.py`.

mod support;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Object, Value, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use futures::stream::{self, StreamExt};
use support::node;

fn context() -> NodeContext {
    // Generous, as other tests run beside these.
    let timeout = Duration::from_mins(1);
    let settings = CodeSettings { unsafe_code: true, timeout, ..CodeSettings::default() };
    let code = Arc::new(CodeRunner::new(&settings));
    let files = Arc::new(MemoryFiles::default());
    NodeContext {
        attempt: 1,
        timeout,
        code,
        http: Arc::new(Offline),
        files,
        documents: Arc::default(),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
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
    let context = context();
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
async fn time_runs_out_with_its_own_class() {
    let programs = [("python3", "while True: pass"), ("javascript", "while (true) {}")];
    for (language, code) in programs {
        let node = node(&language.into(), &code.into(), &[], &Value::object([]));
        let context = NodeContext { timeout: Duration::from_millis(300), ..context() };
        let error = node.execute(&Variables::default(), &context).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout);
        assert_eq!(&*error.message, "error: timeout");
    }
}
