//! A run's outputs as people read them.

use std::fmt::Write as _;

use flowmill_engine::value::{File, Name, Style, Value, dumps};

use crate::console::plain;

/// Lines of an output on a terminal.
const MOST_LINES: usize = 200;

/// Letters of an output on a terminal.
const MOST_LETTERS: usize = 20_000;

/// A chat's answer as it is, if it comes without files; otherwise each output under its name, text as it is.
pub(crate) fn outputs_text(outputs: &[(&Name, &Value)]) -> String {
    if let Some(answer) = lone_answer(outputs) {
        return format!("{answer}\n");
    }
    let mut text = String::new();
    for (name, value) in outputs {
        let shown = match value {
            Value::Str(shown) => shown.to_string(),
            Value::File(file) => file_text(file),
            Value::Array(items) if matches!(items[..], [Value::File(_), ..]) => files_text(items),
            value => dumps(value, Style::Line),
        };
        let gap = if shown.contains('\n') { "\n" } else { " " };
        // writing to a string cannot fail
        let _ = writeln!(text, "{name}:{gap}{shown}");
    }
    text
}

/// A file for people: its name, its size, where it is.
fn file_text(file: &File) -> String {
    let name = file.filename.as_deref().unwrap_or("a file");
    let size = match u64::try_from(file.size_bytes) {
        Ok(bytes @ 0..1024) => format!(", {bytes} bytes"),
        Ok(bytes @ 1024..0x10_0000) => format!(", {} KiB", bytes >> 10),
        Ok(bytes) => format!(", {} MiB", bytes >> 20),
        Err(_) => String::new(),
    };
    let place = file.address().map(|address| format!(": {address}")).unwrap_or_default();
    format!("{name} ({}{size}){place}", file.kind)
}

fn files_text(items: &[Value]) -> String {
    let texts = items.iter().map(|item| match item {
        Value::File(file) => file_text(file),
        other => dumps(other, Style::Line),
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The answer of a chat that comes without files.
pub(super) fn lone_answer<'a>(outputs: &[(&'a Name, &'a Value)]) -> Option<&'a str> {
    match outputs {
        [(name, Value::Str(answer)), rest @ ..] if &***name == "answer" => {
            rest.iter().all(|(_, value)| value.is_falsy()).then_some(&**answer)
        }
        _ => None,
    }
}

/// Text as a terminal may show it: nothing that steers it, and no more than a person reads.
pub(crate) fn for_terminal(text: &str) -> String {
    let text = plain(text);
    let by_lines = text.match_indices('\n').nth(MOST_LINES - 1).map(|(at, _)| at + 1);
    let by_letters = text.char_indices().nth(MOST_LETTERS).map(|(at, _)| at);
    let Some(end) = by_lines.into_iter().chain(by_letters).min() else { return text };
    let (head, tail) = text.split_at(end);
    let gap = if head.ends_with('\n') { "" } else { "\n" };
    let letters = tail.chars().count();
    format!(
        "{head}{gap}\u{2026} {letters} more letters: write them to a file with > or --output json\n"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn outputs_are_written_for_people() {
        let (name, answer): (Name, Name) = ("x".into(), "answer".into());
        let (line, lines) = (Value::from("a"), Value::from("a\nb"));
        assert_eq!(outputs_text(&[(&answer, &lines)]), "a\nb\n");
        let (files, none) = ("files".into(), Value::array(Vec::new()));
        assert_eq!(outputs_text(&[(&answer, &line), (&files, &none)]), "a\n");
        assert_eq!(outputs_text(&[(&name, &line), (&answer, &lines)]), "x: a\nanswer:\na\nb\n");
        let list = Value::array(vec![Value::int(1), Value::from("é")]);
        assert_eq!(outputs_text(&[(&name, &list)]), "x: [1, \"é\"]\n");
        assert_eq!(outputs_text(&[]), "");
        let file = |size_bytes, url: Option<&str>| {
            let (kind, filename) = ("image".into(), Some("a.png".into()));
            let url = url.map(Into::into);
            Value::File(Arc::new(File { kind, filename, size_bytes, url, ..File::default() }))
        };
        let (here, unknown) = (file(2048, Some("file:///a.png")), file(-1, None));
        assert_eq!(outputs_text(&[(&name, &here)]), "x: a.png (image, 2 KiB): file:///a.png\n");
        let both = Value::array(vec![unknown, here]);
        let lines = "x:\na.png (image)\na.png (image, 2 KiB): file:///a.png\n";
        assert_eq!(outputs_text(&[(&name, &both)]), lines);
    }

    #[test]
    fn a_terminal_gets_what_a_person_reads() {
        assert_eq!(for_terminal("a\u{1b}[2J\n"), "a\u{fffd}[2J\n");
        let long = for_terminal(&"line\n".repeat(300));
        assert_eq!(long.lines().count(), MOST_LINES + 1);
        assert!(long.ends_with(
            "\u{2026} 500 more letters: write them to a file with > or --output json\n"
        ));
        let wide = for_terminal(&"x".repeat(MOST_LETTERS + 7));
        assert!(wide.lines().last().unwrap().starts_with("\u{2026} 7 more letters"));
    }
}
