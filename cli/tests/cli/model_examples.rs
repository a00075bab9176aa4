//! The examples that ask models, each against its own scripted provider; with real keys they run unchanged.

use flowmill_scripted_provider::{Protocol, Provider, Script};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{Ran, command, repository};

/// Runs an example; also gives how often its provider was asked.
fn run(name: &str, inputs: &[&str]) -> (Ran, usize) {
    let folder = repository().join("examples/models");
    let script = std::fs::read_to_string(folder.join(format!("{name}.provider.json"))).unwrap();
    let script: Script = serde_json::from_str(&script).unwrap();
    let runtime = Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(script)).unwrap();
    let document = folder.join(format!("{name}.yml"));
    let mut arguments = vec!["run", document.to_str().unwrap(), "--output", "json"];
    for input in inputs {
        arguments.extend(["--input", input]);
    }
    let mut command = command(&arguments);
    // as somebody would with a key of their own
    let url = provider.url(Protocol::OpenAi);
    command.env("OPENAI_API_KEY", "sk-any").env("OPENAI_BASE_URL", url).current_dir(&folder);
    let ran = Ran::of(command.output().unwrap());
    (ran, provider.seen().calls.len())
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
