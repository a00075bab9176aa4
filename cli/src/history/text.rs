//! A run as text: a bar for each node, errors with what lies behind them, outputs.

use std::fmt::Write as _;

use flowmill_engine::error::Handled;
use flowmill_engine::plan::Node;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

use super::rows::{Row, rows};
use super::{History, standing, utc};
use flowmill_workflow::watch::{causes, handled};

use crate::console::one_line;
use crate::duration::show;
use crate::show::{describe, outputs_text};
use crate::words::counted;

/// Columns of a bar.
const WIDTH: usize = 40;

/// Columns of a node's name.
const NAME: usize = 36;

/// Errors that are shown.
const MOST_ERRORS: usize = 20;

/// The run.
pub(crate) fn write(history: &History) -> String {
    let ended = history.ended();
    let run = &ended.run;
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = writeln!(
        out,
        "run {} of {}: {} in {}, {}\nbegan {}",
        run.id(),
        one_line(&history.workflow.graph.name, NAME),
        standing::word(&history.row),
        show(history.elapsed()),
        counted(run.root_steps(), "step"),
        utc::show(history.began()),
    );
    let standing = history.standing();
    if !standing.is_empty() {
        let _ = writeln!(out, "{standing}");
    }
    out.push('\n');
    for row in rows(run.plan(), &ended.report, history.until()) {
        let _ = writeln!(out, "{}", line(run.plan().node(row.node), &row, history));
    }
    let heads = run.errors().iter().filter(|error| error.handled != Handled::Retried);
    for error in heads.take(MOST_ERRORS) {
        let word = match error.handled {
            Handled::Unhandled | Handled::FailedContainer => "error".to_owned(),
            other => format!("handled by {}", handled(other)),
        };
        let _ = write!(out, "\n{word}: {}", describe(error, 2));
        for cause in causes(run.errors(), error) {
            let _ = write!(out, "\n  caused by: {}", describe(cause, 4));
        }
        out.push('\n');
    }
    let outputs: Vec<(&Name, &Value)> = run.outputs().collect();
    if !outputs.is_empty() {
        let _ = write!(out, "\noutputs\n{}", outputs_text(&outputs));
    }
    out
}

fn line(node: &Node, row: &Row, history: &History) -> String {
    let title = if node.title.is_empty() { &node.id } else { &node.title };
    let name = format!("{:indent$}{}", "", one_line(title, NAME), indent = 2 * row.depth);
    let name: String = name.chars().take(NAME).collect();
    let bar = bar(history.began(), history.until(), row.from, row.to);
    format!("{name:<NAME$} |{bar}| {:<9}  {}", row.status.name(), one_line(&row.note, 60))
}

/// The part of the whole time that a row takes; at least one column.
fn bar(began: Time, until: Time, from: Time, to: Time) -> String {
    let whole = until.since(began).as_micros().max(1);
    let column = |at: Time| {
        let at = at.since(began).as_micros().min(whole);
        usize::try_from(at * WIDTH as u128 / whole).unwrap_or(WIDTH)
    };
    let first = column(from).min(WIDTH - 1);
    let last = column(to).clamp(first + 1, WIDTH);
    let mut bar = " ".repeat(first);
    bar.push_str(&"\u{2588}".repeat(last - first));
    bar.push_str(&" ".repeat(WIDTH - last));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_where_their_time_was() {
        let bar = |from, to| bar(Time(0), Time(4000), Time(from), Time(to));
        let drawn = |bar: String| {
            let first = bar.chars().take_while(|letter| *letter == ' ').count();
            (first, bar.chars().filter(|letter| *letter != ' ').count(), bar.chars().count())
        };
        assert_eq!(drawn(bar(0, 4000)), (0, 40, 40));
        assert_eq!(drawn(bar(1000, 2000)), (10, 10, 40));
        assert_eq!(drawn(bar(4000, 4000)), (39, 1, 40));
        assert_eq!(drawn(bar(7, 7)), (0, 1, 40));
    }
}
