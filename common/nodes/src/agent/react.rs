//! The strategy `ReAct`: the model writes what it thinks and which tool it uses, and reads what that
//! gave. For models that call no functions. The wording is our own.

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_services::models::{Message, Reply, Role, ToolSpec};

use super::Job;
use super::crew::Crew;
use crate::model::{object_that, split};

/// What the model is not to write itself.
const OBSERVATION: &str = "Observation";
/// What it names when it uses no tool any more.
const FINAL: &str = "final answer";

const TASK: &str = "\
Answer the question as well as you can. You can use these tools, each with a JSON schema of its arguments:

{tools}

Go step by step. In each step write what you think, then what you do, in exactly this form:

Thought: what you know, what is missing, what to do next
Action: {\"action\": \"NAME OF A TOOL\", \"action_input\": {ARGUMENTS}}

Then stop: you will be told what the tool gave, as `Observation:`. When you can answer, write:

Thought: I can answer now
Action: {\"action\": \"Final Answer\", \"action_input\": \"THE ANSWER\"}";

const LAST: &str = "This was the last step. Do not use a tool any more: write the answer itself.";

/// What a model wants to do.
#[derive(Debug, PartialEq)]
enum Action {
    /// Use a tool with these arguments.
    Use { tool: Name, input: String },
    /// Answer.
    Answer(String),
}

/// Works until the model answers, or was asked as often as it may be.
pub(super) async fn run(
    mut crew: Crew<'_>,
    job: &Job,
    history: Vec<Message>,
) -> Result<Success, NodeError> {
    let mut messages = vec![Message::text(Role::System, task(job, &crew.specs()))];
    messages.extend(history);
    messages.push(Message::text(Role::User, job.query.as_str()));
    for round in 1..=job.iterations {
        let is_last = round == job.iterations;
        if is_last && round > 1 {
            messages.push(Message::text(Role::User, LAST));
        }
        let stop = vec![Name::from(OBSERVATION)];
        let reply = crew.ask(round, messages.clone(), (Vec::new(), stop), false).await?;
        let action = action(&reply);
        crew.note_round(round, &reply, &shown(&action));
        match action {
            Action::Use { tool, input } if !is_last => {
                let answer = crew.call((round, 1), &tool, &input).await?;
                messages.push(Message::text(Role::Assistant, reply.text.trim_end()));
                let told = format!("{OBSERVATION}: {}", answer.text);
                messages.push(Message::text(Role::User, told));
            }
            Action::Use { .. } => {
                crew.say(&split(&reply.text).0);
                break;
            }
            Action::Answer(answer) => {
                crew.say(&answer);
                break;
            }
        }
    }
    Ok(crew.finish())
}

fn task(job: &Job, tools: &[ToolSpec]) -> String {
    let tool = |tool: &ToolSpec| {
        let members = [
            ("name".into(), Value::Str(tool.name.clone())),
            ("description".into(), Value::Str(tool.description.clone())),
            ("arguments".into(), tool.parameters.clone()),
        ];
        dumps(&Value::object(members), Style::Line)
    };
    let listed: Vec<String> = tools.iter().map(tool).collect();
    let listed = if listed.is_empty() { "(none)".to_owned() } else { listed.join("\n") };
    let task = TASK.replace("{tools}", &listed);
    if job.instruction.is_empty() { task } else { format!("{}\n\n{task}", job.instruction) }
}

/// What an answer says is to be done; one that says nothing of the kind is the answer itself.
fn action(reply: &Reply) -> Action {
    let (text, _) = split(&reply.text);
    let is_action = |object: &Object| object.contains_key("action");
    let Some((_, found)) = object_that(&text, is_action) else {
        return Action::Answer(plain(&text));
    };
    let input = found.get("action_input").cloned().unwrap_or_default();
    let tool = match &found["action"] {
        Value::Str(name) => name.clone(),
        other => other.to_python().into(),
    };
    if tool.trim().eq_ignore_ascii_case(FINAL) {
        let answer = match input {
            Value::Str(text) => text.to_string(),
            other => dumps(&other, Style::Line),
        };
        return Action::Answer(answer);
    }
    let input = match input {
        Value::Str(text) => text.to_string(),
        Value::None => String::new(),
        other => dumps(&other, Style::Line),
    };
    Action::Use { tool, input }
}

/// A text without the words of the form.
fn plain(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("Thought:").unwrap_or(text);
    text.trim().to_owned()
}

fn shown(action: &Action) -> Vec<(Name, Value)> {
    let (tool, input) = match action {
        Action::Use { tool, input } => (&**tool, input.as_str()),
        Action::Answer(_) => ("", ""),
    };
    vec![("action_name".into(), Value::from(tool)), ("action_input".into(), Value::from(input))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Action {
        action(&Reply { text: text.to_owned(), ..Reply::default() })
    }

    #[test]
    fn what_is_to_be_done_is_found_in_the_text() {
        let step = "Thought: look it up\nAction:\n```json\n{\"action\": \"search\", \"action_input\": {\"q\": \"x\"}}\n```";
        assert_eq!(
            of(step),
            Action::Use { tool: "search".into(), input: "{\"q\": \"x\"}".to_owned() }
        );
        let end = "<think>{\"action\": \"no\"}</think>Action: {\"action\": \"Final Answer\", \"action_input\": \"42\"}";
        assert_eq!(of(end), Action::Answer("42".to_owned()));
        assert_eq!(of("Thought: It is 42."), Action::Answer("It is 42.".to_owned()));
    }
}
