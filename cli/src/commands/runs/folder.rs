//! The runs that are kept in a folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use flowmill_engine::fact::Status;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_infra::live;
use flowmill_infra::sqlite::{RunRow, SqliteStore, Which};

use crate::console::{one_line, print, talk};
use crate::duration;
use crate::history::standing::{CUT_OFF, how_to_resume, is_cut_off, word};
use crate::history::{History, html, text, utc};
use crate::keep::{keys, resume_command};
use crate::result::{member, object};
use crate::show::{Output, Show, kept_object};

use super::{Format, List, ListFormat, ShowArgs, Shown};

/// Facts that become lines at a time.
const PART: usize = 1024;

/// Lists the runs.
pub(super) async fn list(args: &List, folder: &Path) -> anyhow::Result<()> {
    let is_of_server = args.workflow.is_some() || args.parent.is_some();
    ensure!(
        !is_of_server
            && args.status != Some(Shown::Queued)
            && args.since.is_none()
            && args.until.is_none(),
        "--workflow, --parent, --since, --until and queued are for runs of a server"
    );
    let store = SqliteStore::look(folder, keys()?).await?;
    let which = args.status.map(which).unwrap_or_default();
    let runs = store.runs(which, args.limit).await?;
    match args.format() {
        ListFormat::Text => print(&runs.iter().map(row).collect::<String>())?,
        ListFormat::Json => {
            let lines = runs.iter().map(|run| json(run, folder));
            print(&lines.collect::<String>())?;
        }
    }
    if args.format() == ListFormat::Text && runs.iter().any(is_cut_off) {
        let command = resume_command("RUN_ID", folder);
        talk(format_args!("{CUT_OFF}: its process is gone; to go on: {command}"));
    }
    Ok(())
}

fn row(run: &RunRow) -> String {
    let took = run.finished_at.map(|at| duration::show(at.since(run.started_at)));
    format!(
        "{}  {:<17}  {}  {:>10}  {}\n",
        run.id,
        word(run),
        utc::show(run.started_at),
        took.unwrap_or_default(),
        one_line(&run.name, 60),
    )
}

fn json(run: &RunRow, folder: &Path) -> String {
    let micros = |time: u64| Value::int(i64::try_from(time).unwrap_or(i64::MAX));
    let run = object([
        member("id", Value::Str(run.id.clone())),
        member("status", run.status.name().into()),
        member("cut_off", Value::Bool(is_cut_off(run))),
        member("resume", text_or_none(how_to_resume(run, folder))),
        member("name", Value::Str(run.name.clone())),
        member("workflow", Value::Str(run.workflow.clone())),
        member("facts", micros(run.facts)),
        member("started_at_us", micros(run.started_at.0)),
        member("finished_at_us", run.finished_at.map_or(Value::None, |at| micros(at.0))),
    ]);
    format!("{}\n", dumps(&run, Style::Finite))
}

fn text_or_none(text: Option<String>) -> Value {
    text.map_or(Value::None, Value::from)
}

/// Shows a run.
pub(super) async fn show(args: &ShowArgs, folder: &Path) -> anyhow::Result<()> {
    let history = &History::load(folder, &args.run).await?;
    print(&match args.format() {
        Format::Text => text::write(history),
        Format::Html => html::write(history),
        Format::Json => {
            let mut shown = kept_object(&history.ended(), history.elapsed(), &history.inputs());
            if let Value::Object(members) = &mut shown {
                let members = Arc::make_mut(members);
                members.insert("cut_off".into(), Value::Bool(is_cut_off(&history.row)));
                members.insert("resume".into(), text_or_none(history.how_to_resume()));
            }
            format!("{}\n", dumps(&shown, Style::Finite))
        }
    })
}

/// Prints a run's events.
pub(super) async fn events(run: &str, folder: &Path) -> anyhow::Result<()> {
    let history = History::load(folder, run).await?;
    let mut show = Show::new(Output::Events, &history.workflow);
    for facts in history.journal.chunks(PART) {
        show.event(&live::Event::Facts(Arc::from(facts)))?;
    }
    Ok(())
}

fn which(shown: Shown) -> Which {
    let (status, is_held) = match shown {
        Shown::Running => (Status::Running, Some(true)),
        // nothing waits for a scheduler in a folder
        Shown::CutOff | Shown::Queued => (Status::Running, Some(false)),
        Shown::Paused => (Status::Paused, None),
        Shown::Succeeded => (Status::Succeeded, None),
        Shown::PartialSucceeded => (Status::PartialSucceeded, None),
        Shown::Failed => (Status::Failed, None),
        Shown::Stopped => (Status::Stopped, None),
    };
    Which { status: Some(status), is_held }
}
