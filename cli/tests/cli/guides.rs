//! The commands of the guides, run as a reader would, with the output that the guides show.
//!
//! A block marked `console provider=NAME` is run: each line after a dollar sign by a shell in the repository's
//! folder, with the scripted provider of `examples/models/NAME.provider.json`. What follows the command, up to
//! the next one, is its standard output, word for word.

use std::path::Path;
use std::process::Command;

use flowmill_scripted_provider::{Protocol, Provider};
use tokio::runtime::Runtime;

use crate::repository;

/// A command of a guide.
#[derive(Debug)]
struct Shown {
    guide: String,
    provider: String,
    command: String,
    output: String,
}

/// The commands of a guide's marked blocks.
fn shown(guide: &str, text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut provider = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("```console provider=") {
            provider = Some(name.to_owned());
        } else if line.starts_with("```") {
            provider = None;
        } else if let Some(provider) = &provider {
            if let Some(command) = line.strip_prefix("$ ") {
                found.push(Shown {
                    guide: guide.to_owned(),
                    provider: provider.clone(),
                    command: command.to_owned(),
                    output: String::new(),
                });
            } else {
                let last = found
                    .last_mut()
                    .unwrap_or_else(|| panic!("{guide}: {line:?} follows no command"));
                last.output.push_str(line);
                last.output.push('\n');
            }
        }
    }
    found
}

/// What a command says.
fn said(shown: &Shown) -> String {
    let script = repository().join(format!("examples/models/{}.provider.json", shown.provider));
    let script = serde_json::from_str(&std::fs::read_to_string(script).unwrap()).unwrap();
    let runtime = Runtime::new().unwrap();
    let provider = runtime.block_on(Provider::start(script)).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_flowmill")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", &shown.command]).current_dir(repository()).env("PATH", path);
    shell.env("OPENAI_API_KEY", "any").env("OPENAI_BASE_URL", provider.url(Protocol::OpenAi));
    String::from_utf8(shell.output().unwrap().stdout).unwrap()
}

#[test]
fn guides_show_what_their_commands_say() {
    let mut wrong = Vec::new();
    let mut guides = 0;
    for entry in std::fs::read_dir(repository().join("docs/guides")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let commands = shown(&name, &std::fs::read_to_string(&path).unwrap());
        guides += usize::from(!commands.is_empty());
        for shown in commands {
            let said = said(&shown);
            if said != shown.output {
                let Shown { guide, command, output, .. } = shown;
                wrong.push(format!("{guide}: {command}\n--- shown\n{output}--- said\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(guides >= 8, "only {guides} guides have commands that are run");
}
