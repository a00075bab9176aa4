//! The protocols: a question as a request, and what comes back as an answer. Nothing here connects.

mod anthropic;
mod draft;
mod gemini;
mod openai;
mod params;
mod vectors;

use std::fmt::Write as _;

use serde_json::Value as Json;

pub(super) use draft::{Draft, Reader, Unusable};
pub(super) use vectors::{embedding, ranked, ranking};

use super::super::config::Kind;
use super::super::{Ask, Mode, Offer};

/// A request to a provider.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// What follows the provider's address.
    pub(super) path: String,
    /// The content.
    pub(super) body: Json,
}

impl Request {
    fn new(path: impl Into<String>, body: Json) -> Self {
        Self { path: path.into(), body }
    }
}

/// A question to a model, and what reads the answer.
///
/// # Errors
/// What of the question the protocol cannot say.
pub(super) fn question(
    offer: &Offer,
    mode: Mode,
    ask: &Ask,
) -> Result<(Request, Box<dyn Reader>), String> {
    match (offer.provider.kind, mode) {
        (Kind::OpenAi | Kind::Azure, Mode::Chat) => openai::chat(offer, ask),
        (Kind::OpenAi | Kind::Azure, Mode::Completion) => Ok(openai::completion(offer, ask)),
        (Kind::Anthropic, _) => anthropic::messages(offer, ask),
        (Kind::Gemini, _) => Ok(gemini::generate(offer, ask)),
    }
}

/// A path at a provider of `OpenAI`'s protocol.
fn path(offer: &Offer, verb: &str) -> String {
    match (offer.provider.kind, &offer.provider.api_version) {
        (Kind::Azure, Some(version)) => {
            format!("/openai/deployments/{}/{verb}?api-version={version}", escaped(&offer.name))
        }
        (Kind::Azure, None) => format!("/openai/v1/{verb}"),
        (Kind::OpenAi | Kind::Anthropic | Kind::Gemini, _) => format!("/{verb}"),
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // writing to a text cannot fail
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// A text member of a JSON object.
fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}
