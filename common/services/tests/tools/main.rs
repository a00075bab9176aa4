//! Tools over real servers: HTTP calls, operations of `OpenAPI` documents, MCP servers as processes
//! and over HTTP.

#![cfg(feature = "tools")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod http;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "mcp")]
mod offered;
mod openapi;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::fact::{ChildEnd, Status};
use flowmill_engine::value::{File, Name, Object, Value, loads};
use flowmill_services::caller::Caller;
use flowmill_services::tools::{
    Bindings, BoundTools, Call, CommandEnd, CommandLine, Description, Message, Origin, Outside,
    ToolError, ToolErrorKind, Tools as _, Wanted,
};
use futures::future::BoxFuture;

/// The tools of a services file in a folder.
fn tools(text: &str, folder: &Path) -> Arc<BoundTools> {
    let environment = |name: &str| match name {
        "KEY" => Some("sesame-key".to_owned()),
        "PATH" => std::env::var("PATH").ok(),
        _ => None,
    };
    let origin = Origin { folder, environment: &environment };
    Arc::new(BoundTools::new(Bindings::parse(text).unwrap(), origin).unwrap())
}

fn wanted(provider: &str, tool: &str) -> Wanted {
    Wanted {
        provider_type: "builtin".into(),
        provider_id: provider.into(),
        provider_name: provider.into(),
        tool: tool.into(),
        credential: None,
    }
}

/// Files are their own names; commands are told; a workflow gives what it takes, or fails by its name.
#[derive(Debug)]
struct Plain;

impl Outside for Plain {
    fn open<'a>(&'a self, file: &'a File, _: u64) -> BoxFuture<'a, Result<Vec<u8>, ToolError>> {
        let name = file.filename.clone().unwrap_or_default();
        Box::pin(async move { Ok(name.as_bytes().to_vec()) })
    }

    fn run(&self, command: CommandLine) -> BoxFuture<'_, Result<CommandEnd, ToolError>> {
        let mut said = command.argv.join("|").into_bytes();
        said.extend_from_slice(b" < ");
        said.extend_from_slice(&command.stdin);
        Box::pin(async { Ok(CommandEnd { status: Some(0), stdout: said, stderr: Vec::new() }) })
    }

    fn child<'a>(
        &'a self,
        workflow: &'a Name,
        inputs: &'a Object,
    ) -> BoxFuture<'a, Result<ChildEnd, ToolError>> {
        let (status, error) = match &**workflow {
            "broken" => (Status::Failed, Some("no such luck".into())),
            "stopped" => (Status::Stopped, None),
            _ => (Status::PartialSucceeded, None),
        };
        let outputs = inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let end = ChildEnd { name: "1".into(), run: Some("r".into()), status, outputs, error };
        Box::pin(async { Ok(end) })
    }
}

/// What a tool says when it is called.
async fn call_in(
    tools: &BoundTools,
    wanted: &Wanted,
    arguments: Object,
    timeout: Duration,
) -> Result<Vec<String>, ToolError> {
    let said = Mutex::new(Vec::new());
    let take = |message: Message| {
        let shown = match message {
            Message::Text(text) => format!("text {text}"),
            Message::Json(value) => format!("json {}", value.repr()),
            Message::Variable { name, value, .. } => format!("{name} = {}", value.repr()),
            Message::Blob { bytes, mime_type, name } => {
                format!("blob {} {mime_type:?} {name:?}", bytes.len())
            }
            other => format!("{other:?}"),
        };
        said.lock().unwrap().push(shown);
    };
    let caller = Caller::default();
    let call = Call {
        wanted,
        arguments: &arguments,
        caller: &caller,
        outside: &Plain,
        timeout,
        on_message: &take,
    };
    tools.call(call).await?;
    Ok(said.into_inner().unwrap_or_default())
}

fn object(json: &str) -> Object {
    match loads(json).unwrap() {
        Value::Object(members) => (*members).clone(),
        other => panic!("{other:?} is no object"),
    }
}

async fn call(
    tools: &BoundTools,
    wanted: &Wanted,
    arguments: &str,
) -> Result<Vec<String>, ToolError> {
    call_in(tools, wanted, object(arguments), Duration::from_secs(20)).await
}

async fn describe(tools: &BoundTools, wanted: &Wanted) -> Result<Description, ToolError> {
    tools.describe(wanted, &Caller::default()).await
}

#[tokio::test]
async fn what_nobody_answers_for_is_told_with_what_to_add() {
    let tools = tools("", Path::new("."));
    let error = call(&tools, &wanted("p", "t"), "{}").await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::NotBound);
    assert!(error.message.contains("[[tools]]\nprovider = \"p\"\ntool = \"t\""), "{error}");
}

#[tokio::test]
async fn a_command_gets_whole_words_and_json() {
    let text = r#"
[[tools]]
provider = "p"
[tools.command]
argv = ["/bin/x", "--", "{a}", "{gone}", "a={a}"]
stdin = "json"
"#;
    let said = call(&tools(text, Path::new(".")), &wanted("p", "t"), r#"{"a": "b; c"}"#).await;
    assert_eq!(said.unwrap(), [r#"text /bin/x|--|b; c|a=b; c < {"a":"b; c"}"#]);
}

#[tokio::test]
async fn a_workflow_says_what_its_run_gave() {
    let bound = |name: &str| {
        let text = format!("[[tools]]\nprovider = \"p\"\nworkflow = \"{name}\"\n");
        tools(&text, Path::new("."))
    };
    let given = r#"{"text": "a", "sum": 3}"#;
    let said = call(&bound("adds"), &wanted("p", "t"), given).await.unwrap();
    let expected = ["sum = 3", r#"text {"text": "a", "sum": 3}"#, "json {'text': 'a', 'sum': 3}"];
    assert_eq!(said, expected);
    let failed = call(&bound("broken"), &wanted("p", "t"), given).await.unwrap_err();
    assert_eq!((failed.kind, &*failed.message), (ToolErrorKind::Failed, "no such luck"));
    let failed = call(&bound("stopped"), &wanted("p", "t"), given).await.unwrap_err();
    assert_eq!(&*failed.message, "the workflow ended as stopped");
}
