//! A tool that is a command in a sandbox: arguments are whole words of its command line, or JSON on
//! its stdin. No shell is between.

use std::path::PathBuf;
use std::time::Duration;

use flowmill_engine::value::{Style, dumps};

use super::answer::{self, Shape};
use super::config::{CommandEntry, Origin};
use super::fill::Fill;
use super::secret::Secret;
use super::{Call, CommandEnd, CommandLine, ToolError, ToolErrorKind};

/// Where programs are looked for by the command.
const SEARCH: &str = "/usr/local/bin:/usr/bin:/bin";

/// All arguments as an object, on stdin.
const JSON: &str = "json";

/// A command with places for arguments.
#[derive(Debug)]
pub(super) struct CommandCall {
    argv: Vec<Fill>,
    stdin: Stdin,
    environment: Vec<(String, Secret)>,
    readable: Vec<PathBuf>,
    output_bytes: usize,
    memory_bytes: u64,
    shape: Shape,
}

#[derive(Debug)]
enum Stdin {
    Nothing,
    Arguments,
    Text(Fill),
}

impl CommandCall {
    pub(super) fn new(entry: &CommandEntry, origin: Origin<'_>) -> Result<Self, String> {
        let fill = |text: &str| Fill::parse(text, origin.environment);
        let argv: Vec<Fill> = entry.argv.iter().map(|word| fill(word)).collect::<Result<_, _>>()?;
        if argv.first().is_some_and(|program| program.places().next().is_some()) {
            return Err("the program must not be an argument's to choose".to_owned());
        }
        let stdin = match entry.stdin.as_deref() {
            None => Stdin::Nothing,
            Some(JSON) => Stdin::Arguments,
            Some(text) => Stdin::Text(fill(text)?),
        };
        let variable = |(name, text): (&String, &String)| {
            (name.clone(), Secret::fill(text, origin.environment))
        };
        let whole = |path: &PathBuf| {
            // the command itself begins in the root folder
            std::path::absolute(origin.folder.join(path)).map_err(|error| error.to_string())
        };
        Ok(Self {
            argv,
            stdin,
            environment: entry.env.iter().map(variable).collect(),
            readable: entry.readable.iter().map(whole).collect::<Result<_, _>>()?,
            output_bytes: entry.output_bytes,
            memory_bytes: entry.memory_bytes,
            shape: Shape::new(entry.result, entry.path.as_deref()),
        })
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        let in_words = self.argv.iter().flat_map(Fill::secrets);
        let in_stdin = match &self.stdin {
            Stdin::Text(fill) => Some(fill.secrets()),
            Stdin::Nothing | Stdin::Arguments => None,
        };
        let in_environment = self.environment.iter().flat_map(|(_, secret)| secret.values());
        let all = in_words.chain(in_stdin.into_iter().flatten()).chain(in_environment);
        all.map(str::to_owned).collect()
    }

    pub(super) fn lacks(&self) -> Option<String> {
        let program = self.argv.first()?.head().ok()?;
        if !std::path::Path::new(program).exists() {
            return Some(format!("there is no program {program} on this machine"));
        }
        let unset = self.environment.iter().find_map(|(_, secret)| secret.expose().err());
        unset.map(|name| format!("the environment variable {name} is not set"))
    }

    pub(super) fn shown(&self) -> String {
        let program = self.argv.first().and_then(|program| program.head().ok());
        format!("the command {}", program.unwrap_or_default())
    }

    pub(super) async fn call(&self, call: &Call<'_>, timeout: Duration) -> Result<(), ToolError> {
        let ended = call.outside.run(self.line(call, timeout)?).await?;
        let CommandEnd { status, stdout, stderr } = ended;
        if status != Some(0) {
            return Err(failed(status, &stderr));
        }
        let content = answer::Content { bytes: &stdout, media_type: "", filename: None };
        answer::messages(&content, &self.shape)?.into_iter().for_each(call.on_message);
        Ok(())
    }

    fn line(&self, call: &Call<'_>, timeout: Duration) -> Result<CommandLine, ToolError> {
        let mut argv = Vec::with_capacity(self.argv.len());
        for word in &self.argv {
            // a word that is a place, and nothing for it, is left out
            argv.extend(word.text(call.arguments, str::to_owned)?);
        }
        if argv.iter().any(|word| word.contains('\0')) {
            let message = "a word of a command line cannot hold NUL characters";
            return Err(ToolError::new(ToolErrorKind::Argument, message));
        }
        let stdin = match &self.stdin {
            Stdin::Nothing => String::new(),
            Stdin::Arguments => {
                dumps(&flowmill_engine::value::Value::object(call.arguments.clone()), Style::Finite)
            }
            Stdin::Text(fill) => fill.text(call.arguments, str::to_owned)?.unwrap_or_default(),
        };
        let mut environment =
            vec![("PATH".to_owned(), SEARCH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
        for (name, secret) in &self.environment {
            let value = secret.expose().map_err(|unset| {
                let message = format!("the environment variable {unset} is not set");
                ToolError::new(ToolErrorKind::Misconfigured, message)
            })?;
            environment.retain(|(held, _)| held != name);
            environment.push((name.clone(), value.to_owned()));
        }
        Ok(CommandLine {
            argv,
            environment,
            stdin: stdin.into_bytes(),
            readable: self.readable.clone(),
            timeout,
            output_bytes: self.output_bytes,
            memory_bytes: self.memory_bytes,
        })
    }
}

fn failed(status: Option<i32>, stderr: &[u8]) -> ToolError {
    /// More of what a command complains of helps nobody.
    const MOST_CHARACTERS: usize = 2000;
    let ended = match status {
        Some(status) => format!("the command ended with status {status}"),
        None => "the command was ended by a signal".to_owned(),
    };
    let complaint = String::from_utf8_lossy(stderr);
    let complaint: String = complaint.trim().chars().take(MOST_CHARACTERS).collect();
    let message = if complaint.is_empty() { ended } else { format!("{ended}: {complaint}") };
    ToolError::new(ToolErrorKind::Failed, message)
}
