//! Forms as people see them, and entries as they write them.

use std::fmt::Write as _;
use std::time::Duration;

use flowmill_engine::fact::{FramePath, Waiting};
use flowmill_engine::form::{Asked, Asks, Entry, EntryKind};
use flowmill_engine::plan::{Behaviour, Plan};
use flowmill_engine::run::{Input, Run};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, loads};
use flowmill_workflow::inputs::{FileRules, of_address, of_mapping};

use crate::console::{one_line, plain};
use crate::duration;

/// Letters of a name on a line.
const LINE: usize = 120;

/// What knows how a node's form is answered.
pub(super) fn asks<'a>(plan: &'a Plan, node: &str) -> Option<&'a dyn Asks> {
    match &plan.node(plan.find(node)?).behaviour {
        Behaviour::Pause(asks) => asks.as_deref(),
        Behaviour::Inline(_)
        | Behaviour::Task(_)
        | Behaviour::Iteration(_)
        | Behaviour::Loop(_) => None,
    }
}

/// `h`, or `h@it[2]` in a container.
pub(super) fn name(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

/// A form's text, what may be entered and what may be chosen, a line each.
pub(crate) fn show_form(run: &Run, waiting: &Waiting, asked: &Asked, now: Time) -> String {
    let mut text = show_text(run, waiting, asked, now);
    let width = asked.form.entries.iter().map(|entry| entry.name.len());
    let width = width.chain(asked.form.actions.iter().map(|action| action.id.len())).max();
    let width = width.unwrap_or(0).min(24);
    // writing to a string cannot fail
    for entry in &asked.form.entries {
        let name = one_line(&entry.name, LINE);
        let _ = writeln!(text, "  enter   {name:width$}  {}", takes(entry));
    }
    for action in &asked.form.actions {
        let (id, title) = (one_line(&action.id, LINE), one_line(&action.title, LINE));
        let _ = writeln!(text, "  choose  {id:width$}  {title}");
    }
    text
}

/// Who asks, for how long, and the form's text.
pub(super) fn show_text(run: &Run, waiting: &Waiting, asked: &Asked, now: Time) -> String {
    let plan = run.plan();
    let title = plan.find(&waiting.node).map_or("", |index| &plan.node(index).title);
    let left = asked.expires_at.since(now).as_secs_f64().ceil();
    let mut text = format!(
        "{} ({}) asks; {} to answer\n",
        if title.is_empty() { "a person" } else { title },
        name(&waiting.frame, &waiting.node),
        duration::show(Duration::try_from_secs_f64(left).unwrap_or_default()),
    );
    for line in plain(asked.form.content.trim_end()).lines() {
        // writing to a string cannot fail
        let _ = writeln!(text, "  | {}", slots(line));
    }
    text
}

/// A line of a form, its slots as blanks.
fn slots(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, slot)) = rest.split_once("{{#$output.") {
        out.push_str(before);
        rest = slot;
        if let Some((name, after)) = slot.split_once("#}}") {
            // writing to a string cannot fail
            let _ = write!(out, "[{name}]");
            rest = after;
        } else {
            out.push_str("{{#$output.");
        }
    }
    out.push_str(rest);
    out
}

/// What an entry takes, for people.
pub(super) fn takes(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::Paragraph { default: None } => "text".to_owned(),
        EntryKind::Paragraph { default: Some(text) } => {
            format!("text, default {:?}", one_line(text, LINE))
        }
        EntryKind::Select { options } => {
            let options: Vec<String> =
                options.iter().map(|option| one_line(option, LINE)).collect();
            format!("one of {}", options.join(", "))
        }
        EntryKind::File(files) if files.kinds.is_empty() => "a file's URL or JSON".to_owned(),
        EntryKind::File(files) => format!("a file's URL or JSON ({})", files.kinds.join(", ")),
        EntryKind::FileList(_) => "a list of files as JSON, or one URL".to_owned(),
    }
}

/// The option that answers a form: `--answer 'h=yes,note=…'`.
pub(crate) fn how_to_answer(waiting: &Waiting, asked: &Asked) -> String {
    let action = asked.form.actions.first().map_or("ACTION", |action| &*action.id);
    let mut text = format!("{}={action}", name(&waiting.frame, &waiting.node));
    for entry in &asked.form.entries {
        if !matches!(entry.kind, EntryKind::Paragraph { default: Some(_) }) {
            let _ = write!(text, ",{}=\u{2026}", entry.name);
        }
    }
    let plain = text.chars().all(|letter| letter.is_alphanumeric() || "=_-.".contains(letter));
    if plain { format!("--answer {text}") } else { format!("--answer '{text}'") }
}

/// The value that a text is for an entry; the error is a sentence.
pub(super) fn value_of(entry: &Entry, text: &Name) -> Result<Value, String> {
    let is_address = text.starts_with("http://") || text.starts_with("https://");
    let file = |value: &Value| {
        of_mapping(value, &FileRules::default()).map_err(|error| format!("{}: {error}", entry.name))
    };
    let json =
        || loads(text).map_err(|error| format!("{} must be a URL or JSON: {error}", entry.name));
    match &entry.kind {
        EntryKind::Paragraph { .. } | EntryKind::Select { .. } => Ok(Value::Str(text.clone())),
        EntryKind::File(_) if is_address => file(&of_address(text)),
        EntryKind::File(_) => file(&json()?),
        EntryKind::FileList(_) if is_address => Ok(Value::array(vec![file(&of_address(text))?])),
        EntryKind::FileList(_) => match json()? {
            Value::Array(items) => {
                Ok(Value::array(items.iter().map(file).collect::<Result<_, _>>()?))
            }
            other => Ok(Value::array(vec![file(&other)?])),
        },
    }
}

/// An answer to a form, if the form takes it; entries that were not given take their default.
pub(super) fn answer(
    run: &Run,
    waiting: &Waiting,
    asked: &Asked,
    action: &Name,
    entered: &[(Name, Name)],
) -> Result<Input, String> {
    let mut values = Vec::new();
    for entry in &asked.form.entries {
        let given = entered.iter().rfind(|(name, _)| *name == entry.name).map(|(_, text)| text);
        let default = match &entry.kind {
            EntryKind::Paragraph { default } => default.as_ref(),
            EntryKind::Select { .. } | EntryKind::File(_) | EntryKind::FileList(_) => None,
        };
        if let Some(text) = given.or(default) {
            values.push((entry.name.clone(), value_of(entry, text)?));
        }
    }
    if let Some(asks) = asks(run.plan(), &waiting.node) {
        asks.answer(&asked.form, action, &values)?;
    }
    Ok(Input::Answered {
        frame: waiting.frame.clone(),
        node: waiting.node.clone(),
        action: action.clone(),
        values,
        by: None,
    })
}

/// How long a form may still be answered.
pub(super) fn time_left(asked: &Asked, now: Time) -> Duration {
    asked.expires_at.since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_become_blanks() {
        assert_eq!(slots("a {{#$output.note#}} b {{#$output."), "a [note] b {{#$output.");
    }
}
