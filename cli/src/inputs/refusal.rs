//! What a person is told whose inputs were rejected.

use std::fmt::Write as _;

use flowmill_workflow::inputs::{Field, Form, Rejection};

use crate::console::{one_line, plain};

/// Letters of a line.
const LINE: usize = 200;

/// Why the inputs were rejected, what the workflow takes, and a command line that gives it.
pub(crate) fn refusal(file: &str, form: &Form, chat: bool, rejections: &[Rejection]) -> String {
    let mut text = String::from("flowmill: the inputs were rejected\n");
    for rejection in rejections {
        // writing to a string cannot fail
        let _ = writeln!(text, "  {}", one_line(&rejection.message, LINE));
    }
    let rows: Vec<(String, String)> = form.fields().iter().map(row).collect();
    if !rows.is_empty() {
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        text.push_str("it takes\n");
        for (name, about) in &rows {
            let _ = writeln!(text, "  {name:<width$}  {about}");
        }
    }
    let example = example(file, form, chat, rejections);
    let _ = write!(text, "for example\n  {}", plain(&example));
    text
}

fn row(field: &Field) -> (String, String) {
    let mut about = field.describe();
    if field.label != field.name {
        let _ = write!(about, ": {}", field.label);
    }
    (one_line(&field.name, LINE), one_line(&about, LINE))
}

/// Everything that must be given, and what was given wrongly.
fn example(file: &str, form: &Form, chat: bool, rejections: &[Rejection]) -> String {
    let mut example = format!("flowmill run {}", quoted(file));
    if chat {
        example.push_str(" --query 'Hello'");
    }
    let rejected = |field: &Field| rejections.iter().any(|rejection| rejection.name == field.name);
    for field in form.fields().iter().filter(|field| field.required || rejected(field)) {
        let option = if field.takes_local_files() { "--file" } else { "--input" };
        let pair = format!("{}={}", field.name, field.example());
        let _ = write!(example, " {option} {}", quoted(&pair));
    }
    example
}

/// As a POSIX shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_safe = |letter: char| letter.is_ascii_alphanumeric() || "_-./=:,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_learns_why_and_what_to_write() {
        let variables = r#"[{"variable": "name", "label": "Your name", "type": "text-input", "required": true},
                {"variable": "n", "label": "n", "type": "number"},
                {"variable": "other", "label": "other", "type": "number"}]"#;
        let text =
            format!("graph: {{nodes: [{{id: a, data: {{type: start, variables: {variables}}}}}]}}");
        let document = flowmill_dsl::document::read(&text).unwrap();
        let form = Form::of_start(&document.graph.nodes[0].data);
        let rejection =
            |name: &str, message: &str| Rejection { name: name.into(), message: message.into() };
        let rejections =
            [rejection("name", "name is required in input form"), rejection("n", "n is wrong")];
        let text = refusal("my flow.yml", &form, false, &rejections);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "flowmill: the inputs were rejected",
                "  name is required in input form",
                "  n is wrong",
                "it takes",
                "  name   text-input, required: Your name",
                "  n      number",
                "  other  number",
                "for example",
                "  flowmill run 'my flow.yml' --input 'name=some text' --input n=1",
            ]
        );
    }
}
