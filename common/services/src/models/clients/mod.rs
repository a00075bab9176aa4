//! Asks providers over HTTP.
//!
//! Providers are named by whoever runs the workflows, so what nodes may connect to does not concern
//! them. No redirect is followed: a key goes to the address it was given for and nowhere else. The
//! environment is not read. Dropping a question closes its connection.

mod failure;
mod sse;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use flowmill_engine::value::Name;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, redirect};
use serde_json::Value as Json;
use tokio::time::{Instant, timeout};

use super::config::{Kind, Provider, Times};
use super::{
    Ask, Embeddings, ErrorKind, Mode, ModelError, Offer, OnPiece, Piece, Ranked, Reply, Usage,
};
use crate::causes::causes;
use crate::secret::Credential;
use failure::{about, sending};
use sse::Events;
use wire::{Reader, Request};

/// How long connecting may take if nobody says it.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a call may take if nobody says it.
const WHOLE: Duration = Duration::from_mins(10);

/// How long may pass between two pieces of a stream if nobody says it.
const BETWEEN: Duration = Duration::from_mins(2);

/// The largest answer that is taken.
const MOST_BYTES: usize = 64 << 20;

/// How many texts become vectors in one call.
const TEXTS_A_CALL: usize = 96;

/// The version of Anthropic's protocol that is spoken here.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A provider cannot be connected to at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use the provider {provider}: {why}")]
pub struct ClientError {
    /// The name of its section.
    pub provider: Name,
    /// Why not.
    pub why: String,
}

/// Connections to all providers.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    by_provider: HashMap<Name, reqwest::Client>,
}

impl Clients {
    /// Connections to providers; none is made yet.
    pub(super) fn new<'a>(
        providers: impl Iterator<Item = &'a Provider>,
        usual: Times,
    ) -> Result<Self, ClientError> {
        // an error only says that one is installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |provider: &Provider| {
            let client = client(provider, usual);
            client.map(|client| (provider.name.clone(), client)).map_err(|why| {
                let provider = provider.name.clone();
                ClientError { provider, why }
            })
        };
        Ok(Self { by_provider: providers.map(client).collect::<Result<_, _>>()? })
    }

    /// Asks a model.
    pub(super) async fn ask(
        &self,
        offer: &Offer,
        (mode, ask): (Mode, &Ask),
        on_piece: OnPiece<'_>,
    ) -> Result<Reply, ModelError> {
        let (request, reader) = wire::question(offer, mode, ask)
            .map_err(|why| about(offer, ErrorKind::BadRequest, &why))?;
        let began = Instant::now();
        let answer = self.answer(offer, request, reader, ask.streams, on_piece);
        let (mut reply, first_piece) = within(offer, answer).await?;
        reply.usage.latency = began.elapsed();
        reply.usage.first_piece = first_piece.map(|at| at.duration_since(began));
        priced(offer, &mut reply.usage);
        Ok(reply)
    }

    /// Turns texts into vectors.
    pub(super) async fn embed(
        &self,
        offer: &Offer,
        texts: &[Name],
    ) -> Result<Embeddings, ModelError> {
        let began = Instant::now();
        let mut all = Embeddings::default();
        for texts in texts.chunks(TEXTS_A_CALL) {
            let (request, read) = wire::embedding(offer, texts)
                .map_err(|why| about(offer, ErrorKind::BadRequest, &why))?;
            let json = within(offer, self.whole(offer, &request)).await?;
            let (vectors, tokens) = read(&json, texts.len()).map_err(|why| {
                let why = format!("its answer cannot be read: {why}");
                about(offer, ErrorKind::Unavailable, &why)
            })?;
            all.vectors.extend(vectors);
            all.usage.prompt_tokens += tokens;
        }
        all.usage.latency = began.elapsed();
        priced(offer, &mut all.usage);
        Ok(all)
    }

    /// Ranks documents.
    pub(super) async fn rerank(
        &self,
        offer: &Offer,
        query: &str,
        documents: &[Name],
    ) -> Result<Vec<Ranked>, ModelError> {
        let request = wire::ranking(offer, query, documents)
            .map_err(|why| about(offer, ErrorKind::BadRequest, &why))?;
        let json = within(offer, self.whole(offer, &request)).await?;
        wire::ranked(&json, documents.len()).map_err(|why| {
            let why = format!("its answer cannot be read: {why}");
            about(offer, ErrorKind::Unavailable, &why)
        })
    }

    /// Sends a request and gives the answer once its head is there, if it is a success.
    async fn send(&self, offer: &Offer, request: &Request) -> Result<Response, ModelError> {
        let provider = &offer.provider;
        let Some(client) = self.by_provider.get(&provider.name) else {
            let why = "nothing connects to it";
            return Err(about(offer, ErrorKind::NotMapped, why));
        };
        let url = format!("{}{}", provider.url, request.path);
        let sent = client.post(url).headers(headers(offer)?).body(request.body.to_string()).send();
        let response = sent.await.map_err(|error| sending(offer, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // what it says besides is told if it comes
        let body = content(offer, response).await.unwrap_or_default();
        Err(failure::status(offer, status.as_u16(), &headers, &body))
    }

    /// A whole answer in JSON.
    async fn whole(&self, offer: &Offer, request: &Request) -> Result<Json, ModelError> {
        let response = self.send(offer, request).await?;
        parsed(offer, &content(offer, response).await?)
    }

    /// An answer, and when its first piece came.
    async fn answer(
        &self,
        offer: &Offer,
        request: Request,
        mut reader: Box<dyn Reader>,
        streams: bool,
        on_piece: OnPiece<'_>,
    ) -> Result<(Reply, Option<Instant>), ModelError> {
        let first = first_piece(offer, streams);
        let response = match first {
            Some(first) => timeout(first, self.send(offer, &request)).await.map_err(|_| {
                let why = format!("no piece of the answer came within {first:?}");
                about(offer, ErrorKind::Timeout, &why)
            })??,
            None => self.send(offer, &request).await?,
        };
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !is_stream {
            let json = parsed(offer, &content(offer, response).await?)?;
            let read = reader.read(&json, on_piece);
            read.map_err(|why| failure::unusable(offer, why))?;
            if !reader.is_whole() {
                // whoever answers in one piece need not say that it ended
                reader.ended();
            }
            let is_whole = reader.is_whole();
            let reply = reader.into_draft().into_reply();
            if !is_whole {
                let why = "its answer cannot be read: it has no content";
                return Err(about(offer, ErrorKind::Unavailable, why));
            }
            return Ok((reply, None));
        }
        let at = stream(offer, response, &mut *reader, (first, on_piece)).await?;
        Ok((reader.into_draft().into_reply(), at))
    }
}

/// Reads an answer that comes in pieces. It says when the first one came.
async fn stream(
    offer: &Offer,
    mut response: Response,
    reader: &mut dyn Reader,
    (first, on_piece): (Option<Duration>, OnPiece<'_>),
) -> Result<Option<Instant>, ModelError> {
    let between = offer.times.between_pieces.unwrap_or(BETWEEN);
    let seen = std::sync::Mutex::new(None::<Instant>);
    let noting = |piece: Piece<'_>| {
        let mut at = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        at.get_or_insert_with(Instant::now);
        drop(at);
        on_piece(piece);
    };
    let came = || *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut events, mut bytes, mut read) = (Events::default(), 0, Ok(()));
    let begun = Instant::now();
    loop {
        let wait = match (came(), first) {
            (None, Some(first)) => first.saturating_sub(begun.elapsed()),
            (Some(_), _) | (None, None) => between,
        };
        let chunk = timeout(wait, response.chunk()).await.map_err(|_| {
            let why = match came() {
                Some(_) => format!("no further piece of the answer came within {between:?}"),
                None => {
                    format!("no piece of the answer came within {:?}", first.unwrap_or(between))
                }
            };
            about(offer, ErrorKind::Timeout, &why)
        })?;
        let mut take = |data: &str| {
            if read.is_ok() {
                read = event(offer, reader, data, &noting);
            }
        };
        match chunk {
            Ok(Some(chunk)) => {
                bytes += chunk.len();
                let taken = events.take(&chunk, &mut take);
                if taken.is_err() || bytes > MOST_BYTES {
                    return Err(about(offer, ErrorKind::Unavailable, "its answer is too large"));
                }
            }
            Ok(None) => {
                events.finish(&mut take);
                read?;
                return if reader.is_whole() {
                    Ok(came())
                } else {
                    let why = "the connection broke: the answer has no end";
                    Err(about(offer, ErrorKind::Connection, why))
                };
            }
            Err(error) if !reader.is_whole() => return Err(sending(offer, &error)),
            // the answer is there, only the connection did not end as it should
            Err(_) => return Ok(came()),
        }
        std::mem::replace(&mut read, Ok(()))?;
    }
}

fn event(
    offer: &Offer,
    reader: &mut dyn Reader,
    data: &str,
    on_piece: OnPiece<'_>,
) -> Result<(), ModelError> {
    if data.trim() == "[DONE]" {
        reader.ended();
        return Ok(());
    }
    let json = parsed(offer, data.as_bytes())?;
    reader.read(&json, on_piece).map_err(|why| failure::unusable(offer, why))
}

/// How long the first piece of a stream may take; None when only the whole is limited.
fn first_piece(offer: &Offer, streams: bool) -> Option<Duration> {
    offer.times.first_piece.filter(|_| streams)
}

async fn within<T>(
    offer: &Offer,
    call: impl Future<Output = Result<T, ModelError>>,
) -> Result<T, ModelError> {
    let most = offer.times.whole.unwrap_or(WHOLE);
    timeout(most, call).await.unwrap_or_else(|_| {
        let why = format!("it took longer than {most:?}");
        Err(about(offer, ErrorKind::Timeout, &why))
    })
}

async fn content(offer: &Offer, mut response: Response) -> Result<Vec<u8>, ModelError> {
    let mut content = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => content.extend_from_slice(&chunk),
            Ok(None) => return Ok(content),
            Err(error) => return Err(sending(offer, &error)),
        }
        if content.len() > MOST_BYTES {
            return Err(about(offer, ErrorKind::Unavailable, "its answer is too large"));
        }
    }
}

fn parsed(offer: &Offer, bytes: &[u8]) -> Result<Json, ModelError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let why = format!("its answer is no JSON: {error}");
        about(offer, ErrorKind::Unavailable, &why)
    })
}

fn priced(offer: &Offer, usage: &mut Usage) {
    let cost =
        |price: &super::config::Pricing| price.cost(usage.prompt_tokens, usage.completion_tokens);
    usage.price = offer.pricing.as_ref().map(cost);
}

fn client(provider: &Provider, usual: Times) -> Result<reqwest::Client, String> {
    let connect = provider.times.or(usual).connect.unwrap_or(CONNECT);
    let mut builder = reqwest::Client::builder()
        .connect_timeout(connect)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("flowmill/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    match &provider.proxy {
        Some(Credential::Given(proxy)) => {
            let proxy = reqwest::Proxy::all(proxy.expose());
            builder = builder.proxy(proxy.map_err(|_| "its proxy is no address".to_owned())?);
        }
        Some(Credential::Missing(variable)) => {
            let why = format!("its proxy is read from the variable {variable}, which is not set");
            return Err(why);
        }
        Some(Credential::None) | None => {}
    }
    builder.build().map_err(|error| causes(&error))
}

/// The headers of a call.
fn headers(offer: &Offer) -> Result<HeaderMap, ModelError> {
    let provider = &offer.provider;
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert("content-type", json);
    let (name, key) = match provider.kind {
        Kind::OpenAi => ("authorization", provider.key.expose().map(|key| format!("Bearer {key}"))),
        Kind::Azure => ("api-key", provider.key.expose().map(str::to_owned)),
        Kind::Anthropic => {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
            ("x-api-key", provider.key.expose().map(str::to_owned))
        }
        Kind::Gemini => ("x-goog-api-key", provider.key.expose().map(str::to_owned)),
    };
    if let Credential::Missing(variable) = &provider.key {
        return Err(failure::missing(offer, "its key", variable));
    }
    let mut put = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        match (name, HeaderValue::from_str(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
                true
            }
            _ => false,
        }
    };
    let mut wrong = None;
    if let Some(key) = key
        && !put(name, &key)
    {
        wrong = Some("its key".to_owned());
    }
    for (name, credential) in &provider.headers {
        match credential {
            Credential::Missing(variable) => {
                return Err(failure::missing(offer, &format!("its header {name}"), variable));
            }
            credential => {
                if !put(name, credential.expose().unwrap_or_default()) {
                    wrong = Some(format!("its header {name}"));
                }
            }
        }
    }
    match wrong {
        Some(what) => {
            let why = format!("{what} has signs that no header may have");
            Err(about(offer, ErrorKind::BadRequest, &why))
        }
        None => Ok(headers),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use flowmill_engine::value::Value;
    use serde_json::json;

    use super::*;
    use crate::models::config::{Features, Limits};
    use crate::models::{
        Detail, Known, Media, MediaKind, Message, Part, Role, Source, ToolCall, ToolSpec,
    };

    /// The model `m` of the provider `p`.
    pub(super) fn offer(kind: Kind) -> Offer {
        let provider = Provider::new("p", kind, Some("http://127.0.0.1:1"), Credential::None);
        Offer {
            provider: Arc::new(Provider { features: Features::default(), ..provider }),
            name: "m".into(),
            known: Known {
                tools: true,
                schema: true,
                images: true,
                audio: false,
                video: false,
                documents: false,
                context_tokens: None,
            },
            max_output_tokens: None,
            pricing: None,
            params: vec![("temperature".into(), Value::Float(0.1)), ("seed".into(), Value::int(1))],
            drop_params: vec!["seed".into()],
            times: Times::default(),
            limits: Limits::default(),
        }
    }

    /// A question with a bit of everything.
    pub(super) fn ask() -> Ask {
        let picture = Media {
            kind: MediaKind::Image,
            mime_type: "image/png".into(),
            name: None,
            source: Source::Bytes([1, 2].into()),
            detail: Detail::Low,
        };
        let look = vec![Part::Text("look".into()), Part::Media(picture)];
        let call =
            ToolCall { id: "c1".into(), name: "find".into(), arguments: "{\"q\": 1}".into() };
        let own = Value::from_json(json!({"a": 1}));
        Ask {
            messages: vec![
                Message::text(Role::System, "be brief"),
                Message { parts: look, ..Message::text(Role::User, "") },
                Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") },
                Message { answers: Some("c1".into()), ..Message::text(Role::Tool, "found") },
            ],
            tools: vec![ToolSpec {
                name: "find".into(),
                description: "finds".into(),
                parameters: Value::from_json(json!({"type": "object"})),
            }],
            params: vec![
                ("temperature".into(), Value::Float(0.5)),
                ("max_tokens".into(), Value::Float(7.0)),
                ("seed".into(), Value::int(2)),
                ("own".into(), own),
            ],
            stop: vec!["END".into()],
            streams: true,
            schema: None,
        }
    }

    /// What a reader makes of events, and the pieces as they came; None when it is not whole.
    pub(super) fn reading(mut reader: Box<dyn Reader>, events: &[Json]) -> Option<(Reply, String)> {
        let seen = Mutex::new(String::new());
        for event in events {
            let note = |piece: Piece<'_>| {
                let piece = match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::Thought(text) => format!("<{text}>"),
                };
                seen.lock().unwrap().push_str(&piece);
            };
            reader.read(event, &note).unwrap();
        }
        let seen = seen.into_inner().unwrap();
        reader.is_whole().then(|| (reader.into_draft().into_reply(), seen))
    }

    #[test]
    fn a_key_that_is_not_there_is_told_by_its_variable() {
        let mut offer = offer(Kind::OpenAi);
        Arc::make_mut(&mut offer.provider).key = Credential::Missing("MY_KEY".into());
        let error = headers(&offer).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        assert!(error.message.contains("the variable MY_KEY, which is not set"), "{error}");
    }
}
