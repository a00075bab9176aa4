//! Other people's workflows over every protocol of models: the same statuses, errors and outputs, whichever a
//! provider speaks. Whoever asks for files is given small ones.
//!
//! The corpus lies outside the repository; without it there is nothing to test.

use std::collections::BTreeMap;
use std::path::Path;

use flowmill_engine::graph::{Item, Mode, Node};
use flowmill_scripted_provider::{Protocol, Provider, Script};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::corpus::corpus;
use crate::{Ran, command};

/// Node types that ask a model.
const ASKING: [&str; 4] = ["llm", "question-classifier", "parameter-extractor", "agent"];

/// Whose outputs differ, and why; their statuses and errors do not.
const OTHER_OUTPUTS: [(&str, &str); 3] = [
    ("a1sh-4-02-schedule-triggered.yml", "tells the time"),
    // the scripted model repeats what the user said last: Anthropic and Gemini are told messages of the user
    // that follow one another as one message
    ("hama-jp-01-ai-advanced-chat.yml", "several messages of the user"),
    ("svcvit-10.yml", "several messages of the user"),
];

/// A picture of one pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\
    \x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe\xa75\x81\x84\0\0\0\0IEND\xaeB`\x82";

/// What a workflow is begun with, as arguments.
fn arguments(file: &str, folder: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(file).ok()?;
    let document = flowmill_dsl::document::read(&text).ok()?;
    let kind =
        |node: &Node| node.data.get("type").and_then(Item::as_str).unwrap_or_default().to_owned();
    let nodes = &document.graph.nodes;
    if !nodes.iter().any(|node| ASKING.contains(&&*kind(node))) {
        return None;
    }
    let mut arguments = vec!["run".to_owned(), file.to_owned()];
    for node in nodes.iter().filter(|node| kind(node) == "start") {
        for variable in node.data.get("variables").and_then(Item::as_seq).unwrap_or_default() {
            let text = |key: &str| variable.get(key).and_then(Item::as_str).unwrap_or_default();
            let name = text("variable");
            let given = match text("type") {
                "number" => "3",
                "checkbox" => "true",
                "json_object" => "{}",
                "select" => variable.get("options").and_then(Item::as_seq)?.first()?.as_str()?,
                "file" | "file-list" => {
                    let types = variable.get("allowed_file_types").and_then(Item::as_seq);
                    let types: Vec<&str> =
                        types.unwrap_or_default().iter().filter_map(Item::as_str).collect();
                    let picture = types.first() == Some(&"image");
                    let path = folder.join(if picture { "dot.png" } else { "note.txt" });
                    let path = path.to_str()?;
                    arguments.extend(["--file".to_owned(), format!("{name}={path}")]);
                    continue;
                }
                _ => "hello",
            };
            arguments.extend(["--input".to_owned(), format!("{name}={given}")]);
        }
    }
    if document.graph.mode == Mode::Chat {
        arguments.extend(["--query".to_owned(), "What do you think of {}?".to_owned()]);
    }
    Some(arguments)
}

/// What others see of a run's end, without what differs by protocol or from run to run: times, and how a
/// provider counts tokens.
fn story(arguments: &[String], services: &Path, files: &Path) -> Value {
    let mut command = command(&["run"]);
    command.args(&arguments[1..]).args(["--output", "json", "--timeout", "30s"]);
    // nobody listens there: nothing else of the world is reached
    command.args(["--proxy", "http://127.0.0.1:9"]).arg("--files-dir").arg(files);
    let ran = Ran::of(command.arg("--services").arg(services).output().unwrap());
    let Ok(mut run) = serde_json::from_str::<Value>(&ran.out) else {
        return json!({ "code": ran.code, "says": ran.err });
    };
    plain(&mut run);
    json!({ "code": ran.code, "status": run["status"], "error": run["error"], "outputs": run["outputs"] })
}

fn plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(members) => {
            members.remove("usage");
            members.values_mut().for_each(plain);
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn real_exports_run_alike_over_every_protocol() {
    let Some(corpus) = corpus() else { return };
    let runtime = Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(Script::default())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dot.png"), PNG).unwrap();
    std::fs::write(folder.path().join("note.txt"), "A small note.").unwrap();
    let kinds = [
        ("openai", Protocol::OpenAi),
        ("anthropic", Protocol::Anthropic),
        ("gemini", Protocol::Gemini),
    ];
    let services = kinds.map(|(kind, protocol)| {
        let path = folder.path().join(format!("{kind}.toml"));
        let url = provider.url(protocol);
        let text = format!(
            "[providers.scripted]\nkind = \"{kind}\"\nurl = \"{url}\"\nkey = \"$PATH\"\n\n[[models]]\nasked = {{ provider = \
             \"*\", model = \"*\" }}\nprovider = \"scripted\"\ntools = true\nschema = true\nimages = true\ndocuments = false\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    });
    let exports: Vec<_> = corpus.iter().filter_map(|file| arguments(file, folder.path())).collect();
    assert!(exports.len() > 40, "{} exports ask a model", exports.len());

    let mut ends = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for some in exports.chunks(4) {
        let stories: Vec<[Value; 3]> = std::thread::scope(|scope| {
            let tell = |export: &Vec<String>| {
                let export = export.clone();
                let (services, files) = (&services, folder.path().join("made"));
                scope.spawn(move || {
                    services.each_ref().map(|services| story(&export, services, &files))
                })
            };
            let telling: Vec<_> = some.iter().map(tell).collect();
            telling.into_iter().map(|told| told.join().unwrap()).collect()
        });
        for (export, mut told) in some.iter().zip(stories) {
            if OTHER_OUTPUTS.iter().any(|(name, _)| export[1].ends_with(name)) {
                for story in &mut told {
                    story["outputs"] = Value::Null;
                }
            }
            let [open, anthropic, gemini] = told;
            *ends.entry(open["status"].to_string()).or_default() += 1;
            for (kind, other) in [("anthropic", anthropic), ("gemini", gemini)] {
                if open != other {
                    wrong.push(format!("{}:\n  openai {open}\n  {kind} {other}", export[1]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ, {ends:?}:\n{}", wrong.len(), wrong.join("\n"));
    let good = ["\"succeeded\"", "\"partial-succeeded\""].map(|status| ends.get(status).copied());
    let good: usize = good.into_iter().flatten().sum();
    // the others want tools that nobody answers for, knowledge, or the rest of the world
    assert!(good > 20, "{ends:?}");
}
