//! `flowmill limits`: who may have how much of a server, and has.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::Method;

use super::dlq::line;
use crate::console::print;
use crate::server::{Call, Flags, Server, number, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A limit bounds what is in flight at a time, over all schedulers: runs that have begun, and tasks that
are out. What is beyond waits; nothing is refused. A weight says how much one gets where several want
some: a tenant beside other tenants, a workflow or a batch beside the tenant's others.
`flowmill explain` says which limit holds a run. docs/limits.md has more.

Examples:
  flowmill limits list
  flowmill limits set --runs 500 --tasks 200           # the tenant's own
  flowmill limits set --workflow 'Support answers' --tasks 20
  flowmill limits set --batch 0197e0c2-5f0a-7c3d-9a52-7d1f3b6f0a11 --weight 3
  flowmill limits set --workflow 'Support answers' --tasks none
  flowmill limits clear --workflow 'Support answers'")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List weights and limits, with what is in flight.
    List(List),
    /// Set a weight or limits; what is not named stays.
    Set(Set),
    /// Take weight and limits away.
    Clear(Clear),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Flags,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What a limit is on; the tenant, where nothing is named.
#[derive(Debug, clap::Args)]
struct On {
    /// On the runs of this workflow, by its name.
    #[arg(long, value_name = "NAME", conflicts_with = "batch")]
    workflow: Option<String>,
    /// On the runs of this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
}

impl On {
    fn kind(&self) -> &'static str {
        match self {
            Self { workflow: Some(_), .. } => "workflow",
            Self { batch: Some(_), .. } => "batch",
            _ => "tenant",
        }
    }

    fn name(&self) -> &str {
        self.workflow.as_ref().or(self.batch.as_ref()).map_or("", |name| name)
    }

    fn path(&self) -> Vec<&str> {
        match self.kind() {
            "workflow" => vec!["limits", "workflows", self.name()],
            "batch" => vec!["limits", "batches", self.name()],
            _ => vec!["limits", "tenant"],
        }
    }
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    server: Flags,
    /// How much it gets where several want some, from 1 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    weight: Option<u32>,
    /// The most runs that have begun and not ended; `none`: as many as there are.
    #[arg(long, value_name = "COUNT", value_parser = most)]
    runs: Option<Most>,
    /// The most tasks that are out; `none`: as many as there are.
    #[arg(long, value_name = "COUNT", value_parser = most)]
    tasks: Option<Most>,
}

#[derive(Debug, clap::Args)]
struct Clear {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    server: Flags,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Most {
    Of(u32),
    Any,
}

fn most(given: &str) -> Result<Most, String> {
    if given == "none" {
        return Ok(Most::Any);
    }
    given.parse().map(Most::Of).map_err(|_| "it must be a whole number, or none".to_owned())
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
            Verb::Set(args) => set(args).await,
            Verb::Clear(args) => clear(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let reply = args.server.server()?.get(&["limits"], Vec::new()).await?;
    let found = reply.rows("data");
    if args.json {
        return print(&found.into_iter().map(line).collect::<String>());
    }
    print(&table(&found))
}

/// Rows below each other, with a line above.
fn table(found: &[&Object]) -> String {
    if found.is_empty() {
        return "nothing is limited, and nothing is in flight\n".to_owned();
    }
    let of = |row: &Object, what: &str| {
        let used = match row.get("in_flight") {
            Some(Value::Object(used)) => number(used, what),
            _ => 0,
        };
        match row.get(what) {
            Some(Value::Int(_)) => format!("{used} of {}", number(row, what)),
            _ => used.to_string(),
        }
    };
    let waiting = |row: &Object| {
        let tasks = number(row, "tasks_waiting");
        match (row.get("has_runs_waiting") == Some(&Value::Bool(true)), tasks) {
            (true, 0) => "runs".to_owned(),
            (true, tasks) => format!("runs, {tasks} tasks"),
            (false, 0) => String::new(),
            (false, tasks) => format!("{tasks} tasks"),
        }
    };
    let name = |row: &Object| match text(row, "name") {
        "" => text(row, "kind").to_owned(),
        name => format!("{} {name}", text(row, "kind")),
    };
    let mut rows = vec![["ON", "WEIGHT", "RUNS", "TASKS", "WAITING"].map(str::to_owned)];
    rows.extend(found.iter().map(|row| {
        let weight = number(row, "weight").to_string();
        [name(row), weight, of(row, "runs"), of(row, "tasks"), waiting(row)]
    }));
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3].map(width);
    let mut out = String::new();
    for [on, weight, runs, tasks, waiting] in &rows {
        let [first, second, third, fourth] = widths;
        let row =
            format!("{on:first$}  {weight:>second$}  {runs:>third$}  {tasks:>fourth$}  {waiting}");
        // writing to a string cannot fail
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out
}

async fn set(args: &Set) -> anyhow::Result<()> {
    let Set { on, weight, runs, tasks, .. } = args;
    if weight.is_none() && runs.is_none() && tasks.is_none() {
        bail!("nothing is to be set: name --weight, --runs or --tasks");
    }
    let server = args.server.server()?;
    let found = server.get(&["limits"], Vec::new()).await?;
    let present = found
        .rows("data")
        .into_iter()
        .find(|row| text(row, "kind") == on.kind() && text(row, "name") == on.name());
    let mut share = Object::default();
    for name in ["weight", "runs", "tasks"] {
        let held = present.and_then(|row| row.get(name)).filter(|held| **held != Value::None);
        if let Some(held) = held {
            share.insert(name.into(), held.clone());
        }
    }
    if let Some(weight) = weight {
        share.insert("weight".into(), Value::int(i64::from(*weight)));
    }
    for (name, most) in [("runs", runs), ("tasks", tasks)] {
        match most {
            Some(Most::Of(most)) => {
                share.insert(name.into(), Value::int(i64::from(*most)));
            }
            Some(Most::Any) => {
                share.shift_remove(name);
            }
            None => {}
        }
    }
    let body = Some(dumps(&Value::object(share), Style::Finite));
    let path = on.path();
    let call = Call { path: &path, body, method: Some(Method::PUT), ..Call::default() };
    let reply = server.call(call).await?;
    print(&table(&[&reply.members]))
}

async fn clear(args: &Clear) -> anyhow::Result<()> {
    let server: Server = args.server.server()?;
    let path = args.on.path();
    server.call(Call { path: &path, method: Some(Method::DELETE), ..Call::default() }).await?;
    let (kind, name) = (args.on.kind(), args.on.name());
    let whose = if name.is_empty() { format!("the {kind}") } else { format!("{kind} {name}") };
    print(&format!("{whose} has no limits and the usual weight\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_is_used_of_what() {
        let row = |text: &str| match flowmill_engine::value::loads(text) {
            Ok(Value::Object(row)) => row.as_ref().clone(),
            other => panic!("{other:?}"),
        };
        let rows = [
            row(r#"{"kind": "tenant", "name": "", "weight": 1, "runs": 500, "tasks": null,
                "in_flight": {"runs": 12, "tasks": 40}, "has_runs_waiting": false,
                "tasks_waiting": 0}"#),
            row(r#"{"kind": "workflow", "name": "Hi", "weight": 10, "runs": null, "tasks": 20,
                "in_flight": {"runs": 9, "tasks": 20}, "has_runs_waiting": true,
                "tasks_waiting": 7}"#),
        ];
        let expected = "\
ON           WEIGHT       RUNS     TASKS  WAITING
tenant            1  12 of 500        40
workflow Hi      10          9  20 of 20  runs, 7 tasks
";
        assert_eq!(table(&rows.each_ref()), expected);
    }

    #[test]
    fn limits_are_numbers_or_none() {
        assert_eq!((most("7"), most("none")), (Ok(Most::Of(7)), Ok(Most::Any)));
        assert!(most("-1").is_err() && most("many").is_err());
    }
}
