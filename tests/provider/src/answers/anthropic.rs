//! Answers in Anthropic's protocol.

use serde_json::{Value as Json, json};

use super::{Said, pieces};
use crate::asked::Asked;

fn stop_reason(said: &Said) -> String {
    let usual = if said.calls.is_empty() { "end_turn" } else { "tool_use" };
    said.finish_reason.clone().unwrap_or_else(|| usual.to_owned())
}

/// A call's arguments; what is no object is none.
fn input(arguments: &str) -> Json {
    serde_json::from_str(arguments).ok().filter(Json::is_object).unwrap_or_else(|| json!({}))
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Json {
    let mut content = Vec::new();
    if !said.thoughts.is_empty() {
        content.push(json!({"type": "thinking", "thinking": said.thoughts, "signature": "s"}));
    }
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    for (place, call) in said.calls.iter().enumerate() {
        content.push(json!({"type": "tool_use", "id": format!("toolu_{place}"), "name": call.name,
            "input": input(&call.arguments)}));
    }
    let usage = json!({"input_tokens": said.usage.0, "output_tokens": said.usage.1});
    json!({"id": "answer", "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": stop_reason(said), "usage": usage})
}

pub(super) fn frames(asked: &Asked, said: &Said) -> Vec<String> {
    let mut frames = Vec::new();
    let mut event = |json: Json| {
        let kind = json["type"].as_str().unwrap_or_default().to_owned();
        frames.push(format!("event: {kind}\ndata: {json}\n\n"));
    };
    event(json!({"type": "message_start", "message": {"id": "answer", "type": "message",
        "role": "assistant", "model": asked.model, "content": [],
        "usage": {"input_tokens": said.usage.0, "output_tokens": 1}}}));
    event(json!({"type": "ping"}));
    let mut index = 0;
    let mut block = |begun: Json, deltas: Vec<Json>| {
        event(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        for delta in deltas {
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    };
    if !said.thoughts.is_empty() {
        let thought = |piece| json!({"type": "thinking_delta", "thinking": piece});
        let deltas = pieces(&said.thoughts).into_iter().map(thought).collect();
        block(json!({"type": "thinking", "thinking": ""}), deltas);
    }
    if !said.text.is_empty() {
        let text = |piece| json!({"type": "text_delta", "text": piece});
        let deltas = pieces(&said.text).into_iter().map(text).collect();
        block(json!({"type": "text", "text": ""}), deltas);
    }
    for (place, call) in said.calls.iter().enumerate() {
        let part = |piece| json!({"type": "input_json_delta", "partial_json": piece});
        let deltas = pieces(&call.arguments).into_iter().map(part).collect();
        let id = format!("toolu_{place}");
        block(json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}), deltas);
    }
    event(json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(said)},
        "usage": {"output_tokens": said.usage.1}}));
    event(json!({"type": "message_stop"}));
    frames
}
