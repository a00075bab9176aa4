//! `flowmill models`: who answers when a workflow asks for a model, and whether it does.

mod asked;
mod check;
mod list;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::services::ServicesFlag;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill models list --workflow chat.yml
  flowmill models check --model openai/gpt-4o-mini
  flowmill models status")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the providers and models of the services file, or who answers for a document's nodes.
    #[command(after_help = "\
Exit code: 0 everything that was asked for has somebody who answers, 1 something has not,
2 wrong usage, or a services file that cannot be used.

Examples:
  flowmill models list
  flowmill models list --workflow chat.yml --workflow search.yml")]
    List(Flags),
    /// Ask each model once, for a word.
    #[command(after_help = "\
Asked are the models that the services file names without a pattern, those of --workflow, and those
of --model. It costs what one short question costs.

Exit code: 0 all answered, 1 one did not, 2 wrong usage, or a services file that cannot be used.

Examples:
  flowmill models check
  flowmill models check --model openai/gpt-4o-mini
  flowmill models check --workflow chat.yml")]
    Check {
        #[command(flatten)]
        flags: Flags,
        /// A model, as a document asks for it.
        #[arg(long = "model", value_name = "PROVIDER/MODEL")]
        models: Vec<String>,
    },
    /// Show how a server's providers stand: which are left alone, how many calls are under way, and
    /// what was spent of budgets.
    #[command(after_help = "\
Told is what those know of each other who share a Redis, or what `flowmill serve` knows. A provider is
there if it was asked within the last hour; a model has a line of its own if it has limits of its own.
docs/models.md says what they mean.

Examples:
  flowmill models status
  flowmill models status --run 0197e0c2-5f0a-7c3d-9a52-7d1f3b6f0a11
  flowmill models status --json")]
    Status(status::Args),
}

#[derive(Clone, Debug, clap::Args)]
struct Flags {
    /// A document: what its nodes ask for, and who answers.
    #[arg(long = "workflow", value_name = "FILE")]
    workflows: Vec<PathBuf>,
    #[command(flatten)]
    services: ServicesFlag,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::List(flags) => list::run(&flags),
        Verb::Check { flags, models } => check::run(&flags, &models),
        Verb::Status(args) => status::run(&args),
    }
}
