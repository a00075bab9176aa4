//! Figures for people: a screen of text.

use std::fmt::Write as _;

use super::{Figures, Row};
use crate::console::plain;

/// What of a row is shown in a table of classes, with its heading.
const COLUMNS: [(&str, &str); 8] = [
    ("READY", "ready"),
    ("OLDEST", "oldest_seconds"),
    ("OUT", "in_flight"),
    ("WINDOW", "window"),
    ("SENT/S", "sent_per_second"),
    ("BUSY", "busy"),
    ("SLOTS", "slots"),
    ("DONE/S", "done_per_second"),
];

/// All of it.
pub(crate) fn screen(figures: &Figures) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        // writing to a string cannot fail
        let _ = writeln!(out, "{}", plain(line.trim_end()));
    };
    let releases: Vec<&str> = figures.releases.iter().map(String::as_str).collect();
    say(&format!(
        "flowmill {}: {} of {} answer",
        releases.join(", "),
        figures.answered,
        figures.answered + figures.silent.len()
    ));
    for server in &figures.silent {
        say(&format!("!  {server} does not answer"));
    }
    for (server, count) in &figures.away {
        say(&format!("!  {server} is away for {count} of them"));
    }
    say("");
    say(&format!("runs      {}", line(&figures.runs)));
    say(&format!("ended     {}", line(&figures.ends)));
    say(&format!("nodes     {}", line(&figures.nodes)));
    say(&format!("store     {}", line(&figures.store)));
    say(&format!("webhooks  {}", line(&figures.webhooks)));
    say("");
    let heading = COLUMNS.map(|(heading, _)| format!("{heading:>8}")).concat();
    say(&format!("CLASS   {heading}"));
    for (class, row) in &figures.classes {
        let cells = COLUMNS.map(|(_, name)| format!("{:>8}", number(value(row, name))));
        say(&format!("{class:<8}{}", cells.concat()));
    }
    if !figures.models.is_empty() {
        say("");
    }
    for (provider, row) in &figures.models {
        say(&format!("model {provider}  {}", line(row)));
    }
    let odd: Vec<String> = figures
        .odd
        .iter()
        .filter(|(_, value)| *value > 0.0)
        .map(|(what, value)| format!("{what}: {}", number(*value)))
        .collect();
    if !odd.is_empty() {
        say("");
        say(&format!("!  {}", odd.join(", ")));
    }
    out
}

fn value(row: &Row, name: &str) -> f64 {
    row.iter().find(|(held, _)| *held == name).map_or(0.0, |(_, value)| *value)
}

/// A row in one line: `3 held, 1.5 started/s`.
fn line(row: &Row) -> String {
    let cell = |(name, value): &(&str, f64)| {
        let unit = if name.ends_with("_seconds") { " s" } else { "" };
        let name = name.replace("_per_second", "/s").replace("_seconds", "").replace('_', " ");
        format!("{}{unit} {name}", number(*value))
    };
    row.iter().map(cell).collect::<Vec<_>>().join(", ")
}

/// Whole where it is large, with what matters of it where it is small.
fn number(value: f64) -> String {
    let text = match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Told;
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        let shown = [0.0, 0.0042, 3.0, 12.34, 120.4, 100.0].map(number);
        assert_eq!(shown, ["0", "0.004", "3", "12.3", "120", "100"]);
    }

    #[test]
    fn a_screen_says_what_there_is_and_what_is_odd() {
        let mut now = Told::default();
        now.add(
            "flowmill_build_info{version=\"1.0.0\"} 1\nflowmill_runs_held 3\n\
             flowmill_ready_tasks{class=\"llm\"} 40\nflowmill_unroutable_total 2\n\
             flowmill_dependency_up{dependency=\"postgres\"} 0\n",
        );
        now.silent.push("http://w".to_owned());
        let text = screen(&Figures::of(&Told::default(), &now, Duration::from_secs(1)));
        for line in [
            "flowmill 1.0.0: 1 of 2 answer",
            "!  http://w does not answer",
            "!  postgres is away for 1 of them",
            "runs      3 held, 0 started/s, 0 ended/s, 0 s mean",
            "CLASS      READY  OLDEST     OUT  WINDOW  SENT/S    BUSY   SLOTS  DONE/S",
            "llm           40       0       0       0       0       0       0       0",
            "!  unroutable tasks: 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
