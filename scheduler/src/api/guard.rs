//! Who may ask, and how long and how large a request may be.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flowmill_engine::value::Name;
use flowmill_workflow::digest;

use super::problem::{Code, Problem};

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// How long a request may take in all, a wait for a run's end included.
const WHOLE: Duration = Duration::from_secs(100);

/// Where batches are submitted, and how long one may take to come.
const BATCHES: &str = "/api/v1/batches";
const BATCH: Duration = Duration::from_hours(6);

/// Letters of a key, at least: a shorter one is guessed.
const KEY_LETTERS: usize = 16;

/// The bearer key, of which only a digest is kept.
#[derive(Clone)]
pub struct Key(Name);

impl Key {
    /// The key that callers must know.
    pub fn of(secret: &str) -> Self {
        Self(digest(secret))
    }

    /// Why a text is not to be a key.
    pub fn objection(secret: &str) -> Option<String> {
        if secret.chars().count() < KEY_LETTERS {
            return Some(format!("it needs {KEY_LETTERS} characters at least"));
        }
        let is_odd = |letter: char| !letter.is_ascii_graphic();
        let why = "it has characters that no header can hold, or blanks";
        secret.contains(is_odd).then(|| why.to_owned())
    }

    /// Compares in a time that says nothing of how much is right.
    fn is(&self, given: &str) -> bool {
        let given = digest(given);
        let pairs = self.0.bytes().zip(given.bytes());
        pairs.fold(0, |different, (ours, theirs)| different | (ours ^ theirs)) == 0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Lets through who has the key and is no page of another origin.
pub(super) async fn admit(
    State(key): State<Option<Key>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let admitted = of_same_origin(headers).and_then(|()| has_key(headers, key.as_ref()));
    match admitted {
        Ok(()) => match tokio::time::timeout(patience(&request), next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(Code::Unavailable, "it took too long").into_response(),
        },
        Err(problem) => problem.into_response(),
    }
}

/// How long a request may take: a batch is taken in while it comes, and that its sender lives is
/// seen by its pieces.
fn patience(request: &Request) -> Duration {
    let is_batch = request.uri().path().starts_with(BATCHES) && request.method() == Method::POST;
    if is_batch { BATCH } else { WHOLE }
}

fn has_key(headers: &HeaderMap, key: Option<&Key>) -> Result<(), Problem> {
    let Some(key) = key else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, given)) if key.is(given.trim()) => Ok(()),
        Some(_) => Err(Problem::new(Code::Unauthorized, "this is not the key")),
        None => {
            let detail = "send the key as `Authorization: Bearer KEY`";
            Err(Problem::new(Code::Unauthorized, detail))
        }
    }
}

/// Browsers say on whose behalf they change something. Without a key, any page that a person visits
/// could otherwise submit runs to a server on the person's own machine.
fn of_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (origin, host) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Problem::new(Code::CrossOrigin, "the request comes from another web page")),
    }
}

/// A body as text.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    most_bytes: usize,
) -> Result<String, Problem> {
    let too_large = || {
        let detail = format!("at most {most_bytes} bytes are taken");
        Problem::new(Code::TooLarge, detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|value| value.parse::<usize>().ok()).is_some_and(|len| len > most_bytes) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(body, most_bytes);
    let Ok(bytes) = tokio::time::timeout(BODY, reading).await else {
        return Err(Problem::new(Code::Timeout, format!("it took longer than {BODY:?}")));
    };
    // a connection that breaks needs no answer: what is left is the size
    let bytes = bytes.map_err(|_| too_large())?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(Code::InvalidBody, "it is not UTF-8 text"))
}

/// The parameters of a request, each of which must be among those known and come once.
pub(super) fn parameters<const N: usize>(
    uri: &Uri,
    known: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    use axum::extract::Query;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::request(format!("the query cannot be read: {error}")))?;
    let mut found = [const { None }; N];
    for (name, value) in pairs {
        let Some(at) = known.iter().position(|known| *known == name) else {
            let known = known.join(", ");
            let detail = format!("unknown parameter {name:?}; known are: {known}");
            return Err(Problem::request(detail));
        };
        if found[at].replace(value).is_some() {
            return Err(Problem::request(format!("{name} is given twice")));
        }
    }
    Ok(found)
}

/// A parameter that is on or off.
pub(super) fn flag(name: &str, given: Option<&str>, usual: bool) -> Result<bool, Problem> {
    match given {
        None => Ok(usual),
        Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(other) => {
            Err(Problem::request(format!("{name} must be true or false, not {other:?}")))
        }
    }
}
