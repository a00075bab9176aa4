//! Running a command: this program is started anew, puts itself behind what holds it
//! ([`super::launcher`]), and becomes the command.

use std::process::Stdio;

use flowmill_services::tools::{CommandEnd, CommandLine, ToolError, ToolErrorKind};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::launcher::{self, Order};
use crate::document_extractor::converter::Program;
use crate::sandbox::{Guest, Ran};

/// Runs a command to its end. Dropping the future ends it, with all that it started.
pub(super) async fn run(
    program: Option<Program<'_>>,
    line: CommandLine,
) -> Result<CommandEnd, ToolError> {
    let Some(program) = program else {
        let message = "commands are run by the programs flowmill and flowmill-worker only";
        return Err(ToolError::new(ToolErrorKind::Unsupported, message));
    };
    let how = |result: &Result<CommandEnd, ToolError>| match result {
        Ok(_) => Ran::Ended,
        Err(error) if error.kind == ToolErrorKind::Timeout => Ran::TimedOut,
        Err(_) => Ran::Failed,
    };
    program.watch.over(Guest::Command, run_by(program, line), how).await
}

async fn run_by(program: Program<'_>, line: CommandLine) -> Result<CommandEnd, ToolError> {
    let Program { path, waived, .. } = program;
    let seconds = line.timeout.as_secs().saturating_add(2);
    let order = Order { waived, memory_bytes: line.memory_bytes, cpu_seconds: seconds };
    let started = Command::new(path)
        .arg(launcher::COMMAND)
        .args(order.arguments(&line.readable, &line.argv))
        // our own environment may hold keys
        .env_clear()
        .envs(line.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // so that it can be ended with all that it starts
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|error| {
        let message = format!("cannot start {}: {error}", path.display());
        ToolError::new(ToolErrorKind::Unsupported, message)
    })?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let ended = tokio::time::timeout(line.timeout, exchange(&mut child, &line)).await;
    drop(group);
    let ended = ended.map_err(|_| {
        let message = format!("the command did not end within {:?}", line.timeout);
        ToolError::new(ToolErrorKind::Timeout, message)
    })??;
    match launcher::refusal(ended.status, &ended.stderr) {
        Some(why) => Err(ToolError::new(ToolErrorKind::Unsupported, why)),
        None => Ok(ended),
    }
}

/// All that a command started. It ends with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // it may have ended already
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn exchange(child: &mut Child, line: &CommandLine) -> Result<CommandEnd, ToolError> {
    let broke = |error: std::io::Error| {
        ToolError::new(ToolErrorKind::Unavailable, format!("the command broke: {error}"))
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // one that does not want it all closes it
            let _ = stdin.write_all(&line.stdin).await;
        }
        Ok(())
    };
    let most = line.output_bytes;
    let said = async { tokio::try_join!(give, read(stdout, most), read(stderr, most)) };
    let ((), stdout, stderr) = said.await?;
    let status = child.wait().await.map_err(broke)?;
    Ok(CommandEnd { status: status.code(), stdout, stderr })
}

async fn read(stream: Option<impl AsyncRead + Unpin>, most: usize) -> Result<Vec<u8>, ToolError> {
    let mut said = Vec::new();
    let Some(stream) = stream else { return Ok(said) };
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(&mut said).await.map_err(|error| {
        ToolError::new(ToolErrorKind::Unavailable, format!("the command broke: {error}"))
    })?;
    if said.len() > most {
        let message = format!("the command wrote more than {most} bytes");
        return Err(ToolError::new(ToolErrorKind::TooLarge, message));
    }
    Ok(said)
}
