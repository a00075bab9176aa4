//! `flowmill workflows`: the workflows of a server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::StatusCode;

use super::code;
use super::run::read;
use crate::console::{one_line, print, talk};
use crate::server::{Call, Flags, Refused, Reply, Server, number, rows, text};
use crate::words::counted;

/// Letters of a name.
const NAME: usize = 60;

/// Letters of a problem.
const LINE: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A pushed document never changes: its version is the digest of its text, and a name means the latest
version that was pushed under it.

Examples:
  flowmill workflows push hello.yml
  flowmill workflows push hello.yml --name greeting
  flowmill workflows list
  flowmill workflows show greeting --document > greeting.yml")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Push a document.
    Push(Push),
    /// List the latest version of each name.
    List(List),
    /// Show a version and what it takes.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Push {
    /// A document as exported by Dify; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// The name under which it is found, instead of the app's in the document.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Take a document that only runs with mocks; for servers that allow them.
    #[arg(long)]
    mocked: bool,
    #[command(flatten)]
    server: Flags,
    /// Print the version as one JSON object.
    #[arg(long)]
    json: bool,
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
struct Show {
    /// A name, or a digest.
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    #[command(flatten)]
    server: Flags,
    /// Print the document.
    #[arg(long, conflicts_with = "json")]
    document: bool,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::Push(args) => push(args).await,
            Verb::List(args) => list(args).await,
            Verb::Show(args) => show(args).await,
        }
    })
}

async fn push(args: &Push) -> anyhow::Result<ExitCode> {
    let server = args.server.server()?;
    let Some(reply) = pushed(&server, &args.document, args.name.as_deref(), args.mocked).await?
    else {
        return Ok(ExitCode::from(code::USAGE));
    };
    if args.json {
        print(&format!("{}\n", reply.text.trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = if reply.status == StatusCode::CREATED { "new" } else { "known" };
    print(&format!(
        "{}  {}  ({word}, {})\n",
        reply.text("id"),
        one_line(reply.text("name"), NAME),
        counted(number(&reply.members, "nodes"), "node"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Pushes a document. None when it does not run, which has been said.
pub(super) async fn pushed(
    server: &Server,
    document: &Path,
    name: Option<&str>,
    mocked: bool,
) -> anyhow::Result<Option<Reply>> {
    let body = Some(read(document)?);
    let mut query = Vec::new();
    query.extend(name.map(|name| ("name", name.to_owned())));
    query.extend(mocked.then(|| ("mocked", "true".to_owned())));
    // pushed twice it is known
    let call = Call { path: &["workflows"], query, body, ..Call::default() };
    let file = document.display().to_string();
    let reply = match server.call(call).await {
        Ok(reply) => reply,
        Err(error) => {
            let refused = error.downcast::<Refused>()?;
            if refused.code != "invalid_document" {
                return Err(refused.into());
            }
            let problems = Value::array(refused.problems);
            rows(Some(&problems))
                .into_iter()
                .for_each(|problem| talk(problem_line(&file, problem)));
            return Ok(None);
        }
    };
    for warning in reply.rows("warnings") {
        talk(problem_line(&file, warning));
    }
    Ok(Some(reply))
}

/// As `flowmill validate` writes it.
fn problem_line(file: &str, problem: &Object) -> String {
    let line = number(problem, "line");
    let at = if line > 0 { format!("{file}:{line}") } else { file.to_owned() };
    let mut parts = Vec::new();
    if !text(problem, "node").is_empty() {
        let title = match text(problem, "title") {
            "" => String::new(),
            title => format!(" \"{title}\""),
        };
        parts.push(format!("node {}{title}", text(problem, "node")));
    }
    if !text(problem, "field").is_empty() {
        parts.push(text(problem, "field").to_owned());
    }
    parts.push(text(problem, "message").to_owned());
    let hint = match text(problem, "hint") {
        "" => String::new(),
        hint => format!(" ({hint})"),
    };
    let message = format!("{}{hint}", parts.join(": "));
    format!("{at}: {}: {}", text(problem, "severity"), one_line(&message, LINE))
}

async fn list(args: &List) -> anyhow::Result<ExitCode> {
    let reply = args.server.server()?.get(&["workflows"], Vec::new()).await?;
    let lines = reply.rows("data").into_iter().map(|row| {
        if args.json {
            return format!("{}\n", dumps(&Value::object(row.clone()), Style::Finite));
        }
        let pushed = text(row, "pushed_at").split('.').next().unwrap_or_default().replace('T', " ");
        let name = one_line(text(row, "name"), NAME);
        format!("{}  {pushed} UTC  {name}\n", text(row, "id"))
    });
    print(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let query = if args.document { vec![("document", "true".to_owned())] } else { Vec::new() };
    let reply = args.server.server()?.get(&["workflows", &args.workflow], query).await?;
    if args.document {
        print(&reply.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        print(&format!("{}\n", reply.text.trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&write(&reply))?;
    Ok(ExitCode::SUCCESS)
}

/// A version for people.
fn write(version: &Reply) -> String {
    let about = match version.text("problem") {
        "" => {
            let nodes = counted(number(&version.members, "nodes"), "node");
            format!("{}, {nodes}", version.text("mode"))
        }
        problem => format!("it does not run by itself: {problem}"),
    };
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = writeln!(
        out,
        "{}\nversion {}\npushed {}\n{about}",
        one_line(version.text("name"), NAME),
        version.text("id"),
        version.text("pushed_at"),
    );
    let inputs = version.rows("inputs");
    if !inputs.is_empty() {
        out.push_str("it takes\n");
    }
    for input in inputs {
        let required = input.get("required") == Some(&Value::Bool(true));
        let required = if required { ", required" } else { "" };
        let name = one_line(text(input, "name"), NAME);
        let label = one_line(text(input, "label"), NAME);
        let _ = writeln!(out, "  {name}  {}{required}: {label}", text(input, "type"));
    }
    out
}
