//! `flowmill config`: the settings of a cluster's programs, looked at before they run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::console::{print, talk};

/// The programs of a cluster.
const PROGRAMS: [&str; 2] = ["flowmill-scheduler", "flowmill-worker"];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each program is asked itself (`flowmill-scheduler --check-config`), so what is told is what holds for the
release that is installed: the one beside this program, else the one on the path. Settings come from the
defaults, then the file, then the environment, then --set, as when they run. No server is asked.

Exit code: 0 all of them can be used, 1 some cannot, or a program is missing, 2 wrong usage.

Examples:
  flowmill config check
  flowmill config check --config /etc/flowmill/flowmill.toml
  flowmill config check worker --set slots.llm=200
  flowmill config show scheduler")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say whether settings can be used, and all that is wrong with them.
    Check(Asked),
    /// Show the settings that apply and where each comes from, without secrets.
    Show(Asked),
}

#[derive(Debug, clap::Args)]
struct Asked {
    /// Of which programs: scheduler, worker [default: both].
    #[arg(value_name = "PROGRAM", value_parser = ["scheduler", "worker"])]
    programs: Vec<String>,
    /// A file with settings, in TOML.
    #[arg(long, value_name = "FILE", env = "FLOWMILL_CONFIG")]
    config: Option<PathBuf>,
    /// A setting, such as `http.listen=127.0.0.1:9090`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (asked, flag) = match &args.verb {
        Verb::Check(asked) => (asked, "--check-config"),
        Verb::Show(asked) => (asked, "--print-config"),
    };
    let own = std::env::current_exe().context("failed to find this program")?;
    let is_asked = |program: &str| {
        let short = program.trim_start_matches("flowmill-");
        asked.programs.is_empty() || asked.programs.iter().any(|named| named == short)
    };
    let mut are_well = true;
    for program in PROGRAMS.into_iter().filter(|program| is_asked(program)) {
        are_well &= ask(&beside(&own, program), program, (asked, flag))?;
    }
    Ok(if are_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program, where this one lies, else by its name alone.
fn beside(own: &Path, program: &str) -> PathBuf {
    let file = own.with_file_name(program);
    if file.is_file() { file } else { PathBuf::from(program) }
}

/// Asks a program; whether all is well with its settings.
fn ask(file: &Path, program: &str, (asked, flag): (&Asked, &str)) -> anyhow::Result<bool> {
    let mut command = Command::new(file);
    command.arg(flag);
    if let Some(config) = &asked.config {
        command.arg("--config").arg(config);
    }
    command.args(asked.set.iter().flat_map(|set| ["--set", set]));
    let answer = match command.output() {
        Ok(answer) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            talk(format_args!(
                "{program}: it lies neither beside flowmill nor on the path; install it, or name the \
                 other program alone"
            ));
            return Ok(false);
        }
        Err(error) => return Err(error).with_context(|| format!("failed to start {program}")),
    };
    let told = String::from_utf8_lossy(&answer.stdout);
    if told.lines().count() == 1 {
        print(&format!("{program}: {told}"))?;
    } else {
        print(&told)?;
    }
    let complaint = String::from_utf8_lossy(&answer.stderr);
    if !complaint.is_empty() {
        // it begins with the program's name
        talk(format_args!("{}", complaint.trim_end()));
    }
    Ok(answer.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_beside_this_one_first() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("flowmill");
        assert_eq!(beside(&own, "flowmill-worker"), Path::new("flowmill-worker"));
        let file = folder.path().join("flowmill-worker");
        std::fs::write(&file, "").unwrap();
        assert_eq!(beside(&own, "flowmill-worker"), file);
    }
}
