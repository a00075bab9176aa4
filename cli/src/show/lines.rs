//! Events of a run on a server, each on a line for people.

use std::time::Duration;

use flowmill_engine::value::{Object, Style, Value, dumps};

use super::outputs::outputs_text;
use crate::console::one_line;
use crate::duration::show;
use crate::server::{number, object, text};

/// Letters of a title, and of what else stands on a line.
const SHORT: usize = 60;
const LONG: usize = 200;

/// Writes events as lines, with the time since the run's start.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    started_at: Option<f64>,
}

impl Lines {
    /// The lines of an event.
    pub(crate) fn line(&mut self, event: &Object) -> String {
        let word = text(event, "event");
        let data: Object = object(event, "data").into_iter().collect();
        if word == "workflow_started" && self.started_at.is_none() {
            self.started_at = seconds(&data, "created_at");
        }
        let at = ["finished_at", "created_at"].into_iter().find_map(|name| seconds(&data, name));
        let since = at.zip(self.started_at).map(|(at, from)| (at - from).max(0.0));
        let since = since.and_then(|since| Duration::try_from_secs_f64(since).ok());
        let since = since.map(show).unwrap_or_default();
        let line = format!("{since:>10}  {word:<20}  {}", parts(word, &data).join("  "));
        let mut line = format!("{}\n", line.trim_end());
        if word == "workflow_finished" {
            let outputs = object(&data, "outputs");
            let outputs: Vec<_> = outputs.iter().map(|(name, value)| (name, value)).collect();
            line.push_str(&outputs_text(&outputs));
        }
        line
    }
}

/// What a line says besides its event's name.
fn parts(word: &str, data: &Object) -> Vec<String> {
    let mut parts = Vec::new();
    match word {
        "text_chunk" | "message" => {
            let shown = if word == "message" { "answer" } else { "text" };
            parts.push(one_line(&dumps(&text(data, shown).into(), Style::Finite), LONG));
        }
        "workflow_started" => parts.push(text(data, "reason").to_owned()),
        "workflow_finished" | "workflow_paused" => {
            parts.push(text(data, "status").to_owned());
            parts.push(one_line(text(data, "error"), LONG));
        }
        _ => {
            let (title, kind, id) =
                (text(data, "title"), text(data, "node_type"), text(data, "id"));
            let title = if title.is_empty() { text(data, "node_title") } else { title };
            let named = [kind, id].join(" ");
            parts.push(match named.trim() {
                "" => one_line(title, SHORT),
                named => format!("{} ({})", one_line(title, SHORT), one_line(named, SHORT)),
            });
            if word.ends_with("_next") {
                parts.push(format!("[{}]", number(data, "index")));
            }
            parts.push(text(data, "status").to_owned());
            parts.push(one_line(text(data, "error"), LONG));
            parts.push(match text(data, "handle") {
                "" => String::new(),
                handle => format!("takes {}", one_line(handle, SHORT)),
            });
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A point in time, or a length of it.
fn seconds(data: &Object, name: &str) -> Option<f64> {
    match data.get(name) {
        Some(Value::Float(seconds)) => Some(*seconds),
        _ => None,
    }
}
