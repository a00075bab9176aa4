//! `OpenAI`'s chat completions and completions, also at Azure and at all who took them over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use super::draft::tokens;
use super::params::{Format, Params};
use super::{Draft, Reader, Request, Unusable, path, text};
use crate::models::config::Kind;
use crate::models::{
    Ask, Detail, ErrorKind, Media, MediaKind, Message, Offer, OnPiece, Part, Role, Source,
};

/// A question by messages.
pub(super) fn chat(offer: &Offer, ask: &Ask) -> Result<(Request, Box<dyn Reader>), String> {
    let mut params = Params::of(offer, ask);
    let format = match std::mem::replace(&mut params.format, Format::Free) {
        Format::Free => None,
        Format::Json => Some(json!({"type": "json_object"})),
        Format::Schema { name, schema } => {
            let mut member = json!({"name": name, "schema": schema});
            if is_strict(&member["schema"]) {
                member["strict"] = Json::Bool(true);
            }
            Some(json!({"type": "json_schema", "json_schema": member}))
        }
    };
    let mut body = common(offer, ask, params);
    let messages = ask.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    body.insert("messages".to_owned(), Json::Array(messages));
    if let Some(format) = format {
        body.insert("response_format".to_owned(), format);
    }
    if !ask.tools.is_empty() {
        let tool = |tool: &crate::models::ToolSpec| {
            let function = json!({
                "name": &*tool.name,
                "description": &*tool.description,
                "parameters": tool.parameters.to_json(),
            });
            json!({"type": "function", "function": function})
        };
        body.insert("tools".to_owned(), ask.tools.iter().map(tool).collect());
    }
    let request = Request::new(path(offer, "chat/completions"), Json::Object(body));
    Ok((request, Box::new(ChatReader::default())))
}

/// A question by one text.
pub(super) fn completion(offer: &Offer, ask: &Ask) -> (Request, Box<dyn Reader>) {
    let mut params = Params::of(offer, ask);
    params.format = Format::Free;
    let mut body = common(offer, ask, params);
    let prompt: String = ask.messages.iter().map(Message::joined).collect();
    body.insert("prompt".to_owned(), Json::String(prompt));
    let request = Request::new(path(offer, "completions"), Json::Object(body));
    (request, Box::new(ChatReader::default()))
}

fn common(offer: &Offer, ask: &Ask, params: Params) -> Map<String, Json> {
    let mut body = Map::new();
    body.insert("model".to_owned(), Json::String(offer.name.to_string()));
    let Params { most, stop, format: _, rest } = params;
    body.extend(rest);
    if let Some(most) = most {
        body.insert(most_name(offer).to_owned(), Json::from(most));
    }
    if !stop.is_empty() {
        body.insert("stop".to_owned(), json!(stop));
    }
    if ask.streams {
        body.insert("stream".to_owned(), Json::Bool(true));
        if offer.provider.stream_usage {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
    }
    body
}

/// Models that think take another name for the length of an answer, and refuse the old one.
fn most_name(offer: &Offer) -> &'static str {
    let is_original = offer.provider.kind == Kind::Azure || &*offer.provider.name == "openai";
    let thinks = ["o1", "o3", "o4", "gpt-5"].iter().any(|family| offer.name.starts_with(family));
    if is_original && thinks { "max_completion_tokens" } else { "max_tokens" }
}

/// Whether a schema is of the kind that may be held to the letter: every object says all of its
/// members, and needs them.
fn is_strict(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => {
            let own = match members.get("properties") {
                Some(Json::Object(properties)) => {
                    let needed = members.get("required").and_then(Json::as_array);
                    let needs = |name: &String| {
                        needed.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)))
                    };
                    members.get("additionalProperties") == Some(&Json::Bool(false))
                        && properties.keys().all(needs)
                }
                Some(_) | None => members.get("type").and_then(Json::as_str) != Some("object"),
            };
            own && members.values().all(is_strict)
        }
        Json::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

fn message(message: &Message) -> Result<Json, String> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut json = json!({"role": role});
    let is_text = message.parts.iter().all(|part| matches!(part, Part::Text(_)));
    json["content"] = if message.role == Role::Assistant || message.role == Role::Tool || is_text {
        let joined = message.joined();
        if joined.is_empty() && !message.tool_calls.is_empty() {
            Json::Null
        } else {
            Json::String(joined)
        }
    } else {
        message.parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.into()
    };
    if !message.tool_calls.is_empty() {
        let call = |call: &crate::models::ToolCall| {
            let function = json!({"name": &*call.name, "arguments": &*call.arguments});
            json!({"id": &*call.id, "type": "function", "function": function})
        };
        json["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    if let Some(id) = &message.answers {
        json["tool_call_id"] = Json::String(id.to_string());
    }
    Ok(json)
}

fn part(part: &Part) -> Result<Json, String> {
    let media = match part {
        Part::Text(text) => return Ok(json!({"type": "text", "text": &**text})),
        Part::Media(media) => media,
    };
    let Media { kind, mime_type, name, source, detail } = media;
    match kind {
        MediaKind::Image => {
            let detail = match detail {
                Detail::Low => "low",
                Detail::High => "high",
            };
            let image = json!({"url": address(media), "detail": detail});
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        MediaKind::Video => Ok(json!({"type": "video_url", "video_url": {"url": address(media)}})),
        MediaKind::Audio => match source {
            Source::Bytes(bytes) => {
                let format = match &**mime_type {
                    "audio/mpeg" | "audio/mp3" => "mp3",
                    other => other.rsplit(['/', '-']).next().unwrap_or("wav"),
                };
                let audio = json!({"data": BASE64.encode(bytes), "format": format});
                Ok(json!({"type": "input_audio", "input_audio": audio}))
            }
            Source::Url(_) => Err("it takes recordings as content, not by address".to_owned()),
        },
        MediaKind::Document => match source {
            Source::Bytes(_) => {
                let name = name.as_deref().unwrap_or("document");
                let file = json!({"filename": name, "file_data": address(media)});
                Ok(json!({"type": "file", "file": file}))
            }
            Source::Url(_) => Err("it takes documents as content, not by address".to_owned()),
        },
    }
}

/// Where content lies: an address, or one that holds the content itself.
fn address(media: &Media) -> String {
    match &media.source {
        Source::Url(url) => url.to_string(),
        Source::Bytes(bytes) => format!("data:{};base64,{}", media.mime_type, BASE64.encode(bytes)),
    }
}

/// Reads answers, whole ones and their pieces: both have the same members.
#[derive(Default)]
struct ChatReader {
    draft: Draft,
    has_choice: bool,
    has_ended: bool,
}

impl Reader for ChatReader {
    fn read(&mut self, json: &Json, on_piece: OnPiece<'_>) -> Result<(), Unusable> {
        if let Some(error) = json.get("error").filter(|error| !error.is_null()) {
            return Err(refusal(error));
        }
        if let Some(usage) = json.get("usage").filter(|usage| usage.is_object()) {
            self.draft.prompt_tokens = tokens(usage, "prompt_tokens").unwrap_or_default();
            self.draft.completion_tokens = tokens(usage, "completion_tokens").unwrap_or_default();
        }
        let choices = json.get("choices").and_then(Json::as_array);
        let Some(choice) = choices.and_then(|choices| choices.first()) else {
            return if choices.is_some() || json.get("usage").is_some() {
                Ok(())
            } else {
                Err(Unusable::Form("it has no choices".to_owned()))
            };
        };
        self.has_choice = true;
        if let Some(said) = text(choice, "text") {
            self.draft.say(said, on_piece);
        }
        for member in ["message", "delta"] {
            if let Some(message) = choice.get(member) {
                self.message(message, on_piece);
            }
        }
        if let Some(reason) = text(choice, "finish_reason") {
            self.draft.finish_reason = Some(reason.into());
        }
        Ok(())
    }

    fn ended(&mut self) {
        self.has_ended = true;
    }

    fn is_whole(&self) -> bool {
        self.has_choice && (self.has_ended || self.draft.finish_reason.is_some())
    }

    fn into_draft(self: Box<Self>) -> Draft {
        self.draft
    }
}

impl ChatReader {
    fn message(&mut self, message: &Json, on_piece: OnPiece<'_>) {
        for member in ["reasoning_content", "reasoning"] {
            if let Some(thought) = text(message, member) {
                self.draft.think(thought, on_piece);
                break;
            }
        }
        match message.get("content") {
            Some(Json::String(said)) => self.draft.say(said, on_piece),
            Some(Json::Array(parts)) => {
                for said in parts.iter().filter_map(|part| text(part, "text")) {
                    self.draft.say(said, on_piece);
                }
            }
            Some(_) | None => {}
        }
        let calls = message.get("tool_calls").and_then(Json::as_array);
        for (place, piece) in calls.into_iter().flatten().enumerate() {
            // a whole answer has no places
            let index = tokens(piece, "index").unwrap_or(place as u64);
            let call = self.draft.call(index);
            if let Some(id) = text(piece, "id").filter(|id| !id.is_empty()) {
                id.clone_into(&mut call.id);
            }
            let Some(function) = piece.get("function") else { continue };
            if let Some(name) = text(function, "name") {
                call.name.push_str(name);
            }
            match function.get("arguments") {
                Some(Json::String(part)) => call.arguments.push_str(part),
                Some(Json::Null) | None => {}
                Some(other) => call.arguments.push_str(&other.to_string()),
            }
        }
    }
}

/// An error in place of an answer.
fn refusal(error: &Json) -> Unusable {
    let message = text(error, "message").or_else(|| error.as_str()).unwrap_or("it says no more");
    let code = match error.get("code") {
        Some(Json::Number(code)) => code.to_string(),
        Some(Json::String(code)) => code.clone(),
        Some(_) | None => text(error, "type").unwrap_or_default().to_owned(),
    };
    let kind = match &*code {
        "insufficient_quota" => ErrorKind::Budget,
        "rate_limit_exceeded" | "429" => ErrorKind::RateLimited,
        "invalid_request_error" | "content_filter" | "400" => ErrorKind::BadRequest,
        "model_not_found" | "404" => ErrorKind::NoModel,
        "invalid_api_key" | "401" | "403" => ErrorKind::Unauthorized,
        _ => ErrorKind::Unavailable,
    };
    Unusable::Refusal { kind, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::Value;

    use super::super::super::tests::{ask, offer, reading};
    use super::*;
    use crate::models::{Schema, ToolCall, ToolSpec};

    fn body(ask: &Ask) -> Json {
        chat(&offer(Kind::OpenAi), ask).unwrap().0.body
    }

    #[test]
    fn a_question_has_openais_form() {
        let body = body(&ask());
        let wanted = json!({
            "model": "m",
            "temperature": 0.5,
            "own": {"a": 1},
            "max_tokens": 7,
            "stop": ["END"],
            "stream": true,
            "stream_options": {"include_usage": true},
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url":
                        {"url": "data:image/png;base64,AQI=", "detail": "low"}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function",
                        "function": {"name": "find", "arguments": "{\"q\": 1}"}}]},
                {"role": "tool", "content": "found", "tool_call_id": "c1"},
            ],
            "tools": [{"type": "function", "function":
                {"name": "find", "description": "finds", "parameters": {"type": "object"}}}],
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn the_form_of_an_answer_is_asked_for_as_dify_does() {
        let with = |params: &[(&str, Value)]| {
            let params = params.iter().map(|(name, value)| ((*name).into(), value.clone()));
            body(&Ask { params: params.collect(), ..Ask::default() })["response_format"].clone()
        };
        assert_eq!(with(&[("response_format", "text".into())]), Json::Null);
        let object = json!({"type": "json_object"});
        assert_eq!(with(&[("response_format", "json_object".into())]), object);
        let schema = r#"{"name": "n", "schema": {"type": "string"}}"#;
        let given = [("response_format", "json_schema".into()), ("json_schema", schema.into())];
        let member = json!({"name": "n", "schema": {"type": "string"}, "strict": true});
        assert_eq!(with(&given), json!({"type": "json_schema", "json_schema": member}));
        // a schema of the node's own comes first, and one that leaves members open is no strict one
        let open = Value::from_json(json!({"type": "object", "properties": {"a": {}}}));
        let schema = Some(Schema { name: "s".into(), schema: open });
        let format = body(&Ask { schema, ..Ask::default() })["response_format"].clone();
        assert_eq!(format["json_schema"]["name"], "s");
        assert_eq!(format["json_schema"].get("strict"), None);
    }

    #[test]
    fn pieces_become_an_answer() {
        let pieces = [
            json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}),
            json!({"choices": [{"delta": {"reasoning_content": "hm"}}]}),
            json!({"choices": [{"delta": {"content": "he"}}]}),
            json!({"choices": [{"delta": {"content": "llo"}}]}),
            json!({"choices": [{"delta": {"tool_calls": [
                {"index": 0, "id": "a", "function": {"name": "find", "arguments": ""}}]}}]}),
            json!({"choices": [{"delta": {"tool_calls": [
                {"index": 1, "id": "b", "function": {"name": "get", "arguments": "{}"}}]}}]}),
            json!({"choices": [{"delta": {"tool_calls": [
                {"index": 0, "function": {"arguments": "{\"q\":"}}]}}]}),
            json!({"choices": [{"delta": {"tool_calls": [
                {"index": 0, "function": {"arguments": "1}"}}]}}]}),
            json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
        ];
        let (reply, seen) = reading(Box::new(ChatReader::default()), &pieces).unwrap();
        assert_eq!((&*reply.text, &*reply.thoughts, &*seen), ("hello", "hm", "<hm>hello"));
        let call = |id: &str, name: &str, arguments: &str| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        assert_eq!(reply.tool_calls, [call("a", "find", "{\"q\":1}"), call("b", "get", "{}")]);
        assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (3, 2));
        assert_eq!(reply.finish_reason.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn an_answer_without_its_end_is_not_whole() {
        let piece = json!({"choices": [{"delta": {"content": "he"}}]});
        assert_eq!(reading(Box::new(ChatReader::default()), &[piece]), None);
    }

    #[test]
    fn an_error_in_the_stream_is_one() {
        let error = json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}});
        let refused = ChatReader::default().read(&error, &|_| {});
        let kind = ErrorKind::RateLimited;
        assert_eq!(refused, Err(Unusable::Refusal { kind, message: "slow down".to_owned() }));
    }

    #[test]
    fn a_completion_is_asked_by_one_text() {
        let asked = Ask { messages: vec![Message::text(Role::User, "once")], ..Ask::default() };
        let (request, reader) = completion(&offer(Kind::OpenAi), &asked);
        assert_eq!((&*request.path, &request.body["prompt"]), ("/completions", &json!("once")));
        let whole = json!({"choices": [{"text": " upon", "finish_reason": "stop"}]});
        assert_eq!(reading(reader, &[whole]).unwrap().0.text, " upon");
    }

    #[test]
    fn azure_has_paths_of_its_own() {
        let path = |version: Option<&str>| {
            let mut offer = offer(Kind::Azure);
            let provider = std::sync::Arc::make_mut(&mut offer.provider);
            provider.api_version = version.map(Into::into);
            chat(&offer, &Ask::default()).unwrap().0.path
        };
        assert_eq!(path(None), "/openai/v1/chat/completions");
        let wanted = "/openai/deployments/m/chat/completions?api-version=2024-10-21";
        assert_eq!(path(Some("2024-10-21")), wanted);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let media = Media {
            kind: MediaKind::Audio,
            mime_type: "audio/mpeg".into(),
            name: None,
            source: Source::Url("https://example.com/a.mp3".into()),
            detail: Detail::High,
        };
        let parts = vec![Part::Media(media)];
        let message = Message { parts, ..Message::text(Role::User, "") };
        let asked = Ask { messages: vec![message], ..Ask::default() };
        assert!(chat(&offer(Kind::OpenAi), &asked).is_err());
    }

    #[test]
    fn tools_are_only_named_when_there_are_some() {
        let tools = vec![ToolSpec {
            name: "t".into(),
            description: "".into(),
            parameters: Value::object([]),
        }];
        assert!(body(&Ask { tools, ..Ask::default() }).get("tools").is_some());
        assert_eq!(body(&Ask::default()).get("tools"), None);
    }
}
