//! A call as every protocol says it.

use axum::http::{HeaderMap, Uri};
use serde_json::Value as Json;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// That of `OpenAI`, also at Azure.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// An answer to messages.
    Chat,
    /// An answer to a text.
    Completion,
    /// Vectors.
    Embedding,
    /// A ranking.
    Rerank,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The protocol.
    pub protocol: Protocol,
    /// What is wanted.
    pub want: Want,
    /// The path and the query.
    pub path: String,
    /// The model.
    pub model: String,
    /// The key.
    pub key: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The content.
    pub body: Json,
    /// What the user said last.
    pub last_said: String,
    /// Whether a tool has answered already.
    pub has_tool_answer: bool,
    /// The tools that are offered, and the schemas of their arguments.
    pub tools: Vec<(String, Json)>,
    /// The tool that must be called; an empty name: any.
    pub forced: Option<String>,
    /// The schema that the answer must have.
    pub schema: Option<Json>,
    /// Whether the answer must be some JSON.
    pub wants_json: bool,
    /// Whether it streams.
    pub streams: bool,
}

impl Asked {
    /// Reads a call; None when it is none.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let path = uri.path();
        let body: Json = serde_json::from_slice(body).ok()?;
        let (protocol, want) = kind(path)?;
        let mut asked = Self {
            protocol,
            want,
            path: uri.to_string(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            key: key(headers),
            headers: headers.clone(),
            last_said: String::new(),
            has_tool_answer: false,
            tools: Vec::new(),
            forced: None,
            schema: None,
            wants_json: false,
            streams: body["stream"] == true,
            body,
        };
        match protocol {
            Protocol::OpenAi => asked.openai(path),
            Protocol::Anthropic => asked.anthropic(),
            Protocol::Gemini => asked.gemini(path),
        }
        Some(asked)
    }

    fn openai(&mut self, path: &str) {
        if let Some((_, rest)) = path.split_once("/deployments/") {
            rest.split('/').next().unwrap_or_default().clone_into(&mut self.model);
        }
        let body = &self.body;
        let messages = list(&body["messages"]);
        self.last_said = match self.want {
            Want::Chat => last_said(messages, "user", "content"),
            Want::Completion => body["prompt"].as_str().unwrap_or_default().to_owned(),
            Want::Embedding | Want::Rerank => String::new(),
        };
        self.has_tool_answer = messages.iter().any(|message| message["role"] == "tool");
        let function = |tool: &Json| named(&tool["function"], "parameters");
        self.tools = list(&body["tools"]).iter().filter_map(function).collect();
        self.forced = match &body["tool_choice"] {
            Json::String(choice) if choice == "required" => Some(String::new()),
            choice => choice["function"]["name"].as_str().map(str::to_owned),
        };
        let format = &body["response_format"];
        self.schema = format["json_schema"].get("schema").cloned();
        self.wants_json = format["type"] == "json_object";
    }

    fn anthropic(&mut self) {
        let messages = list(&self.body["messages"]);
        self.last_said = last_said(messages, "user", "content");
        let blocks = messages.iter().flat_map(|message| list(&message["content"]));
        self.has_tool_answer = blocks.into_iter().any(|block| block["type"] == "tool_result");
        let tools = list(&self.body["tools"]).iter();
        self.tools = tools.filter_map(|tool| named(tool, "input_schema")).collect();
        let choice = &self.body["tool_choice"];
        self.forced = match choice["type"].as_str() {
            Some("any") => Some(String::new()),
            Some("tool") => choice["name"].as_str().map(str::to_owned),
            Some(_) | None => None,
        };
    }

    fn gemini(&mut self, path: &str) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let (model, verb) = name.rsplit_once(':').unwrap_or((name, ""));
        model.clone_into(&mut self.model);
        self.streams = verb == "streamGenerateContent";
        let contents = list(&self.body["contents"]);
        self.last_said = last_said(contents, "user", "parts");
        let parts = contents.iter().flat_map(|content| list(&content["parts"]));
        self.has_tool_answer = parts.into_iter().any(|part| part.get("functionResponse").is_some());
        let all = list(&self.body["tools"]).iter();
        let all = all.flat_map(|tool| list(&tool["functionDeclarations"]));
        self.tools = all.filter_map(|tool| named(tool, "parametersJsonSchema")).collect();
        let mode = &self.body["toolConfig"]["functionCallingConfig"]["mode"];
        self.forced = (mode == "ANY").then(String::new);
        let config = &self.body["generationConfig"];
        self.schema = config.get("responseJsonSchema").cloned();
        self.wants_json = config["responseMimeType"] == "application/json";
    }
}

fn kind(path: &str) -> Option<(Protocol, Want)> {
    let last = path.rsplit('/').next()?;
    let found = match last {
        "completions" if path.ends_with("/chat/completions") => (Protocol::OpenAi, Want::Chat),
        "completions" => (Protocol::OpenAi, Want::Completion),
        "embeddings" => (Protocol::OpenAi, Want::Embedding),
        "rerank" => (Protocol::OpenAi, Want::Rerank),
        "messages" => (Protocol::Anthropic, Want::Chat),
        other => match other.rsplit_once(':')?.1 {
            "generateContent" | "streamGenerateContent" => (Protocol::Gemini, Want::Chat),
            "batchEmbedContents" => (Protocol::Gemini, Want::Embedding),
            _ => return None,
        },
    };
    Some(found)
}

fn key(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let found = bearer.or_else(|| text("x-api-key")).or_else(|| text("api-key"));
    found.or_else(|| text("x-goog-api-key")).map(str::to_owned)
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn named(tool: &Json, schema: &str) -> Option<(String, Json)> {
    Some((tool["name"].as_str()?.to_owned(), tool[schema].clone()))
}

/// The text of the last message of a role that has one.
fn last_said(messages: &[Json], role: &str, member: &str) -> String {
    let said = |message: &Json| match &message[member] {
        Json::String(text) => text.clone(),
        parts => list(parts).iter().filter_map(|part| part["text"].as_str()).collect(),
    };
    let of_role = messages.iter().rev().filter(|message| message["role"] == role);
    of_role.map(said).find(|text: &String| !text.is_empty()).unwrap_or_default()
}
