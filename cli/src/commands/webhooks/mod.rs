//! `flowmill webhooks`: who is told of what happens to runs, and what came of it.

mod deliveries;
mod endpoints;

use std::process::ExitCode;

use anyhow::Context as _;

use super::dlq::{line, second};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An endpoint is an address that is told of ends of runs and of pauses: of every run, or with --named of
those that are submitted with `flowmill submit --webhook ID`. Each event that one is told of is a
delivery; it is tried for three days. docs/webhooks.md has what is sent, and how to check it.

Examples:
  flowmill webhooks add https://hooks.example/flowmill      # prints the secret, once
  flowmill webhooks endpoints
  flowmill webhooks test ep_0197e0c2
  flowmill webhooks list --state exhausted
  flowmill webhooks show 17
  flowmill webhooks replay 17 18
  flowmill webhooks replay --endpoint ep_0197e0c2 --from 2026-11-26T10:00:00Z
  flowmill webhooks rotate ep_0197e0c2 --overlap 48h")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List deliveries, latest first.
    List(deliveries::List),
    /// Show a delivery: what is sent, and what came back.
    #[command(visible_alias = "get")]
    Show(deliveries::Show),
    /// Send deliveries anew: these, or those of a time.
    Replay(deliveries::Replay),
    /// Send a sample to an endpoint, and show what comes back.
    Test(endpoints::One),
    /// List endpoints.
    Endpoints(endpoints::List),
    /// Add an endpoint; its secret is shown this once.
    Add(endpoints::Add),
    /// Remove endpoints; what waits for them is given up.
    Remove(endpoints::Several),
    /// Send to endpoints again that were disabled.
    Enable(endpoints::Several),
    /// Send nothing to endpoints; what waits for them is given up.
    Disable(endpoints::Several),
    /// Give an endpoint a new secret; the one before signs for a while, too.
    Rotate(endpoints::Rotate),
}

/// Runs it. The exit code of a sample that was not taken is 1.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => deliveries::list(args).await?,
            Verb::Show(args) => deliveries::show(args).await?,
            Verb::Replay(args) => deliveries::replay(args).await?,
            Verb::Test(args) => return endpoints::test(args).await,
            Verb::Endpoints(args) => endpoints::list(args).await?,
            Verb::Add(args) => endpoints::add(args).await?,
            Verb::Remove(args) => endpoints::remove(args).await?,
            Verb::Enable(args) => endpoints::enable(args, true).await?,
            Verb::Disable(args) => endpoints::enable(args, false).await?,
            Verb::Rotate(args) => endpoints::rotate(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
