//! `flowmill keys`: the keys by which a server knows its callers.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::Method;

use super::dlq::{line, second};
use crate::console::{one_line, print, talk};
use crate::result::member;
use crate::server::{Access, Call, Flags, text};

/// Letters of a name in a list.
const NAME: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A key is of a tenant and of a scope: `read` looks, `write` does whatever can be done for its tenant,
`admin` does that for every tenant and looks after tenants and keys. It is shown once, when it is made;
the server keeps a hash of it. A key that is revoked is refused within ten seconds.

Whoever looks after keys needs the server's own key, or one of scope admin. docs/tenants.md says more.

Examples:
  flowmill keys create --tenant acme --name nightly --scope write --expires 90d
  KEY=$(flowmill keys create --name dashboards --scope read)
  flowmill keys list --tenant acme
  flowmill keys revoke k3v2mzq7yhpa")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List keys, of all tenants or with --tenant of one; the oldest first.
    List(List),
    /// Make a key, and print it alone; it is shown this once.
    Create(Create),
    /// Make keys of no more use.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Flags,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    server: Flags,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it allows.
    #[arg(long, value_enum, value_name = "SCOPE")]
    scope: Scope,
    /// After which time it is of no more use: 12h, 90d [default: never].
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scope {
    /// To look at what its tenant has.
    Read,
    /// To do whatever can be done for its tenant.
    Write,
    /// To do that for every tenant, and to look after tenants and keys.
    Admin,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The keys' ids: what stands behind fm_ in a key.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: Access,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
            Verb::Create(args) => create(args).await,
            Verb::Revoke(args) => revoke(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let tenant = args.server.tenant().map(|tenant| ("tenant", tenant.to_owned()));
    let query = tenant.into_iter().collect();
    let reply = args.server.access().server()?.get(&["keys"], query).await?;
    let found = reply.rows("data");
    let lines = found.iter().map(|found| if args.json { line(found) } else { row(found) });
    print(&lines.collect::<String>())
}

fn row(key: &Object) -> String {
    let mut out = format!(
        "{}  {}  {}  {}",
        text(key, "id"),
        text(key, "tenant"),
        text(key, "scope"),
        one_line(text(key, "name"), NAME)
    );
    // writing to a string cannot fail
    let _ = match (text(key, "revoked_at"), text(key, "expires_at")) {
        ("", "") => Ok(()),
        ("", at) => write!(out, "  expires {}", second(at)),
        (at, _) => write!(out, "  revoked {}", second(at)),
    };
    let _ = match text(key, "used_at") {
        "" => write!(out, "  never used"),
        at => write!(out, "  used {}", second(at)),
    };
    out.push('\n');
    out
}

async fn create(args: &Create) -> anyhow::Result<()> {
    let server = args.server.access().server()?;
    let mut members =
        vec![member("name", args.name.as_str().into()), member("scope", args.scope.word().into())];
    members.extend(args.server.tenant().map(|tenant| member("tenant", tenant.into())));
    members.extend(args.expires.as_deref().map(|expires| member("expires_in", expires.into())));
    let body = Some(dumps(&Value::object(members), Style::Compact));
    let reply = server.call(Call { path: &["keys"], body, ..Call::default() }).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    let until = match reply.text("expires_at") {
        "" => "for ever".to_owned(),
        at => format!("until {}", second(at)),
    };
    talk(format_args!(
        "key {} of tenant {}, scope {}, {until}; it is shown this once",
        reply.text("id"),
        reply.text("tenant"),
        reply.text("scope"),
    ));
    print(&format!("{}\n", reply.text("key")))
}

async fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for id in &args.ids {
        let path = ["keys", id];
        let method = Some(Method::DELETE);
        server.call(Call { path: &path, method, ..Call::default() }).await?;
        print(&format!("key {id} is revoked\n"))?;
    }
    Ok(())
}
