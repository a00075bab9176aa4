//! Deliveries: listed, shown and sent anew.

use std::fmt::Write as _;

use anyhow::bail;
use flowmill_engine::value::{Object, Style, Value, dumps};

use super::{line, second};
use crate::console::{one_line, print};
use crate::result::member;
use crate::server::{Call, Flags, number, text};

/// The most deliveries of a request.
const PAGE: usize = 500;

/// Letters of an error in a list.
const ERROR: usize = 80;

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    server: Flags,
    /// Only those to this endpoint.
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Only those of this run.
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only those of this state.
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The delivery's number.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// The deliveries' numbers.
    #[arg(value_name = "ID", required_unless_present = "from", conflicts_with = "from")]
    ids: Vec<String>,
    /// All of events that happened at this time or later: 2026-11-26T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// And before this time; now when it is missing.
    #[arg(long, value_name = "TIME", requires = "from")]
    until: Option<String>,
    /// Only those to this endpoint.
    #[arg(long, value_name = "ID", requires = "from")]
    endpoint: Option<String>,
    /// Also those that were delivered, not only those that were given up.
    #[arg(long, requires = "from")]
    all: bool,
    #[command(flatten)]
    server: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Waiting,
    Delivered,
    Exhausted,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let mut left = args.limit;
    let mut before = None;
    while left > 0 {
        let mut query = vec![("limit", left.min(PAGE).to_string())];
        query.extend(args.endpoint.clone().map(|endpoint| ("endpoint", endpoint)));
        query.extend(args.run.clone().map(|run| ("run", run)));
        query.extend(args.state.map(|state| ("state", state.word().to_owned())));
        query.extend(before.take().map(|before| ("before", before)));
        let reply = server.get(&["webhooks", "deliveries"], query).await?;
        let found = reply.rows("data");
        let lines = found.iter().map(|found| if args.json { line(found) } else { row(found) });
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(found.len());
        match reply.text("next") {
            "" => break,
            next => before = Some(next.to_owned()),
        }
    }
    Ok(())
}

fn row(found: &Object) -> String {
    let error = match text(found, "error") {
        "" => String::new(),
        error => format!("  {}", one_line(error, ERROR)),
    };
    format!(
        "{:>6}  {}  {:<9}  {}  {}  run {}{error}\n",
        text(found, "id"),
        second(text(found, "happened_at")),
        text(found, "state"),
        text(found, "event"),
        text(found, "endpoint"),
        subject(found),
    )
}

pub(super) async fn show(args: &Show) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let reply = server.get(&["webhooks", "deliveries", &args.id], Vec::new()).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&written(&reply.members))
}

fn written(found: &Object) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = writeln!(
        out,
        "delivery {}: {}, tries: {}\n{} of {} to {}\nhappened {}",
        text(found, "id"),
        text(found, "state"),
        number(found, "tries"),
        text(found, "event"),
        subject(found),
        text(found, "endpoint"),
        second(text(found, "happened_at")),
    );
    for (word, name) in
        [("tried", "tried_at"), ("tried next", "next_at"), ("settled", "settled_at")]
    {
        if !text(found, name).is_empty() {
            let _ = writeln!(out, "{word} {}", second(text(found, name)));
        }
    }
    let _ = writeln!(out, "webhook-id: {}", text(found, "webhook_id"));
    out.push_str(&answer(found));
    if let Some(body @ Value::Object(_)) = found.get("body") {
        let _ = write!(out, "\n{}\n", dumps(body, Style::Indented));
    }
    out
}

/// What came of a try.
pub(super) fn answer(found: &Object) -> String {
    let mut out = String::new();
    if number(found, "status") > 0 {
        let _ = writeln!(
            out,
            "status: {} after {} ms",
            number(found, "status"),
            number(found, "elapsed_ms")
        );
    }
    for name in ["error", "answer"] {
        if !text(found, name).is_empty() {
            let _ = writeln!(out, "{name}: {}", text(found, name).escape_debug());
        }
    }
    out
}

pub(super) async fn replay(args: &Replay) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for id in &args.ids {
        let path = ["webhooks", "deliveries", id, "replay"];
        let call = Call { path: &path, body: Some(String::new()), ..Call::default() };
        let reply = server.call(call).await?;
        print(&format!("delivery {id} is sent anew to {}\n", reply.text("endpoint")))?;
    }
    let Some(from) = &args.from else { return Ok(()) };
    let (mut count, mut after) = (0, None::<String>);
    loop {
        let mut members = vec![member("from", from.as_str().into())];
        members.extend(args.until.as_deref().map(|until| member("until", until.into())));
        members.extend(args.endpoint.as_deref().map(|id| member("endpoint", id.into())));
        members.extend(args.all.then(|| member("state", "all".into())));
        members.extend(after.take().map(|after| member("after", after.into())));
        let body = Some(dumps(&Value::object(members), Style::Compact));
        let call = Call { path: &["webhooks", "replay"], body, ..Call::default() };
        let reply = server.call(call).await?;
        count += number(&reply.members, "replayed");
        match reply.text("next") {
            "" => break,
            next => after = Some(next.to_owned()),
        }
    }
    print(&format!("{count} deliveries are sent anew\n"))?;
    if count == 0 {
        bail!("nothing of that time was settled, or its endpoints are disabled");
    }
    Ok(())
}

/// The run or the batch that a delivery tells of.
fn subject(delivery: &Object) -> &str {
    match text(delivery, "run") {
        "" => text(delivery, "batch"),
        run => run,
    }
}
