//! Why a run of a server does not move.

use std::fmt::Write as _;

use flowmill_engine::value::Object;

use super::Explain;
use crate::console::{one_line, print};
use crate::server::{object, text};

/// Letters of a name.
const NAME: usize = 60;

/// Says which gate holds each node of a run.
pub(super) async fn explain(args: &Explain) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let reply = server.get(&["runs", &args.run, "explain"], Vec::new()).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&written(&reply.members, &reply.rows("nodes")))
}

fn written(run: &Object, nodes: &[&Object]) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ =
        writeln!(out, "run {} ({}): {}", text(run, "id"), text(run, "status"), text(run, "detail"));
    for node in nodes {
        let name = match text(node, "title") {
            "" => text(node, "node"),
            title => title,
        };
        let place = match text(node, "frame") {
            "" => String::new(),
            frame => format!(" @{frame}"),
        };
        let _ = writeln!(
            out,
            "{:<8} {}{} ({}): {}",
            text(node, "gate"),
            one_line(name, NAME),
            one_line(&place, NAME),
            text(node, "type"),
            text(node, "detail"),
        );
    }
    let owner: Object = object(run, "owner").into_iter().collect();
    if !owner.is_empty() {
        let (scheduler, at) = (text(&owner, "scheduler"), text(&owner, "at"));
        let _ = writeln!(out, "as scheduler {scheduler} knew it at {at}");
    }
    out
}
