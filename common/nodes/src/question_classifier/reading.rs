//! How a model's choice is found in its answer (spec/nodes.md §5.3, "Reply parsing").

use std::sync::LazyLock;

use fancy_regex::Regex;
use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Value, loads};

use crate::model::failed;

/// Where JSON may begin and end, in the order of preference.
const STARTS: [&str; 6] = ["```json", "```", "``", "`", "{", "["];
const ENDS: [&str; 5] = ["```", "``", "`", "}", "]"];

static THOUGHTS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)<think[^>]*>[\s\S]*?</think>").ok());

/// The id that a model names, if its answer names an id and a name; what has neither chooses nothing.
pub(super) fn chosen(answer: &str) -> Result<Option<Name>, NodeError> {
    let plain = without_thoughts(answer);
    let Some(json) = json_block(&plain) else {
        return Err(failed("ValueError", "could not find json block in the output."));
    };
    let read = loads(json).map_err(|error| {
        failed("OutputParserError", format!("got invalid json object. error: {error}"))
    })?;
    let members = match &read {
        Value::Object(members) => members,
        Value::Array(items) => {
            let [Value::Object(members)] = &items[..] else {
                let message = format!("got invalid return object. obj:{}", read.to_python());
                return Err(failed("OutputParserError", message));
            };
            members
        }
        // what is looked for is not in it
        _ => return Ok(None),
    };
    if !members.contains_key("category_name") {
        return Ok(None);
    }
    Ok(members.get("category_id").and_then(|id| id.as_str()).map(Name::from))
}

fn without_thoughts(answer: &str) -> String {
    match &*THOUGHTS {
        Some(thoughts) if answer.contains("<think>") => {
            thoughts.replace_all(answer, "").into_owned()
        }
        _ => answer.to_owned(),
    }
}

/// The JSON within a text: from its first mark to the last mark of an end.
fn json_block(text: &str) -> Option<&str> {
    let text = text.trim();
    let start = STARTS.iter().find_map(|mark| {
        let at = text.find(mark)?;
        Some(if mark.starts_with('`') { at + mark.len() } else { at })
    })?;
    let end = ENDS.iter().find_map(|mark| {
        let at = start + text[start..].rfind(mark)?;
        Some(if mark.starts_with('`') { at } else { at + mark.len() })
    })?;
    (start < end).then(|| text[start..end].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(answer: &str) -> Option<Name> {
        chosen(answer).unwrap()
    }

    #[test]
    fn a_choice_is_found_wherever_it_stands() {
        let one = Some(Name::from("1"));
        assert_eq!(ok(r#"{"category_id": "1", "category_name": "x"}"#), one);
        assert_eq!(
            ok("Sure:\n```json\n{\"category_id\": \"1\", \"category_name\": \"x\"}\n```\nDone."),
            one
        );
        assert_eq!(ok(r#"[{"category_id": "1", "category_name": "x"}]"#), one);
        let thought = "<think>{\"category_id\": \"2\"}</think> `{\"category_id\": \"1\", \"category_name\": \"x\"}`";
        assert_eq!(ok(thought), one);
    }

    #[test]
    fn without_both_keys_nothing_is_chosen() {
        assert_eq!(ok(r#"{"category_id": "1"}"#), None);
        assert_eq!(ok(r#"{"category_id": 1, "category_name": "x"}"#), None);
    }

    #[test]
    fn what_is_no_json_fails_by_dify_s_names() {
        let kind = |answer: &str| chosen(answer).unwrap_err().kind.to_string();
        assert_eq!(kind("I cannot say"), "ValueError");
        assert_eq!(kind("{so}"), "OutputParserError");
        assert_eq!(kind("[1, 2]"), "OutputParserError");
    }
}
