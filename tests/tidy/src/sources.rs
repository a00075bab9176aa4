//! What every Rust file keeps to.

use crate::tree::{File, files, none};

/// Lines of a file before its tests.
const MOST_LINES: usize = 600;

/// Lines of a `main.rs`.
const MOST_LINES_OF_MAIN: usize = 80;

fn sources() -> impl Iterator<Item = File> {
    files().into_iter().filter(File::is_rust)
}

/// The places where a line of code, comments aside, holds one of the words.
fn places(file: &File, words: &[&str]) -> Vec<String> {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    crate::tree::numbered(&file.text)
        .filter(|(_, line)| words.iter().any(|word| holds(&code(line), word)))
        .map(|(at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// Whether the word stands in the line and is not the end of a longer one.
fn holds(line: &str, word: &str) -> bool {
    let part_of_name = |before: char| before.is_alphanumeric() || before == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(part_of_name))
}

#[test]
fn files_are_short() {
    let long = |file: &File| {
        let lines = file.lines_before_tests().count();
        let place = format!("{}: {lines} lines before its tests", file.path);
        (lines > MOST_LINES).then_some(place)
    };
    let found: Vec<String> = sources().filter_map(|file| long(&file)).collect();
    let advice = format!(
        "More than {MOST_LINES} lines: the file does two jobs. Move one of them into a module."
    );
    none(&found, &advice);
}

#[test]
fn mains_only_begin() {
    let long = |file: &File| {
        // the main.rs of a test is a list of its cases
        let is_main = file.path.ends_with("src/main.rs");
        let lines = file.lines_before_tests().count();
        let place = format!("{}: {lines} lines", file.path);
        (is_main && lines > MOST_LINES_OF_MAIN).then_some(place)
    };
    let found: Vec<String> = sources().filter_map(|file| long(&file)).collect();
    let advice = format!(
        "A main.rs has at most {MOST_LINES_OF_MAIN} lines: it reads arguments and calls the \
         library, where tests can reach the rest."
    );
    none(&found, &advice);
}

#[test]
fn modules_say_what_they_are_for() {
    let silent = |file: &File| !file.text.starts_with("//!");
    let found: Vec<String> = sources().filter(silent).map(|file| file.path).collect();
    none(&found, "A Rust file opens with `//!`: what it is for, and what it refuses to do.");
}

#[test]
fn lints_are_expected_not_allowed() {
    let words = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let found: Vec<String> = sources().flat_map(|file| places(&file, &words)).collect();
    let advice = "Write #[expect(lint, reason = \"…\")]: it says when it is no longer needed.";
    none(&found, advice);
}

#[test]
fn nothing_is_left_undone() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
    ];
    let found: Vec<String> = sources().flat_map(|file| places(&file, &words)).collect();
    let advice = "Finish it, or leave it out and say so in docs/ROADMAP.md. A test that cannot \
                  run is no test: mend it or remove it.";
    none(&found, advice);
}

#[test]
fn pure_crates_reach_nothing_outside() {
    let words = [
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant",
        "RandomState",
    ];
    let pure = |file: &File| {
        ["common/engine/src/", "common/dsl/src/", "common/yaml/src/"]
            .iter()
            .any(|folder| file.path.starts_with(folder))
    };
    let before_tests = |file: File| {
        let lines = file.lines_before_tests().map(|(_, line)| format!("{line}\n"));
        File { text: lines.collect(), path: file.path.clone() }
    };
    let found: Vec<String> =
        sources().filter(pure).map(before_tests).flat_map(|file| places(&file, &words)).collect();
    let advice = "The engine and the documents are pure: what they need from outside, the time \
                  included, is an argument (docs/adr/0001-run-is-a-value.md).";
    none(&found, advice);
}

#[test]
fn servers_are_spoken_to_in_infra_only() {
    let words = crate::crates::FENCED.map(|name| format!("{name}::"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // the tests of a whole cluster make and remove what is theirs on a real server, and are its
    // clients
    let inside = ["common/infra/", "tests/cluster/", "tests/e2e/"];
    let outside = |file: &File| !inside.iter().any(|folder| file.path.starts_with(folder));
    // knowledge bases have databases of their own
    let is_own = |file: &File, word: &str| {
        file.path.starts_with("common/knowledge/") && word.starts_with("sqlx")
    };
    let found: Vec<String> = sources()
        .filter(outside)
        .flat_map(|file| {
            let words: Vec<&str> =
                words.iter().copied().filter(|word| !is_own(&file, word)).collect();
            places(&file, &words)
        })
        .collect();
    let advice = "Only common/infra names these crates: give it a port (a small trait) and an \
                  adapter, and use the port.";
    none(&found, advice);
}

#[test]
fn words_are_found_and_parts_of_names_are_not() {
    assert!(holds("    let now = Instant::now();", "Instant"));
    assert!(!holds("struct MyInstant;", "Instant"));
    let text = "//! A file.\nuse std::fs; // why\n// std::env\n".to_owned();
    let file = File { path: "a.rs".to_owned(), text };
    assert_eq!(places(&file, &["std::fs", "std::env"]), ["a.rs:2: use std::fs; // why"]);
}
