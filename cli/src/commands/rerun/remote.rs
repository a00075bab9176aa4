//! Runs of a server, once more.

use anyhow::Context as _;
use flowmill_engine::value::{Name, Object, Style, Value, dumps, loads};
use flowmill_workflow::rerun::TakenOver;
use uuid::Uuid;

use super::super::code;
use super::super::run::exit_code;
use super::{Args, in_words, pair};
use crate::console::{print, talk};
use crate::server::{self, Call, ended, follow, number, object, wait};
use crate::workflow::read_file;

/// Runs a run of a server again.
pub(super) async fn rerun(args: &Args) -> anyhow::Result<u8> {
    let server = args.remote.server.server()?;
    let body = dumps(&body(args)?, Style::Compact);
    // a key of our own makes it safe to send it again when the server is away for a moment
    let key = Uuid::now_v7().to_string();
    let call = Call {
        path: &["runs", &args.run, "rerun"],
        body: Some(body),
        idempotency_key: Some(&key),
        ..Call::default()
    };
    let accepted = server.call(call).await?;
    let run = accepted.text("id");
    if !args.remote.wait && args.remote.json {
        print(&format!("{}\n", accepted.text.trim_end()))?;
        return Ok(0);
    }
    let kept: Object = object(&accepted.members, "kept").into_iter().collect();
    let count = |name| number(&kept, name);
    let taken =
        TakenOver { nodes: count("nodes"), elements: count("elements"), rounds: count("rounds") };
    talk(format_args!("run {run} keeps {} of run {}", in_words(taken), args.run));
    if !args.remote.wait {
        print(&format!("{run}\n"))?;
        return Ok(0);
    }
    let gone = || format!("run {run} goes on: `flowmill runs show {run}` tells how far it came");
    let reply = wait(&server, run).await.with_context(gone)?;
    let reply = follow(&server, reply).await?;
    let status = if args.remote.json {
        print(&format!("{}\n", reply.text.trim_end()))?;
        server::status(&reply.members)
    } else {
        ended(&reply.members)?
    };
    Ok(status.map_or(code::FAILED, exit_code))
}

fn body(args: &Args) -> anyhow::Result<Value> {
    let mut members: Vec<(Name, Value)> = Vec::new();
    let mut member = |name: &str, value: Value| members.push((name.into(), value));
    if let Some(node) = &args.from {
        member("from", node.as_str().into());
    }
    for (name, is_wanted) in [("failed", args.failed), ("failed_items", args.failed_items)] {
        if is_wanted {
            member(name, true.into());
        }
    }
    if args.remote.latest {
        member("definition", "latest".into());
    }
    if !args.set.is_empty() {
        let sets = args.set.iter().map(|text| {
            let (target, value) = pair(text)?;
            Ok((Name::from(target), value))
        });
        let sets: Vec<(Name, Value)> = sets.collect::<anyhow::Result<_>>()?;
        member("set", Value::object(sets));
    }
    if let Some(path) = &args.mock {
        let mocks = loads(&read_file(path)?);
        let mocks =
            mocks.with_context(|| format!("failed to read mocks from {}", path.display()))?;
        member("mocks", mocks);
    }
    Ok(Value::object(members))
}
