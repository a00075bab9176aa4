//! The way to a server that keeps knowledge bases: JSON goes there, JSON comes back.

use flowmill_engine::value::Name;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Url};
use serde_json::Value as Json;

use super::{KnowledgeError, KnowledgeErrorKind};
use crate::causes::causes;
use crate::outgoing::{retry_after, server_of};
use crate::secret::{Credential, masked};

/// The most that is read of an answer.
const MOST_BYTES: usize = 32 << 20;

/// More of what a server complains of helps nobody.
const MOST_CHARACTERS: usize = 600;

/// How many characters of a key tell which it is; some servers repeat a part of what they refuse.
const TELLING: usize = 8;

/// A server that keeps knowledge bases.
#[derive(Debug)]
pub(super) struct Server {
    /// What its protocol is called: `Dify`.
    protocol: &'static str,
    client: Client,
    url: Credential,
    key: Credential,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Null where it is no JSON.
    pub(super) json: Json,
    text: String,
    retry_after: Option<std::time::Duration>,
}

impl Server {
    pub(super) fn new(
        protocol: &'static str,
        client: Client,
        url: Credential,
        key: Credential,
    ) -> Self {
        Self { protocol, client, url, key }
    }

    /// Whom it asks, for people.
    pub(super) fn shown(&self) -> String {
        let url = self.url.expose().and_then(|url| Url::parse(url).ok());
        match url {
            Some(url) => format!("{} at {}", self.protocol, server_of(&url)),
            None => self.protocol.to_owned(),
        }
    }

    /// Which variable of the environment it needs and lacks, if any.
    pub(super) fn lacks(&self) -> Option<String> {
        [("url", &self.url), ("key", &self.key)].into_iter().find_map(|(what, text)| match text {
            Credential::Missing(name) => Some(not_set(what, name)),
            Credential::None | Credential::Given(_) => None,
        })
    }

    /// Asks, and reads the whole answer, whatever its status. Whoever calls limits the time.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Json>,
    ) -> Result<Answer, KnowledgeError> {
        if let Some(lacks) = self.lacks() {
            return Err(KnowledgeError::new(KnowledgeErrorKind::Misconfigured, lacks));
        }
        let mut request = self.client.request(method, self.address(path)?);
        if let Some(key) = self.key.expose() {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = request.send().await.map_err(|error| self.broken(&error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                let why = format!("its answer has more than {MOST_BYTES} bytes");
                return Err(self.failure(KnowledgeErrorKind::BadAnswer, &why));
            }
            bytes.extend_from_slice(&chunk);
        }
        let json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status, json, text, retry_after })
    }

    /// The answer's JSON, unless its status says that it is none.
    pub(super) fn accepted(&self, answer: Answer) -> Result<Json, KnowledgeError> {
        if let Some(kind) = kind_of(answer.status) {
            return Err(self.refusal(kind, &answer));
        }
        if answer.json.is_null() {
            let why = format!("its answer is no JSON: {}", cut(&answer.text));
            return Err(self.failure(KnowledgeErrorKind::BadAnswer, &why));
        }
        Ok(answer.json)
    }

    /// An answer that is none, as what kind of failure.
    pub(super) fn refusal(&self, kind: KnowledgeErrorKind, answer: &Answer) -> KnowledgeError {
        let what = match kind {
            KnowledgeErrorKind::Unauthorized => "it refuses the key; see key in the services file",
            KnowledgeErrorKind::RateLimited => "it asks for fewer calls",
            KnowledgeErrorKind::Unavailable => "it is out of order or busy",
            KnowledgeErrorKind::Timeout => "it took too long itself",
            KnowledgeErrorKind::NoBase => "it has no such knowledge base",
            _ if answer.status == 404 => "it has no such address; see url in the services file",
            _ if (300..400).contains(&answer.status) => {
                "it answers from another address; write that one as url in the services file"
            }
            _ => "it refuses the call",
        };
        let mut said = ["message", "error_msg", "error", "detail"].iter();
        let said = said.find_map(|key| answer.json.get(key)?.as_str());
        let said = said.unwrap_or(answer.text.trim());
        let said = if said.is_empty() { String::new() } else { format!(": {}", cut(said)) };
        let why = format!("{what} (status {}){said}", answer.status);
        KnowledgeError { retry_after: answer.retry_after, ..self.failure(kind, &why) }
    }

    /// A failure of this server, without its key.
    pub(super) fn failure(&self, kind: KnowledgeErrorKind, why: &str) -> KnowledgeError {
        let key = self.key.expose().unwrap_or_default();
        let parts = [
            Some(key),
            key.get(..TELLING),
            key.len().checked_sub(TELLING).and_then(|at| key.get(at..)),
        ];
        let why = masked(why, parts.into_iter().flatten());
        KnowledgeError::new(kind, format!("{}: {why}", self.shown()))
    }

    fn address(&self, path: &[&str]) -> Result<Url, KnowledgeError> {
        let url = self.url.expose().unwrap_or_default();
        let wrong = || {
            let why = "url in the services file is no address that begins with http:// or https://";
            KnowledgeError::new(KnowledgeErrorKind::Misconfigured, Name::from(why))
        };
        let mut url = Url::parse(url).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(path);
        Ok(url)
    }

    fn broken(&self, error: &reqwest::Error) -> KnowledgeError {
        let kind = if error.is_timeout() {
            KnowledgeErrorKind::Timeout
        } else if error.is_builder() {
            KnowledgeErrorKind::Misconfigured
        } else {
            KnowledgeErrorKind::Connection
        };
        self.failure(kind, &format!("it cannot be asked: {}", causes(error)))
    }
}

/// Says that a text of the services file names a variable that is not set.
pub(super) fn not_set(what: &str, variable: &str) -> String {
    format!("{what} is read from the environment variable {variable}, which is not set")
}

/// What an answer's status says; None where it is a success.
pub(super) fn kind_of(status: u16) -> Option<KnowledgeErrorKind> {
    match status {
        200..=299 => None,
        401 | 403 => Some(KnowledgeErrorKind::Unauthorized),
        408 | 504 => Some(KnowledgeErrorKind::Timeout),
        429 => Some(KnowledgeErrorKind::RateLimited),
        500.. => Some(KnowledgeErrorKind::Unavailable),
        0..=199 | 300..=499 => Some(KnowledgeErrorKind::Refused),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A number, or a text that is one.
pub(super) fn number(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// A text, or nothing.
pub(super) fn text(json: &Json, key: &str) -> Name {
    json.get(key).and_then(Json::as_str).unwrap_or_default().into()
}

/// A text that says something.
pub(super) fn some_text(json: &Json, key: &str) -> Option<Name> {
    Some(text(json, key)).filter(|text| !text.is_empty())
}
