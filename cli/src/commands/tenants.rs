//! `flowmill tenants`: who shares a server.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Object, Style, Value, dumps};
use flowmill_infra::tenants::objection;
use reqwest::Method;

use super::dlq::{line, second};
use crate::console::print;
use crate::result::member;
use crate::server::{Access, Call, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What belongs to a tenant, others do not see: workflows, runs, batches, files, webhooks, dead letters.
The tenant `default` is always there. Whoever looks after tenants needs the server's own key, or one of
scope admin (`flowmill keys`). docs/tenants.md says more.

Examples:
  flowmill tenants create acme
  flowmill keys create --tenant acme --name nightly --scope write
  flowmill tenants list
  flowmill tenants remove acme")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List tenants.
    List(List),
    /// Add tenants.
    Create(Several),
    /// Remove tenants for which nothing goes on; their keys go with them.
    Remove(Several),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Access,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Several {
    /// What they are called: a-z, 0-9 and -.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    server: Access,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
            Verb::Create(args) => create(args).await,
            Verb::Remove(args) => remove(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let reply = args.server.server()?.get(&["tenants"], Vec::new()).await?;
    let found = reply.rows("data");
    let lines = found.iter().map(|found| if args.json { line(found) } else { row(found) });
    print(&lines.collect::<String>())
}

fn row(tenant: &Object) -> String {
    format!("{}  since {}\n", text(tenant, "name"), second(text(tenant, "created_at")))
}

async fn create(args: &Several) -> anyhow::Result<()> {
    if let Some(why) = args.names.iter().find_map(|name| objection(name)) {
        bail!("{why}");
    }
    let server = args.server.server()?;
    for name in &args.names {
        let body = Value::object([member("name", name.as_str().into())]);
        let body = Some(dumps(&body, Style::Compact));
        server.call(Call { path: &["tenants"], body, ..Call::default() }).await?;
        print(&format!("tenant {name} is there\n"))?;
    }
    Ok(())
}

async fn remove(args: &Several) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for name in &args.names {
        let path = ["tenants", name];
        let method = Some(Method::DELETE);
        server.call(Call { path: &path, method, ..Call::default() }).await?;
        print(&format!("tenant {name} is removed\n"))?;
    }
    Ok(())
}
