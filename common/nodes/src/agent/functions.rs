//! The strategy `function_calling`: the model calls functions, and is told what they gave, until it
//! calls none.

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Name, Value};
use flowmill_services::models::{Message, Role, ToolCall};

use super::Job;
use super::crew::Crew;

/// Works until the model calls no function, or was asked as often as it may be. When it is asked for
/// the last time it has no functions, so that it answers.
pub(super) async fn run(
    mut crew: Crew<'_>,
    job: &Job,
    history: Vec<Message>,
) -> Result<Success, NodeError> {
    let mut messages = Vec::new();
    if !job.instruction.is_empty() {
        messages.push(Message::text(Role::System, job.instruction.as_str()));
    }
    messages.extend(history);
    messages.push(Message::text(Role::User, job.query.as_str()));
    for round in 1..=job.iterations {
        let tools = if round < job.iterations { crew.specs() } else { Vec::new() };
        let had_tools = !tools.is_empty();
        let reply = crew.ask(round, messages.clone(), (tools, Vec::new()), true).await?;
        let calls = if had_tools { reply.tool_calls.clone() } else { Vec::new() };
        crew.note_round(round, &reply, &actions(&calls));
        if calls.is_empty() {
            break;
        }
        messages.push(Message {
            role: Role::Assistant,
            parts: Message::text(Role::Assistant, reply.text.as_str()).parts,
            tool_calls: calls.clone(),
            answers: None,
        });
        for (nth, ToolCall { id, name, arguments }) in calls.iter().enumerate() {
            let answer = crew.call((round, nth + 1), name, arguments).await?;
            let told = Message::text(Role::Tool, answer.text.as_str());
            messages.push(Message { answers: Some(id.clone()), ..told });
        }
    }
    Ok(crew.finish())
}

fn actions(calls: &[ToolCall]) -> Vec<(Name, Value)> {
    let joined = |part: fn(&ToolCall) -> &Name| {
        let parts: Vec<&str> = calls.iter().map(|call| &**part(call)).collect();
        Value::from(parts.join(";"))
    };
    vec![
        ("tool_name".into(), joined(|call| &call.name)),
        ("tool_input".into(), joined(|call| &call.arguments)),
    ]
}
