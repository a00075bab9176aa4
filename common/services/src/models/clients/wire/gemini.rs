//! Google's Gemini: `generateContent` and its stream.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowmill_engine::value::Name;
use serde_json::{Map, Value as Json, json};

use super::draft::tokens;
use super::params::{Format, Params};
use super::{Draft, Reader, Request, Unusable, escaped, text};
use crate::models::{
    Ask, Detail, ErrorKind, Media, MediaKind, Message, Offer, OnPiece, Part, Role, Source, ToolCall,
};

/// Parameters that have other names here.
const RENAMED: [(&str, &str); 6] = [
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("n", "candidateCount"),
    ("logprobs", "responseLogprobs"),
];

/// What stands in an id between the number of a call and the provider's own mark of it, which has
/// to be handed back with the call.
const MARK: char = '~';

/// A question.
pub(super) fn generate(offer: &Offer, ask: &Ask) -> (Request, Box<dyn Reader>) {
    let mut params = Params::of(offer, ask);
    let mut body = Map::new();
    let system = ask.messages.iter().filter(|message| message.role == Role::System);
    let system: Vec<Json> = system
        .map(Message::joined)
        .filter(|text| !text.is_empty())
        .map(|text| json!({"text": text}))
        .collect();
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    body.insert("contents".to_owned(), Json::Array(contents(&ask.messages)));
    let mut tools = Vec::new();
    if !ask.tools.is_empty() {
        let declare = |tool: &crate::models::ToolSpec| {
            json!({
                "name": &*tool.name,
                "description": &*tool.description,
                "parametersJsonSchema": tool.parameters.to_json(),
            })
        };
        let all: Json = ask.tools.iter().map(declare).collect();
        tools.push(json!({"functionDeclarations": all}));
    }
    if params.take("grounding") == Some(Json::Bool(true)) {
        tools.push(json!({"google_search": {}}));
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), Json::Array(tools));
    }
    if let Some(Json::String(choice)) = params.take("tool_choice").filter(|_| !ask.tools.is_empty())
    {
        let mode = match &*choice {
            "required" | "any" => "ANY",
            "none" => "NONE",
            _ => "AUTO",
        };
        body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": {"mode": mode}}));
    }
    for own in ["safetySettings", "safety_settings", "cachedContent"] {
        if let Some(value) = params.take(own) {
            body.insert(own.to_owned(), value);
        }
    }
    let settings = settings(params);
    if !settings.is_empty() {
        body.insert("generationConfig".to_owned(), Json::Object(settings));
    }
    let name = escaped(&offer.name);
    let verb = if ask.streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let request = Request::new(format!("/models/{name}:{verb}"), Json::Object(body));
    (request, Box::new(ContentReader::default()))
}

fn settings(mut params: Params) -> Map<String, Json> {
    let mut settings = Map::new();
    let mut thinking = Map::new();
    if let Some(shown) = params.take("include_thoughts") {
        thinking.insert("includeThoughts".to_owned(), shown);
    }
    let budget = params.take("thinking_budget");
    match params.take("thinking_mode") {
        Some(Json::Bool(false)) => {
            thinking.insert("thinkingBudget".to_owned(), Json::from(0));
        }
        Some(_) | None => {
            if let Some(budget) = budget {
                thinking.insert("thinkingBudget".to_owned(), budget);
            }
        }
    }
    let Params { most, stop, format, rest } = params;
    for (name, value) in rest {
        let renamed = RENAMED.iter().find(|(old, _)| *old == name);
        settings.insert(renamed.map_or(name, |(_, new)| (*new).to_owned()), value);
    }
    if !thinking.is_empty() {
        settings.insert("thinkingConfig".to_owned(), Json::Object(thinking));
    }
    if let Some(most) = most {
        settings.insert("maxOutputTokens".to_owned(), Json::from(most));
    }
    if !stop.is_empty() {
        settings.insert("stopSequences".to_owned(), json!(stop));
    }
    let json = || Json::String("application/json".to_owned());
    match format {
        Format::Free => {}
        Format::Json => {
            settings.insert("responseMimeType".to_owned(), json());
        }
        Format::Schema { schema, .. } => {
            settings.insert("responseMimeType".to_owned(), json());
            settings.insert("responseJsonSchema".to_owned(), schema);
        }
    }
    settings
}

/// The messages besides instructions, those of one side in a row as one.
fn contents(messages: &[Message]) -> Vec<Json> {
    // an answer of a tool goes by the tool's name here, not by the call's id
    let calls = messages.iter().flat_map(|message| &message.tool_calls);
    let names: HashMap<&str, &str> = calls.map(|call| (&*call.id, &*call.name)).collect();
    let mut turns: Vec<(&str, Vec<Json>)> = Vec::new();
    for message in messages {
        let side = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
        };
        let mut parts = Vec::new();
        if let Some(id) = &message.answers {
            let name = names.get(&**id).copied().unwrap_or("tool");
            let said = message.joined();
            let response = serde_json::from_str::<Json>(&said).ok().filter(Json::is_object);
            let response = response.unwrap_or_else(|| json!({"result": said}));
            parts.push(json!({"functionResponse": {"name": name, "response": response}}));
        } else {
            for part in &message.parts {
                match part {
                    Part::Text(text) if text.is_empty() => {}
                    Part::Text(text) => parts.push(json!({"text": &**text})),
                    Part::Media(media) => parts.push(inline(media)),
                }
            }
            parts.extend(message.tool_calls.iter().map(call));
        }
        match turns.last_mut() {
            Some((last, all)) if *last == side => all.extend(parts),
            Some(_) | None => turns.push((side, parts)),
        }
    }
    let turn = |(role, parts)| json!({"role": role, "parts": Json::Array(parts)});
    turns.into_iter().filter(|(_, parts)| !parts.is_empty()).map(turn).collect()
}

fn call(call: &ToolCall) -> Json {
    let arguments = serde_json::from_str::<Json>(&call.arguments).ok().filter(Json::is_object);
    let arguments = arguments.unwrap_or_else(|| json!({}));
    let mut part = json!({"functionCall": {"name": &*call.name, "args": arguments}});
    if let Some((_, mark)) = call.id.split_once(MARK) {
        part["thoughtSignature"] = Json::String(mark.to_owned());
    }
    part
}

fn inline(media: &Media) -> Json {
    let kind = &*media.mime_type;
    match &media.source {
        Source::Url(url) => json!({"fileData": {"mimeType": kind, "fileUri": &**url}}),
        Source::Bytes(bytes) => {
            json!({"inlineData": {"mimeType": kind, "data": BASE64.encode(bytes)}})
        }
    }
}

/// Reads answers, whole ones and their pieces: both have the same members.
#[derive(Default)]
struct ContentReader {
    draft: Draft,
    calls: u64,
}

impl Reader for ContentReader {
    fn read(&mut self, json: &Json, on_piece: OnPiece<'_>) -> Result<(), Unusable> {
        if let Some(error) = json.get("error") {
            return Err(refusal(error));
        }
        if let Some(usage) = json.get("usageMetadata") {
            if let Some(read) = tokens(usage, "promptTokenCount") {
                self.draft.prompt_tokens = read;
            }
            let written = ["candidatesTokenCount", "thoughtsTokenCount"];
            let written: Vec<u64> = written.iter().filter_map(|key| tokens(usage, key)).collect();
            if !written.is_empty() {
                self.draft.completion_tokens = written.iter().sum();
            }
        }
        if let Some(reason) = json.get("promptFeedback").and_then(|told| text(told, "blockReason"))
        {
            let message = format!("it refuses the prompt: {reason}");
            return Err(Unusable::Refusal { kind: ErrorKind::BadRequest, message });
        }
        let candidates = json.get("candidates").and_then(Json::as_array);
        let Some(candidate) = candidates.and_then(|candidates| candidates.first()) else {
            let is_known = json.get("usageMetadata").is_some();
            return if is_known {
                Ok(())
            } else {
                Err(Unusable::Form("it has no candidates".into()))
            };
        };
        let parts = candidate.pointer("/content/parts").and_then(Json::as_array);
        for part in parts.into_iter().flatten() {
            self.part(part, on_piece);
        }
        if let Some(reason) = text(candidate, "finishReason") {
            self.draft.finish_reason = Some(Name::from(reason));
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.draft.finish_reason.is_some()
    }

    fn into_draft(self: Box<Self>) -> Draft {
        self.draft
    }
}

impl ContentReader {
    fn part(&mut self, part: &Json, on_piece: OnPiece<'_>) {
        if let Some(said) = text(part, "text") {
            if part.get("thought") == Some(&Json::Bool(true)) {
                self.draft.think(said, on_piece);
            } else {
                self.draft.say(said, on_piece);
            }
        }
        if let Some(asked) = part.get("functionCall") {
            let place = self.calls;
            self.calls += 1;
            let call = self.draft.call(place);
            text(asked, "name").unwrap_or_default().clone_into(&mut call.name);
            call.arguments = asked.get("args").map(ToString::to_string).unwrap_or_default();
            call.id = match text(part, "thoughtSignature") {
                Some(mark) => format!("call_{place}{MARK}{mark}"),
                None => format!("call_{place}"),
            };
        }
        if let Some(data) = part.get("inlineData") {
            let bytes = text(data, "data").and_then(|data| BASE64.decode(data).ok());
            let mime_type = text(data, "mimeType").unwrap_or("application/octet-stream");
            if let Some(bytes) = bytes {
                self.draft.media.push(Media {
                    kind: kind(mime_type),
                    mime_type: mime_type.into(),
                    name: None,
                    source: Source::Bytes(bytes.into()),
                    detail: Detail::High,
                });
            }
        }
    }
}

fn kind(mime_type: &str) -> MediaKind {
    match mime_type.split('/').next() {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some(_) | None => MediaKind::Document,
    }
}

/// An error in place of an answer.
fn refusal(error: &Json) -> Unusable {
    let kind = match text(error, "status").unwrap_or_default() {
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => ErrorKind::Unauthorized,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => ErrorKind::BadRequest,
        "NOT_FOUND" => ErrorKind::NoModel,
        _ => ErrorKind::Unavailable,
    };
    let message = text(error, "message").unwrap_or("it says no more").to_owned();
    Unusable::Refusal { kind, message }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{ask, offer, reading};
    use super::*;
    use crate::models::config::Kind;
    use flowmill_engine::value::Value;

    #[test]
    fn a_question_has_geminis_form() {
        let (request, _) = generate(&offer(Kind::Gemini), &ask());
        let wanted = json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "AQI="}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "find", "args": {"q": 1}}}]},
                {"role": "user", "parts": [{"functionResponse":
                    {"name": "find", "response": {"result": "found"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "find", "description": "finds",
                "parametersJsonSchema": {"type": "object"}}]}],
            "generationConfig": {"temperature": 0.5, "own": {"a": 1}, "maxOutputTokens": 7,
                "stopSequences": ["END"]},
        });
        assert_eq!(request.body, wanted);
        assert_eq!(request.path, "/models/m:streamGenerateContent?alt=sse");
    }

    #[test]
    fn parameters_have_geminis_names() {
        let params = vec![
            ("top_k".into(), Value::int(3)),
            ("thinking_budget".into(), Value::int(9)),
            ("include_thoughts".into(), Value::Bool(true)),
            ("response_format".into(), "json_object".into()),
            ("grounding".into(), Value::Bool(true)),
        ];
        let asked = Ask { params, ..Ask::default() };
        let body = generate(&offer(Kind::Gemini), &asked).0.body;
        let wanted = json!({"temperature": 0.1, "topK": 3, "responseMimeType": "application/json",
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 9}});
        assert_eq!(body["generationConfig"], wanted);
        assert_eq!(body["tools"], json!([{"google_search": {}}]));
    }

    #[test]
    fn pieces_become_an_answer_and_calls_keep_their_marks() {
        let pieces = [
            json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}]}}]}),
            json!({"candidates": [{"content": {"parts": [{"text": "hello"}]}}]}),
            json!({"candidates": [{"content": {"parts": [
                {"functionCall": {"name": "find", "args": {"q": 1}}, "thoughtSignature": "s~1"},
                {"inlineData": {"mimeType": "image/png", "data": "AQI="}}]},
                "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4,
                    "thoughtsTokenCount": 2}}),
        ];
        let (reply, seen) = reading(Box::new(ContentReader::default()), &pieces).unwrap();
        assert_eq!((&*reply.text, &*seen), ("hello", "<hm>hello"));
        assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (3, 6));
        assert_eq!(reply.media[0].source, Source::Bytes([1, 2].into()));
        let made = &reply.tool_calls[0];
        assert_eq!((&*made.id, &*made.arguments), ("call_0~s~1", "{\"q\":1}"));
        assert_eq!(call(made)["thoughtSignature"], "s~1");
        assert_eq!(reading(Box::new(ContentReader::default()), &pieces[..2]), None, "it was cut");
    }

    #[test]
    fn a_prompt_that_is_refused_is_a_bad_request() {
        let refused = json!({"promptFeedback": {"blockReason": "SAFETY"}});
        let read = ContentReader::default().read(&refused, &|_| {});
        assert!(matches!(read, Err(Unusable::Refusal { kind: ErrorKind::BadRequest, .. })));
    }
}
