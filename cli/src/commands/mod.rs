//! The verbs, one file each.

mod audit;
mod batches;
mod bench;
mod completions;
mod config;
mod conform;
mod dlq;
mod explain;
mod export;
mod help;
#[cfg(feature = "store")]
mod kept;
mod keys;
#[cfg(feature = "store")]
mod knowledge;
mod limits;
mod migrate;
mod models;
mod nodes;
mod plan;
mod purge;
#[cfg(feature = "store")]
mod replay;
mod rerun;
#[cfg(feature = "store")]
mod resume;
mod retention;
mod run;
mod runs;
mod sandbox;
mod secrets;
#[cfg(feature = "serve")]
mod serve;
pub(crate) mod start;
mod submit;
mod tenants;
mod test;
mod tools;
mod top;
mod validate;
mod webhooks;
mod workflows;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use flowmill_nodes::document_extractor::helper;

pub(crate) use run::code;

/// Runs Dify workflows, unchanged.
#[derive(Debug, Parser)]
#[command(
    name = "flowmill",
    version,
    about,
    propagate_version = true,
    after_help = "\
Examples:
  flowmill run workflow.yml --input name=Ada
  flowmill run chat.yml --query 'What is new?'
  flowmill test *.test.yml
  flowmill validate *.yml
  flowmill plan workflow.yml --format mermaid
  flowmill serve --data flowmill-data
  flowmill submit workflow.yml --input name=Ada --wait
  flowmill nodes http-request

`flowmill <COMMAND> --help` shows the options of a command and examples."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workflow to its end, in this process.
    Run(run::Args),
    /// Go on with a run that is kept in a folder.
    #[cfg(feature = "store")]
    Resume(resume::Args),
    /// Run once more what a server or a folder keeps, without doing again what went well.
    Rerun(Box<rerun::Args>),
    /// List, show, steer and answer runs of a server, or those that are kept in a folder.
    Runs(runs::Args),
    /// Say why a run of a server does not move: what each of its nodes waits for.
    Explain(explain::Args),
    /// Rebuild a run that is kept, as it was after any of its facts.
    #[cfg(feature = "store")]
    Replay(replay::Args),
    /// Serve the HTTP API in this process, over a folder.
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    /// Push workflows to a server, list and show them.
    Workflows(workflows::Args),
    /// Submit a run to a server.
    Submit(Box<submit::Args>),
    /// List, show, steer and run again batches of a server, and write what became of their lines.
    Batches(batches::Args),
    /// Write the runs of a server to a file, a flat line for each.
    Export(Box<export::Args>),
    /// Show and set who may have how much of a server.
    Limits(limits::Args),
    /// Show and set how long what a tenant has is kept on a server.
    Retention(retention::Args),
    /// List, show, replay and drop the dead letters of a server.
    Dlq(dlq::Args),
    /// Tell others what happens to runs, and see what came of it.
    Webhooks(webhooks::Args),
    /// List, add and remove the tenants of a server.
    Tenants(tenants::Args),
    /// List, make, rotate and revoke the keys by which a server knows its callers.
    Keys(keys::Args),
    /// Watch what servers and workers do.
    Top(top::Args),
    /// Say what people did to a server.
    Audit(audit::Args),
    /// See which keys seal the secrets of a server, and seal all with the present one.
    Secrets(secrets::Args),
    /// Say who answers for the tools that workflows ask for.
    Tools(tools::Args),
    /// Hold workflows against what they must do: tests in files.
    Test(test::Args),
    /// Check documents: ok, or everything that is wrong with them.
    Validate(validate::Args),
    /// Show how a document would run.
    Plan(plan::Args),
    /// Show the node types there are.
    Nodes(nodes::Args),
    /// Show who answers when workflows ask for models, and whether they do.
    Models(models::Args),
    /// Make knowledge bases, add documents to them, and ask them.
    #[cfg(feature = "store")]
    Knowledge(Box<knowledge::Args>),
    /// Show how code and the converter of documents are isolated on this machine.
    Sandbox(sandbox::Args),
    /// Measure runs of one workflow in this process.
    Bench(bench::Args),
    /// Make the database of a cluster ready, or bring it up to date.
    Migrate(migrate::Args),
    /// Check or show the settings of a cluster's programs.
    Config(config::Args),
    /// Remove what need not be kept from a database or a folder.
    Purge(Box<purge::Args>),
    /// Run a batch of cases as the reference engine does and write its result lines.
    Conform(conform::Args),
    /// Write what a shell needs to complete these words.
    Completions(completions::Args),
    /// Convert a document from stdin to text: what workers start for a document-extractor node.
    #[command(hide = true)]
    ConvertDocument {
        /// The kind of the document and what the conversion may take.
        #[arg(num_args = 0..)]
        arguments: Vec<String>,
    },
}

impl Cli {
    /// Reads the command line; ends the program where it is wrong or asks for help.
    pub(crate) fn read() -> Self {
        let matches = help::grouped(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(args),
            #[cfg(feature = "store")]
            Command::Resume(args) => resume::run(args),
            Command::Rerun(args) => rerun::run(&args),
            Command::Runs(args) => runs::run(args),
            Command::Explain(args) => explain::run(&args),
            #[cfg(feature = "store")]
            Command::Replay(args) => replay::run(args),
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(&args),
            Command::Workflows(args) => workflows::run(args),
            Command::Submit(args) => submit::run(*args),
            Command::Batches(args) => batches::run(args),
            Command::Export(args) => export::run(&args),
            Command::Limits(args) => limits::run(args),
            Command::Retention(args) => retention::run(args),
            Command::Dlq(args) => dlq::run(args),
            Command::Webhooks(args) => webhooks::run(args),
            Command::Tenants(args) => tenants::run(args),
            Command::Keys(args) => keys::run(args),
            Command::Top(args) => top::run(&args),
            Command::Audit(args) => audit::run(args),
            Command::Secrets(args) => secrets::run(args),
            Command::Tools(args) => tools::run(args),
            Command::Test(args) => test::run(args),
            Command::Validate(args) => validate::run(args),
            Command::Plan(args) => plan::run(args),
            Command::Nodes(args) => nodes::run(args),
            Command::Models(args) => models::run(args),
            #[cfg(feature = "store")]
            Command::Knowledge(args) => knowledge::run(&args),
            Command::Sandbox(args) => sandbox::run(&args),
            Command::Bench(args) => bench::run(args),
            Command::Migrate(args) => migrate::run(args),
            Command::Config(args) => config::run(&args),
            Command::Purge(args) => purge::run(&args),
            Command::Conform(args) => conform::run(args),
            Command::Completions(args) => completions::run(&args),
            Command::ConvertDocument { arguments } => {
                helper::run(&arguments)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_verb_has_two_options_of_one_name() {
        Cli::command().debug_assert();
    }
}
