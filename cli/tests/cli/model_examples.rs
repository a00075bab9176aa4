//! The examples that ask models, each against its own scripted provider; with real keys they run unchanged.

use std::path::{Path, PathBuf};
use std::process::Command;

use flowmill_scripted_provider::{Answer, Protocol, Provider, Rule, Script, When};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{Ran, command, repository};

fn folder() -> PathBuf {
    repository().join("examples/models")
}

/// An example's own provider, under way.
struct World {
    provider: Provider,
    _runtime: Runtime,
}

impl World {
    fn new(script: Script) -> Self {
        let runtime = Runtime::new().unwrap();
        let provider = runtime.block_on(Provider::start(script)).unwrap();
        Self { provider, _runtime: runtime }
    }

    /// The provider that a file beside an example describes.
    fn of(name: &str) -> Self {
        Self::new(script(name))
    }

    /// The binary, as somebody would call it who has a key.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        let url = self.provider.url(Protocol::OpenAi);
        command.env("OPENAI_API_KEY", "sk-any").env("OPENAI_BASE_URL", url);
        command.current_dir(folder());
        command
    }

    /// Runs an example.
    fn run(&self, name: &str, inputs: &[&str], more: &[&str]) -> Ran {
        let arguments = run_of(name, inputs);
        let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
        Ran::of(self.command(&[&arguments, more].concat()).output().unwrap())
    }

    fn asked(&self) -> usize {
        self.provider.seen().calls.len()
    }
}

fn script(name: &str) -> Script {
    let script = folder().join(format!("{name}.provider.json"));
    serde_json::from_str(&std::fs::read_to_string(script).unwrap()).unwrap()
}

fn run_of(name: &str, inputs: &[&str]) -> Vec<String> {
    let document = folder().join(format!("{name}.yml")).to_str().unwrap().to_owned();
    let mut arguments = vec!["run".to_owned(), document, "--output".to_owned(), "json".to_owned()];
    for input in inputs {
        arguments.extend(["--input".to_owned(), (*input).to_owned()]);
    }
    arguments
}

/// Runs an example; also gives how often its provider was asked.
fn run(name: &str, inputs: &[&str]) -> (Ran, usize) {
    let world = World::of(name);
    let ran = world.run(name, inputs, &[]);
    (ran, world.asked())
}

fn outputs(ran: &Ran) -> Value {
    ran.json()["outputs"].clone()
}

#[test]
fn reviews_are_read_one_by_one_and_added_up() {
    let (ran, asked) =
        run("reviews", &[r#"reviews=["Great tea", "The cake was dry", "tea again"]"#]);
    let ran = ran.expect(0);
    let expected = json!({
        "moods": {"good": 2, "bad": 1},
        "keywords": ["tea", "service", "cake"],
    });
    assert_eq!((outputs(&ran), asked), (expected, 3), "{ran}");
}

#[test]
fn a_text_is_translated() {
    let (ran, asked) = run("translate", &["text=Good morning", "language=French"]);
    assert_eq!((outputs(&ran.expect(0)), asked), (json!({"translation": "Bonjour"}), 1));
}

#[test]
fn what_fails_gives_way_to_less() {
    let (ran, asked) = run("degrade", &["question=What is new?"]);
    assert_eq!(ran.json()["status"], "partial-succeeded", "{ran}");
    // the large one twice, the small one once
    assert_eq!((outputs(&ran), asked), (json!({"answer": "Please ask again later."}), 3), "{ran}");
}

#[test]
fn the_first_of_two_models_answers() {
    let (ran, asked) = run("race", &["question=What is new?"]);
    assert_eq!((outputs(&ran.expect(0)), asked), (json!({"answer": "quick"}), 2));
}

#[test]
fn an_agent_uses_its_tool() {
    let (ran, asked) = run("agent", &["question=What time is it in Oslo?"]);
    assert_eq!((outputs(&ran.expect(0)), asked), (json!({"answer": "It is noon in Oslo."}), 2));
}

#[test]
fn answers_are_compared_without_the_one_that_is_missing() {
    let (ran, asked) = run("compare", &["question=Why is the sky blue?"]);
    let ran = ran.expect(3);
    let expected = json!({
        "answers": "A: Air scatters blue light most.\nB: Because of the air.\nC: no answer",
        "best": "A. It names the cause.",
    });
    assert_eq!((outputs(&ran), asked), (expected, 4), "{ran}");
}

#[test]
fn only_the_branches_run_that_a_message_is_about() {
    for (message, reply, calls) in [
        ("parcel and invoice", "We correct the invoice.\nThe parcel comes tomorrow.", 2),
        ("a parcel", "The parcel comes tomorrow.", 1),
        ("a refund", "We correct the invoice.", 1),
        ("hello", "A person will read your message.", 0),
    ] {
        let (ran, asked) = run("branches", &[&format!("message={message}")]);
        assert_eq!((outputs(&ran.expect(0)), asked), (json!({"reply": reply}), calls));
    }
}

#[test]
fn live_data_give_way_to_a_cache_and_that_to_a_preset_text() {
    let there = crate::tools::server();
    // nobody listens there
    let nowhere = "http://127.0.0.1:9/rates";
    for (live, cache, code, begin, reply) in [
        (&*there, nowhere, 0, "As of now", "These are the rates of this minute."),
        (nowhere, &*there, 3, "As of this morning", "These are the rates of this morning."),
        (nowhere, nowhere, 3, "No rates", "We do not know the rates at present."),
    ] {
        let world = World::of("live");
        let inputs = [&*format!("live={live}"), &*format!("cache={cache}")];
        let ran = world.run("live", &inputs, &["--allow-net", "127.0.0.1"]).expect(code);
        let outputs = outputs(&ran);
        assert!(outputs["data"].as_str().unwrap().starts_with(begin), "{ran}");
        assert_eq!((&outputs["reply"], world.asked()), (&json!(reply), 1), "{ran}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_asked_for_again() {
    let (ran, asked) = run("json-loop", &["order=two teas and a cake"]);
    let expected = json!({
        "state": "good",
        "order": {"items": [{"name": "tea", "count": 2}, {"name": "cake", "count": 1}]},
        "rounds": 2,
    });
    assert_eq!((outputs(&ran.expect(0)), asked), (expected, 2));
}

#[test]
fn an_answer_that_can_never_be_read_is_asked_for_four_times() {
    let world = World::new(Script::of([Rule::always(Answer::text("no JSON"))]));
    let ran = world.run("json-loop", &["order=tea"], &[]).expect(0);
    let expected = json!({"state": "bad", "order": {}, "rounds": 4});
    assert_eq!((outputs(&ran), world.asked()), (expected, 4), "{ran}");
}

#[cfg(feature = "store")]
#[test]
fn chapters_that_were_answered_are_not_paid_for_again() {
    let mut script = script("chapters");
    // the fifth chapter is never answered, until the run is killed
    let never = Answer { delay_ms: 600_000, ..Answer::default() };
    script.rules.insert(0, Rule::times(1, never).when(When::says("The captain")));
    let world = World::new(script);
    let parent = tempfile::tempdir().unwrap();
    let store = parent.path().join("runs").to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(folder().join("chapters.txt")).unwrap();
    let mut arguments = run_of("chapters", &[&format!("text={text}")]);
    arguments.extend(["--store".to_owned(), store.clone()]);
    let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
    let mut killed = world.command(&arguments).spawn().unwrap();
    let since = std::time::Instant::now();
    while world.asked() < 5 {
        assert!(since.elapsed() < std::time::Duration::from_mins(1), "{} calls", world.asked());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();

    let listed =
        crate::flowmill(&["runs", "list", "--store", &store, "--format", "json"]).expect(0);
    let id = listed.lines()[0]["id"].as_str().unwrap().to_owned();
    let resume = world.command(&["resume", &id, "--store", &store, "--output", "json"]).output();
    let ran = Ran::of(resume.unwrap()).expect(0);
    assert_eq!(outputs(&ran)["chapters"].as_array().unwrap().len(), 8, "{ran}");
    assert_eq!(outputs(&ran)["book"], "Ada leaves, is lost, and comes back.");
    // eight chapters and the whole; the one that was under way twice
    let titles = ["harbour\n", "storm", "island", "fire", "captain", "map", "bargain", "return"];
    let calls = world.provider.seen().calls;
    let chapters = calls.iter().filter(|(_, asked)| asked.last_said.starts_with("The "));
    let chapters: Vec<&str> = chapters.map(|(_, asked)| &*asked.last_said).collect();
    for title in titles {
        let begin = format!("The {title}");
        // the whole begins like the first chapter, and has a colon after its title
        let times = chapters.iter().filter(|said| said.starts_with(&begin)).count();
        assert_eq!(times, if title == "captain" { 2 } else { 1 }, "{title}: {chapters:?}");
    }
    assert_eq!(calls.len(), 10);
}

/// A services file beside an example, copied with its programs, its model the provider's.
#[cfg(feature = "mcp")]
fn copied(world: &World, name: &str, beside: &[&str], into: &Path) -> String {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let url = world.provider.url(Protocol::OpenAi);
    let own = format!("[providers.openai]\nurl = \"{url}\"");
    assert!(text.contains("[providers.openai]"), "{text}");
    let services = into.join(name);
    std::fs::write(&services, text.replace("[providers.openai]", &own)).unwrap();
    for file in beside {
        std::fs::copy(folder().join(file), into.join(file)).unwrap();
    }
    services.to_str().unwrap().to_owned()
}

#[cfg(feature = "mcp")]
#[test]
fn an_agent_asks_a_server_of_mcp() {
    let world = World::of("agent-mcp");
    let beside = tempfile::tempdir().unwrap();
    let name = "agent-mcp.services.toml";
    let services = copied(&world, name, &["orders_server.py"], beside.path());
    for (question, answer) in [
        ("Where is order 4711?", "Order 4711 is on its way."),
        ("Where is order 1?", "There is no such order."),
    ] {
        let question = format!("question={question}");
        let ran = world.run("agent-mcp", &[&question], &["--services", &services]).expect(0);
        assert_eq!(outputs(&ran), json!({"answer": answer}), "{ran}");
    }
    assert_eq!(world.asked(), 4);
}

#[cfg(feature = "store")]
#[test]
fn a_handbook_answers() {
    let world = World::of("handbook");
    let base = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("FLOWMILL_KNOWLEDGE", base.path());
        Ran::of(command.output().unwrap())
    };
    let question = |question: &str| {
        let arguments = run_of("handbook", &[&format!("question={question}")]);
        ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let nobody = question("How many days of leave are there?").expect(1);
    assert_eq!(nobody.json()["errors"][0]["error_type"], "NotConfiguredError", "{nobody}");
    ask(&["knowledge", "create", "handbook"]).expect(0);
    let handbook = folder().join("handbook");
    ask(&["knowledge", "add", "handbook", handbook.to_str().unwrap()]).expect(0);
    let check = ["knowledge", "check", "--workflow", "handbook.yml", "--json"];
    let checked = ask(&check).expect(0).json();
    assert_eq!(checked["asked"][0]["keeper"], "the built-in store, handbook", "{checked}");
    for (asked, answer) in [
        ("How many days of leave are there?", "There are 28 days of leave in a year."),
        ("Who won?", "The handbook does not tell it."),
    ] {
        let ran = question(asked).expect(0);
        assert_eq!(outputs(&ran), json!({"answer": answer}), "{ran}");
    }
    assert_eq!(world.asked(), 2);
}
