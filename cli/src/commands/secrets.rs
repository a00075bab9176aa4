//! `flowmill secrets`: the keys that seal the secrets of a server.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Style, Value, dumps};

use crate::console::{print, talk};
use crate::result::member;
use crate::server::{Access, Call, Reply, Server, number, object};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Secret variables of any size, documents that hold some and secrets of webhooks are sealed with the server's
key (secrets.key; for `flowmill serve` FLOWMILL_SECRET_KEY). To replace it: give all programs the new one as one
more old key (secrets.old_keys); then make it secrets.key everywhere and the former one an old key; then
`rotate`; when `status` counts nothing under the former one, take it away. docs/security.md says more.

`rotate` works in small steps while the server serves, and may be stopped and begun again at any time.

Examples:
  flowmill secrets status
  flowmill secrets rotate")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Count what is sealed, by key.
    Status(Asked),
    /// Seal with the present key what keys of before sealed.
    Rotate(Asked),
}

#[derive(Debug, clap::Args)]
struct Asked {
    #[command(flatten)]
    server: Access,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What all steps found.
#[derive(Default)]
struct Sum {
    /// The key that seals; empty: there is none.
    key: String,
    sealed: BTreeMap<String, u64>,
    resealed: u64,
    unreadable: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::Status(args) => status(args).await,
            Verb::Rotate(args) => rotate(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn status(args: &Asked) -> anyhow::Result<()> {
    let sum = all(&args.server.server()?, false).await?;
    if args.json {
        return print(&sum.json());
    }
    if sum.key.is_empty() {
        talk(format_args!("the server has no key that seals: it refuses what holds secrets"));
    } else if sum.sealed.is_empty() {
        talk(format_args!("nothing is sealed yet; what will be is sealed with key {}", sum.key));
    }
    print(&sum.lines())
}

async fn rotate(args: &Asked) -> anyhow::Result<()> {
    let sum = all(&args.server.server()?, true).await?;
    if args.json {
        return print(&sum.json());
    }
    talk(format_args!("{} sealed texts are sealed with key {} now", sum.resealed, sum.key));
    if sum.unreadable > 0 {
        talk(format_args!(
            "{} could not be opened and stay as they are: their key is not among the server's",
            sum.unreadable
        ));
    }
    print(&sum.lines())
}

/// Takes one step after the other.
async fn all(server: &Server, changes: bool) -> anyhow::Result<Sum> {
    let mut sum = Sum::default();
    let mut from = None::<String>;
    loop {
        let reply = step(server, changes, from.take()).await?;
        reply.text("key").clone_into(&mut sum.key);
        for (key, count) in object(&reply.members, "sealed") {
            let count = match count {
                Value::Int(count) => count.to_i64().unwrap_or_default().unsigned_abs(),
                _ => 0,
            };
            *sum.sealed.entry(key.to_string()).or_default() += count;
        }
        sum.resealed += number(&reply.members, "resealed");
        sum.unreadable += number(&reply.members, "unreadable");
        match reply.text("next") {
            "" => return Ok(sum),
            next => from = Some(next.to_owned()),
        }
    }
}

async fn step(server: &Server, changes: bool, from: Option<String>) -> anyhow::Result<Reply> {
    if !changes {
        let query = from.into_iter().map(|from| ("from", from)).collect();
        return server.get(&["secrets"], query).await;
    }
    let from = from.map(|from| member("from", from.as_str().into()));
    let body = Some(dumps(&Value::object(from), Style::Compact));
    server.call(Call { path: &["secrets", "rotate"], body, ..Call::default() }).await
}

impl Sum {
    fn lines(&self) -> String {
        let row = |(key, count): (&String, &u64)| {
            let what = if *key == self.key { "present" } else { "of before" };
            format!("{key}  {count}  {what}\n")
        };
        self.sealed.iter().map(row).collect()
    }

    fn json(&self) -> String {
        let number = |number: u64| Value::int(i64::try_from(number).unwrap_or(i64::MAX));
        let sealed = self.sealed.iter().map(|(key, count)| member(key, number(*count)));
        let sum = Value::object([
            member("key", self.key.as_str().into()),
            member("sealed", Value::object(sealed)),
            member("resealed", number(self.resealed)),
            member("unreadable", number(self.unreadable)),
        ]);
        format!("{}\n", dumps(&sum, Style::Compact))
    }
}
