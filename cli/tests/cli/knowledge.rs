//! `flowmill knowledge`.

use flowmill_scripted_provider::{Protocol, Provider, Script};
use tokio::runtime::Runtime;

use crate::{Ran, command, flowmill};

/// A folder with a store in it and documents beside it.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn call(&self, arguments: &[&str]) -> Ran {
        self.reads(arguments, "")
    }

    fn reads(&self, arguments: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut command = command(&[&["knowledge"], arguments].concat());
        command.current_dir(self.folder.path()).env_remove("FLOWMILL_KNOWLEDGE");
        command.env("MODELS_KEY", "sk-secret-0123456789").stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        // a program that refuses its arguments does not read
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    }
}

#[test]
fn a_knowledge_base_needs_no_model() {
    let world = World::new();
    world.call(&["list"]).expect(0);
    assert!(!world.folder.path().join("knowledge.db").exists());
    world.call(&["create", "handbook", "--description", "How we work"]).expect(0);
    world.write("docs/money.md", "# Refunds\n\nMoney comes back within 14 days.\n");
    world.write("docs/more/page.html", "<p>We <b>open</b> at nine.</p><script>no()</script>");
    world.write("docs/.hidden.md", "Nobody reads this.");
    world.write("docs/data.csv", "city,people\nOslo,700000\n");
    let ran = world.call(&["add", "handbook", "docs/", "--metadata", "year=2026"]).expect(0);
    let names = ["docs/data.csv  1 passage", "docs/money.md  1 passage", "docs/more/page.html  1"];
    assert!(
        names.iter().all(|name| ran.out.contains(name)) && ran.out.lines().count() == 3,
        "{ran}"
    );
    let ran = world.reads(&["add", "handbook", "-", "--document-name", "note"], "退款需要十四天。");
    ran.expect(0);
    let found = |query: &str| {
        let ran = world.call(&["query", "handbook", query, "--top-k", "1", "--json"]).expect(0);
        ran.json()[0].clone()
    };
    assert_eq!(found("when does money come back?")["document_name"], "docs/money.md");
    assert_eq!(found("退款")["content"], "退款需要十四天。");
    assert_eq!(found("open")["content"], "We open at nine.");
    assert_eq!(found("oslo")["metadata"]["year"], 2026);
    let ran = world.call(&["query", "handbook", "money", "--filter", "year<2026"]).expect(0);
    assert!(ran.out.is_empty(), "{ran}");
    ran.says("nothing is found");
    let ran = world.call(&["list"]).expect(0);
    assert!(ran.out.contains("handbook  4 documents, 4 passages  How we work"), "{ran}");
}

#[test]
fn what_changed_is_replaced_and_what_is_removed_is_gone() {
    let world = World::new();
    world.call(&["create", "b"]).expect(0);
    for (text, found) in [("first text", 1), ("first text", 1), ("other words", 0)] {
        world.write("a.txt", text);
        world.call(&["add", "b", "a.txt", "./a.txt"]).expect(0);
        let ran = world.call(&["query", "b", "first", "--json"]).expect(0);
        assert_eq!(ran.json().as_array().unwrap().len(), found, "{ran}");
    }
    let shown = world.call(&["show", "b", "--json"]).expect(0).json();
    let documents = shown["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 1, "{shown}");
    assert_eq!(documents[0]["name"], "a.txt");
    world.call(&["remove", "b", "a.txt"]).expect(0);
    world.call(&["remove", "b", "a.txt"]).expect(2).says("there is no document a.txt in b");
    world.call(&["drop", "b"]).expect(2).says("--yes");
    world.call(&["drop", "b", "--yes"]).expect(0);
    assert!(world.call(&["list"]).expect(0).out.is_empty());
}

#[test]
fn one_file_that_fails_keeps_no_other_out() {
    let world = World::new();
    world.call(&["create", "b"]).expect(0);
    world.write("good.md", "Something good.");
    world.write("empty.md", " \n");
    std::fs::write(world.folder.path().join("odd.bin"), [0, 159, 146, 150]).unwrap();
    let ran = world.call(&["add", "b", "empty.md", "gone.md", "odd.bin", "good.md"]).expect(1);
    assert!(ran.out.contains("good.md  1 passage"), "{ran}");
    let ran = ran.says("failed  empty.md: there is no text in it").says("failed  gone.md: ");
    ran.says("Unsupported Extension Type: .bin").says("3 of 4 files could not be added");
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    let world = World::new();
    world.call(&["query", "handbook", "x"]).expect(2).says("flowmill knowledge create handbook");
    world.call(&["create", "handbook"]).expect(0);
    world
        .call(&["create", "handbook"])
        .expect(2)
        .says("there is a knowledge base handbook already");
    world.call(&["query", "handbok", "x"]).expect(2).says("did you mean handbook?");
    world.call(&["query", "handbook", "x", "--filter", "year"]).expect(2).says("year>=2020");
    world.call(&["query", "handbook", "x", "--method", "vectors"]).expect(2).says("no model");
    world.call(&["create", "b", "--embedding", "openai"]).expect(2).says("PROVIDER/MODEL");
    world.call(&["create", "b", "--method", "hybrid"]).expect(2).says("needs a model for vectors");
    world.call(&["create", "b", "--chunk-characters", "3"]).expect(2).says("from 16");
    world.call(&["list", "--store", "mysql://me:secret@host/db"]).expect(2).says("mysql://…");
    let other = ["query", "handbook", "x", "--tenant", "acme"];
    world.call(&other).expect(2).says("there is none yet");
    assert!(flowmill(&["knowledge", "--help"]).expect(0).out.contains("flowmill knowledge add"));
}

#[test]
fn models_of_the_services_file_give_vectors_and_an_order() {
    let world = World::new();
    let runtime = Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(Script::default())).unwrap();
    let url = provider.url(Protocol::OpenAi);
    let services = format!(
        "[providers.openai]\nurl = \"{url}\"\nkey = \"$MODELS_KEY\"\n[providers.jina]\nkind = \"openai\"\nurl = \"{url}\"\nkey = \"$MODELS_KEY\"\n"
    );
    world.write("services.toml", &services);
    world.write("a.md", "aaab");
    world.write("b.md", "bbba");
    world.call(&["create", "b", "--embedding", "openai/small", "--method", "vectors"]).expect(0);
    let add = ["add", "b", "a.md", "b.md", "--services", "services.toml"];
    let ran = world.call(&add).expect(0);
    assert!(!ran.to_string().contains("secret"), "{ran}");
    assert_eq!(provider.seen().calls.len(), 2);
    // nothing is paid for twice
    world.call(&add).expect(0);
    assert_eq!(provider.seen().calls.len(), 2);
    let query = ["query", "b", "bb", "--services", "services.toml", "--json"];
    let found = world.call(&query).expect(0).json();
    assert_eq!((&found[0]["content"], &found[1]["content"]), (&"bbba".into(), &"aaab".into()));
    // words decide over letters where a model puts in order
    let models = ["--embedding", "openai/small", "--rerank", "jina/order"];
    world.call(&[&["create", "c"], &models[..]].concat()).expect(0);
    world.write("c.md", "one two");
    world.call(&["add", "c", "a.md", "c.md", "--services", "services.toml"]).expect(0);
    let query = ["query", "c", "aab two", "--services", "services.toml", "--json"];
    let found = world.call(&query).expect(0).json();
    assert_eq!(found[0]["score"], 0.5, "{found}");
}
