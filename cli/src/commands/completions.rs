//! `flowmill completions`: what a shell needs to complete our words.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::console::print;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(flowmill completions bash)                              (this shell only)
  flowmill completions bash > ~/.local/share/bash-completion/completions/flowmill
  flowmill completions zsh > ~/.zfunc/_flowmill                    (with ~/.zfunc in $fpath)
  flowmill completions fish > ~/.config/fish/completions/flowmill.fish")]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    generate(args.shell, &mut super::Cli::command(), "flowmill", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
