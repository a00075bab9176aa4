//! Anthropic's messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowmill_engine::value::Name;
use serde_json::{Map, Value as Json, json};

use super::draft::tokens;
use super::params::{Format, Params};
use super::{Draft, Reader, Request, Unusable, text};
use crate::models::{
    Ask, ErrorKind, Media, MediaKind, Message, Offer, OnPiece, Part, Role, Source,
};

/// How long an answer may be if nobody says it: the protocol wants a number.
const MOST_TOKENS: u64 = 8192;

/// What the tool is called by which an answer gets its form, where its schema has no name.
const ANSWER: &str = "answer";

/// Switches of Dify's own plug-in that mean nothing to the provider.
const OF_PLUGIN: [&str; 5] = [
    "prompt_caching_message_flow",
    "prompt_caching_system_message",
    "prompt_caching_tool_definitions",
    "prompt_caching_images",
    "prompt_caching_documents",
];

/// A question.
pub(super) fn messages(offer: &Offer, ask: &Ask) -> Result<(Request, Box<dyn Reader>), String> {
    let mut params = Params::of(offer, ask);
    let mut tools: Vec<Json> = ask.tools.iter().map(tool).collect();
    let form = form(&params.format);
    let called = ask.messages.iter().any(|message| !message.tool_calls.is_empty());
    let mut thinking = thinking(&mut params);
    if called || form.is_some() {
        // thoughts have to be handed back with the calls they led to, and nobody keeps them; and
        // they exclude that a tool must be called
        thinking = None;
    }
    for name in OF_PLUGIN {
        params.take(name);
    }
    let choice = params.take("tool_choice").and_then(tool_choice);
    let choice = match &form {
        Some((name, schema)) => {
            let about = "Gives the answer. It must be called.";
            tools.push(json!({"name": name, "description": about, "input_schema": schema}));
            let any = tools.len() > 1;
            Some(if any { json!({"type": "any"}) } else { json!({"type": "tool", "name": name}) })
        }
        None => choice.filter(|_| !tools.is_empty()),
    };
    let Params { most, stop, format: _, rest } = params;
    let mut body = Map::new();
    body.insert("model".to_owned(), Json::String(offer.name.to_string()));
    body.extend(rest);
    let most = most.unwrap_or(MOST_TOKENS);
    if let Some(budget) = thinking {
        body.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": budget}));
    }
    // what is thought counts as answered
    body.insert("max_tokens".to_owned(), Json::from(most.max(thinking.map_or(0, |b| b + 1))));
    if !stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(stop));
    }
    if ask.streams {
        body.insert("stream".to_owned(), Json::Bool(true));
    }
    let system = ask.messages.iter().filter(|message| message.role == Role::System);
    let system: Vec<String> = system.map(Message::joined).filter(|text| !text.is_empty()).collect();
    if !system.is_empty() {
        body.insert("system".to_owned(), Json::String(system.join("\n\n")));
    }
    body.insert("messages".to_owned(), Json::Array(turns(&ask.messages)?));
    if !tools.is_empty() {
        body.insert("tools".to_owned(), Json::Array(tools));
    }
    if let Some(choice) = choice {
        body.insert("tool_choice".to_owned(), choice);
    }
    let reader = MessagesReader { form: form.map(|(name, _)| name), ..MessagesReader::default() };
    Ok((Request::new("/v1/messages", Json::Object(body)), Box::new(reader)))
}

/// The tool whose arguments are the answer, where it must have a form.
fn form(format: &Format) -> Option<(String, Json)> {
    match format {
        Format::Schema { name, schema } => {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
                .take(64)
                .collect();
            let name = if name.is_empty() { ANSWER.to_owned() } else { name };
            Some((name, schema.clone()))
        }
        Format::Free | Format::Json => None,
    }
}

/// How many tokens it may think, as Dify says it: a switch and a number.
fn thinking(params: &mut Params) -> Option<u64> {
    let budget = params.take("thinking_budget").and_then(|budget| budget.as_u64()).unwrap_or(1024);
    match params.take("thinking") {
        Some(Json::Bool(true)) => Some(budget),
        Some(own @ Json::Object(_)) => {
            params.rest.insert("thinking".to_owned(), own);
            None
        }
        Some(_) | None => None,
    }
}

fn tool_choice(choice: Json) -> Option<Json> {
    match choice {
        Json::String(word) => match &*word {
            "required" => Some(json!({"type": "any"})),
            word @ ("auto" | "none" | "any") => Some(json!({"type": word})),
            _ => None,
        },
        other => match other.get("function").and_then(|function| text(function, "name")) {
            Some(name) => Some(json!({"type": "tool", "name": name})),
            None => Some(other),
        },
    }
}

fn tool(tool: &crate::models::ToolSpec) -> Json {
    json!({
        "name": &*tool.name,
        "description": &*tool.description,
        "input_schema": tool.parameters.to_json(),
    })
}

/// The messages besides instructions. Those of one side in a row are one: what tools answered
/// belongs into one message with what the user says after it.
fn turns(messages: &[Message]) -> Result<Vec<Json>, String> {
    let mut turns: Vec<(&str, Vec<Json>)> = Vec::new();
    for message in messages {
        let side = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks = blocks(message)?;
        match turns.last_mut() {
            Some((last, all)) if *last == side => all.extend(blocks),
            Some(_) | None => turns.push((side, blocks)),
        }
    }
    let turn = |(role, content)| json!({"role": role, "content": Json::Array(content)});
    let is_empty = |(_, content): &(&str, Vec<Json>)| content.is_empty();
    Ok(turns.into_iter().filter(|turn| !is_empty(turn)).map(turn).collect())
}

fn blocks(message: &Message) -> Result<Vec<Json>, String> {
    if let Some(id) = &message.answers {
        let content = message.joined();
        return Ok(vec![json!({"type": "tool_result", "tool_use_id": &**id, "content": content})]);
    }
    let mut blocks = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => blocks.push(json!({"type": "text", "text": &**text})),
            Part::Media(media) => blocks.push(block(media)?),
        }
    }
    for call in &message.tool_calls {
        let input = serde_json::from_str::<Json>(&call.arguments).ok();
        let input = input.filter(Json::is_object).unwrap_or_else(|| json!({}));
        let name = &*call.name;
        blocks.push(json!({"type": "tool_use", "id": &*call.id, "name": name, "input": input}));
    }
    Ok(blocks)
}

fn block(media: &Media) -> Result<Json, String> {
    let kind = match media.kind {
        MediaKind::Image => "image",
        MediaKind::Document => "document",
        MediaKind::Audio => return Err("it does not hear recordings".to_owned()),
        MediaKind::Video => return Err("it does not watch videos".to_owned()),
    };
    let source = match &media.source {
        Source::Url(url) => json!({"type": "url", "url": &**url}),
        Source::Bytes(bytes) if media.mime_type.starts_with("text/") => {
            let text = String::from_utf8_lossy(bytes);
            json!({"type": "text", "media_type": "text/plain", "data": text})
        }
        Source::Bytes(bytes) => {
            let data = BASE64.encode(bytes);
            json!({"type": "base64", "media_type": &*media.mime_type, "data": data})
        }
    };
    let mut block = json!({"type": kind, "source": source});
    if let (MediaKind::Document, Some(name)) = (media.kind, &media.name) {
        block["title"] = Json::String(name.to_string());
    }
    Ok(block)
}

/// Reads answers, and the events of those that stream.
#[derive(Default)]
struct MessagesReader {
    draft: Draft,
    /// The tool whose arguments are the answer.
    form: Option<String>,
    /// The place of its call.
    form_at: Option<u64>,
    has_ended: bool,
}

impl Reader for MessagesReader {
    fn read(&mut self, json: &Json, on_piece: OnPiece<'_>) -> Result<(), Unusable> {
        let index = tokens(json, "index").unwrap_or_default();
        match text(json, "type").unwrap_or_default() {
            "message" => {
                self.usage(json);
                let blocks = json.get("content").and_then(Json::as_array);
                for (place, block) in blocks.into_iter().flatten().enumerate() {
                    self.begin(place as u64, block, on_piece);
                }
                self.stop(json);
                self.has_ended = true;
            }
            "message_start" => self.usage(json.get("message").unwrap_or(&Json::Null)),
            "content_block_start" => {
                let block = json.get("content_block").unwrap_or(&Json::Null);
                // its input comes in pieces; what stands here is empty
                let mut block = block.clone();
                if let Json::Object(members) = &mut block {
                    members.remove("input");
                }
                self.begin(index, &block, on_piece);
            }
            "content_block_delta" => {
                self.delta(index, json.get("delta").unwrap_or(&Json::Null), on_piece);
            }
            "message_delta" => {
                self.usage(json);
                self.stop(json.get("delta").unwrap_or(&Json::Null));
            }
            "message_stop" => self.has_ended = true,
            "error" => return Err(refusal(json.get("error").unwrap_or(&Json::Null))),
            "" => return Err(Unusable::Form("it has no type".to_owned())),
            // pings, and what was added to the protocol since
            _ => {}
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.has_ended
    }

    fn into_draft(self: Box<Self>) -> Draft {
        self.draft
    }
}

impl MessagesReader {
    fn begin(&mut self, index: u64, block: &Json, on_piece: OnPiece<'_>) {
        match text(block, "type").unwrap_or_default() {
            "text" => self.draft.say(text(block, "text").unwrap_or_default(), on_piece),
            "thinking" => self.draft.think(text(block, "thinking").unwrap_or_default(), on_piece),
            "tool_use" => {
                let name = text(block, "name").unwrap_or_default();
                let input = block.get("input").map(ToString::to_string);
                if self.form.as_deref() == Some(name) {
                    self.form_at = Some(index);
                    self.draft.say(&input.unwrap_or_default(), on_piece);
                    return;
                }
                let call = self.draft.call(index);
                name.clone_into(&mut call.name);
                text(block, "id").unwrap_or_default().clone_into(&mut call.id);
                call.arguments = input.unwrap_or_default();
            }
            _ => {}
        }
    }

    fn delta(&mut self, index: u64, delta: &Json, on_piece: OnPiece<'_>) {
        if let Some(said) = text(delta, "text") {
            self.draft.say(said, on_piece);
        }
        if let Some(thought) = text(delta, "thinking") {
            self.draft.think(thought, on_piece);
        }
        if let Some(part) = text(delta, "partial_json") {
            if self.form_at == Some(index) {
                self.draft.say(part, on_piece);
            } else {
                self.draft.call(index).arguments.push_str(part);
            }
        }
    }

    /// What was read counts with what lies in caches.
    fn usage(&mut self, json: &Json) {
        let Some(usage) = json.get("usage") else { return };
        let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
        if let Some(read) = tokens(usage, "input_tokens") {
            let cached = cached.iter().filter_map(|key| tokens(usage, key)).sum::<u64>();
            self.draft.prompt_tokens = read + cached;
        }
        if let Some(written) = tokens(usage, "output_tokens") {
            self.draft.completion_tokens = written;
        }
    }

    fn stop(&mut self, json: &Json) {
        if let Some(reason) = text(json, "stop_reason") {
            self.draft.finish_reason = Some(Name::from(reason));
        }
    }
}

/// An error in place of an answer.
fn refusal(error: &Json) -> Unusable {
    let kind = match text(error, "type").unwrap_or_default() {
        "rate_limit_error" => ErrorKind::RateLimited,
        "authentication_error" | "permission_error" => ErrorKind::Unauthorized,
        "invalid_request_error" | "request_too_large" => ErrorKind::BadRequest,
        "not_found_error" => ErrorKind::NoModel,
        "billing_error" => ErrorKind::Budget,
        _ => ErrorKind::Unavailable,
    };
    let message = text(error, "message").unwrap_or("it says no more").to_owned();
    Unusable::Refusal { kind, message }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{ask, offer, reading};
    use super::*;
    use crate::models::Schema;
    use crate::models::config::Kind;
    use flowmill_engine::value::Value;

    fn body(ask: &Ask) -> Json {
        messages(&offer(Kind::Anthropic), ask).unwrap().0.body
    }

    #[test]
    fn a_question_has_anthropics_form() {
        let wanted = json!({
            "model": "m",
            "temperature": 0.5,
            "own": {"a": 1},
            "max_tokens": 7,
            "stop_sequences": ["END"],
            "stream": true,
            "system": "be brief",
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source":
                        {"type": "base64", "media_type": "image/png", "data": "AQI="}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "found"}]},
            ],
            "tools": [{"name": "find", "description": "finds", "input_schema": {"type": "object"}}],
        });
        assert_eq!(body(&ask()), wanted);
    }

    fn thinking(messages: Vec<Message>) -> Json {
        let params = vec![
            ("thinking".into(), Value::Bool(true)),
            ("thinking_budget".into(), Value::int(2000)),
            ("max_tokens".into(), Value::int(100)),
        ];
        body(&Ask { messages, params, ..Ask::default() })
    }

    #[test]
    fn thoughts_are_asked_for_as_dify_does_and_left_out_where_they_would_be_refused() {
        let asked = thinking(vec![Message::text(Role::User, "x")]);
        assert_eq!(asked["thinking"], json!({"type": "enabled", "budget_tokens": 2000}));
        assert_eq!(asked["max_tokens"], 2001);
        assert_eq!(thinking(ask().messages).get("thinking"), None);
    }

    #[test]
    fn an_answer_of_a_form_is_the_arguments_of_a_tool() {
        let schema = Value::from_json(json!({"type": "object"}));
        let schema = Some(Schema { name: "my form".into(), schema });
        let asked = Ask { schema, ..Ask::default() };
        let (request, reader) = messages(&offer(Kind::Anthropic), &asked).unwrap();
        assert_eq!(request.body["tool_choice"], json!({"type": "tool", "name": "my_form"}));
        let whole = json!({"type": "message", "stop_reason": "tool_use", "content": [
            {"type": "tool_use", "id": "t", "name": "my_form", "input": {"a": 1}}]});
        let (reply, _) = reading(reader, &[whole]).unwrap();
        assert_eq!((&*reply.text, reply.tool_calls.len()), ("{\"a\":1}", 0));
        let (_, reader) = messages(&offer(Kind::Anthropic), &asked).unwrap();
        let events = [
            json!({"type": "content_block_start", "index": 0, "content_block":
                {"type": "tool_use", "id": "t", "name": "my_form", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta":
                {"type": "input_json_delta", "partial_json": "{\"a\":"}}),
            json!({"type": "content_block_delta", "index": 0, "delta":
                {"type": "input_json_delta", "partial_json": "2}"}}),
            json!({"type": "message_stop"}),
        ];
        assert_eq!(reading(reader, &events).unwrap().0.text, "{\"a\":2}");
    }

    #[test]
    fn events_become_an_answer() {
        let events = [
            json!({"type": "message_start", "message": {"usage":
                {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block":
                {"type": "thinking", "thinking": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta":
                {"type": "thinking_delta", "thinking": "hm"}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 1, "content_block":
                {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 1, "delta":
                {"type": "text_delta", "text": "hello"}}),
            json!({"type": "content_block_start", "index": 2, "content_block":
                {"type": "tool_use", "id": "a", "name": "find", "input": {}}}),
            json!({"type": "content_block_delta", "index": 2, "delta":
                {"type": "input_json_delta", "partial_json": "{\"q\":1}"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage":
                {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ];
        let (_, reader) = messages(&offer(Kind::Anthropic), &Ask::default()).unwrap();
        let (reply, seen) = reading(reader, &events).unwrap();
        assert_eq!((&*reply.text, &*seen), ("hello", "<hm>hello"));
        assert_eq!((&*reply.tool_calls[0].id, &*reply.tool_calls[0].arguments), ("a", "{\"q\":1}"));
        assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (7, 9));
        let (_, reader) = messages(&offer(Kind::Anthropic), &Ask::default()).unwrap();
        assert_eq!(reading(reader, &events[..9]), None, "it was cut");
    }

    #[test]
    fn an_overload_in_the_stream_is_told_from_other_errors() {
        let read = |kind: &str| {
            let error = json!({"type": "error", "error": {"type": kind, "message": "m"}});
            match MessagesReader::default().read(&error, &|_| {}) {
                Err(Unusable::Refusal { kind, .. }) => kind,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("overloaded_error"), ErrorKind::Unavailable);
        assert_eq!(read("rate_limit_error"), ErrorKind::RateLimited);
        assert_eq!(read("invalid_request_error"), ErrorKind::BadRequest);
    }
}
