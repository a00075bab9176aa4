//! What went wrong, in words that name the provider and never a key.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde_json::Value as Json;

use super::super::config::Provider;
use super::super::{ErrorKind, ModelError, Offer};
use super::wire::Unusable;
use crate::causes::causes;
use crate::secret::Credential;

/// How much of a provider's own words is told.
const MOST_CHARACTERS: usize = 600;

/// How many characters of a key must follow one another to count as one.
const TELLING: usize = 8;

/// An error about an offer.
pub(super) fn about(offer: &Offer, kind: ErrorKind, what: &str) -> ModelError {
    let (provider, name) = (&offer.provider.name, &offer.name);
    let what = hidden(&offer.provider, what);
    ModelError::new(kind, format!("the provider {provider}, asked for {name}: {what}"))
}

/// A credential that is not there.
pub(super) fn missing(offer: &Offer, what: &str, variable: &str) -> ModelError {
    let what = format!("{what} is read from the variable {variable}, which is not set");
    about(offer, ErrorKind::Unauthorized, &what)
}

/// An answer that is none.
pub(super) fn unusable(offer: &Offer, unusable: Unusable) -> ModelError {
    match unusable {
        Unusable::Form(why) => {
            let why = format!("its answer cannot be read: {why}");
            about(offer, ErrorKind::Unavailable, &why)
        }
        Unusable::Refusal { kind, message } => about(offer, kind, &message),
    }
}

/// Something went wrong on the way.
pub(super) fn sending(offer: &Offer, error: &reqwest::Error) -> ModelError {
    if error.is_builder() {
        let why = format!("no request can be made to {}: {}", offer.provider.url, causes(error));
        return about(offer, ErrorKind::BadRequest, &why);
    }
    let why = causes(error);
    let what = if error.is_connect() { "it cannot be reached" } else { "the connection broke" };
    about(offer, ErrorKind::Connection, &format!("{what}: {why}"))
}

/// A status that is no success.
pub(super) fn status(offer: &Offer, status: u16, headers: &HeaderMap, body: &[u8]) -> ModelError {
    let json: Option<Json> = serde_json::from_slice(body).ok();
    // Gemini wraps what it says into a list when it streams
    let json = match json {
        Some(Json::Array(mut items)) if !items.is_empty() => Some(items.swap_remove(0)),
        other => other,
    };
    let error = json.as_ref().map(|json| json.get("error").unwrap_or(json));
    let text = |key: &str| error.and_then(|error| error.get(key)).and_then(Json::as_str);
    let said = text("message").or_else(|| text("detail"));
    let said = said.or_else(|| error.and_then(Json::as_str)).map(str::to_owned);
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    let is_spent = [text("code"), text("type")].contains(&Some("insufficient_quota"));
    let (kind, what) = match status {
        402 => (ErrorKind::Budget, "it wants to be paid"),
        429 if is_spent => (ErrorKind::Budget, "what may be spent there is spent"),
        429 => (ErrorKind::RateLimited, "it asks for fewer calls"),
        401 | 403 => (ErrorKind::Unauthorized, "it refuses the key; see key in the services file"),
        404 => (ErrorKind::NoModel, "it has no such model, or url in the services file is wrong"),
        408 | 504 => (ErrorKind::Unavailable, "it took too long itself"),
        300..=399 => {
            let what =
                "it answers from another address; write that one as url in the services file";
            (ErrorKind::BadRequest, what)
        }
        500..=599 => (ErrorKind::Unavailable, "it is out of order or busy"),
        _ => (ErrorKind::BadRequest, "it refuses the call"),
    };
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let mut failure = about(offer, kind, &format!("{what} (status {status}){said}"));
    failure.retry_after = retry_after(headers).or_else(|| error.and_then(retry_delay));
    failure
}

/// How long to wait: milliseconds, seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, unit: f64| {
        let number: f64 = text.parse().ok()?;
        (number.is_finite() && number >= 0.0)
            .then(|| Duration::from_secs_f64((number * unit).min(1e6)))
    };
    if let Some(found) = text("retry-after-ms").and_then(|text| seconds(text, 0.001)) {
        return Some(found);
    }
    let text = text("retry-after")?;
    seconds(text, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// The same in Gemini's words: `"retryDelay": "37s"` among the details.
fn retry_delay(error: &Json) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay"))?.as_str()?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    (0.0..1e6).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// A text without what is secret, and not too long.
fn hidden(provider: &Provider, text: &str) -> String {
    let headers = provider.headers.iter().map(|(_, credential)| credential);
    let secrets = headers.chain([&provider.key]).chain(&provider.proxy);
    let mut text = text.to_owned();
    for secret in secrets.filter_map(Credential::expose).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
        // some providers repeat a part of a key that they refuse
        let parts = [
            secret.get(..TELLING),
            secret.len().checked_sub(TELLING).and_then(|at| secret.get(at..)),
        ];
        for part in parts.into_iter().flatten() {
            text = text.replace(part, "***");
        }
    }
    let words = text.split(' ').map(|word| if word.contains("***") { "***" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::super::tests::offer;
    use super::*;
    use crate::models::config::Kind;
    use crate::secret::Secret;

    fn of(code: u16, headers: &[(&'static str, &str)], body: &str) -> ModelError {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        let mut offer = offer(Kind::OpenAi);
        let provider = std::sync::Arc::make_mut(&mut offer.provider);
        provider.key = Credential::Given(Secret::new("sk-secret-0123456789"));
        status(&offer, code, &headers.collect(), body.as_bytes())
    }

    #[test]
    fn a_status_says_what_went_wrong() {
        for (code, kind) in [
            (400, ErrorKind::BadRequest),
            (401, ErrorKind::Unauthorized),
            (402, ErrorKind::Budget),
            (403, ErrorKind::Unauthorized),
            (404, ErrorKind::NoModel),
            (413, ErrorKind::BadRequest),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::Unavailable),
            (529, ErrorKind::Unavailable),
            (301, ErrorKind::BadRequest),
        ] {
            assert_eq!(of(code, &[], "").kind, kind, "{code}");
        }
        let spent = r#"{"error": {"code": "insufficient_quota", "message": "pay"}}"#;
        assert_eq!(of(429, &[], spent).kind, ErrorKind::Budget);
    }

    #[test]
    fn how_long_to_wait_is_read_in_every_form() {
        let wait = |name, value| of(429, &[(name, value)], "").retry_after;
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        let past = wait("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(wait("retry-after", "soon"), None);
        let body = r#"[{"error": {"message": "m", "details": [{"retryDelay": "37s"}]}}]"#;
        assert_eq!(of(429, &[], body).retry_after, Some(Duration::from_secs(37)));
    }

    #[test]
    fn a_key_is_never_told() {
        for body in [
            r#"{"error": {"message": "bad key sk-secret-0123456789."}}"#,
            r#"{"error": "Incorrect key: sk-secre*******6789, see"}"#,
            "plain 23456789 text",
        ] {
            let told = of(401, &[], body).to_string();
            assert!(!told.contains("sk-secre") && !told.contains("6789"), "{told}");
        }
        let told = of(400, &[], &"x".repeat(5000)).to_string();
        assert!(
            told.chars().count() < 800 && told.contains("the provider p, asked for m: "),
            "{told}"
        );
    }
}
