//! Workflows that ask models, and `flowmill models`.

use flowmill_scripted_provider::{Answer, Protocol, Provider, Rule, Script, When};
use tokio::runtime::Runtime;

use crate::{Ran, command, end, flowmill, start, workflow};

/// What no output may show.
pub(crate) const KEY: &str = "sk-secret-0123456789";

/// A provider that runs, a services file that names it, and a document that asks it.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) services: String,
    pub(crate) document: String,
    pub(crate) folder: tempfile::TempDir,
    _runtime: Runtime,
}

/// Asks a model what the user says.
const ASK: &str = "{id: m, data: {type: llm, title: Ask, model: {provider: langgenius/openai/openai, \
    name: gpt-4o, mode: chat, completion_params: {temperature: 0.5}}, prompt_template: [{role: user, \
    text: 'Say {{#s.word#}}'}], context: {enabled: false}}}";

impl World {
    pub(crate) fn new(script: Script, rest: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let provider = runtime.block_on(Provider::start(script)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (services, document) = (path("services.toml"), path("ask.yml"));
        let url = provider.url(Protocol::OpenAi);
        let file = format!("[providers.openai]\nurl = \"{url}\"\nkey = \"$MODELS_KEY\"\n{rest}");
        std::fs::write(&services, file).unwrap();
        let word = r#"{"variable": "word", "label": "Word", "type": "text-input"}"#;
        let nodes = [&start(word), ASK, &end("said", "m, text")];
        let edges = [
            "{source: s, target: m, sourceHandle: source}",
            "{source: m, target: e, sourceHandle: source}",
        ];
        std::fs::write(&document, workflow(&nodes, &edges)).unwrap();
        Self { provider, services, document, folder, _runtime: runtime }
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Ran {
        let mut command = command(arguments);
        command.current_dir(self.folder.path()).env("MODELS_KEY", KEY);
        Ran::of(command.output().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let base = ["run", &self.document, "--input", "word=hello", "--output", "json"];
        self.call(&[&base, arguments].concat())
    }
}

#[test]
fn a_workflow_asks_the_model_that_the_services_file_names() {
    let world = World::new(Script::default(), "");
    let ran = world.run(&["--services", &world.services]).expect(0);
    assert_eq!(ran.json()["outputs"]["said"], "Say hello", "{ran}");
    let calls = world.provider.seen().calls;
    let [(_, asked)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((&*asked.model, asked.key.as_deref()), ("gpt-4o", Some(KEY)));
    assert_eq!(asked.body["temperature"], 0.5);
    // the file of the usual name needs no flag
    std::fs::rename(&world.services, world.folder.path().join("flowmill-services.toml")).unwrap();
    world.run(&[]).expect(0);
    assert_eq!(world.provider.seen().calls.len(), 2);
}

#[test]
fn a_provider_that_asks_for_fewer_calls_fails_no_node() {
    let script = Script::of([Rule::times(2, Answer::too_many("1"))]);
    let world = World::new(script, "");
    let ran = world.run(&["--services", &world.services]).expect(0);
    assert_eq!(ran.json()["outputs"]["said"], "Say hello", "{ran}");
    assert_eq!(world.provider.seen().calls.len(), 3);
}

#[test]
fn without_somebody_who_answers_the_node_says_what_to_add() {
    let world = World::new(Script::default(), "");
    std::fs::write(&world.services, "[providers.google]\n").unwrap();
    let ran = world.run(&["--services", &world.services]).expect(1);
    let shown = ran.to_string();
    for part in
        ["the node m asks for the model gpt-4o of langgenius/openai/openai", "[providers.openai]"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let list = ["models", "list", "--workflow", &world.document, "--services", &world.services];
    let ran = world.call(&list).expect(1).says("add to ");
    assert!(ran.out.contains("llm m: gpt-4o of langgenius/openai/openai -> nobody"), "{ran}");
}

#[test]
fn a_services_file_that_is_wrong_is_told_before_anything_runs() {
    let world = World::new(Script::default(), "tiemout = \"3s\"\n[[modles]]\n");
    let ran = world.run(&["--services", &world.services]).expect(2);
    ran.says("did you mean timeout?").says("did you mean models?");
    world.run(&["--services", "nowhere.toml"]).expect(2).says("nowhere.toml");
    assert!(world.provider.seen().calls.is_empty());
}

#[test]
fn models_are_listed_and_checked() {
    let rest = "at_once = 3\n[[models]]\nasked.provider = \"tongyi\"\nprovider = \"openai\"\nname = \
                \"big\"\nprice = { input = 1, output = 2 }\nfallbacks = [\"openai/small\"]\naudio = false\n";
    let script = Script::of([Rule::always(Answer::status(500)).when(When::model("small"))]);
    let world = World::new(script, rest);
    let services = ["--services", &world.services];
    let ran = world.call(&[&["models", "list"], &services[..]].concat()).expect(0);
    for part in [
        "openai at http://127.0.0.1",
        "key is there",
        "3 at once",
        "big of openai",
        "1 in, 2 out USD",
        "    no audio",
    ] {
        assert!(ran.out.contains(part), "{part} in {ran}");
    }
    let list = ["models", "list", "--workflow", &world.document];
    let ran = world.call(&[&list, &services[..]].concat()).expect(0);
    assert!(ran.out.contains("-> gpt-4o of openai (tools, schema, images"), "{ran}");
    let ran = world.call(&[&["models", "check"], &services[..]].concat()).expect(1);
    assert!(ran.out.contains("ok  ") && ran.out.contains("big of openai"), "{ran}");
    assert!(ran.out.contains("failed  ") && ran.err.contains("status 500"), "{ran}");
    let check = ["models", "check", "--model", "openai/big"];
    world.call(&[&check, &services[..]].concat()).expect(0);
    assert!(!ran.to_string().contains("secret"), "{ran}");
}

#[test]
fn checking_nothing_is_wrong_usage() {
    let world = World::new(Script::default(), "");
    let check = ["models", "check", "--services", &world.services];
    world.call(&check).expect(2).says("--model PROVIDER/MODEL");
    flowmill(&["models", "check", "--model", "openai", "--services", &world.services]).expect(2);
}
