//! `flowmill keys`: the keys by which a server knows its callers.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::Method;

use super::dlq::{line, second};
use crate::console::{one_line, print, talk};
use crate::result::member;
use crate::server::{Access, Call, Flags, Reply, number, text};

/// Letters of a name in a list.
const NAME: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A key is of a tenant and for a role: a viewer looks; a submitter submits runs and batches, too; an operator
does whatever can be done for its tenant; an admin does that for every tenant and looks after tenants and
keys. It is shown once, when it is made; the server keeps a hash of it. A key that is revoked is refused
within ten seconds.

`rotate` gives a key another secret under the same id. The one before is of use for a while yet, so that
whoever uses it can change over.

Whoever looks after keys needs the server's own key, or one of an admin. docs/tenants.md says more.

Examples:
  flowmill keys create --tenant acme --name nightly --role submitter --expires 90d
  KEY=$(flowmill keys create --name dashboards --role viewer --rate 20)
  flowmill keys list --tenant acme
  flowmill keys rotate k3v2mzq7yhpa --overlap 1h --expires 90d
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
    /// Give a key another secret, and print it alone; it is shown this once.
    Rotate(Rotate),
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
    /// What it is for: it says what the key allows.
    #[arg(long, value_enum, value_name = "ROLE", required_unless_present = "scope")]
    role: Option<Role>,
    /// The same by the last thing that it allows.
    #[arg(long, value_enum, value_name = "SCOPE", conflicts_with = "role", hide = true)]
    scope: Option<Scope>,
    /// After which time it is of no more use: 12h, 90d [default: never].
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// How many requests a second it may ask in the long run [default: as the server says].
    #[arg(long, value_name = "NUMBER")]
    rate: Option<u32>,
    /// How many it may ask at once [default: twice --rate].
    #[arg(long, value_name = "NUMBER", requires = "rate")]
    burst: Option<u32>,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    /// To look at what its tenant has.
    Viewer,
    /// To submit runs and batches, to run them again, to hand in files, to answer forms, too.
    Submitter,
    /// To do whatever can be done for its tenant.
    Operator,
    /// To do that for every tenant, and to look after tenants and keys.
    Admin,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scope {
    Read,
    Submit,
    Write,
    Admin,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// The key's id: what stands behind fm_ in it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Access,
    /// How long the secret of before is of use: 0s, 1h, 7d; 30d at most.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    overlap: String,
    /// After which time from now the key is of no more use [default: as it was].
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
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
            Verb::Rotate(args) => rotate(args).await,
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
        text(key, "role"),
        one_line(text(key, "name"), NAME)
    );
    // writing to a string cannot fail
    let _ = match (text(key, "revoked_at"), text(key, "expires_at")) {
        ("", "") => Ok(()),
        ("", at) => write!(out, "  expires {}", second(at)),
        (at, _) => write!(out, "  revoked {}", second(at)),
    };
    if key.get("rate").is_some_and(|rate| *rate != Value::None) {
        let _ = write!(out, "  {}/s, {} at once", number(key, "rate"), number(key, "burst"));
    }
    if !text(key, "former_until").is_empty() {
        let _ = write!(out, "  former secret until {}", second(text(key, "former_until")));
    }
    let _ = match text(key, "used_at") {
        "" => write!(out, "  never used"),
        at => write!(out, "  used {}", second(at)),
    };
    out.push('\n');
    out
}

async fn create(args: &Create) -> anyhow::Result<()> {
    let server = args.server.access().server()?;
    let mut members = vec![member("name", args.name.as_str().into())];
    members.extend(args.role.map(|role| member("role", role.word().into())));
    members.extend(args.scope.map(|scope| member("scope", scope.word().into())));
    members.extend(args.server.tenant().map(|tenant| member("tenant", tenant.into())));
    members.extend(args.expires.as_deref().map(|expires| member("expires_in", expires.into())));
    members.extend(args.rate.map(|rate| member("rate", Value::int(rate.into()))));
    members.extend(args.burst.map(|burst| member("burst", Value::int(burst.into()))));
    let body = Some(dumps(&Value::object(members), Style::Compact));
    let reply = server.call(Call { path: &["keys"], body, ..Call::default() }).await?;
    tell(&reply, args.json, "")
}

async fn rotate(args: &Rotate) -> anyhow::Result<()> {
    let mut members = vec![member("overlap", args.overlap.as_str().into())];
    members.extend(args.expires.as_deref().map(|expires| member("expires_in", expires.into())));
    let body = Some(dumps(&Value::object(members), Style::Compact));
    let path = ["keys", &args.id, "rotate"];
    let call = Call { path: &path, body, ..Call::default() };
    let reply = args.server.server()?.call(call).await?;
    let former = match reply.text("former_until") {
        "" => "; the secret of before is of no more use".to_owned(),
        at => format!("; the secret of before is of use until {}", second(at)),
    };
    tell(&reply, args.json, &former)
}

/// Prints a key, alone, and says what it is.
fn tell(reply: &Reply, as_json: bool, more: &str) -> anyhow::Result<()> {
    if as_json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    let until = match reply.text("expires_at") {
        "" => "for ever".to_owned(),
        at => format!("until {}", second(at)),
    };
    talk(format_args!(
        "key {} of tenant {} for the role {}, {until}; it is shown this once{more}",
        reply.text("id"),
        reply.text("tenant"),
        reply.text("role"),
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
