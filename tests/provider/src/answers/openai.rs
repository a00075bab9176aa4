//! Answers in the protocol of `OpenAI`.

use serde_json::{Value as Json, json};

use super::{Said, pieces};
use crate::asked::{Asked, Want};

/// What a call is known by.
fn id(place: usize) -> String {
    format!("call_{place}")
}

fn finish_reason(said: &Said) -> String {
    let usual = if said.calls.is_empty() { "stop" } else { "tool_calls" };
    said.finish_reason.clone().unwrap_or_else(|| usual.to_owned())
}

fn usage(said: &Said) -> Json {
    let (read, written) = said.usage;
    json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written})
}

pub(super) fn whole(asked: &Asked, said: &Said) -> Json {
    let reason = finish_reason(said);
    let choice = if asked.want == Want::Completion {
        json!({"index": 0, "text": said.text, "finish_reason": reason})
    } else {
        let content = if said.calls.is_empty() { json!(said.text) } else { Json::Null };
        let mut message = json!({"role": "assistant", "content": content});
        if !said.text.is_empty() {
            message["content"] = json!(said.text);
        }
        if !said.thoughts.is_empty() {
            message["reasoning_content"] = json!(said.thoughts);
        }
        if !said.calls.is_empty() {
            let call = |(place, call): (usize, &crate::ScriptedCall)| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": id(place), "type": "function", "function": function})
            };
            message["tool_calls"] = said.calls.iter().enumerate().map(call).collect();
        }
        json!({"index": 0, "message": message, "finish_reason": reason})
    };
    json!({"id": "answer", "object": "chat.completion", "created": 0, "model": asked.model,
        "choices": [choice], "usage": usage(said)})
}

pub(super) fn frames(asked: &Asked, said: &Said) -> Vec<String> {
    let frame = |choices: Json, usage: Json| {
        let mut json = json!({"id": "answer", "object": "chat.completion.chunk", "created": 0,
            "model": asked.model, "choices": choices});
        if !usage.is_null() {
            json["usage"] = usage;
        }
        format!("data: {json}\n\n")
    };
    let mut frames = Vec::new();
    if asked.want == Want::Completion {
        for piece in pieces(&said.text) {
            frames.push(frame(json!([{"index": 0, "text": piece}]), Json::Null));
        }
        let last = json!([{"index": 0, "text": "", "finish_reason": finish_reason(said)}]);
        frames.push(frame(last, Json::Null));
    } else {
        let delta = |delta: Json| frame(json!([{"index": 0, "delta": delta}]), Json::Null);
        frames.push(delta(json!({"role": "assistant", "content": ""})));
        for piece in pieces(&said.thoughts) {
            frames.push(delta(json!({"reasoning_content": piece})));
        }
        for piece in pieces(&said.text) {
            frames.push(delta(json!({"content": piece})));
        }
        for (place, call) in said.calls.iter().enumerate() {
            let function = json!({"name": call.name, "arguments": ""});
            let begun = json!({"index": place, "id": id(place), "type": "function",
                "function": function});
            frames.push(delta(json!({"tool_calls": [begun]})));
            for piece in pieces(&call.arguments) {
                let more = json!({"index": place, "function": {"arguments": piece}});
                frames.push(delta(json!({"tool_calls": [more]})));
            }
        }
        let last = json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(said)}]);
        frames.push(frame(last, Json::Null));
    }
    if asked.body["stream_options"]["include_usage"] == true {
        frames.push(frame(json!([]), usage(said)));
    }
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

/// A vector of a text: how often each of the first letters of the alphabet is in it, so that texts
/// that are alike have vectors that are alike.
pub(super) fn vector(text: &str) -> Vec<f32> {
    const LETTERS: &str = "abcdefghijklmnop";
    let text = text.to_lowercase();
    let count = |letter: char| text.chars().filter(|other| *other == letter).count();
    let counts = LETTERS.chars().map(|letter| f32::from(u16::try_from(count(letter)).unwrap_or(9)));
    let counts: Vec<f32> = counts.collect();
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt().max(1.0);
    counts.into_iter().map(|count| count / length).collect()
}

pub(super) fn vectors(asked: &Asked) -> Json {
    let texts = match &asked.body["input"] {
        Json::Array(texts) => texts.clone(),
        text => vec![text.clone()],
    };
    let one = |(index, text): (usize, &Json)| {
        let vector = vector(text.as_str().unwrap_or_default());
        json!({"object": "embedding", "index": index, "embedding": vector})
    };
    let data: Vec<Json> = texts.iter().enumerate().map(one).collect();
    let usage = json!({"prompt_tokens": texts.len(), "total_tokens": texts.len()});
    json!({"object": "list", "model": asked.model, "data": data, "usage": usage})
}

/// Documents by how many words they share with the query.
pub(super) fn ranking(asked: &Asked) -> Json {
    let query = asked.body["query"].as_str().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let score = |document: &Json| {
        let text = document.as_str().or_else(|| document["text"].as_str()).unwrap_or_default();
        let text = text.to_lowercase();
        let shared = words.iter().filter(|word| text.contains(*word)).count();
        f64::from(u32::try_from(shared).unwrap_or(0))
            / f64::from(u32::try_from(words.len().max(1)).unwrap_or(1))
    };
    let documents = asked.body["documents"].as_array().cloned().unwrap_or_default();
    let mut results: Vec<(usize, f64)> = documents.iter().map(score).enumerate().collect();
    results.sort_by(|one, other| other.1.total_cmp(&one.1));
    let result = |(index, score): (usize, f64)| json!({"index": index, "relevance_score": score});
    json!({"model": asked.model, "results": results.into_iter().map(result).collect::<Vec<_>>()})
}
