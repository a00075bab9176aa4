//! What a tool node does with tools that a test makes up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::{Fields, Mode};
use flowmill_engine::plan::{Source, Success};
use flowmill_engine::value::{Kind, Name, Object, Style, Value, dumps, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_services::Services;
use flowmill_services::caller::Caller;
use flowmill_services::tools::{
    Call, Description, Form, Message, Parameter, ParameterKind, ToolError, ToolErrorKind, Tools,
    Wanted,
};
use futures::future::BoxFuture;

use super::TYPE;
use crate::catalogue::Body;
use crate::code::{CodeRunner, CodeSettings};
use crate::context::{ChunkSink, NodeContext};
use crate::files::MemoryFiles;
use crate::fixtures::item;
use crate::http_request::client::Offline;

/// A tool that says what a test says, and remembers what it was asked.
#[derive(Debug, Default)]
struct Fake {
    described: Description,
    says: Vec<Message>,
    fails: Option<ToolError>,
    asked: Mutex<Option<Object>>,
}

impl Tools for Fake {
    fn describe<'a>(
        &'a self,
        _: &'a Wanted,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Description, ToolError>> {
        Box::pin(async { Ok(self.described.clone()) })
    }

    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<(), ToolError>> {
        Box::pin(async move {
            *self.asked.lock().unwrap() = Some(call.arguments.clone());
            self.says.iter().cloned().for_each(call.on_message);
            self.fails.clone().map_or(Ok(()), Err)
        })
    }
}

impl Fake {
    fn open() -> Self {
        let described = Description { takes_others: true, ..Description::default() };
        Self { described, ..Self::default() }
    }

    fn saying(says: impl IntoIterator<Item = Message>) -> Self {
        Self { says: says.into_iter().collect(), ..Self::open() }
    }

    fn asked(&self) -> String {
        let asked = self.asked.lock().unwrap().clone().expect("it was not asked");
        Value::object(asked).repr()
    }
}

fn data(rest: &str) -> String {
    format!(
        r#"{{"provider_id": "p", "provider_name": "p", "provider_type": "builtin", "tool_name": "t",
            "tool_label": "T", {rest}}}"#
    )
}

/// Variables of the node `a`.
fn variables() -> Variables {
    let mut variables = Variables::default();
    let mut set = |name: &str, variable| variables.set(&"a".into(), &name.into(), variable);
    set("word", Variable::infer("hello".into()));
    set("list", Variable::infer(loads("[1, 2]").unwrap()));
    set("key", Variable::typed(Kind::Secret, "s3cret-key".into()));
    variables
}

async fn run(data: &str, tools: Arc<dyn Tools>) -> (Result<Success, NodeError>, String) {
    let data = item(&loads(data).unwrap());
    let id: Name = "n".into();
    let mut problems = Vec::new();
    let mode = Mode::Workflow;
    let source = Source {
        id: &id,
        kind: "tool",
        title: "",
        data: &data,
        mode,
        strict: false,
        dify_sizes: false,
    };
    let node = (TYPE.compile)(&mut Fields::new(&data, &id, "", &mut problems), &source);
    assert!(problems.is_empty(), "{problems:?}");
    let Body::Task(execute) = node.body else { panic!("a worker executes it") };
    let shown = Arc::new(Mutex::new(String::new()));
    let sink = shown.clone();
    let context = NodeContext {
        attempt: 1,
        timeout: Duration::from_mins(1),
        code: Arc::new(CodeRunner::new(&CodeSettings::default())),
        http: Arc::new(Offline),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::default(),
        services: Arc::new(Services { tools, ..Services::default() }),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: Some(ChunkSink::new(move |chunk| sink.lock().unwrap().push_str(&chunk.text))),
    };
    let outcome = execute.execute(&variables(), &context).await;
    let shown = shown.lock().unwrap().clone();
    (outcome, shown)
}

fn output(success: &Success, name: &str) -> String {
    let found = success.outputs.iter().find(|(held, _)| &**held == name);
    found.map_or_else(|| "none".to_owned(), |(_, variable)| variable.value().repr())
}

fn parameter(name: &str, kind: ParameterKind, form: Form) -> Parameter {
    Parameter { name: name.into(), kind, form, ..Parameter::default() }
}

#[tokio::test]
async fn parameters_are_filled_in_and_cast() {
    let data = data(
        r#""tool_node_version": "2",
            "tool_parameters": {
                "text": {"type": "mixed", "value": "say {{#a.word#}}"},
                "flag": {"type": "constant", "value": true},
                "count": {"type": "mixed", "value": "7"},
                "items": {"type": "variable", "value": ["a", "list"]},
                "object": {"type": "constant", "value": {"b": 1}},
                "gone": {"type": "variable", "value": ["a", "gone"]},
                "empty": {"type": "mixed", "value": null},
                "unknown": {"type": "mixed", "value": "x"}},
            "tool_configurations": {
                "setting": {"type": "constant", "value": 5}, "other": "{{#a.word#}}",
                "none": {"type": "constant", "value": null}}"#,
    );
    let described = Description {
        parameters: vec![
            parameter("text", ParameterKind::Text, Form::Llm),
            parameter("flag", ParameterKind::Text, Form::Llm),
            parameter("count", ParameterKind::Number, Form::Llm),
            parameter("items", ParameterKind::Array, Form::Llm),
            parameter("object", ParameterKind::Object, Form::Llm),
            parameter("gone", ParameterKind::Text, Form::Llm),
            parameter("setting", ParameterKind::Number, Form::Form),
            parameter("other", ParameterKind::Text, Form::Form),
            Parameter {
                default: Some("d".into()),
                ..parameter("default", ParameterKind::Text, Form::Form)
            },
        ],
        ..Description::default()
    };
    let fake = Arc::new(Fake { described, ..Fake::default() });
    run(&data, fake.clone()).await.0.unwrap();
    assert_eq!(
        fake.asked(),
        "{'text': 'say hello', 'flag': 'True', 'count': 7, 'items': [1, 2], 'object': {'b': 1}, \
         'unknown': None, 'setting': 5, 'other': 'hello', 'default': 'd'}"
    );
}

#[tokio::test]
async fn old_settings_are_not_filled_in_and_unknown_tools_take_all() {
    let data = data(
        r#""tool_parameters": {"n": {"type": "mixed", "value": "5"}},
            "tool_configurations": {"a": "{{#a.word#}}", "b": 2, "c": null},
            "paramSchemas": [{"name": "n", "type": "number", "form": "llm"}]"#,
    );
    let fake = Arc::new(Fake::open());
    run(&data, fake.clone()).await.0.unwrap();
    assert_eq!(fake.asked(), "{'n': 5, 'a': '{{#a.word#}}', 'b': '2'}");
}

#[tokio::test]
async fn what_a_tool_says_becomes_outputs() {
    let says = [
        Message::text("one "),
        Message::Link("https://h/x".into()),
        Message::text("two"),
        Message::Json(loads(r#"{"a": 1}"#).unwrap()),
        Message::Json(loads("{}").unwrap()),
        Message::Json(loads("[1]").unwrap()),
        Message::Variable { name: "v".into(), value: "x".into(), streams: true },
        Message::Variable { name: "v".into(), value: "y".into(), streams: true },
        Message::Variable { name: "n".into(), value: Value::int(1), streams: false },
        Message::Blob { bytes: (*b"\x89PNG\r\n\x1a\n").into(), mime_type: None, name: None },
        Message::Blob { bytes: (*b"a,b").into(), mime_type: None, name: Some("table.csv".into()) },
    ];
    let fake = Arc::new(Fake::saying(says));
    let (outcome, shown) =
        run(&data(r#""tool_parameters": {}, "tool_configurations": {}"#), fake).await;
    let success = outcome.unwrap();
    assert_eq!(output(&success, "text"), "'one Link: https://h/x\\ntwo'");
    assert_eq!(output(&success, "json"), "[{'a': 1}]");
    assert_eq!((output(&success, "v"), output(&success, "n")), ("'xy'".into(), "1".into()));
    assert_eq!(shown, "one Link: https://h/x\ntwoxy");
    let (_, files) = &success.outputs[1];
    assert_eq!(files.kind, Kind::ArrayFile);
    let Value::Array(files) = files.value() else { panic!("a list") };
    let files: Vec<String> = files
        .iter()
        .map(|file| match file {
            Value::File(file) => {
                let text = |text: &Option<Name>| text.clone().unwrap_or_default();
                assert_eq!(&*file.transfer_method, "tool_file");
                let (mime_type, extension) = (text(&file.mime_type), text(&file.extension));
                format!("{} {mime_type} {extension} {}", file.kind, file.size_bytes)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(files, ["image image/png .png 8", "document text/csv .csv 3"]);
}

#[tokio::test]
async fn a_silent_tool_has_empty_outputs() {
    let (outcome, _) =
        run(&data(r#""tool_parameters": {}, "tool_configurations": {}"#), Arc::new(Fake::open()))
            .await;
    let success = outcome.unwrap();
    let shown = success
        .outputs
        .iter()
        .map(|(name, variable)| format!("{name} {}", dumps(variable.value(), Style::Line)));
    assert_eq!(shown.collect::<Vec<_>>(), ["text \"\"", "files []", "json [{\"data\": []}]"]);
}

#[tokio::test]
async fn failures_have_names_and_hide_secrets() {
    let data = data(
        r#""tool_parameters": {"key": {"type": "mixed", "value": "{{#a.key#}}"}},
            "tool_configurations": {}"#,
    );
    let failing = |kind| {
        Arc::new(Fake { fails: Some(ToolError::new(kind, "no s3cret-key here")), ..Fake::open() })
    };
    let fake = failing(ToolErrorKind::RateLimited);
    let error = run(&data, fake.clone()).await.0.unwrap_err();
    assert_eq!(fake.asked(), "{'key': 's3cret-key'}");
    assert_eq!(
        (&*error.kind, &*error.message, error.class),
        (
            "ToolRuntimeInvocationError",
            "Failed to invoke tool: no *** here",
            ErrorClass::RateLimited
        )
    );
    let error = run(&data, failing(ToolErrorKind::File)).await.0.unwrap_err();
    assert_eq!((&*error.kind, &*error.message), ("ToolFileError", "no *** here"));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_as_in_dify() {
    let needed = Parameter {
        required: true,
        options: vec!["x".into(), "y".into()],
        ..parameter("s", ParameterKind::Select, Form::Form)
    };
    let with = |parameter: Parameter| {
        let described = Description { parameters: vec![parameter], ..Description::default() };
        Arc::new(Fake { described, ..Fake::default() })
    };
    let empty = data(r#""tool_parameters": {}, "tool_configurations": {}"#);
    let wrong = data(r#""tool_parameters": {}, "tool_configurations": {"s": "z"}"#);
    let gone = data(
        r#""tool_parameters": {"n": {"type": "variable", "value": ["a", "gone"]}}, "tool_configurations": {}"#,
    );
    let text = data(
        r#""tool_parameters": {"n": {"type": "mixed", "value": "many"}}, "tool_configurations": {}"#,
    );
    let number = Parameter { required: true, ..parameter("n", ParameterKind::Number, Form::Llm) };
    let cases = [
        (
            &empty,
            needed.clone(),
            "ToolRuntimeResolutionError: Failed to get tool runtime: tool parameter s not found in \
             tool config",
        ),
        (
            &wrong,
            needed,
            "ToolRuntimeResolutionError: Failed to get tool runtime: tool parameter s value z not \
             in options ['x', 'y']",
        ),
        (&gone, number.clone(), "WorkflowNodeError: Variable ['a', 'gone'] does not exist"),
        (
            &text,
            number,
            "ToolRuntimeInvocationError: Failed to invoke tool: invalid literal for int() with \
             base 10: 'many'",
        ),
    ];
    for (data, parameter, wanted) in cases {
        let error = run(data, with(parameter)).await.0.unwrap_err();
        assert_eq!(format!("{}: {}", error.kind, error.message), wanted);
    }
}

#[tokio::test]
async fn a_tool_that_nobody_answers_for_says_how_to_bind_it() {
    let data = data(r#""tool_parameters": {}, "tool_configurations": {}"#);
    let error = run(&data, Services::default().tools).await.0.unwrap_err();
    assert_eq!(&*error.kind, "NotConfiguredError");
    assert!(error.message.contains("[[tools]]\nprovider = \"p\"\ntool = \"t\""), "{error:?}");
}

#[tokio::test]
async fn small_tools_need_nobody() {
    let data = r#"{"provider_id": "langgenius/json_process/json_process",
        "provider_name": "langgenius/json_process/json_process", "provider_type": "builtin",
        "tool_name": "parse", "tool_label": "Parse", "tool_node_version": "2",
        "tool_parameters": {
            "content": {"type": "mixed", "value": "{\"w\": \"{{#a.word#}}\"}"},
            "json_filter": {"type": "mixed", "value": "w"}},
        "tool_configurations": {"ensure_ascii": {"type": "constant", "value": 1}}}"#;
    let (outcome, shown) = run(data, Services::default().tools).await;
    assert_eq!((output(&outcome.unwrap(), "text"), &*shown), ("'hello'".to_owned(), "hello"));
}
