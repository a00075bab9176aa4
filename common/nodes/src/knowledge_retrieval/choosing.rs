//! One knowledge base of several, chosen by a model: by a function for each where the model calls
//! functions, else by what it writes. The wording is our own.

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_engine::variables::Variables;
use flowmill_services::knowledge::About;
use flowmill_services::models::{Ask, Message, Reply, Role, ToolSpec};

use crate::context::NodeContext;
use crate::model::{Model, object_that, split};

const BY_FUNCTION: &str = "\
You decide where an answer to the user's question is looked for. Each function stands for a collection of \
documents; its description says what is in it. Call the one function whose collection fits the question \
best. Do not answer the question yourself. If none can have anything on it, call none.";

const BY_TEXT: &str = "\
You decide where an answer to a question is looked for. You are given the question and a list of collections of \
documents, each with a name and what is in it. Think shortly about which fits best, then write one line, \
exactly so:

Choice: {\"name\": \"NAME FROM THE LIST\"}

If none can have anything on the question, write: Choice: {\"name\": null}";

/// What the choice is kept as.
const STEP: &str = "choose";

/// The place of the knowledge base that a model chooses; None where it chooses none. A single one is
/// not asked about.
pub(super) async fn choose(
    model: &Model,
    question: &str,
    bases: &[&About],
    (variables, context): (&Variables, &NodeContext),
) -> Result<Option<usize>, NodeError> {
    if bases.len() < 2 {
        return Ok((!bases.is_empty()).then_some(0));
    }
    let asked = async {
        let known = context.services.models.known(&model.wanted, &context.caller)?;
        let messages = if known.tools {
            vec![Message::text(Role::System, BY_FUNCTION), Message::text(Role::User, question)]
        } else {
            let told = format!("{BY_TEXT}\n\n{}", told(question, bases));
            vec![Message::text(Role::User, told)]
        };
        let tools = if known.tools { functions(bases) } else { Vec::new() };
        let params = model.params.values(variables)?;
        let stop = model.params.stop.clone();
        let ask = Ask { messages, tools, params, stop, ..Ask::default() };
        let models = &context.services.models;
        let reply = models.ask(&model.wanted, ask, &context.caller, &|_| {}).await?;
        Ok(chosen(&reply, bases.len()).map_or(Value::None, Value::Str))
    };
    let name = context.step(STEP, asked).await?;
    Ok(name.as_str().and_then(|name| (0..bases.len()).find(|at| called(*at) == name)))
}

/// What a knowledge base is called before a model: ids may hold what no function's name may.
fn called(at: usize) -> String {
    format!("collection_{}", at + 1)
}

fn functions(bases: &[&About]) -> Vec<ToolSpec> {
    let nothing = || {
        Value::object([
            ("type".into(), "object".into()),
            ("properties".into(), Value::object([])),
            ("required".into(), Value::array(Vec::new())),
        ])
    };
    let function = |(at, about): (usize, &&About)| ToolSpec {
        name: called(at).into(),
        description: described(about).into(),
        parameters: nothing(),
    };
    bases.iter().enumerate().map(function).collect()
}

fn described(about: &About) -> String {
    let lines: Vec<&str> = about.description.split_whitespace().collect();
    match &lines[..] {
        [] => format!("Documents of the collection \"{}\".", about.name),
        words => format!("{}: {}", about.name, words.join(" ")),
    }
}

fn told(question: &str, bases: &[&About]) -> String {
    let collection = |(at, about): (usize, &&About)| {
        Value::object([
            ("name".into(), called(at).into()),
            ("content".into(), described(about).into()),
        ])
    };
    let told = Value::object([
        ("question".into(), question.into()),
        ("collections".into(), Value::array(bases.iter().enumerate().map(collection).collect())),
    ]);
    dumps(&told, Style::Line)
}

/// The name that an answer chooses: by a call, by its line, or by being the only one in it.
fn chosen(reply: &Reply, count: usize) -> Option<Name> {
    if let Some(call) = reply.tool_calls.first() {
        return Some(call.name.clone());
    }
    let (text, _) = split(&reply.text);
    let has_name = |object: &Object| object.contains_key("name");
    if let Some((_, found)) = object_that(&text, has_name) {
        return found.get("name").and_then(Value::as_str).map(Name::from);
    }
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let words = || text.split(|letter: char| !is_word(letter));
    let mut named = (0..count).map(called).filter(|name| words().any(|word| word == name));
    match (named.next(), named.next()) {
        (Some(only), None) => Some(only.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_found_in_what_is_written() {
        let of = |text: &str| {
            let reply = Reply { text: text.to_owned(), ..Reply::default() };
            chosen(&reply, 12).map(|name| name.to_string())
        };
        let second = Some("collection_2".to_owned());
        assert_eq!(of("It is about tea.\nChoice: {\"name\": \"collection_2\"}"), second);
        assert_eq!(of("<think>collection_1</think>I take `collection_2`."), second);
        assert_eq!(of("collection_12, of course").as_deref(), Some("collection_12"));
        assert_eq!(of("Choice: {\"name\": null}"), None);
        assert_eq!(of("collection_1 or collection_2"), None);
        assert_eq!(of("neither"), None);
    }

    #[test]
    fn a_collection_is_described_by_what_is_in_it_or_by_its_name() {
        let about = |description: &str| About {
            name: "tea".into(),
            description: description.into(),
            ..About::default()
        };
        assert_eq!(described(&about("all\n of it ")), "tea: all of it");
        assert_eq!(described(&about(" ")), "Documents of the collection \"tea\".");
    }
}
