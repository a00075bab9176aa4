//! Answers in Gemini's protocol.

use serde_json::{Value as Json, json};

use super::openai::vector;
use super::{Said, pieces};
use crate::asked::Asked;

fn call(call: &crate::ScriptedCall) -> Json {
    let arguments: Option<Json> = serde_json::from_str(&call.arguments).ok();
    json!({"functionCall": {"name": call.name, "args": arguments}, "thoughtSignature": "mark"})
}

fn answer(parts: &[Json], said: &Said, is_last: bool) -> Json {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if !is_last {
        return json!({"candidates": [candidate]});
    }
    candidate["finishReason"] = json!(said.finish_reason.as_deref().unwrap_or("STOP"));
    let (read, written) = said.usage;
    let usage = json!({"promptTokenCount": read, "candidatesTokenCount": written,
        "totalTokenCount": read + written});
    json!({"candidates": [candidate], "usageMetadata": usage})
}

pub(super) fn whole(said: &Said) -> Json {
    let mut parts = Vec::new();
    if !said.thoughts.is_empty() {
        parts.push(json!({"text": said.thoughts, "thought": true}));
    }
    if !said.text.is_empty() {
        parts.push(json!({"text": said.text}));
    }
    parts.extend(said.calls.iter().map(call));
    answer(&parts, said, true)
}

pub(super) fn frames(said: &Said) -> Vec<String> {
    let thought = |piece: String| json!({"text": piece, "thought": true});
    let mut parts: Vec<Json> = pieces(&said.thoughts).into_iter().map(thought).collect();
    parts.extend(pieces(&said.text).into_iter().map(|piece| json!({"text": piece})));
    parts.extend(said.calls.iter().map(call));
    let frame = |json: Json| format!("data: {json}\r\n\r\n");
    let mut frames: Vec<String> =
        parts.into_iter().map(|part| frame(answer(&[part], said, false))).collect();
    frames.push(frame(answer(&[json!({"text": ""})], said, true)));
    frames
}

pub(super) fn vectors(asked: &Asked) -> Json {
    let requests = asked.body["requests"].as_array().cloned().unwrap_or_default();
    let one = |request: &Json| {
        let text = request["content"]["parts"][0]["text"].as_str().unwrap_or_default();
        json!({"values": vector(text)})
    };
    json!({"embeddings": requests.iter().map(one).collect::<Vec<_>>()})
}
